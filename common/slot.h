/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of process slots: a row for people, and a byte that the process of the slot has locked. Pids lie across containers and after
 * reuse, so every attached process holds open-file-description locks on the map file, through an open file description of its own.
 *
 *   the attach byte   shared: "I am attached". Exclusive: "no other process is": its holder may create or recover.
 *   one byte a slot   exclusive: "this process slot is mine".
 *
 * The bytes lie far beyond the end of any file. The kernel drops the locks when the last copy of the descriptor is
 * closed, that is, at any kind of death. A fork child gets a copy; map_fork.c closes it.
 *
 * A map without a file behind it (private or anonymous) has one attacher, this process, always in slot 0.
 */
#ifndef MA_SLOT_H
#define MA_SLOT_H

#include "common/image.h"

struct ma_process *ma_slot_row(const struct ma_image *map, uint32_t slot);
/* Lock the byte of this slot, by the map's descriptor fd. False: its process lives. */
bool ma_slot_lock(struct ma_image *map, int fd, uint32_t slot);
void ma_slot_unlock(int fd, uint32_t slot);
/* Has a process this slot's byte locked, or is it here without a lock (below)? Errs on the side of yes. */
bool ma_slot_is_held(struct ma_image *map, int fd, uint32_t slot);
/* A process that is denied the slot: say why, when that is not one that lives. */
bool ma_slot_blame(struct ma_image *map, int fd, const char *what);

/* No process has the pid of this slot. That alone says little: the pid may be of another pid namespace. */
bool ma_slot_seems_dead(struct ma_image *map, uint32_t slot);
/*
 * Of slots in use the kernel is asked one after the other, and with thousands of locks in a file each answer takes long. When a search found that
 * all are held (ma_slot_note_held), none is needed for a multiple of the time that it took, unless a process seems to have died.
 */
bool ma_slot_all_held(struct ma_image *map, const _Atomic uint64_t *until, uint64_t now);
void ma_slot_note_held(_Atomic uint64_t *until, uint64_t begin);

/* The row is this process's from now on: its byte is locked. Before it is known to other threads. */
void ma_slot_enter(struct ma_image *map, uint32_t slot);
/*
 * The map's descriptor was lost and this is a new one: take the byte of our slot again, if no process took it meanwhile. False: another process
 * took the slot, or reclaimed what was ours.
 */
bool ma_slot_keep(struct ma_image *map, int fd);
/* This process is about to close in order, and has no owner any more: its slot counts as never used. */
void ma_slot_leave(struct ma_image *map);
/* No other process is attached: all count as never used. */
void ma_slot_forget_all(struct ma_image *map);

/*
 * Of a fickle map (image_fd.c): does another process use it that has lost its locks? Its pid is in a slot, and it has the file mapped. Only
 * processes that /proc shows are found. False for other maps.
 */
bool ma_slot_is_used_unlocked(struct ma_image *map);

#endif /* MA_SLOT_H */
