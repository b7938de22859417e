/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks over budget that are too small for a VM file each share one: a heap of the engine (common/heap.h) in a file that
 * has no name. The lock over all of it is held across a fork, so a copy is of a heap at rest.
 *
 * What the engine does not keep, the site and the size asked for, is in a second file of the same sort, the side file (side.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "directory.h"
#include "limits.h"
#include "pages.h"
#include "side.h"
#include "site.h"
#include "small.h"
#include "state.h"

#include "common/page.h"
#include "common/annotate.h"
#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/heap.h"
#include "common/image_fd.h"
#include "common/map.h"
#include "common/plan.h"
#include "common/snapshot.h"

#define RANGE_DEFAULT  ((uint64_t)1 << 40)
#define RANGE_ASAN     ((uint64_t)4 << 30)
#define RANGE_TSAN     ((uint64_t)64 << 30)  /* It leaves a window of 512 GiB, and a fork child may want another one. */
#define RANGE_MEMCHECK ((uint64_t)256 << 20) /* Its leak check reads the whole range. */
#define RANGE_LEAST    ((uint64_t)16 << 20)
#define TRIM_LEAST     ((uint64_t)16 << 20)
#define TRIM_LAST      ((uint64_t)256 << 10)

static const struct ma_engine *const engines[] = { &ma_heap_engine, NULL };

/* ---- opening ---- */

static int fork_copy(struct ma_image *map)
{
	int fd = small->copy;

	(void)map;
	small->copy = -1;
	return fd;
}

/* Within RLIMIT_AS the range is as much as lost to all else: no more than half of what is left, sides and all. */
static uint64_t range_wanted(void)
{
	uint64_t bytes = ma_under_valgrind() ? RANGE_MEMCHECK
			 : MA_ASAN           ? RANGE_ASAN
			 : MA_TSAN           ? RANGE_TSAN
					     : RANGE_DEFAULT;
	uint64_t most = (uint64_t)xmemory__space_left() / 2;

	while (bytes + bytes / MA_CHUNK * SIDE_BYTES > most && bytes / 2 >= RANGE_LEAST)
		bytes /= 2;
	return bytes;
}

static struct ma_image *open_heap(int fd)
{
	struct ma_open how = {
		.fd = fd,
		.flags = MA_MAP_CREATE,
		.reserved = range_wanted(),
		.param = { 1 },
		.engines = engines,
		.fork_copy = fork_copy,
	};
	struct ma_map *map = ma_map_open(&how);

	while (!map && (errno == ENOMEM || errno == EADDRINUSE || errno == EFBIG) && how.reserved / 2 >= RANGE_LEAST) {
		how.reserved /= 2;
		map = ma_map_open(&how);
	}
	return map ? &map->image : NULL;
}

/* The map has a descriptor of its own, and the registry in common/ a handle that may call malloc: it gets RAM. */
static bool open_all(void)
{
	char name[sizeof(small->map->name)];
	struct ma_image *map;
	int fd;

	if (small->map)
		return true;
	fd = xmemory__vm_file(&small->id);
	if (fd < 0)
		return false;
	xmemory__depth++;
	map = open_heap(fd);
	if (map && !xmemory__side_open(map)) {
		int error = errno;

		ma_map_close(ma_map_of(map));
		errno = error;
		map = NULL;
	}
	xmemory__depth--;
	close(fd);
	small->map = map;
	if (!map)
		return false;
	snprintf(name, sizeof(name), "the shared VM file in %.200s", xmemory_gettmpdir());
	ma_image_set_name(map, name);
	xmemory__side_hide(0);
	return true;
}

/* ---- blocks ---- */

static uint64_t chunk_of(const void *ptr)
{
	return (uint64_t)((const char *)ptr - small->map->user) >> MA_CHUNK_SHIFT;
}

/* Give what is free back to the disk; it takes long, so it is done seldom. Slabs of other threads stay theirs. */
static void trim(void)
{
	small->loose = 0;
	ma_heap_trim(small->map);
	xmemory__side_trim();
}

static void *dealt(void *block, const struct xmemory__ask *ask)
{
	size_t room = ma_heap_usable_size(small->map, block);

	if (!xmemory__side_begin(chunk_of(block))) {
		int error = errno;

		ma_heap_free(small->map, block);
		errno = error;
		return NULL;
	}
	small->chunks[chunk_of(block)]++;
	small->live += room;
	small->bytes += ask->size;
	xmemory__side_write(block, room, ask->size, xmemory__site(ask->file, ask->line));
	xmemory__count((int64_t)ask->size, 1);
	return ask->zeroed ? memset(block, 0, ask->size) : block;
}

static void *small_new(const struct xmemory__ask *ask)
{
	void *block;

	if (!open_all())
		return NULL;
	xmemory__depth++;
	block = ma_heap_memalign(small->map, ask->alignment ? ask->alignment : 16, ask->size);
	if (block)
		block = dealt(block, ask);
	xmemory__depth--;
	return block;
}

/* The heap's handle, and a cache of it for each thread, are private memory, of which there may be none at all any more. */
void *xmemory__small_new(const struct xmemory__ask *ask)
{
	MA_UNCANCELLED;
	void *block = small_new(ask);
	bool dropped = false;

	while (!block && errno == ENOMEM && xmemory__reserve_drop()) {
		dropped = true;
		block = small_new(ask);
	}
	if (dropped)
		xmemory__reserve_take();
	return block;
}

bool xmemory__small_has(const void *ptr)
{
	const struct ma_image *map = small->map;

	return map && (const char *)ptr >= map->user && (const char *)ptr < map->user + map->lay.user_bytes;
}

bool xmemory__small_free(void *ptr)
{
	MA_UNCANCELLED;
	size_t room = ma_heap_usable_size(small->map, ptr);
	struct xmemory__block block;

	if (!xmemory__side_read(ptr, room, &block))
		return false;
	xmemory__depth++;
	ma_heap_free(small->map, ptr);
	small->chunks[chunk_of(ptr)]--;
	small->live -= room;
	small->bytes -= block.size;
	small->loose += room;
	if (small->loose >= (small->live ? ma_max(small->live / 4, TRIM_LEAST) : TRIM_LAST))
		trim();
	xmemory__depth--;
	xmemory__count(-(int64_t)block.size, -1);
	return true;
}

bool xmemory__small_look(const void *ptr, struct xmemory__block *block)
{
	return xmemory__side_read(ptr, ma_heap_usable_size(small->map, ptr), block);
}

struct walk {
	xmemory__block_fn *fn;
	void *arg;
};

static int walk_one(void *ptr, size_t size, void *arg)
{
	struct walk *walk = arg;
	struct xmemory__block block;

	if (xmemory__side_read(ptr, size, &block))
		walk->fn(&block, walk->arg);
	return 0;
}

void xmemory__small_walk(xmemory__block_fn *fn, void *arg)
{
	struct walk walk = { fn, arg };

	if (small->map)
		ma_heap_walk(small->map, walk_one, &walk);
}

static uint64_t disk_bytes_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

void xmemory__small_figures(struct xmemory__figures *figures)
{
	if (!small->map)
		return;
	figures->files++;
	figures->bytes += small->bytes;
	figures->disk_bytes += disk_bytes_of(ma_image_fd(small->map)) + disk_bytes_of(xmemory__side_file());
}

int *xmemory__small_descriptor(unsigned i)
{
	if (i > 1 || !small->map)
		return NULL;
	return i == 0 ? ma_image_fd_place(small->map) : &small->side_fd;
}

bool xmemory__small_descriptor_is_ours(unsigned i)
{
	if (i > 1 || !small->map)
		return false;
	return i == 0 ? ma_fd_is(small->map->fd, ma_image_fd_id(small->map)) : ma_fd_is(small->side_fd, small->side_id);
}
