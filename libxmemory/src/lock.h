/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock, over VM files, the shared VM file and mapped files; and how a thread that forks passes it, and the innermost mutexes.
 *
 * Locks, in the order in which they are taken: xmemory__lock(), the maps' registry (common/registry.h), the budget's mutex (budget.c), the
 * sites' (site.c), the store's of small blocks (kept.c), the large blocks' (large.c). All are held across a fork (fork.c).
 */
#ifndef XMEMORY_LOCK_H
#define XMEMORY_LOCK_H

#include <pthread.h>

#include "common/base.h"
#include "common/forkmutex.h"

/* Of the library's mutexes: a thread that holds one already is told so, as a signal handler may fork. */
#define XMEMORY__MUTEX MA_FORKMUTEX

void xmemory__lock(void);
void xmemory__unlock(void);
/* The same for an innermost mutex, the budget's or the sites'. */
void xmemory__lock_mutex(pthread_mutex_t *inner);
void xmemory__unlock_mutex(pthread_mutex_t *inner);

/* ---- for a fork ---- */

/* The lock, whatever the thread passes. False: the thread has it already, as a signal handler interrupted a call. */
bool xmemory__lock_take(void);
void xmemory__lock_drop(void);
/* In a child: the mutex knows its holder by a number that the child does not have. Signal-safe. */
void xmemory__lock_renew(void);
/* After the fork, in the parent or in the child: of an innermost mutex that the thread held for it, or held before (*was_held). */
void xmemory__let_go_inner(pthread_mutex_t *inner, bool *was_held, bool child);
/* This thread has the lock, or all innermost mutexes: from now on, until it says false, it passes them. */
void xmemory__lock_pass(bool passes);
void xmemory__lock_pass_inner(bool passes);

#endif /* XMEMORY_LOCK_H */
