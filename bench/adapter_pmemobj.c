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

#define AD_TRAITS (AD_FILE | AD_AGAIN | AD_WHOLE)

typedef PMEMobjpool *ad_heap;

/* It takes the disk space at once: not so much that others on this disk would miss it. */
static ad_heap ad_create(const char *path, uint64_t bytes)
{
	struct statvfs disk;
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	if (statvfs(folder, &disk) != 0 || disk.f_bavail * disk.f_frsize / 2 < bytes)
		return NULL;
	return pmemobj_create(path, "bench", bytes, 0600);
}

static ad_heap ad_open(const char *path)
{
	return pmemobj_open(path, "bench");
}

static void ad_close(ad_heap heap)
{
	pmemobj_close(heap);
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	PMEMoid id;

	return pmemobj_alloc(heap, &id, size, 0, NULL, NULL) == 0 ? pmemobj_direct(id) : NULL;
}

static inline void ad_free(ad_heap heap, void *block)
{
	PMEMoid id = pmemobj_oid(block);

	(void)heap;
	pmemobj_free(&id);
}

#include "runner.h"
