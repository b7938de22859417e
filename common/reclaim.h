/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How often a full map is searched for what deaths and frees have left. Both kinds of maps do it.
 *
 * A thread that fails again and again asks the kernel which processes are alive, and looks through everything, for a part of its
 * time only: when that was in vain, not again until ma_patience times as long has passed. Such a thread is barren.
 */
#ifndef MA_RECLAIM_H
#define MA_RECLAIM_H

#include <time.h>

#include "common/thread.h"

/* Only tests change it: with 0 a call does the same whenever it is made. */
extern uint32_t ma_patience;

MA_INLINE uint64_t ma_reclaim_now(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Search, thoroughly only when the thread is not barren. What search returns: has it found something? */
MA_INLINE bool ma_reclaim(struct ma_tcache *tc, bool (*search)(struct ma_tcache *tc, bool barren))
{
	uint64_t begin = ma_reclaim_now(CLOCK_MONOTONIC);
	bool barren = begin < tc->barren_ns;
	bool any = search(tc, barren);

	if (!any && !barren)
		tc->barren_ns = begin + ma_patience * (ma_reclaim_now(CLOCK_MONOTONIC) - begin);
	return any;
}

#endif /* MA_RECLAIM_H */
