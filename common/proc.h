/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is alive? Only the kernel knows: pids lie across containers and after reuse, so every attached process holds
 * open-file-description locks on the map file, through an open file description of its own.
 *
 *   the attach byte   shared: "I am attached". Exclusive: "nobody else is": whoever gets that may create or recover.
 *   one byte a slot   exclusive: "this process slot is mine".
 *
 * The bytes lie far beyond the end of any file. The kernel drops the locks when the last copy of the descriptor is
 * closed, that is, at any kind of death. A fork child gets a copy; ma_map_forked() closes it.
 *
 * A map without a file behind it (private or anonymous) has one attacher, this process, always in slot 0.
 */
#ifndef MA_PROC_H
#define MA_PROC_H

#include "common/image.h"

/* This process's slot in the map, taken at the first call. MA_NO_SLOT with errno EUSERS when all are taken. */
uint32_t ma_proc_slot(struct ma_image *map);

/*
 * The map's descriptor was lost and this is a new one: take the byte of our slot again, if nobody took it meanwhile. False: another process
 * took the slot, or reclaimed what was ours.
 */
bool ma_proc_keep_slot(struct ma_image *map, int fd);

/* This process is about to close in order, and has no owner any more: its slot counts as never used. */
void ma_proc_leave(struct ma_image *map);
/* Nobody else is attached: all count as never used. */
void ma_proc_forget_all(struct ma_image *map);

/* May the holder of this slot still act? Errs on the side of yes. */
bool ma_proc_alive(struct ma_image *map, uint32_t slot);

/*
 * Look for processes that died, and mend and give up what they left: then their owners' tags are dead for all to see. True when there
 * were any. One call asks the kernel of a few; calls without begin go on until all were asked once since the last one with it.
 */
bool ma_proc_reap(struct ma_image *map, bool begin);
/* Of all at once. */
void ma_proc_reap_all(struct ma_image *map);

/*
 * Of a fickle map (image_fd.c): does another process use it that has lost its locks? Its pid is in a slot, and it has the file mapped. Only
 * processes that /proc shows are found. False for other maps.
 */
bool ma_proc_is_used_unlocked(struct ma_image *map);

/* How many slots are alive. */
uint32_t ma_proc_count(struct ma_image *map);

#endif /* MA_PROC_H */
