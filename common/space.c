/* SPDX-License-Identifier: BSD-3-Clause */
/* See space.h. The fallback writes zeros, and so is only for ranges that nobody uses yet: that is when it is called. */
#include "common/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/error.h"
#include "common/file.h"
#include "common/map.h"
#include "common/proc.h"

int ma_space_take(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	uint64_t first = ma_down(from, MA_PAGE);
	uint64_t last = ma_min(ma_up(from + bytes, MA_PAGE), ma_load(&map->header->length));
	int result;

	if (map->fd < 0 || bytes == 0 || first >= last)
		return 0;
	result = ma_file_take(map->fd, first, last);
	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		result = ma_file_take_by_writing(map->fd, from, last);
	if (result < 0)
		return ma_fail(errno, "%s: no disk space for bytes %" PRIu64 " to %" PRIu64, map->name, first, last);
	return 0;
}

/* The page that the taken part ends in is there: most small extensions lie within it and cost nothing. */
int ma_space_extend(struct ma_map *map, uint64_t from, uint64_t had, uint64_t want)
{
	uint64_t first = had ? ma_up(from + had, MA_PAGE) : from;

	return first < from + want ? ma_space_take(map, first, from + want - first) : 0;
}

bool ma_space_punch(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	uint64_t first = ma_up(from, MA_PAGE);
	uint64_t last = ma_down(from + bytes, MA_PAGE);

	if (first >= last)
		return false;
	if (map->fd < 0)
		return madvise(map->base + first, last - first, MADV_DONTNEED) == 0;
	return fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)first, (off_t)(last - first)) == 0;
}

/* File systems that cannot punch: what is zero stays as it is. */
static void blank_by_writing(char *at, char *end)
{
	for (; at < end; at += MA_PAGE) {
		size_t bytes = ma_min(MA_PAGE, (uint64_t)(end - at));

		for (size_t i = 0; i < bytes; i++)
			if (at[i]) {
				memset(at, 0, bytes);
				break;
			}
	}
}

/* Of memory alone: reading what is a hole of the file below it may take disk space. */
static void blank_memory(char *at, char *end)
{
	uintptr_t first = ma_up((uintptr_t)at, MA_PAGE), last = ma_down((uintptr_t)end, MA_PAGE);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (first >= last || mmap((void *)first, last - first, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
		memset(at, 0, (size_t)(end - at));
		return;
	}
	memset(at, 0, first - (uintptr_t)at);
	memset((void *)last, 0, (uintptr_t)end - last);
}

void ma_space_blank(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	uint64_t end = ma_min(from + bytes, ma_load(&map->header->length));

	if (from >= end)
		return;
	if (map->fd < 0)
		blank_memory(map->base + from, map->base + end);
	else if (fallocate(map->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from)) < 0)
		blank_by_writing(map->base + from, map->base + end);
}

/* The length's lock is ours. Killed before the store: the file is longer than it says, which every opener accepts. */
static int grow(struct ma_map *map, uint64_t length)
{
	if (length <= ma_load(&map->header->length))
		return 0;
	if (map->fd >= 0 && ma_file_set_length(map->fd, length) < 0)
		return ma_fail(errno, "%s: cannot grow to %" PRIu64 " bytes", map->name, length);
	ma_store_kill(&map->header->length, length);
	return 0;
}

int ma_space_grow(struct ma_map *map, uint64_t length)
{
	uint32_t slot;
	int result;

	if (length <= ma_load_acquire(&map->header->length))
		return 0;
	if (length > map->mapped)
		return ma_fail(ENOMEM, "%s: %" PRIu64 " bytes are more than its reserved range", map->name, length);
	slot = ma_proc_slot(map);
	if (slot == MA_NO_SLOT)
		return -1;
	/* Streams grow the file under different locks: without this one, the smaller length might come last. */
	ma_lock_take(map, &ma_body(map)->length_lock, slot);
	result = grow(map, length);
	ma_lock_give(&ma_body(map)->length_lock);
	return result;
}

int ma_space_sync(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	uint64_t first = ma_down(from, MA_PAGE);

	if (map->fd < 0 || bytes == 0 || (map->flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE)))
		return 0;
	if (msync(map->base + first, from + bytes - first, MS_SYNC) < 0)
		return ma_fail(errno, "%s: cannot write to disk", map->name);
	return 0;
}
