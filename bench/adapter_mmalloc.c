/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc, a heap in a file. Its range is the workload's; its file grows. */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <mmalloc.h>
#include <unistd.h>

#include "adapter.h"

static void *attach(const char *path, int flags, uint64_t bytes)
{
	const struct mmalloc_options options = { .streams = 4, .reserve = bytes };
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	void *heap = fd < 0 ? NULL : mmalloc_attach_opt(fd, NULL, &options);

	if (fd >= 0)
		close(fd);
	return heap;
}

static void *create(const char *path, uint64_t bytes)
{
	return attach(path, O_CREAT, bytes);
}

static void *open_again(const char *path)
{
	return attach(path, 0, 0);
}

static void detach(void *heap)
{
	mmalloc_detach(heap);
}

static void collect(void *heap)
{
	mmalloc_trim(heap);
}

const struct adapter adapter = {
	.traits = AD_FILE | AD_AGAIN | AD_SHARED,
	.create = create,
	.open = open_again,
	.close = detach,
	.collect = collect,
};
