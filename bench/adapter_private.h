/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An allocator with one heap per process, in private memory. The adapter that includes this file defines AD_MALLOC(size), AD_FREE(block),
 * AD_BEGIN() for a new heap, and AD_COLLECT(), which gives free memory back.
 */
#ifndef BENCH_ADAPTER_PRIVATE_H
#define BENCH_ADAPTER_PRIVATE_H

#include <stddef.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return AD_MALLOC(size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	AD_FREE(block);
}

#endif /* BENCH_ADAPTER_PRIVATE_H */
