/* SPDX-License-Identifier: BSD-3-Clause */
/* APR's relocatable memory: blocks known by their offsets, in a mapped file, under one process-shared lock. */
#define _GNU_SOURCE 1
#include "adapter_apr.h"

#include <apr_anylock.h>
#include <apr_general.h>
#include <apr_proc_mutex.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adapter.h"

static apr_pool_t *pool;
static apr_anylock_t lock = { .type = apr_anylock_procmutex };
static void *memory;
static size_t memory_bytes;

/* Made before the second process is: a pthread mutex in memory that both share. It serves threads as well. */
__attribute__((constructor)) static void make_lock(void)
{
	if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS ||
	    apr_proc_mutex_create(&lock.lock.pm, NULL, APR_LOCK_PROC_PTHREAD, pool) != APR_SUCCESS)
		lock.type = apr_anylock_none;
}

static bool map_file(const char *path, int flags, uint64_t bytes)
{
	int fd = lock.type == apr_anylock_procmutex ? open(path, O_RDWR | O_CLOEXEC | flags, 0600) : -1;
	struct stat status;

	memory = MAP_FAILED;
	if (fd >= 0 && (bytes == 0 || ftruncate(fd, (off_t)bytes) == 0) && fstat(fd, &status) == 0) {
		memory_bytes = (size_t)status.st_size;
		memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	return memory != MAP_FAILED;
}

static void *create(const char *path, uint64_t bytes)
{
	apr_rmm_t *heap;

	if (!map_file(path, O_CREAT, bytes))
		return NULL;
	return apr_rmm_init(&heap, &lock, memory, memory_bytes, pool) == APR_SUCCESS ? heap : NULL;
}

static void *open_again(const char *path)
{
	apr_rmm_t *heap;

	if (!map_file(path, 0, 0))
		return NULL;
	return apr_rmm_attach(&heap, &lock, memory, pool) == APR_SUCCESS ? heap : NULL;
}

static void detach(void *heap)
{
	apr_rmm_detach(heap);
	munmap(memory, memory_bytes);
}

const struct adapter adapter = {
	.traits = AD_FILE | AD_AGAIN | AD_SHARED, .create = create, .open = open_again, .close = detach
};
