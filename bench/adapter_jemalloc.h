/* SPDX-License-Identifier: BSD-3-Clause */
/* jemalloc. Debian's library is malloc for all that link it. */
#ifndef BENCH_ADAPTER_JEMALLOC_H
#define BENCH_ADAPTER_JEMALLOC_H

#include <jemalloc/jemalloc.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return malloc(size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	free(block);
}

/* For adapter_private.c. */
static inline void ad_begin(void)
{
}

static inline void ad_collect(void)
{
	mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
}

#endif /* BENCH_ADAPTER_JEMALLOC_H */
