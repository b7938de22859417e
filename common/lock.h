/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lock in a map that no death can leave held.
 *
 *      31        30     16 15             0
 *     | waiters | turn     | process slot+1 |      slot part 0: free
 *
 * Taken by compare-exchange from free. A waiter sets the waiters bit and sleeps on the word with a time-out; when the
 * time is out it asks the kernel whether the holder's process slot is dead (proc.h). If so, it takes the lock over by compare-exchange,
 * and expects exactly the word that it saw. Each takeover increments the turn, and an unlock keeps it. So if the slot is reused while the
 * waiter sleeps (ABA), the word differs and the exchange fails. The new holder first recovers the range that the intent names.
 *
 * Two threads of one process hold it under the same slot: a process dies with all its threads, so that suffices.
 * A process that takes a used process slot first inherits all locks that still name it (body.c), so a reused slot
 * never makes a dead holder look alive.
 */
#ifndef MA_LOCK_H
#define MA_LOCK_H

#include "common/image.h"

enum ma_lock_result {
	MA_LOCK_TAKEN,
	MA_LOCK_INHERITED,
	/*
	 * Not taken. errno is ETIMEDOUT: the holder is alive and has not released the lock within ma_lock_patience_ns; or EBADF: the
	 * program closed the map's descriptor, so this process cannot find out whether the holder is alive.
	 */
	MA_LOCK_STUCK
};

/* For so long a waiter believes that a process which lives, and does nothing to the lock, holds it. Only tests change it. */
extern int64_t ma_lock_patience_ns;

#define MA_LOCK_WAITERS  0x80000000u
#define MA_LOCK_TURN     0x7fff0000u
#define MA_LOCK_TURN_ONE 0x00010000u
#define MA_LOCK_SLOT     0xffffu

/*
 * slot is this process's slot in the map. MA_LOCK_STUCK, with errno ETIMEDOUT: its holder is stopped, or the word is damaged; it is not ours.
 */
enum ma_lock_result ma_lock_take(struct ma_image *map, struct ma_lock *lock, uint32_t slot);
void ma_lock_give(struct ma_lock *lock);

/* When the word of a dead process names this slot, whose byte is now ours, inherit the lock. False: it names another slot or none. */
bool ma_lock_inherit(struct ma_lock *lock, uint32_t slot);
/* No other process is attached: hold it, whatever the word says. */
void ma_lock_seize(struct ma_lock *lock, uint32_t slot);

#endif /* MA_LOCK_H */
