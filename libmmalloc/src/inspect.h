/* SPDX-License-Identifier: BSD-3-Clause */
/* What the command mapalloc asks of the library: heaps in which mmcheck() put guards around blocks. The map needs not be open. */
#ifndef MMALLOC_SRC_INSPECT_H
#define MMALLOC_SRC_INSPECT_H

#include "common/heap.h"
#include "common/image.h"

/* Was a block with guards ever allocated here, by any process? Pairs with libmmalloc/src/check.c:mmcheckf. */
MA_INLINE bool mmalloc__has_guards(struct ma_image *map)
{
	return ma_load_acquire(&ma_body(map)->guarded) != 0;
}

/* ma_heap_walk() for a map that has guarded blocks: of those, what is between the guards. */
int mmalloc__guarded_walk(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
/* The number of blocks whose guards are broken. */
uint64_t mmalloc__guarded_check(struct ma_image *map, ma_finding_fn *fn, void *arg);

#endif /* MMALLOC_SRC_INSPECT_H */
