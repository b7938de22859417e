/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a map is: a file of exactly the size asked for, sparse, mapped at one address, with aligned blocks.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/support/support_qalloc.h"

static void version_macros_agree(void)
{
	char *text = g_strdup_printf("%d.%d.%d", QALLOC_VERSION_MAJOR, QALLOC_VERSION_MINOR, QALLOC_VERSION_MICRO);

	g_assert_cmpstr(QALLOC_VERSION_STRING, ==, text);
	g_assert_cmpint(QALLOC_VERSION, ==,
			QALLOC_VERSION_CODE(QALLOC_VERSION_MAJOR, QALLOC_VERSION_MINOR, QALLOC_VERSION_MICRO));
	g_assert_cmpint(QALLOC_VERSION, >=, QALLOC_VERSION_CODE(1, 0, 0));
	g_assert_cmpint(QALLOC_VERSION_CODE(1, 0, 0), >, QALLOC_VERSION_CODE(0, 255, 255));
	g_assert_cmpint(QALLOC_VERSION_CODE(2, 40, 10), <, QALLOC_VERSION_CODE(2, 41, 0));
	g_free(text);
}

static void one_file_size(size_t bytes, bool is_static)
{
	const char *path = support_path("size");
	void *map = is_static ? (void *)support_stat(path, bytes, 24, 1) : (void *)support_dyn(path, bytes, 1);
	void *block = qalloc_malloc(map, 24);

	g_assert_nonnull(block);
	g_assert_cmpint(support_file_size(path), ==, (gint64)bytes);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, bytes);
	check_map(map);
	support_close(map);
	g_assert_cmpint(support_file_size(path), ==, (gint64)bytes);
	map = support_load(path);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, bytes);
	support_finish(map, path);
}

static void file_has_exactly_the_size(void)
{
	static const size_t sizes[] = {
		192 * KIB,  192 * KIB + 1, 256 * KIB - 1, 256 * KIB,       1000003,         MIB,
		MIB + 4095, MIB + 4096,    MIB + 4097,    5 * MIB + 65535, 5 * MIB + 65537, 64 * MIB,
	};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		one_file_size(sizes[i], false);
		one_file_size(sizes[i], true);
	}
	one_file_size(16 * KIB, true);
}

static size_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (size_t)st.st_blocks * 512;
}

static void huge(bool is_static)
{
	const char *path = support_path("huge");
	size_t bytes = support_huge();
	void *map = is_static ? (void *)support_stat(path, bytes, 64, 8) : (void *)support_dyn(path, bytes, 8);
	struct support_block block;

	g_assert_cmpint(support_file_size(path), ==, (gint64)bytes);
	g_assert_cmpuint(disk_bytes(path), <, 2 * MIB);
	g_assert_true(support_take(map, &block, 64, 1));
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 1);
	support_give(map, &block);
	support_finish(map, path);
}

static void creating_is_sparse(void)
{
	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	huge(false);
	huge(true);
}

static void empty_file_becomes_a_map(void)
{
	char *path = g_strdup_printf("%s/mkstemp-XXXXXX", support_dir());
	int fd = mkstemp(path);
	dynmapinfo_t *map;

	g_assert_cmpint(fd, >=, 0);
	map = support_dyn(path, MIB, 2);
	g_assert_nonnull(qalloc_dynmalloc(map, 100));
	close(fd);
	g_assert_cmpint(support_file_size(path), ==, MIB);
	support_finish(map, path);
	g_free(path);
}

static void new_file_has_mode_0600(void)
{
	const char *path = support_path("mode");
	mode_t before = umask(0);
	struct stat st;
	void *map = support_dyn(path, MIB, 1);

	umask(before);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(st.st_mode & 07777, ==, 0600);
	support_finish(map, path);
}

static void existing_file_keeps_its_mode(void)
{
	const char *path = support_path("mode");
	struct stat st;
	void *map;

	support_file_write(path, "", 0);
	g_assert_cmpint(chmod(path, 0640), ==, 0);
	map = support_dyn(path, MIB, 1);
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpint(st.st_mode & 07777, ==, 0640);
	support_finish(map, path);
}

/* An address that is free now: where the kernel just put something. */
static void *free_address(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	g_assert_true(at != MAP_FAILED);
	g_assert_cmpint(munmap(at, bytes), ==, 0);
	return at;
}

static void map_lies_where_asked(void)
{
	const char *path = support_path("addr");
	void *at = free_address(GIB);
	void *map = qalloc_makedynmap((off_t)(16 * MIB), at, path, 1);
	char *block;

	g_assert_nonnull(map);
	g_assert_true(support_base(map) == at);
	block = qalloc_malloc(map, 1000);
	g_assert_true(block > (char *)at && block < (char *)at + 16 * MIB);
	support_close(map);
	map = support_load(path);
	g_assert_true(support_base(map) == at);
	support_finish(map, path);
}

static size_t alignment_of(const void *block)
{
	return (size_t)((uintptr_t)block & -(uintptr_t)block);
}

static void dynamic_blocks_are_aligned(void)
{
	const char *path = support_path("align");
	dynmapinfo_t *map = support_dyn(path, 16 * MIB, 2);

	for (size_t size = 0; size < 200 * KIB; size += 1 + size / 8) {
		void *block = qalloc_dynmalloc(map, size);

		g_assert_nonnull(block);
		g_assert_cmpuint(alignment_of(block), >=, 16);
		qalloc_dynfree(qalloc_dynmalloc(map, size + 1), map);
	}
	support_finish(map, path);
}

static void static_items_are_aligned(void)
{
	for (size_t itemsize = 1; itemsize <= 300; itemsize++) {
		const char *path = support_path("align");
		mapinfo_t *map = support_stat(path, MIB, itemsize, 3);
		size_t rounded = (itemsize + 7) & ~(size_t)7;

		g_assert_cmpuint(support_stats(map).item_bytes, ==, rounded);
		for (int i = 0; i < 200; i++) {
			void *item = qalloc_statmalloc(map);

			g_assert_nonnull(item);
			g_assert_cmpuint(alignment_of(item), >=, rounded % 16 ? 8 : 16);
		}
		support_finish(map, path);
	}
}

static void handle_is_no_address_inside(void)
{
	const char *path = support_path("handle");
	void *map = support_dyn(path, MIB, 1);

	g_assert_true((char *)map < support_base(map) || (char *)map >= support_end(map));
	support_finish(map, path);
}

static void both_kinds_serve_malloc_and_free(void)
{
	const char *path[2] = { support_path("a"), support_path("b") };
	void *maps[2] = { support_stat(path[0], MIB, 48, 2), support_dyn(path[1], MIB, 2) };

	for (int i = 0; i < 2; i++) {
		struct support_block blocks[50];

		for (size_t n = 0; n < 50; n++)
			g_assert_true(support_take(maps[i], &blocks[n], 48, n));
		g_assert_cmpuint(support_used(maps[i]), ==, 50);
		support_no_overlap(maps[i], blocks, 50);
		for (size_t n = 0; n < 50; n++)
			support_give(maps[i], &blocks[n]);
		g_assert_cmpuint(support_used(maps[i]), ==, 0);
		support_finish(maps[i], path[i]);
	}
}

static void static_malloc_takes_sizes_of_items(void)
{
	const char *path = support_path("any");
	mapinfo_t *map = support_stat(path, MIB, 24, 1);
	void *a = qalloc_malloc(map, 0), *b = qalloc_malloc(map, 24);

	g_assert_true(a && b && a != b);
	assert_null(qalloc_malloc(map, 25), EINVAL);
	assert_null(qalloc_malloc(map, SIZE_MAX), EINVAL);
	g_assert_cmpuint(support_used(map), ==, 2);
	support_finish(map, path);
}

static void size_zero_gives_blocks_of_their_own(void)
{
	const char *path = support_path("zero");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	struct support_block blocks[100];

	for (size_t i = 0; i < 100; i++) {
		g_assert_true(support_take(map, &blocks[i], 0, i));
		blocks[i].size = qalloc_usable_size(map, blocks[i].at);
		g_assert_cmpuint(blocks[i].size, >, 0);
	}
	support_no_overlap(map, blocks, 100);
	for (size_t i = 0; i < 100; i++)
		assert_void(qalloc_dynfree(blocks[i].at, map), 0);
	support_finish(map, path);
}

static void making_an_existing_map_loads_it(void)
{
	const char *path = support_path("again");
	dynmapinfo_t *map = support_dyn(path, MIB, 3);
	struct support_block block;

	g_assert_true(support_take(map, &block, 500, 7));
	support_close(map);
	map = qalloc_makedynmap((off_t)(64 * MIB), NULL, path, 3);
	g_assert_nonnull(map);
	g_assert_cmpint(support_file_size(path), ==, MIB);
	support_give(map, &block);
	support_close(map);
	map = qalloc_makedynmap(0, NULL, path, 0);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).streams, ==, 3);
	support_finish(map, path);
}

static void streams_from_1_to_1024(void)
{
	static const size_t streams[] = { 1, 2, 3, 7, 16, 63, 64, 65, 100, 1000, 1023, 1024 };

	for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
		const char *path[2] = { support_path("a"), support_path("b") };
		void *maps[2] = { support_dyn(path[0], 128 * MIB, streams[i]),
				  support_stat(path[1], 128 * MIB, 40, streams[i]) };

		for (int n = 0; n < 2; n++) {
			struct support_block block;

			g_assert_cmpuint(support_stats(maps[n]).streams, ==, streams[i]);
			g_assert_true(support_take(maps[n], &block, 40, i));
			support_give(maps[n], &block);
			support_finish(maps[n], path[n]);
		}
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/basic/version", version_macros_agree);
	support_add("/qalloc/basic/exact-file-size", file_has_exactly_the_size);
	support_add("/qalloc/basic/sparse", creating_is_sparse);
	support_add("/qalloc/basic/empty-file", empty_file_becomes_a_map);
	support_add("/qalloc/basic/mode-of-a-new-file", new_file_has_mode_0600);
	support_add("/qalloc/basic/mode-of-an-existing-file", existing_file_keeps_its_mode);
	support_add("/qalloc/basic/address", map_lies_where_asked);
	support_add("/qalloc/basic/handle", handle_is_no_address_inside);
	support_add("/qalloc/basic/alignment-dynamic", dynamic_blocks_are_aligned);
	support_add("/qalloc/basic/alignment-static", static_items_are_aligned);
	support_add("/qalloc/basic/both-kinds", both_kinds_serve_malloc_and_free);
	support_add("/qalloc/basic/static-size", static_malloc_takes_sizes_of_items);
	support_add("/qalloc/basic/size-zero", size_zero_gives_blocks_of_their_own);
	support_add("/qalloc/basic/make-loads", making_an_existing_map_loads_it);
	support_add("/qalloc/basic/streams", streams_from_1_to_1024);
	return support_run();
}
