/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Wild stores into a map that is open: no call may reach beyond the file, cut it, or wait for ever. Files that are no files: nothing is
 * written to them.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/heap.h"
#include "common/heap_internal.h"
#include "common/lock.h"
#include "common/map.h"
#include <qalloc.h>
#include "tests/support/support.h"

static const struct ma_engine *const engines[] = { &ma_heap_engine_keys, NULL };

/* Its file ends with the blocks that are in use: whatever lies beyond is SIGBUS. */
static struct ma_image *new_growing(const char *path)
{
	struct ma_open how = {
		.filename = path,
		.fd = -1,
		.flags = MA_MAP_CREATE,
		.reserved = 64 * MIB,
		.param = { 1 },
		.engines = engines,
	};
	struct ma_map *map = ma_map_open(&how);

	g_assert_nonnull(map);
	return &map->image;
}

/* ---- reciprocals ---- */

/* Blocks of 16 bytes in the last part of a chunk: their slot numbers become the largest. */
static size_t take_high(struct ma_image *map, char *blocks[64])
{
	size_t count = 0;

	for (int i = 0; i < 20000 && count < 64; i++) {
		char *block = ma_heap_malloc(map, 16);

		g_assert_nonnull(block);
		if ((uintptr_t)block % MA_CHUNK >= MA_CHUNK - 2048)
			blocks[count++] = block;
	}
	g_assert_cmpuint(count, >, 0);
	return count;
}

static void free_reaches_no_further(void)
{
	static const uint32_t recips[] = { UINT32_MAX, UINT32_MAX - 1, 0x80000000, 0x10000001, 1, 0 };
	struct ma_image *map = new_growing(support_path("recip"));
	uint64_t lines = ma_user_end(map) / MA_UNIT;
	char *blocks[64];
	size_t count = take_high(map, blocks);

	lines = ma_user_end(map) / MA_UNIT;
	for (size_t r = 0; r < MA_COUNT(recips); r++)
		for (uint64_t line = lines - 300; line < lines + 300; line++)
			for (size_t i = 0; i < count; i++) {
				uint64_t chunk = (uint64_t)(blocks[i] - map->user) / MA_CHUNK;
				uint64_t was = ma_load(&map->slab_desc[chunk]);

				ma_store(&map->slab_desc[chunk], line << 32 | recips[r]);
				ma_heap_free(map, blocks[i]);
				ma_heap_usable_size(map, blocks[i]);
				ma_store(&map->slab_desc[chunk], was);
			}
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* ---- the length ---- */

static void fill(struct ma_image *map, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char *block = ma_heap_malloc(map, 60000 + i % 7 * 30000);

		if (block)
			memset(block, (int)i, 60000);
	}
}

/* In the map of a process that knew better, and of one that comes now. */
static void length_cuts_nothing(void)
{
	static const uint64_t lies[] = {
		0, 1, 4096, 1 << 20, (3 << 20) + 5, 40 << 20, 63 << 20, (uint64_t)1 << 40, UINT64_MAX
	};

	for (size_t i = 0; i < MA_COUNT(lies); i++) {
		const char *path = support_path("length");
		struct ma_image *map = new_growing(path);
		off_t before;

		fill(map, 40);
		before = support_file_size(path);
		ma_store(&map->header->length, lies[i]);
		fill(map, 40);
		ma_store(&map->header->length, lies[i]);
		ma_heap_trim(map);
		fill(map, 40);
		g_assert_cmpint(support_file_size(path), >=, before);
		g_assert_cmpuint(ma_image_length(map), >=, (uint64_t)before);
		g_assert_cmpuint(ma_image_length(map), <=, (uint64_t)support_file_size(path));
		g_assert_cmpuint(map->engine->check(map, NULL, NULL), ==, 0);
		g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
		unlink(path);
	}
}

/* A file that says that it ends before tables which are in use: to grow it would lose what they tell. */
static void tables_behind_the_length_stay(void)
{
	const char *path = support_path("behind");
	const struct qalloc_options options = { .size = MIB, .range = 64 * MIB, .streams = 1 };
	struct ma_image *map = qalloc_make(path, &options);
	uint64_t first = ma_load(&map->header->length), whole;
	off_t bytes;
	char *block;

	g_assert_cmpint(qalloc_grow(map, 6 * MIB), ==, 0);
	block = qalloc_malloc(map, 3 * MIB);
	g_assert_nonnull(block);
	memset(block, 7, 3 * MIB);
	whole = ma_load(&map->header->length);
	ma_store(&map->header->length, first);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	bytes = support_file_size(path);
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	errno = 0;
	g_assert_cmpint(qalloc_grow(map, 5 * MIB), ==, -1);
	g_assert_cmpint(errno, ==, EUCLEAN);
	g_assert_cmpint(support_file_size(path), ==, bytes);
	ma_store(&map->header->length, whole);
	g_assert_cmpuint(qalloc_usable_size(map, block), >=, 3 * MIB);
	g_assert_cmpint(block[3 * MIB - 1], ==, 7);
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

/* The chunks that a stream says have their space: more than the file has. */
static void space_that_is_not_there(void)
{
	struct ma_image *map = new_growing(support_path("backed"));
	char *block = ma_heap_malloc(map, 200000);

	g_assert_nonnull(block);
	ma_store(&ma_stream(map, 0)->backed, 900);
	fill(map, 20);
	/* A run that goes on behind the file is no block. */
	ma_store(&((_Atomic uint64_t *)(void *)(map->base +
						map->lay.unit_off))[(block - map->user) / (ptrdiff_t)MA_CHUNK],
		 (uint64_t)800 << 12 | MA_RUN);
	g_assert_cmpuint(ma_heap_usable_size(map, block), ==, 0);
	g_assert_null(ma_heap_realloc(map, block, 30 * MIB));
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/*
 * A chunk of a slab is said to be free, and a run is allocated there: the block that moves into it lies over its own copy. Its bytes arrive
 * all the same. ASan reports a memcpy() of ranges that overlap.
 */
static void a_block_moves_over_itself(void)
{
	struct ma_image *map = new_growing(support_path("over"));
	char *block, *fresh, want[60000];
	uint64_t chunk, end;

	do
		block = ma_heap_malloc(map, sizeof(want));
	while (block && (uintptr_t)block % MA_CHUNK <= MA_CHUNK - sizeof(want));
	g_assert_nonnull(block);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (char)((i * 7) >> 3);
	memcpy(block, want, sizeof(want));
	chunk = (uint64_t)(block - map->user) / MA_CHUNK + 1;
	end = ma_chunk_head(map, chunk);
	end += ma_word_chunks(map, end, ma_chunk_load(map, end));
	g_assert_cmpuint(end, >=, chunk + 2);
	for (uint64_t free = chunk; free < end; free++)
		ma_store(ma_chunk(map, free), MA_FREE);
	ma_tree_mark(map, 0, chunk, end - chunk, true);
	fresh = ma_heap_realloc(map, block, 2 * MA_CHUNK);
	g_assert_true(fresh == map->user + chunk * MA_CHUNK);
	g_assert_cmpint(memcmp(fresh, want, sizeof(want)), ==, 0);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* ---- locks ---- */

/* The word names a process that lives, this one: nobody can tell that it does not hold it. */
static void stuck_lock_ends(void)
{
	const char *path = support_path("stuck");
	struct ma_image *map = (struct ma_image *)qalloc_makedynmap((off_t)(4 * MIB), NULL, path, 1);
	int64_t patience = ma_lock_patience_ns;
	void *block = qalloc_malloc(map, 200000), *other;
	struct ma_lock *lock = &ma_stream(map, 0)->lock, *root = &ma_body(map)->root_lock;

	g_assert_nonnull(block);
	ma_lock_patience_ns = 50000000;
	ma_store(&lock->word, map->slot + 1);
	ma_store(&root->word, map->slot + 1);
	errno = 0;
	g_assert_null(qalloc_malloc(map, 300000));
	g_assert_cmpint(errno, ==, ETIMEDOUT);
	errno = 0;
	g_assert_cmpint(qalloc_setroot(map, "name", block), ==, -1);
	g_assert_cmpint(errno, ==, ETIMEDOUT);
	qalloc_free(block, map); /* It stays. */
	g_assert_cmpuint(qalloc_usable_size(map, block), >=, 200000);
	ma_store(&lock->word, 0);
	ma_store(&root->word, 0);
	other = qalloc_malloc(map, 300000);
	g_assert_nonnull(other);
	g_assert_cmpint(qalloc_setroot(map, "name", other), ==, 0);
	qalloc_free(block, map);
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	ma_lock_patience_ns = patience;
}

/* ---- files ---- */

/* The program's name as the kernel has it: a regular file of length 0 with contents, and each write changes them. */
static void kernel_files_are_left_alone(void)
{
	static const char *const names[] = { "/proc/self/comm", "/proc/self/coredump_filter",
					     "/proc/self/oom_score_adj" };

	for (size_t i = 0; i < MA_COUNT(names); i++) {
		char *before, *after;
		size_t size;

		if (access(names[i], R_OK | W_OK) != 0)
			continue;
		before = support_file_read(names[i], &size);
		errno = 0;
		g_assert_null(qalloc_makedynmap((off_t)MIB, NULL, names[i], 1));
		g_assert_cmpint(errno, ==, EMEDIUMTYPE);
		g_assert_null(qalloc_makestatmap((off_t)MIB, NULL, names[i], 64, 1));
		after = support_file_read(names[i], &size);
		g_assert_cmpstr(before, ==, after);
		g_free(before);
		g_free(after);
	}
}

static void swap(uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes / 2; i++) {
		uint8_t byte = at[i];

		at[i] = at[bytes - 1 - i];
		at[bytes - 1 - i] = byte;
	}
}

/* As a machine of the other byte order would have made it. */
static void byte_order_is_seen_first(void)
{
	const char *path = support_path("order");
	struct ma_header *h;
	char *bytes;
	size_t size;

	g_assert_cmpint(qalloc_close(qalloc_makedynmap((off_t)MIB, NULL, path, 1)), ==, 0);
	bytes = support_file_read(path, &size);
	h = (struct ma_header *)(void *)bytes;
	swap((uint8_t *)&h->kind, 4);
	swap((uint8_t *)&h->format, 4);
	swap((uint8_t *)&h->order, 4);
	g_assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
	g_free(bytes);
	errno = 0;
	g_assert_null(qalloc_loadmap(path));
	g_assert_cmpint(errno, ==, ENOEXEC);
	g_assert_nonnull(strstr(qalloc_errmsg(), "byte order"));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/words/free-reaches-no-further", free_reaches_no_further);
	support_add("/words/length-cuts-nothing", length_cuts_nothing);
	support_add("/words/tables-behind-the-length", tables_behind_the_length_stay);
	support_add("/words/space-that-is-not-there", space_that_is_not_there);
	support_add("/words/moves-over-itself", a_block_moves_over_itself);
	support_add("/words/stuck-lock-ends", stuck_lock_ends);
	support_add("/words/kernel-files", kernel_files_are_left_alone);
	support_add("/words/byte-order-first", byte_order_is_seen_first);
	return support_run();
}
