/* SPDX-License-Identifier: BSD-3-Clause */
/* Small blocks in VM files, over a fork: a child gets VM files of its own. The lock is held. */
#ifndef XMEMORY_SMALL_FORK_H
#define XMEMORY_SMALL_FORK_H

#include "common/base.h"

/* Before the fork. */
void xmemory__small_copy(void);
/* After it; the child maps the copies. */
void xmemory__small_copied(bool child);
/* In a child for which nothing was done. Signal-safe. */
void xmemory__small_orphaned(void);

#endif /* XMEMORY_SMALL_FORK_H */
