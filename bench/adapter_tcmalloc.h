/* SPDX-License-Identifier: BSD-3-Clause */
/* tcmalloc (gperftools' minimal one). */
#ifndef BENCH_ADAPTER_TCMALLOC_H
#define BENCH_ADAPTER_TCMALLOC_H

#include <gperftools/malloc_extension_c.h>
#include <gperftools/tcmalloc.h>

typedef const char *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)heap;
	return tc_malloc(size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	(void)heap;
	tc_free(block);
}

/* For adapter_private.c. */
static inline void ad_begin(void)
{
}

static inline void ad_collect(void)
{
	MallocExtension_ReleaseFreeMemory();
}

#endif /* BENCH_ADAPTER_TCMALLOC_H */
