/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that share a VM file. The lock is held. */
#ifndef XMEMORY_SMALL_H
#define XMEMORY_SMALL_H

#include "block.h"

void *xmemory__small_new(const struct xmemory__ask *ask);
bool xmemory__small_has(const void *ptr);
bool xmemory__small_free(void *ptr);
bool xmemory__small_look(const void *ptr, struct xmemory__block *block);
void xmemory__small_walk(xmemory__block_fn *fn, void *arg);
void xmemory__small_figures(struct xmemory__figures *figures);
/* The two descriptors that it must have, 0 and 1: where they are, or NULL. The lock need not be held. */
int *xmemory__small_descriptor(unsigned i);
/* Is it still open, and that file's? */
bool xmemory__small_descriptor_is_ours(unsigned i);

#endif /* XMEMORY_SMALL_H */
