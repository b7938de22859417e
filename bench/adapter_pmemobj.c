/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libpmemobj: a persistent heap in a file, for one process at a time, through its atomic calls. The driver sets
 * PMEM_IS_PMEM_FORCE=1: the library then flushes cache lines, as on persistent memory, instead of calling msync.
 */
#define _GNU_SOURCE 1
#include <libpmemobj.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "adapter.h"

/* It takes the disk space at once: not so much that others on this disk would miss it. */
static void *create(const char *path, uint64_t bytes)
{
	struct statvfs disk;
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	if (statvfs(folder, &disk) != 0 || disk.f_bavail * disk.f_frsize / 2 < bytes)
		return NULL;
	return pmemobj_create(path, "bench", bytes, 0600);
}

static void *open_again(const char *path)
{
	return pmemobj_open(path, "bench");
}

static void close_pool(void *heap)
{
	pmemobj_close(heap);
}

const struct adapter adapter = {
	.traits = AD_FILE | AD_AGAIN | AD_WHOLE, .create = create, .open = open_again, .close = close_pool
};
