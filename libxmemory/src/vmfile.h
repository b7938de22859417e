/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that have a VM file each. */
#ifndef XMEMORY_VMFILE_H
#define XMEMORY_VMFILE_H

#include "block.h"

/* The first three take the lock themselves; for the others it is held. */
void *xmemory__vm_new(const struct xmemory__ask *ask);
/* NULL with errno: it stays as it was. EAGAIN: it has no descriptor left to grow by. */
void *xmemory__vm_resize(void *ptr, size_t size, uint32_t site);
bool xmemory__vm_free(void *ptr);
bool xmemory__vm_look(const void *ptr, struct xmemory__block *block);
void xmemory__vm_walk(xmemory__block_fn *fn, void *arg);
/* Add to them. */
void xmemory__vm_figures(struct xmemory__figures *figures);
/* Does this address lie in one? */
bool xmemory__vm_holds(const void *address);

#endif /* XMEMORY_VMFILE_H */
