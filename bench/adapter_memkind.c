/* SPDX-License-Identifier: BSD-3-Clause */
/* memkind's file kind: jemalloc in a file without a name, for one process; nothing persists. */
#define _GNU_SOURCE 1
#include <limits.h>
#include <memkind.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter.h"

static void *create(const char *path, uint64_t bytes)
{
	char folder[PATH_MAX];
	memkind_t kind;

	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = 0;
	return memkind_create_pmem(folder, bytes, &kind) == 0 ? kind : NULL;
}

static void *open_again(const char *path)
{
	(void)path;
	return NULL;
}

static void destroy(void *heap)
{
	memkind_destroy_kind(heap);
}

/* The file is ours that has no name. */
static uint64_t space(const char *path)
{
	struct stat status;
	uint64_t bytes = 0;

	(void)path;
	for (int fd = 3; fd < 64; fd++)
		if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 0)
			bytes += (uint64_t)status.st_blocks * 512;
	return bytes;
}

const struct adapter adapter = {
	.traits = AD_FILE, .create = create, .open = open_again, .close = destroy, .space = space
};
