/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc's default heap: one a process, in private memory. */
#define _GNU_SOURCE 1
#include <mmalloc.h>

#define AD_TRAITS  0
#define AD_COLLECT 1

typedef const char *ad_heap;

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	(void)bytes;
	return path;
}

static ad_heap ad_open(const char *path)
{
	return path;
}

static void ad_close(ad_heap heap)
{
	(void)heap;
}

static void ad_collect(ad_heap heap)
{
	(void)heap;
	mmalloc_trim(NULL);
}

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

#include "runner.h"
