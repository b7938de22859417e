/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks for the program's own data: one word anywhere in the part of a map that holds blocks.
 *
 *      63   53 52                        17 16        1 0
 *     |  0    | generation                 | record+1  | waiters |      all but waiters 0: free
 *
 * The word names its holder as units do (owner.h): by the tag of the thread's owner record. So a thread that ended, a process
 * that died, closed the map or forked, a map that was copied, and a machine that went down all leave a tag that is dead, and
 * no later thread ever has the same tag again. A waiter sets the waiters bit and sleeps on the lower half of the word with a
 * time-out, as in lock.c; when the time is out it asks whether the tag is dead, and then takes the lock over by
 * compare-exchange from exactly that word. The tag needs no takeover counter: no dead thread can lock again, so a verdict
 * "dead" stays true.
 *
 * In a copy the records may be older than the words, when the file was copied while it was in use: ma_owner_move_on().
 */
#ifndef MA_USERLOCK_H
#define MA_USERLOCK_H

#include "common/base.h"

struct ma_image;

#define MA_USERLOCK_FOREVER INT64_MAX
#define MA_USERLOCK_TRY     (-1) /* EBUSY, rather than ETIMEDOUT, and never EDEADLK. */

/* Both return 0, or the error number that a public function returns. Take: EOWNERDEAD too means that it is ours. */
int ma_userlock_take(struct ma_image *map, void *lock, int64_t timeout_ms);
int ma_userlock_give(struct ma_image *map, void *lock);

#endif /* MA_USERLOCK_H */
