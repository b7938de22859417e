/* SPDX-License-Identifier: BSD-3-Clause */
/* What a pointer is, wherever it lies; and all blocks. */
#ifndef XMEMORY_LOOK_H
#define XMEMORY_LOOK_H

#include "block.h"

/* What ptr is. */
bool xmemory__look(const void *ptr, struct xmemory__block *block);
/* Each live block; the lock is not held. Threads go on meanwhile, so what changes may be seen or not. */
void xmemory__walk(xmemory__block_fn *fn, void *arg);

#endif /* XMEMORY_LOOK_H */
