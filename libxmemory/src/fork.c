/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fork. VM files are mapped shared, so a child would see what its parent writes later, and the other way round. So the
 * parent copies them before it forks, and the child maps the copies in their place. Everything that may change
 * which blocks there are waits meanwhile; what other threads write into blocks while fork() runs may reach the copy or not.
 */
#include <errno.h>
#include <pthread.h>

#include "core.h"

#include "common/map.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/*
 * The thread that forks and holds the lock, or the innermost ones: known by an address of its own, which the child has too.
 * Other fork handlers of this thread may call us meanwhile.
 */
static _Atomic(void *) forking, forking_inside;

void xmemory__lock_mutex(pthread_mutex_t *one)
{
	if (ma_load(one == &mutex ? &forking : &forking_inside) != &xmemory__depth)
		pthread_mutex_lock(one);
}

void xmemory__unlock_mutex(pthread_mutex_t *one)
{
	if (ma_load(one == &mutex ? &forking : &forking_inside) != &xmemory__depth)
		pthread_mutex_unlock(one);
}

void xmemory__lock(void)
{
	xmemory__lock_mutex(&mutex);
}

void xmemory__unlock(void)
{
	xmemory__unlock_mutex(&mutex);
}

static void before(void)
{
	int saved = errno;

	pthread_mutex_lock(&mutex);
	ma_store(&forking, (void *)&xmemory__depth);
	xmemory__vm_copy();
	xmemory__small_copy();
	errno = saved;
}

static void in_parent(void)
{
	int saved = errno;

	xmemory__vm_copied(false);
	xmemory__small_copied(false);
	ma_store(&forking, NULL);
	pthread_mutex_unlock(&mutex);
	errno = saved;
}

static void in_child(void)
{
	int saved = errno;

	xmemory__vm_copied(true);
	xmemory__small_copied(true);
	ma_store(&forking, NULL);
	pthread_mutex_unlock(&mutex);
	errno = saved;
}

/* The innermost locks: nothing runs between these two but the fork, and the handlers that were there first. */
static void hold(void)
{
	xmemory__budget_hold();
	xmemory__sites_hold();
	ma_store(&forking_inside, (void *)&xmemory__depth);
}

static void let_go_in_parent(void)
{
	ma_store(&forking_inside, NULL);
	xmemory__sites_let_go();
	xmemory__budget_let_go(false);
}

static void let_go_in_child(void)
{
	ma_store(&forking_inside, NULL);
	xmemory__sites_let_go();
	xmemory__budget_let_go(true);
}

/*
 * What is registered first is called last before the fork, and first after it: so the innermost locks, the maps' own
 * handlers, and then ours.
 */
void xmemory__watch_forks(void)
{
	pthread_atfork(hold, let_go_in_parent, let_go_in_child);
	ma_map_watch_forks();
	pthread_atfork(before, in_parent, in_child);
}
