/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc, a heap in a file. */
#ifndef BENCH_ADAPTER_MMALLOC_H
#define BENCH_ADAPTER_MMALLOC_H

#include <mmalloc.h>

typedef void *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	return mmalloc(heap, size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	mfree(heap, block);
}

#endif /* BENCH_ADAPTER_MMALLOC_H */
