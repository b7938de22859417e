/* SPDX-License-Identifier: BSD-3-Clause */
/* libqalloc, a dynamic map, or with BENCH_STATIC a static one. */
#define _GNU_SOURCE 1
#include <qalloc.h>

#include "adapter.h"
#include "loops.h"

#ifdef BENCH_STATIC
#define KIND AD_FIXED
#else
#define KIND 0
#endif

static void *create(const char *path, uint64_t bytes)
{
#ifdef BENCH_STATIC
	return qalloc_makestatmap((off_t)bytes, NULL, path, FIXED_SIZE, 4);
#else
	return qalloc_makedynmap((off_t)bytes, NULL, path, 4);
#endif
}

static void *open_again(const char *path)
{
	return qalloc_loadmap(path);
}

static void close_map(void *heap)
{
	qalloc_close(heap);
}

const struct adapter adapter = {
	.traits = KIND | AD_FILE | AD_AGAIN | AD_SHARED, .create = create, .open = open_again, .close = close_map
};
