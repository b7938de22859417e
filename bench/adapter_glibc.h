/* SPDX-License-Identifier: BSD-3-Clause */
/* The C library's malloc. */
#ifndef BENCH_ADAPTER_GLIBC_H
#define BENCH_ADAPTER_GLIBC_H

#include <malloc.h>
#include <stdlib.h>

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
	malloc_trim(0);
}

#endif /* BENCH_ADAPTER_GLIBC_H */
