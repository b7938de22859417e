/* SPDX-License-Identifier: BSD-3-Clause */
/* libqalloc, a static map. */
#define _GNU_SOURCE 1
#include <qalloc.h>

#define AD_TRAITS (AD_FIXED | AD_FILE | AD_AGAIN | AD_SHARED)

typedef mapinfo_t *ad_heap;

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	return qalloc_makestatmap((off_t)bytes, NULL, path, 64, 4);
}

static ad_heap ad_open(const char *path)
{
	return qalloc_loadmap(path);
}

static void ad_close(ad_heap heap)
{
	qalloc_close(heap);
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)size;
	return qalloc_statmalloc(heap);
}

static inline void ad_free(ad_heap heap, void *block)
{
	qalloc_statfree(block, heap);
}

#include "runner.h"
