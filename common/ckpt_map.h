/* SPDX-License-Identifier: BSD-3-Clause */
/* A map's checkpoint file, which lies beside it, and the map made from that again. */
#ifndef MA_CKPT_MAP_H
#define MA_CKPT_MAP_H

#include "common/ckpt.h"
#include "common/header.h"

/* The checkpoint file beside the file at this descriptor. -1 with errno: ENOENT there is none, or the map's file has no name. */
int ma_checkpoint_file(int map, bool create);

/* Its name is on disk, too. 0, or -1 with errno. */
int ma_checkpoint_sync_folder(int map, const char *name);

/*
 * The file at map, of this header, was cut from its processes by a power cut, or is a copy: make it what its last checkpoint was, and *h its
 * header. This process has the attach byte exclusively. 0; 1: there is no checkpoint file; -1 with errno.
 */
int ma_checkpoint_restore(int map, const char *name, struct ma_header *h);

/*
 * Go back on purpose: make the durable map or region of this name what its last checkpoint was. kinds: 1 << enum ma_kind of each that may be
 * there. 0, or -1 with errno: EBUSY a process has it open; ENOENT no such file, or it has no checkpoint; and those of opening it.
 */
int ma_checkpoint_go_back(const char *filename, unsigned kinds);

#endif /* MA_CKPT_MAP_H */
