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
 * the next trim.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "core.h"

#include "common/annotate.h"
#include "common/error.h"
#include "common/file.h"
#include "common/heap.h"

#define RANGE_DEFAULT  ((uint64_t)1 << 40)
#define RANGE_ASAN     ((uint64_t)4 << 30)
#define RANGE_TSAN     ((uint64_t)64 << 30)  /* It leaves a window of 512 GiB, and a fork child may want another one. */
#define RANGE_MEMCHECK ((uint64_t)256 << 20) /* Its leak check reads the whole range. */
#define RANGE_LEAST    ((uint64_t)16 << 20)
#define SIDE_BYTES     (MA_CHUNK / 16 * 3)
#define BACKED         0x8000u
#define TRIM_LEAST     ((uint64_t)16 << 20)
#define TRIM_LAST      ((uint64_t)256 << 10)

static const struct ma_engine *const engines[] = { &ma_heap_engine, NULL };

static struct {
	struct ma_map *map;
	uint8_t *side;
	uint16_t *chunks; /* Blocks that begin in each; BACKED: its side has disk space. */
	uint64_t top;     /* No chunk from here on ever had a block. */
	int side_fd;
	uint32_t id;
	uint64_t bytes; /* Of blocks, as they were asked for. */
	uint64_t live;  /* Of their slots. */
	uint64_t loose; /* Freed since the last trim. */
	int copy, side_copy;
} small = { .side_fd = -1, .copy = -1, .side_copy = -1 };

/* ---- opening ---- */

static int fork_copy(struct ma_map *map)
{
	int fd = small.copy;

	(void)map;
	small.copy = -1;
	return fd;
}

static struct ma_map *open_heap(int fd)
{
	struct ma_open how = {
		.fd = fd,
		.flags = MA_MAP_CREATE,
		.reserved = ma_under_valgrind() ? RANGE_MEMCHECK
			    : MA_ASAN           ? RANGE_ASAN
			    : MA_TSAN           ? RANGE_TSAN
						: RANGE_DEFAULT,
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

static bool open_side(struct ma_map *map)
{
	uint64_t bytes = map->lay.units * SIDE_BYTES;
	uint32_t id;
	void *side;

	small.side_fd = xmemory__vm_file(&id);
	if (small.side_fd < 0)
		return false;
	small.chunks = xmemory__pages(map->lay.units * sizeof(*small.chunks));
	side = small.chunks ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, small.side_fd, 0)
			    : MAP_FAILED;
	if (side != MAP_FAILED) {
		small.side = side;
		return true;
	}
	if (small.chunks)
		munmap(small.chunks, map->lay.units * sizeof(*small.chunks));
	close(small.side_fd);
	ma_fail(ENOMEM, "no address space for the shared VM file");
	return false;
}

/* Of chunks that never had a block: Valgrind's leak check would read all of it. */
static void hide_side(uint64_t chunk)
{
	ma_annotate_unused(small.side + chunk * SIDE_BYTES, (small.map->lay.units - chunk) * SIDE_BYTES);
}

/* The map has a descriptor of its own, and the registry in common/ a handle that may call malloc: it gets RAM. */
static bool open_all(void)
{
	struct ma_map *map;
	int fd;

	if (small.map)
		return true;
	fd = xmemory__vm_file(&small.id);
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
	small.map = map;
	if (map)
		hide_side(0);
	return map != NULL;
}

/* ---- the side ---- */

static uint64_t chunk_of(const void *ptr)
{
	return (uint64_t)((const char *)ptr - small.map->user) >> MA_CHUNK_SHIFT;
}

static uint8_t *side_of(const void *ptr)
{
	return small.side + (uint64_t)((const char *)ptr - small.map->user) / 16 * 3;
}

static bool back(uint64_t chunk)
{
	if (small.chunks[chunk] & BACKED)
		return true;
	if (xmemory__vm_space(small.side_fd, chunk * SIDE_BYTES, (chunk + 1) * SIDE_BYTES) < 0)
		return false;
	small.chunks[chunk] |= BACKED;
	small.top = ma_max(small.top, chunk + 1);
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
					  .vmfile = small.id };
	return true;
}

/* Give what is free back to the disk; it takes long, so it is done seldom. Slabs of other threads stay theirs. */
static void trim(void)
{
	uint64_t from = 0;

	small.loose = 0;
	ma_heap_trim(small.map);
	for (uint64_t chunk = 0; chunk <= small.top; chunk++) {
		if (chunk < small.top && small.chunks[chunk] == BACKED) {
			small.chunks[chunk] = 0;
			continue;
		}
		if (chunk > from)
			fallocate(small.side_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(from * SIDE_BYTES),
				  (off_t)((chunk - from) * SIDE_BYTES));
		from = chunk + 1;
	}
}

/* ---- blocks ---- */

static void *dealt(void *block, const struct xmemory__ask *ask)
{
	size_t room = ma_heap_usable_size(small.map, block);

	if (!back(chunk_of(block))) {
		int error = errno;

		ma_heap_free(small.map, block);
		errno = error;
		return NULL;
	}
	small.chunks[chunk_of(block)]++;
	small.live += room;
	small.bytes += ask->size;
	write_side(block, room, ask->size, xmemory__site(ask->file, ask->line));
	xmemory__count((int64_t)ask->size, 1);
	return ask->zeroed ? memset(block, 0, ask->size) : block;
}

void *xmemory__small_new(const struct xmemory__ask *ask)
{
	void *block;

	if (!open_all())
		return NULL;
	xmemory__depth++;
	block = ma_heap_memalign(small.map, ask->alignment ? ask->alignment : 16, ask->size);
	if (block)
		block = dealt(block, ask);
	xmemory__depth--;
	return block;
}

bool xmemory__small_has(const void *ptr)
{
	const struct ma_map *map = small.map;

	return map && (const char *)ptr >= map->user && (const char *)ptr < map->user + map->lay.user_bytes;
}

bool xmemory__small_free(void *ptr)
{
	size_t room = ma_heap_usable_size(small.map, ptr);
	struct xmemory__block block;

	if (!read_side(ptr, room, &block))
		return false;
	xmemory__depth++;
	ma_heap_free(small.map, ptr);
	small.chunks[chunk_of(ptr)]--;
	small.live -= room;
	small.bytes -= block.size;
	small.loose += room;
	if (small.loose >= (small.live ? ma_max(small.live / 4, TRIM_LEAST) : TRIM_LAST))
		trim();
	xmemory__depth--;
	xmemory__count(-(int64_t)block.size, -1);
	return true;
}

bool xmemory__small_look(const void *ptr, struct xmemory__block *block)
{
	return read_side(ptr, ma_heap_usable_size(small.map, ptr), block);
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

	if (small.map)
		ma_heap_walk(small.map, walk_one, &walk);
}

static uint64_t disk_bytes_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

void xmemory__small_figures(struct xmemory__figures *figures)
{
	if (!small.map)
		return;
	figures->files++;
	figures->bytes += small.bytes;
	figures->disk_bytes += disk_bytes_of(small.map->fd) + disk_bytes_of(small.side_fd);
}

int *xmemory__small_descriptor(unsigned i)
{
	if (i > 1 || !small.map)
		return NULL;
	return i == 0 ? &small.map->fd : &small.side_fd;
}

/* ---- fork ---- */

/* Only what is there: both files are mostly holes. */
static bool copy_data(int from, int to)
{
	char buffer[16384];
	off_t at = 0, end;

	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		while (at < end) {
			size_t want = (size_t)ma_min(sizeof(buffer), (uint64_t)(end - at));
			ssize_t n = pread(from, buffer, want, at);

			if (n <= 0 || pwrite(to, buffer, (size_t)n, at) != n)
				return false;
			at += n;
		}
	}
	return errno == ENXIO;
}

/* A new file with the same contents and length. -1: none. */
static int copy_file(int from)
{
	uint32_t id;
	struct stat st;
	int to = xmemory__vm_file(&id);

	if (to < 0)
		return -1;
	if (fstat(from, &st) == 0 && ma_file_set_length(to, (uint64_t)st.st_size) == 0 && copy_data(from, to))
		return to;
	close(to);
	ma_debug("no copy of the shared VM file for a fork child");
	return -1;
}

/* Threads that end leave the heap: not now. */
void xmemory__small_copy(void)
{
	if (!small.map)
		return;
	ma_map_hold_all();
	small.copy = copy_file(small.map->fd);
	small.side_copy = copy_file(small.side_fd);
	ma_map_let_go_all();
}

static bool back_side(void)
{
	for (uint64_t chunk = 0; chunk < small.top; chunk++)
		if (small.chunks[chunk] & BACKED &&
		    xmemory__vm_space(small.side_copy, chunk * SIDE_BYTES, (chunk + 1) * SIDE_BYTES) < 0)
			return false;
	return true;
}

/* The heap itself has its copy by now (fork_copy), or is closed. */
static void adopt_side(void)
{
	uint64_t bytes = small.map->lay.units * SIDE_BYTES;

	close(small.side_fd);
	small.side_fd = small.side_copy;
	small.side_copy = -1;
	if (ma_load(&small.map->id) != MA_MAP_CLOSED && small.side_fd >= 0 &&
	    mmap(small.side, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, small.side_fd, 0) !=
		    MAP_FAILED) {
		hide_side(small.top);
		return;
	}
	ma_debug("a fork child has no copy of the shared VM file (no disk space?): it must not touch its blocks");
	if (ma_load(&small.map->id) != MA_MAP_CLOSED)
		ma_map_close(small.map);
	munmap(small.side, bytes);
	small.map = NULL;
	small.chunks = NULL;
	small.top = small.live = small.loose = small.bytes = 0;
}

void xmemory__small_copied(bool child)
{
	if (small.map && child) {
		if (small.side_copy >= 0 && !back_side()) {
			close(small.side_copy);
			small.side_copy = -1;
		}
		adopt_side();
	}
	if (small.copy >= 0)
		close(small.copy);
	if (small.side_copy >= 0)
		close(small.side_copy);
	small.copy = small.side_copy = -1;
}
