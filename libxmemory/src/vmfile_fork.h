/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that have a VM file each, over a fork: a child gets VM files of its own. The lock is held. */
#ifndef XMEMORY_VMFILE_FORK_H
#define XMEMORY_VMFILE_FORK_H

#include "common/base.h"

/* Before the fork. */
void xmemory__vm_copy(void);
/* After it; the child maps the copies. */
void xmemory__vm_copied(bool child);
/* In a child for which nothing was done: what is in VM files is its parent's. Signal-safe. */
void xmemory__vm_orphaned(void);

#endif /* XMEMORY_VMFILE_FORK_H */
