/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every size from 0 to the whole map: usable, apart from its neighbours, inside the map, content kept; and all of it
 * comes back.
 */
#include "tests/support/support_qalloc.h"

#define MAP (support_size(16 * MIB, 4 * MIB))

/* Smallest request that the next class serves, one call after the other: this visits both ends of every class. */
static void every_class_from_end_to_end(void)
{
	const char *path = support_path("classes");
	dynmapinfo_t *map = support_dyn(path, MAP, 1);
	size_t size = 0, classes = 0;
	void *low, *high;

	while ((low = qalloc_dynmalloc(map, size))) {
		size_t usable = qalloc_usable_size(map, low);

		g_assert_cmpuint(usable, >=, MAX(size, 1));
		if (size >= 128 && size <= 64 * KIB)
			g_assert_cmpuint((usable - size) * 8, <=, usable);
		g_assert_true((char *)low + usable <= support_end(map));
		support_fill(low, usable, size);
		g_assert_true(support_intact(low, usable, size));
		assert_void(qalloc_dynfree(low, map), 0);
		high = qalloc_dynmalloc(map, usable);
		g_assert_cmpuint(qalloc_usable_size(map, high), ==, usable);
		assert_void(qalloc_dynfree(high, map), 0);
		size = usable + 1;
		classes++;
	}
	assert_errno_is(ENOMEM);
	g_test_message("%zu classes, the largest block has %zu bytes of %zu", classes, size - 1, MAP);
	g_assert_cmpuint(size - 1, >, MAP - MAP / 8);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

static void every_small_size_side_by_side(void)
{
	enum { LAST = 1100, COPIES = 3 };
	const char *path = support_path("small");
	dynmapinfo_t *map = support_dyn(path, 32 * MIB, 1);
	struct support_block *blocks = g_new(struct support_block, (LAST + 1) * COPIES);
	size_t count = 0;

	for (size_t size = 0; size <= LAST; size++)
		for (size_t copy = 0; copy < COPIES; copy++, count++)
			g_assert_true(support_take(map, &blocks[count], size, count));
	for (size_t i = 0; i < count; i++)
		g_assert_cmpuint(qalloc_usable_size(map, blocks[i].at), >=, blocks[i].size);
	support_no_overlap(map, blocks, count);
	g_assert_cmpuint(support_used(map), ==, count);
	check_map(map);
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_free(blocks);
	support_finish(map, path);
}

static void usable_bytes_do_not_overlap(void)
{
	const char *path = support_path("usable");
	dynmapinfo_t *map = support_dyn(path, MAP, 2);
	struct support_block *blocks = g_new(struct support_block, 2000);
	size_t count = 0, size = 1;

	while (count < 2000 && support_take(map, &blocks[count], size, count)) {
		blocks[count].size = qalloc_usable_size(map, blocks[count].at);
		support_fill(blocks[count].at, blocks[count].size, count);
		count++;
		size = size > MAP / 128 ? 1 : size + 1 + size / 20;
	}
	g_assert_cmpuint(count, >, 100);
	support_no_overlap(map, blocks, count);
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
	g_free(blocks);
	support_finish(map, path);
}

static void too_large_is_enomem(void)
{
	const char *path = support_path("large");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	const size_t sizes[] = {
		MIB,
		MIB + 1,
		2 * MIB,
		GIB,
		(size_t)1 << 40,
		(size_t)1 << 48,
		SIZE_MAX / 2,
		SIZE_MAX / 2 + 1,
		SIZE_MAX - 70000,
		SIZE_MAX - 65536,
		SIZE_MAX - 65535,
		SIZE_MAX - 4096,
		SIZE_MAX - 16,
		SIZE_MAX - 15,
		SIZE_MAX - 1,
		SIZE_MAX,
	};

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		assert_null(qalloc_dynmalloc(map, sizes[i]), ENOMEM);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

static void largest_block_is_what_stats_say(void)
{
	static const size_t sizes[] = { 192 * KIB, 200 * KIB, 256 * KIB, MIB - 1, MIB, 3 * MIB + 12345, 16 * MIB };

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("largest");
		dynmapinfo_t *map = support_dyn(path, sizes[i], 1);
		size_t largest = support_largest(map);
		struct support_block block;

		g_assert_cmpuint(support_stats(map).largest_free, ==, largest);
		g_assert_cmpuint(largest, <=, support_stats(map).user_bytes);
		g_assert_cmpuint(largest, >, 0);
		g_assert_true(support_take(map, &block, largest, 1));
		g_assert_true((char *)block.at + largest <= support_end(map));
		check_map(map);
		support_give(map, &block);
		support_finish(map, path);
	}
}

/* Fill with one size, verify, free in random order, and have the largest block of the empty map again. */
static void fill_and_empty(size_t map_bytes, size_t size, struct support_rand *r)
{
	const char *path = support_path("fill");
	dynmapinfo_t *map = support_dyn(path, map_bytes, 2);
	size_t most = map_bytes / MAX(size, 8), largest = support_largest(map), count;
	struct support_block *blocks = g_new(struct support_block, most + 1);

	count = support_fill_up(map, blocks, most + 1, size);
	g_assert_cmpuint(support_used(map), ==, count);
	g_assert_cmpuint(support_count(map), ==, count);
	support_no_overlap(map, blocks, count);
	check_map(map);
	support_shuffle(blocks, count, r);
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	g_free(blocks);
	support_finish(map, path);
}

static void full_map_comes_back_whole(void)
{
	static const size_t sizes[] = {
		1,    16,    17,    64,    100,   128,   500,   1024,   1025,   2048,   2049,
		5000, 14336, 16384, 32769, 65535, 65536, 65537, 100000, 131072, 500000, 1048576,
	};
	struct support_rand r;

	support_rand_seed(&r, 1);
	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		size_t map = sizes[i] < 64 ? 2 * MIB : 8 * MIB;

		fill_and_empty(support_size(map, map / 4), sizes[i], &r);
	}
}

/* The last free chunk may not become a home for allocation bytes that no slab then comes to use. */
static void every_size_of_map_comes_back_whole(void)
{
	for (size_t kib = 1024; kib <= 3584; kib += support_size(64, 1280))
		for (size_t streams = 1; streams <= 3; streams += 2) {
			dynmapinfo_t *map = support_dyn(NULL, kib << 10, streams);
			size_t largest = support_stats(map).largest_free;

			while (qalloc_malloc(map, 16))
				;
			support_free_all(map);
			g_assert_nonnull(qalloc_malloc(map, largest));
			check_map(map);
			support_close(map);
		}
}

static void fill_uses_most_of_the_map(void)
{
	static const size_t sizes[] = { 64, 1024, 16 * KIB, 64 * KIB, 256 * KIB };

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("most");
		size_t most = sizes[i] < KIB ? support_size(32, 4) * MIB : 32 * MIB, bytes = 0;
		dynmapinfo_t *map = support_dyn(path, most, 4);

		while (qalloc_dynmalloc(map, sizes[i]))
			bytes += sizes[i];
		assert_errno_is(ENOMEM);
		g_assert_cmpuint(bytes, >, most - most / 8);
		support_finish(map, path);
	}
}

/* Random sizes until it is full, throw half away, again: what is free must be found. */
static void holes_are_filled_again(void)
{
	const char *path = support_path("holes");
	dynmapinfo_t *map = support_dyn(path, 16 * MIB, 2);
	struct support_block *blocks = g_new0(struct support_block, 20000);
	size_t count = 0, largest = support_largest(map), rounds = support_scale(40);
	struct support_rand r;

	support_rand_seed(&r, 2);
	for (size_t round = 0; round < rounds; round++) {
		size_t size = 0;

		while (count < 20000) {
			size = support_rand_below(&r, 50) ? support_rand_below(&r, 2000)
							  : support_rand_below(&r, 600 * KIB);
			if (!support_take(map, &blocks[count], size, count))
				break;
			count++;
		}
		g_assert_cmpuint(count, >, 10);
		support_shuffle(blocks, count, &r);
		for (size_t keep = count / 2; count > keep; count--)
			support_give(map, &blocks[count - 1]);
		check_map(map);
		g_assert_cmpuint(support_used(map), ==, count);
	}
	support_no_overlap(map, blocks, count);
	while (count)
		support_give(map, &blocks[--count]);
	g_assert_cmpuint(support_largest(map), ==, largest);
	g_free(blocks);
	support_finish(map, path);
}

/* --- static maps --- */

static size_t exhaust_static(mapinfo_t *map, size_t itemsize, size_t most)
{
	struct support_block *blocks = g_new(struct support_block, most + 1);
	size_t count = support_fill_up(map, blocks, most + 1, itemsize);

	for (size_t i = 0; i < count; i++)
		blocks[i].size = qalloc_usable_size(map, blocks[i].at);
	support_no_overlap(map, blocks, count);
	for (size_t i = 0; i < count; i++) {
		blocks[i].size = itemsize;
		support_verify(&blocks[i]);
	}
	g_assert_cmpuint(support_used(map), ==, count);
	check_map(map);
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
	g_free(blocks);
	return count;
}

static void one_item_size(size_t itemsize, size_t bytes, size_t streams)
{
	const char *path = support_path("items");
	mapinfo_t *map = support_stat(path, bytes, itemsize, streams);
	struct qalloc_stats stats = support_stats(map);
	size_t rounded = (itemsize + 7) & ~(size_t)7, count;

	g_assert_cmpuint(stats.is_static, ==, 1);
	g_assert_cmpuint(stats.item_bytes, ==, rounded);
	count = exhaust_static(map, itemsize, bytes / rounded);
	g_assert_cmpuint(count, ==, stats.user_bytes / rounded);
	g_assert_cmpuint(count, >, 0);
	g_assert_cmpuint(exhaust_static(map, itemsize, bytes / rounded), ==, count);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

static void item_sizes_1_to_4096(void)
{
	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	for (size_t itemsize = 1; itemsize <= 4096;
	     itemsize += itemsize < 140 ? support_size(1, 7) : support_size(23, 97))
		one_item_size(itemsize, support_size(300 * KIB, 100 * KIB) + itemsize, 1 + itemsize % 3);
	one_item_size(4096, MIB, 1);
	one_item_size(65536, 2 * MIB, 2);
	one_item_size(100001, 2 * MIB, 1);
}

static void tiny_static_map_holds_items(void)
{
	one_item_size(8, 16 * KIB, 1);
	one_item_size(64, 16 * KIB, 1);
	one_item_size(64, 20001, 1);
}

static void one_thread_gets_every_item_of_all_streams(void)
{
	static const size_t streams[] = { 1, 2, 5, 16, 64, 200 };

	/* Two groups of items and more in each stream; the last items take time with the square of the number of groups. */
	for (size_t i = 0; i < G_N_ELEMENTS(streams); i++)
		one_item_size(64, 2 * MIB, streams[i]);
}

static void static_overhead_is_small(void)
{
	static const size_t sizes[] = { 64, 72, 96, 128, 1000, 4096 };
	size_t bytes = 64 * MIB;

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("overhead");
		mapinfo_t *map = support_stat(path, bytes, sizes[i], 4);

		g_assert_cmpuint(support_stats(map).user_bytes, >, bytes - bytes / 40);
		support_finish(map, path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/sizes/every-class", every_class_from_end_to_end);
	support_add("/qalloc/sizes/every-small-size", every_small_size_side_by_side);
	support_add("/qalloc/sizes/usable-apart", usable_bytes_do_not_overlap);
	support_add("/qalloc/sizes/too-large", too_large_is_enomem);
	support_add("/qalloc/sizes/largest", largest_block_is_what_stats_say);
	support_add("/qalloc/sizes/fill-and-empty", full_map_comes_back_whole);
	support_add("/qalloc/sizes/fill-and-empty-all", every_size_of_map_comes_back_whole);
	support_add("/qalloc/sizes/fill-uses-most", fill_uses_most_of_the_map);
	support_add("/qalloc/sizes/holes", holes_are_filled_again);
	support_add("/qalloc/sizes/static-item-sizes", item_sizes_1_to_4096);
	support_add("/qalloc/sizes/static-tiny", tiny_static_map_holds_items);
	support_add("/qalloc/sizes/static-all-streams", one_thread_gets_every_item_of_all_streams);
	support_add("/qalloc/sizes/static-overhead", static_overhead_is_small);
	return support_run();
}
