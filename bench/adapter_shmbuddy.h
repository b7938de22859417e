/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libshmbuddy, a region in a file. Blocks are kept by address, as in all adapters: an offset is the distance from where this process has
 * the region.
 */
#ifndef BENCH_ADAPTER_SHMBUDDY_H
#define BENCH_ADAPTER_SHMBUDDY_H

#include <shmbuddy.h>

typedef shmbuddy_t *ad_heap;

/* A program has one region at a time. Hidden, so that it is one load away, as a variable of the same file. */
extern char *bench_base __attribute__((visibility("hidden")));

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	shm_offt offset = shmbuddy_malloc(heap, size);

	return offset == SHM_NULL ? NULL : bench_base + offset;
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != NULL)
		shmbuddy_free(heap, (shm_offt)((char *)block - bench_base));
}

#endif /* BENCH_ADAPTER_SHMBUDDY_H */
