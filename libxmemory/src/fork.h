/* SPDX-License-Identifier: BSD-3-Clause */
/* A fork: a child gets VM files of its own. */
#ifndef XMEMORY_FORK_H
#define XMEMORY_FORK_H

#include "common/base.h"

void xmemory__watch_forks(void);
/* What the handlers do, for a fork that does not call them. False: a lock is held, and nothing was done. */
bool xmemory__fork_try(void);
void xmemory__fork_end(bool child);
/* In a child for which nothing was done: what is in VM files is its parent's. Signal-safe. */
void xmemory__fork_orphaned(void);

#endif /* XMEMORY_FORK_H */
