/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A mutex that is held across a fork, and knows its holder: locking it again in the same thread, in a signal handler, is EDEADLK. It knows
 * the holder by a number that the fork child does not have: there it is made new. TSan has numbers of its own, which the child keeps.
 */
#ifndef MA_FORKMUTEX_H
#define MA_FORKMUTEX_H

#include <pthread.h>

#include "common/base.h"

#if MA_TSAN
#define MA_FORKMUTEX PTHREAD_MUTEX_INITIALIZER
#else
#define MA_FORKMUTEX PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP
#endif

/* In the child, in the place of unlocking. */
MA_INLINE void ma_forkmutex_renew(pthread_mutex_t *mutex)
{
#if MA_TSAN
	pthread_mutex_trylock(mutex); /* After _Fork() it may be unlocked: no fork handler ran. */
	pthread_mutex_unlock(mutex);
#else
	*mutex = (pthread_mutex_t)MA_FORKMUTEX;
#endif
}

#endif /* MA_FORKMUTEX_H */
