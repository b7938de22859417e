/* SPDX-License-Identifier: BSD-3-Clause */
/* libqalloc, a dynamic map, or with BENCH_STATIC a static one. */
#ifndef BENCH_ADAPTER_QALLOC_H
#define BENCH_ADAPTER_QALLOC_H

#include <qalloc.h>

#ifdef BENCH_STATIC
typedef mapinfo_t *ad_heap;
#else
typedef dynmapinfo_t *ad_heap;
#endif

static inline void *ad_malloc(ad_heap heap, size_t size)
{
#ifdef BENCH_STATIC
	(void)size;
	return qalloc_statmalloc(heap);
#else
	return qalloc_dynmalloc(heap, size);
#endif
}

static inline void ad_free(ad_heap heap, void *block)
{
#ifdef BENCH_STATIC
	qalloc_statfree(block, heap);
#else
	qalloc_dynfree(block, heap);
#endif
}

#endif /* BENCH_ADAPTER_QALLOC_H */
