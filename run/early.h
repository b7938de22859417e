/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Before it is known whether the program has an allocator of its own, blocks are the C library's, and we call nothing else: a sanitizer
 * that is about to begin has not yet found the functions behind its own. These blocks are few, and lie close to each other.
 */
#ifndef EARLY_H
#define EARLY_H

#include "shim.h"

struct early {
	void *block;
	size_t bytes; /* That were asked for. */
};

/* The lowest address of an early block, and the highest one. */
extern _Atomic uintptr_t shim_early_from, shim_early_to;

/* Returns the block, which may be NULL. */
void *shim_note_early(void *block, size_t bytes);
struct early *shim_find_early(const void *block);
void shim_free_early(struct early *early);

/* NULL: it is not one. */
MA_INLINE struct early *shim_early_of(const void *block)
{
	if (MA_LIKELY((uintptr_t)block < ma_load(&shim_early_from) || (uintptr_t)block > ma_load(&shim_early_to)))
		return NULL;
	return shim_find_early(block);
}

#endif /* EARLY_H */
