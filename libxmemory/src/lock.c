/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock, and the innermost mutexes, of a thread that may be forking. */
#include <errno.h>

#include "lock.h"
#include "state.h"

static pthread_mutex_t mutex = XMEMORY__MUTEX;

/*
 * The thread that forks and holds the lock, or the innermost ones: known by an address of its own, which the child has too.
 * Other fork handlers of this thread may call us meanwhile.
 */
static _Atomic(void *) forking, forking_inside;

static bool passes(_Atomic(void *) *forks)
{
	return ma_load(forks) == &xmemory__depth;
}

void xmemory__lock(void)
{
	if (!passes(&forking))
		pthread_mutex_lock(&mutex);
}

void xmemory__unlock(void)
{
	if (!passes(&forking))
		pthread_mutex_unlock(&mutex);
}

void xmemory__lock_mutex(pthread_mutex_t *inner)
{
	if (!passes(&forking_inside))
		pthread_mutex_lock(inner);
}

void xmemory__unlock_mutex(pthread_mutex_t *inner)
{
	if (!passes(&forking_inside))
		pthread_mutex_unlock(inner);
}

void xmemory__let_go_inner(pthread_mutex_t *inner, bool *was_held, bool child)
{
	if (child)
		ma_forkmutex_renew(inner);
	else if (!*was_held)
		pthread_mutex_unlock(inner);
	*was_held = false;
}

bool xmemory__lock_take(void)
{
	return pthread_mutex_lock(&mutex) != EDEADLK;
}

void xmemory__lock_drop(void)
{
	pthread_mutex_unlock(&mutex);
}

void xmemory__lock_renew(void)
{
	ma_forkmutex_renew(&mutex);
}

void xmemory__lock_pass(bool passes_it)
{
	ma_store(&forking, passes_it ? (void *)&xmemory__depth : NULL);
}

void xmemory__lock_pass_inner(bool passes_them)
{
	ma_store(&forking_inside, passes_them ? (void *)&xmemory__depth : NULL);
}
