/* SPDX-License-Identifier: BSD-3-Clause */
/* libshmbuddy, a region in a file. Blocks of 32 to 1024 bytes, the original's range; with BENCH_WIDE 16 bytes to 256 KiB. */
#define _GNU_SOURCE 1
#include "adapter_shmbuddy.h"

#include "adapter.h"

#ifdef BENCH_WIDE
#define SMALLEST 16
#define LARGEST  (256u << 10)
#else
#define SMALLEST 32
#define LARGEST  1024u
#endif

char *bench_base;

static void *with_base(shmbuddy_t *heap)
{
	bench_base = (char *)shmbuddy_base(heap);
	return heap;
}

static void *create(const char *path, uint64_t bytes)
{
	const struct shmbuddy_options options = { .capacity = bytes, .smallest = SMALLEST, .largest = LARGEST };

	return with_base(shmbuddy_open(path, &options));
}

static void *open_again(const char *path)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_EXISTING };

	return with_base(shmbuddy_open(path, &options));
}

static void close_region(void *heap)
{
	shmbuddy_close(heap);
}

const struct adapter adapter = {
	.traits = AD_FILE | AD_AGAIN | AD_SHARED,
	.largest = LARGEST,
	.create = create,
	.open = open_again,
	.close = close_region,
};
