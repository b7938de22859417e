/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapped files. The lock is held, but for xmemory__mapped_new(), which takes it. */
#ifndef XMEMORY_FALLOC_H
#define XMEMORY_FALLOC_H

#include "block.h"

/* xmemory_falloc(), but for the name and for a library that is off. */
char *xmemory__mapped_new(const char *name, size_t offs, size_t *size, const char *file, int line);
bool xmemory__mapped_free(void *ptr);
/* The block that begins at offs in the mapping that ptr lies in, or the nearest one to ptr. */
bool xmemory__mapped_free_at(void *ptr, size_t offs);
bool xmemory__mapped_look(const void *ptr, struct xmemory__block *block);
void xmemory__mapped_walk(xmemory__block_fn *fn, void *arg);
void xmemory__mapped_figures(uint64_t *files, uint64_t *mappings);

#endif /* XMEMORY_FALLOC_H */
