/* SPDX-License-Identifier: BSD-3-Clause */
/* libxmemory within its budget: the C library's blocks, counted and known by their place in the source. */
#define _GNU_SOURCE      1
#define XMEMORY_NO_SHIMS 1
#include <malloc.h>
#include <stdint.h>
#include <xmemory.h>

#define AD_TRAITS  0
#define AD_COLLECT 1

typedef const char *ad_heap;

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	(void)bytes;
	xmemory_setlimit(SIZE_MAX);
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
	malloc_trim(0);
}

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

#include "runner.h"
