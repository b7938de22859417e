/* SPDX-License-Identifier: BSD-3-Clause */
/* libxmemory within its budget: the C library's blocks, counted and known by their place in the source. */
#ifndef BENCH_ADAPTER_XMEMORY_H
#define BENCH_ADAPTER_XMEMORY_H

#define XMEMORY_NO_SHIMS 1
#include <malloc.h>
#include <stdint.h>
#include <xmemory.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return xmemory_malloc(size, __FILE__, __LINE__);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	xmemory_free(block, __FILE__, __LINE__);
}

/* For adapter_private.c. */
static inline void ad_begin(void)
{
	xmemory_setlimit(SIZE_MAX);
}

static inline void ad_collect(void)
{
	malloc_trim(0);
}

#endif /* BENCH_ADAPTER_XMEMORY_H */
