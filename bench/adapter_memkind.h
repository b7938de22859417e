/* SPDX-License-Identifier: BSD-3-Clause */
/* memkind's file kind: jemalloc in a file without a name, for one process; nothing persists. */
#ifndef BENCH_ADAPTER_MEMKIND_H
#define BENCH_ADAPTER_MEMKIND_H

#include <memkind.h>

typedef memkind_t ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	return memkind_malloc(heap, size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	memkind_free(heap, block);
}

#endif /* BENCH_ADAPTER_MEMKIND_H */
