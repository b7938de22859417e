/* SPDX-License-Identifier: BSD-3-Clause */
/* mimalloc. What all others are compared with. */
#ifndef BENCH_ADAPTER_MIMALLOC_H
#define BENCH_ADAPTER_MIMALLOC_H

#include <mimalloc.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return mi_malloc(size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	mi_free(block);
}

/* For adapter_private.c. */
static inline void ad_begin(void)
{
}

static inline void ad_collect(void)
{
	mi_collect(true);
}

#endif /* BENCH_ADAPTER_MIMALLOC_H */
