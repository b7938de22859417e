/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What malloc() and free() try first: the heap's own fast path, without a call. It needs no look at the state of the shim, as what it
 * allocates from is a handle that is not open until the heap is there, and again when the heap was given up. Only the back end for a heap
 * has it (SHIM_HEAP).
 */
#ifndef SHIM_FAST_H
#define SHIM_FAST_H

#include "shim.h"

#ifdef SHIM_HEAP
#include "common/heap.h"

extern struct ma_image *_Atomic shim_hot;
/* This thread is in the heap's code: what that asks for itself is the C library's. */
extern SHIM_TLS unsigned shim_inside;

/* NULL: the slow path knows. */
MA_INLINE void *shim_new_fast(size_t size)
{
	/* What was stored before into the image is read by way of its address. Pairs with run/shim_mmalloc.c:shim_allow_fast. */
	struct ma_cursor *cursor =
		MA_LIKELY(shim_inside == 0) ? ma_heap_cursor_full(ma_load_acquire(&shim_hot), size) : NULL;

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : NULL;
}

/* False: it is no block of the heap, or the slow path must see it. */
MA_INLINE bool shim_give_fast(void *ptr)
{
	return ma_heap_free_fast(ma_load_acquire(&shim_hot), ptr); /* Pairs with run/shim_mmalloc.c:shim_allow_fast. */
}
#else
MA_INLINE void *shim_new_fast(size_t size)
{
	(void)size;
	return NULL;
}

MA_INLINE bool shim_give_fast(void *ptr)
{
	(void)ptr;
	return false;
}
#endif

#endif /* SHIM_FAST_H */
