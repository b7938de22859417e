/* SPDX-License-Identifier: BSD-3-Clause */
/* A map's checkpoint file, which lies beside it, and the map made from that again. */
#ifndef MA_CKPT_MAP_H
#define MA_CKPT_MAP_H

#include "common/ckpt.h"
#include "common/header.h"

/* The checkpoint file beside the file at this descriptor. -1 with errno: ENOENT there is none, or the map's file has no name. */
int ma_checkpoint_file(int map, bool create);
/* The same, to read alone. */
int ma_checkpoint_file_to_read(int map);
/* Neither could be done, with this errno: -1, and a sentence for who makes a checkpoint. */
int ma_checkpoint_fail_file(const char *name);
/* Remove it. 0, also when there is none; -1 with errno. */
int ma_checkpoint_remove(int map);

/* Its name is on disk, too. 0, or -1 with errno. */
int ma_checkpoint_sync_folder(int map, const char *name);

/*
 * Before anything of a map's body is believed: when it is durable and nothing about it is certain, make the file what its last checkpoint was, and
 * *h its header. This process has the attach byte exclusively; kinds: 1 << enum ma_kind of each that may be there. 1: that was done. 0: the map
 * stays as it is; a copy that came without its checkpoint file is not durable, and *h says so. -1 with errno: EUCLEAN the checkpoint file is
 * missing, damaged or another map's; or of a system call.
 */
int ma_checkpoint_roll_back(int map, const char *name, struct ma_header *h, const struct ma_place *place,
			    unsigned kinds);
/*
 * The same for a process that only reads, and so cannot do it. 0, or -1 with errno: EUCLEAN the checkpoint file is there and the map is not what that
 * says, or it is missing; or of open(2).
 */
int ma_checkpoint_refuse_stale(int map, const char *name, const struct ma_header *h, const struct ma_place *place);

/*
 * Go back on purpose: make the durable map or region of this name what its last checkpoint was. All of the checkpoint is read first, so nothing
 * changes when it is damaged. kinds: 1 << enum ma_kind of each that may be there. 0, or -1 with errno: EBUSY a process has it open; ENOENT no
 * such file, or it has no checkpoint; and those of opening it.
 */
int ma_checkpoint_go_back(const char *filename, unsigned kinds);

#endif /* MA_CKPT_MAP_H */
