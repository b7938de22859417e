/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libshmbuddy, a region in a file. Blocks of 32 to 1024 bytes, the original's range; with BENCH_WIDE 16 bytes to 256 KiB. Blocks are
 * kept by address, as in all adapters: an offset is the distance from where this process has the region.
 */
#define _GNU_SOURCE 1
#include <shmbuddy.h>

#define AD_TRAITS (AD_FILE | AD_AGAIN | AD_SHARED)
#ifdef BENCH_WIDE
#define SMALLEST   16
#define AD_LARGEST (256u << 10)
#else
#define SMALLEST   32
#define AD_LARGEST 1024u
#endif

typedef shmbuddy_t *ad_heap;

static char *base; /* a program has one region at a time */

static ad_heap with_base(ad_heap heap)
{
	base = (char *)shmbuddy_base(heap);
	return heap;
}

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	const struct shmbuddy_options options = { .capacity = bytes, .smallest = SMALLEST, .largest = AD_LARGEST };

	return with_base(shmbuddy_open(path, &options));
}

static ad_heap ad_open(const char *path)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_EXISTING };

	return with_base(shmbuddy_open(path, &options));
}

static void ad_close(ad_heap heap)
{
	shmbuddy_close(heap);
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	shm_offt offset = shmbuddy_malloc(heap, size);

	return offset == SHM_NULL ? NULL : base + offset;
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != NULL)
		shmbuddy_free(heap, (shm_offt)((char *)block - base));
}

#include "runner.h"
