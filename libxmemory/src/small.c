/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks over budget that are too small for a VM file each share one: a heap of the engine (common/heap.h) in a file that
 * has no name. The lock over all of it is held across a fork, so a copy is of a heap at rest.
 *
 * What the engine does not keep, the site and the size asked for, is in a second file of the same sort, the side file, with
 * 3 bytes for each 16 bytes of the heap, so that a block of 16 bytes takes 20 in all:
 *
 *     slot of 16 bytes     site: 18 bits, what the slot has over the size: 6 bits
 *     larger ones          site: 18 bits, that: 30 bits
 *
 * The side of a heap's chunk is just three pages. They have their disk space while a block begins in the chunk, and until
 * the next trim. In front of all sides the side file has a table of chunks, two bytes for each, which gets its disk space a
 * page at a time. Private memory would be counted against the very limit (RLIMIT_DATA) that sends blocks here.
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

#include "core.h"
#include "limits.h"
#include "small.h"

#include "common/page.h"
#include "common/annotate.h"
#include "common/cancel.h"
#include "common/copy.h"
#include "common/error.h"
#include "common/fd.h"
#include "common/file.h"
#include "common/heap.h"
#include "common/map_file.h"
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

struct xmemory__small xmemory__small = { .side_fd = -1, .copy = -1, .side_copy = -1 };

/* ---- opening ---- */

static int fork_copy(struct ma_map *map)
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

static struct ma_map *open_heap(int fd)
{
	struct ma_open how = {
		.fd = fd,
		.flags = MA_MAP_CREATE,
		.reserved = range_wanted(),
		.punch_bytes = (uint64_t)1 << 20,
		.param = { 1 },
		.engines = engines,
		.fork_copy = fork_copy,
	};
	struct ma_map *map = ma_map_open(&how);

	while (!map && (errno == ENOMEM || errno == EADDRINUSE || errno == EFBIG) && how.reserved / 2 >= RANGE_LEAST) {
		how.reserved /= 2;
		map = ma_map_open(&how);
	}
	return map;
}

uint64_t xmemory__side_file_bytes(const struct ma_map *map)
{
	return small->table_bytes + map->lay.units * SIDE_BYTES;
}

/* Over what is mapped there, or where the kernel likes. */
bool xmemory__side_map(const struct ma_map *map, void *at)
{
	const uint64_t bytes = xmemory__side_file_bytes(map);
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_NORESERVE;
	char *got;

	if (at) { /* At vm.max_map_count, mapping over what is there fails. */
		munmap(at, bytes);
		got = mmap(at, bytes, prot, flags | MAP_FIXED, small->side_fd, 0);
	} else {
		got = ma_plan_map_anywhere(bytes, prot, flags, small->side_fd);
	}
	if (got == MAP_FAILED)
		return false;
	small->chunks = (uint16_t *)(void *)got;
	small->side = (uint8_t *)got + small->table_bytes;
	return true;
}

static bool open_side(struct ma_map *map)
{
	uint32_t id;
	int error;

	small->side_fd = xmemory__vm_file(&id);
	if (small->side_fd < 0)
		return false;
	if (!ma_fd_identify(small->side_fd, &small->side_id))
		small->side_id = (struct ma_fd_id){ 0 };
	small->table_bytes = ma_up(map->lay.units * sizeof(*small->chunks), ma_page());
	small->table_backed = 0;
	if (xmemory__side_map(map, NULL))
		return true;
	error = errno;
	ma_fd_close(small->side_fd, small->side_id);
	ma_fail(error, "the shared VM file: no address space for it (%s); free blocks, or raise the limit",
		xmemory__vm_limit(error));
	return false;
}

/* Of chunks that never had a block: Valgrind's leak check would read all of it. */
void xmemory__side_hide(uint64_t chunk)
{
	ma_annotate_unused((char *)small->chunks + small->table_backed, small->table_bytes - small->table_backed);
	ma_annotate_unused(small->side + chunk * SIDE_BYTES, (small->map->lay.units - chunk) * SIDE_BYTES);
}

/* The map has a descriptor of its own, and the registry in common/ a handle that may call malloc: it gets RAM. */
static bool open_all(void)
{
	struct ma_map *map;
	int fd;

	if (small->map)
		return true;
	fd = xmemory__vm_file(&small->id);
	if (fd < 0)
		return false;
	xmemory__depth++;
	map = open_heap(fd);
	if (map && !open_side(map)) {
		int error = errno;

		ma_map_close(map);
		errno = error;
		map = NULL;
	}
	xmemory__depth--;
	close(fd);
	small->map = map;
	if (!map)
		return false;
	snprintf(map->name, sizeof(map->name), "the shared VM file in %.200s", xmemory_gettmpdir());
	xmemory__side_hide(0);
	return true;
}

/* ---- the side ---- */

static uint64_t chunk_of(const void *ptr)
{
	return (uint64_t)((const char *)ptr - small->map->user) >> MA_CHUNK_SHIFT;
}

static uint8_t *side_of(const void *ptr)
{
	return small->side + (uint64_t)((const char *)ptr - small->map->user) / 16 * 3;
}

/*
 * The side's descriptor, opened again when the program closed it: that needs privileges, for the file has no name. -1 with EBADF: blocks
 * that are there go on, and new ones get a VM file each.
 */
int xmemory__side_file(void)
{
	int fd = small->side_fd;

	if (MA_LIKELY(ma_fd_is(fd, small->side_id)))
		return fd;
	fd = small->side_lost ? -1 : ma_fd_again(small->chunks, NULL, small->side_id, O_RDWR | O_CLOEXEC);
	small->side_lost = fd < 0;
	if (fd < 0)
		return ma_fail(EBADF,
			       "the shared VM file: the program closed descriptor %d, which this library had opened; "
			       "do not close "
			       "descriptors that the library opened",
			       small->side_fd);
	small->side_id.mark = ma_fd_mark(fd);
	small->side_fd = fd;
	return fd;
}

static bool take_side(uint64_t from, uint64_t to)
{
	int fd = xmemory__side_file();

	return fd >= 0 && xmemory__vm_space(fd, from, to) == 0;
}

/* Disk space of the table up to this chunk's word. */
bool xmemory__side_back_table(uint64_t chunk)
{
	uint64_t end = ma_up((chunk + 1) * sizeof(*small->chunks), ma_page());

	if (MA_LIKELY(end <= small->table_backed))
		return true;
	if (!take_side(small->table_backed, end))
		return false;
	ma_annotate_open((char *)small->chunks + small->table_backed, end - small->table_backed);
	small->table_backed = end;
	return true;
}

bool xmemory__side_back(uint64_t chunk)
{
	uint64_t at = small->table_bytes + chunk * SIDE_BYTES;

	return take_side(at, at + SIDE_BYTES);
}

static bool back(uint64_t chunk)
{
	if (!xmemory__side_back_table(chunk))
		return false;
	if (small->chunks[chunk] & BACKED)
		return true;
	if (!xmemory__side_back(chunk))
		return false;
	small->chunks[chunk] |= BACKED;
	small->top = ma_max(small->top, chunk + 1);
	return true;
}

static void write_side(const void *ptr, size_t room, size_t size, uint32_t site)
{
	uint64_t word = site | (uint64_t)(room - size) << XMEMORY__SITE_BITS;

	ma_annotate_open(side_of(ptr), room > 16 ? 6 : 3);
	memcpy(side_of(ptr), &word, room > 16 ? 6 : 3);
}

static bool read_side(const void *ptr, size_t room, struct xmemory__block *block)
{
	uint64_t word = 0;

	if (room == 0)
		return false;
	memcpy(&word, side_of(ptr), room > 16 ? 6 : 3);
	*block = (struct xmemory__block){ .ptr = (void *)(uintptr_t)ptr,
					  .size = room - (word >> XMEMORY__SITE_BITS),
					  .site = (uint32_t)word & (XMEMORY__SITES - 1),
					  .kind = XMEMORY_VMFILE,
					  .vmfile = small->id };
	return true;
}

/* Of these chunks. Locked memory cannot be punched through the mapping; and a kernel with larger pages must not punch more than that. */
static void punch_side(uint64_t from, uint64_t to)
{
	uint64_t bytes = (to - from) * SIDE_BYTES;
	int fd;

	if (bytes % (uint64_t)sysconf(_SC_PAGESIZE) == 0 &&
	    madvise(small->side + from * SIDE_BYTES, bytes, MADV_REMOVE) == 0)
		return;
	fd = xmemory__side_file();
	if (fd >= 0)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(small->table_bytes + from * SIDE_BYTES), (off_t)bytes);
}

/* Give what is free back to the disk; it takes long, so it is done seldom. Slabs of other threads stay theirs. */
static void trim(void)
{
	uint64_t from = 0;

	small->loose = 0;
	ma_heap_trim(small->map);
	for (uint64_t chunk = 0; chunk <= small->top; chunk++) {
		if (chunk < small->top && small->chunks[chunk] == BACKED) {
			small->chunks[chunk] = 0;
			continue;
		}
		if (chunk > from)
			punch_side(from, chunk);
		from = chunk + 1;
	}
}

/* ---- blocks ---- */

static void *dealt(void *block, const struct xmemory__ask *ask)
{
	size_t room = ma_heap_usable_size(small->map, block);

	if (!back(chunk_of(block))) {
		int error = errno;

		ma_heap_free(small->map, block);
		errno = error;
		return NULL;
	}
	small->chunks[chunk_of(block)]++;
	small->live += room;
	small->bytes += ask->size;
	write_side(block, room, ask->size, xmemory__site(ask->file, ask->line));
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
	const struct ma_map *map = small->map;

	return map && (const char *)ptr >= map->user && (const char *)ptr < map->user + map->lay.user_bytes;
}

bool xmemory__small_free(void *ptr)
{
	MA_UNCANCELLED;
	size_t room = ma_heap_usable_size(small->map, ptr);
	struct xmemory__block block;

	if (!read_side(ptr, room, &block))
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
	return read_side(ptr, ma_heap_usable_size(small->map, ptr), block);
}

struct walk {
	xmemory__block_fn *fn;
	void *arg;
};

static int walk_one(void *ptr, size_t size, void *arg)
{
	struct walk *walk = arg;
	struct xmemory__block block;

	if (read_side(ptr, size, &block))
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
	figures->disk_bytes += disk_bytes_of(ma_map_fd(small->map)) + disk_bytes_of(xmemory__side_file());
}

int *xmemory__small_descriptor(unsigned i)
{
	if (i == 2)
		return xmemory__vm_folder();
	if (i > 1 || !small->map)
		return NULL;
	return i == 0 ? &small->map->fd : &small->side_fd;
}

bool xmemory__small_descriptor_is_ours(unsigned i)
{
	if (i > 1 || !small->map)
		return false;
	return i == 0 ? ma_fd_is(small->map->fd, ma_map_fd_id(small->map)) : ma_fd_is(small->side_fd, small->side_id);
}
