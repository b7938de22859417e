/* SPDX-License-Identifier: BSD-3-Clause */
/* jemalloc: one heap a process, in private memory. Debian's library is malloc for whoever links it. */
#define _GNU_SOURCE 1
#include <jemalloc/jemalloc.h>
#include <stdint.h>

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
	mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
}

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

#include "runner.h"
