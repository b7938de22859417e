/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc's default heap. */
#ifndef BENCH_ADAPTER_MMALLOC_ANON_H
#define BENCH_ADAPTER_MMALLOC_ANON_H

#include <mmalloc.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return mmalloc(NULL, size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	mfree(NULL, block);
}

/* For adapter_private.c. */
static inline void ad_begin(void)
{
}

static inline void ad_collect(void)
{
	mmalloc_trim(NULL);
}

#endif /* BENCH_ADAPTER_MMALLOC_ANON_H */
