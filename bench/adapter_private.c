/* SPDX-License-Identifier: BSD-3-Clause */
/* Allocators with one heap per process, in private memory: BENCH_ADAPTER calls one of them. A heap here is any pointer. */
#define _GNU_SOURCE 1
#include BENCH_ADAPTER

#include "adapter.h"

static char heap_of_all;

static void *create(const char *path, uint64_t bytes)
{
	(void)path;
	(void)bytes;
	AD_BEGIN();
	return &heap_of_all;
}

static void *open_again(const char *path)
{
	(void)path;
	return &heap_of_all;
}

static void leave(void *heap)
{
	(void)heap;
}

static void collect(void *heap)
{
	(void)heap;
	AD_COLLECT();
}

const struct adapter adapter = {
	.traits = 0, .create = create, .open = open_again, .close = leave, .collect = collect
};
