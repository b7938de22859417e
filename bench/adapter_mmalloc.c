/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc, a heap in a file. Its range is the workload's; its file grows. */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <mmalloc.h>
#include <unistd.h>

#define AD_TRAITS  (AD_FILE | AD_AGAIN | AD_SHARED)
#define AD_COLLECT 1

typedef void *ad_heap;

static ad_heap attach(const char *path, int flags, uint64_t bytes)
{
	const struct mmalloc_options options = { .streams = 4, .reserve = bytes };
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	void *heap = fd < 0 ? NULL : mmalloc_attach_opt(fd, NULL, &options);

	if (fd >= 0)
		close(fd);
	return heap;
}

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	return attach(path, O_CREAT, bytes);
}

static ad_heap ad_open(const char *path)
{
	return attach(path, 0, 0);
}

static void ad_close(ad_heap heap)
{
	mmalloc_detach(heap);
}

static void ad_collect(ad_heap heap)
{
	mmalloc_trim(heap);
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	return mmalloc(heap, size);
}

static inline void ad_free(ad_heap heap, void *block)
{
	mfree(heap, block);
}

#include "runner.h"
