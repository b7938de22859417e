/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fork. VM files are mapped shared, so a child would see what its parent writes later, and the other way round. So the
 * parent copies them before it forks, and the child maps the copies in their place. Everything that may change
 * which blocks there are waits meanwhile; what other threads write into blocks while fork() runs may reach the copy or not.
 */
#include <errno.h>
#include <pthread.h>

#include "budget.h"
#include "fork.h"
#include "kept.h"
#include "large.h"
#include "lock.h"
#include "say.h"
#include "site.h"
#include "small_fork.h"
#include "vmfile_fork.h"
#include "warn.h"

#include "common/cancel.h"
#include "common/map.h"
#include "common/process.h"

/* The lock was this thread's before the fork began: a signal handler forks. Belongs to its holder. */
static bool interrupted;

static void copy(void)
{
	xmemory__lock_pass(true);
	if (interrupted) {
		xmemory__say("xmemory: fork() in a signal handler that interrupted a call: the child has no copy of blocks in VM "
			     "files");
		return;
	}
	xmemory__vm_copy();
	xmemory__small_copy();
}

static void before(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	interrupted = !xmemory__lock_take();
	copy();
	errno = saved;
}

static void in_parent(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	xmemory__vm_copied(false);
	xmemory__small_copied(false);
	xmemory__lock_pass(false);
	if (!interrupted)
		xmemory__lock_drop();
	interrupted = false;
	errno = saved;
}

static void in_child(void)
{
	MA_UNCANCELLED;
	int saved = errno;

	xmemory__warnings_forked();
	xmemory__vm_copied(true);
	xmemory__small_copied(true);
	xmemory__lock_pass(false);
	xmemory__lock_renew();
	interrupted = false;
	errno = saved;
}

/* The innermost locks: nothing runs between these two but the fork, and the handlers that were there first. */
static void hold(void)
{
	xmemory__budget_hold();
	xmemory__sites_hold();
	xmemory__kept_hold();
	xmemory__large_hold();
	xmemory__lock_pass_inner(true);
}

static void let_go_in_parent(void)
{
	xmemory__lock_pass_inner(false);
	xmemory__large_let_go(false);
	xmemory__kept_store_let_go(false);
	xmemory__sites_let_go(false);
	xmemory__budget_let_go(false);
}

static void let_go_in_child(void)
{
	xmemory__lock_pass_inner(false);
	xmemory__large_let_go(true);
	xmemory__kept_store_let_go(true);
	xmemory__sites_let_go(true);
	xmemory__budget_let_go(true);
}

/* ---- a fork that calls no handlers (_Fork) ---- */

/* All innermost mutexes, or none. */
static bool try_hold(void)
{
	if (!xmemory__budget_try())
		return false;
	if (xmemory__sites_try()) {
		if (xmemory__kept_try()) {
			if (xmemory__large_try()) {
				xmemory__lock_pass_inner(true);
				return true;
			}
			xmemory__kept_store_let_go(false);
		}
		xmemory__sites_let_go(false);
	}
	xmemory__budget_let_go(false);
	return false;
}

bool xmemory__fork_try(void)
{
	if (!xmemory__lock_take())
		return false;
	copy();
	if (ma_map_fork_try()) {
		if (try_hold())
			return true;
		ma_map_fork_end(false);
	}
	in_parent();
	return false;
}

void xmemory__fork_end(bool child)
{
	if (child)
		let_go_in_child();
	else
		let_go_in_parent();
	ma_map_fork_end(child);
	if (child)
		in_child();
	else
		in_parent();
}

/* Its parent's blocks stay its parent's: to be read, but not to be written or given back. */
void xmemory__fork_orphaned(void)
{
	ma_store(ma_process_mark, 1);
	xmemory__lock_renew();
	xmemory__large_forget();
	xmemory__large_let_go(true);
	xmemory__kept_store_forget();
	xmemory__kept_store_let_go(true);
	xmemory__budget_let_go(true);
	xmemory__sites_let_go(true);
	xmemory__vm_orphaned();
	xmemory__small_orphaned();
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
