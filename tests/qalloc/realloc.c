/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * realloc keeps contents, in place where it can; calloc is zero also on used space; memalign aligns every size.
 */
#include "tests/support/support_qalloc.h"

static const size_t some_sizes[] = {
	1,    15,    16,    17,    100,   128,   129,    1000,   1024,    1025,    2049,
	5000, 14336, 16385, 40000, 65536, 65537, 131072, 200000, 1000000, 3000000,
};

static void realloc_null_is_malloc(void)
{
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);
	mapinfo_t *stat = support_stat(NULL, MIB, 64, 1);
	void *block = qalloc_realloc(dyn, NULL, 300), *item = qalloc_realloc(stat, NULL, 64);

	g_assert_cmpuint(qalloc_usable_size(dyn, block), >=, 300);
	g_assert_cmpuint(qalloc_usable_size(stat, item), ==, 64);
	g_assert_nonnull(qalloc_realloc(dyn, NULL, 0));
	g_assert_cmpuint(support_used(dyn), ==, 2);
	g_assert_cmpuint(support_used(stat), ==, 1);
	support_close(dyn);
	support_close(stat);
}

static void realloc_to_0_frees(void)
{
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);
	mapinfo_t *stat = support_stat(NULL, MIB, 64, 1);

	assert_null(qalloc_realloc(dyn, qalloc_dynmalloc(dyn, 300), 0), 0);
	assert_null(qalloc_realloc(dyn, qalloc_dynmalloc(dyn, 300000), 0), 0);
	assert_null(qalloc_realloc(stat, qalloc_statmalloc(stat), 0), 0);
	g_assert_cmpuint(support_used(dyn), ==, 0);
	g_assert_cmpuint(support_used(stat), ==, 0);
	support_close(dyn);
	support_close(stat);
}

static void resize(dynmapinfo_t *map, size_t from, size_t to)
{
	struct support_block block;
	char *moved;

	g_assert_true(support_take(map, &block, from, from * 31 + to));
	moved = qalloc_realloc(map, block.at, to);
	g_assert_nonnull(moved);
	g_assert_cmpuint(qalloc_usable_size(map, moved), >=, to);
	g_assert_true(support_kept(moved, MIN(from, to), from, block.tag));
	if (moved != block.at)
		assert_void(qalloc_free(block.at, map), EINVAL);
	support_fill(moved, to, 5);
	g_assert_cmpuint(support_used(map), ==, 2);
	assert_void(qalloc_free(moved, map), 0);
}

static void realloc_between_all_sizes(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 32 * MIB, 1);
	struct support_block guard;

	g_assert_true(support_take(map, &guard, 1000, 1));
	for (size_t i = 0; i < G_N_ELEMENTS(some_sizes); i++)
		for (size_t j = 0; j < G_N_ELEMENTS(some_sizes); j++)
			resize(map, some_sizes[i], some_sizes[j]);
	support_give(map, &guard);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_close(map);
}

static void realloc_in_place_up_to_the_usable_size(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 32 * MIB, 1);

	for (size_t i = 0; i < G_N_ELEMENTS(some_sizes); i++) {
		void *block = qalloc_dynmalloc(map, some_sizes[i]);
		size_t usable = qalloc_usable_size(map, block);

		g_assert_true(qalloc_realloc(map, block, usable) == block);
		g_assert_true(qalloc_realloc(map, block, some_sizes[i]) == block);
		assert_void(qalloc_free(block, map), 0);
	}
	check_map(map);
	support_close(map);
}

/* The only large block of the map has free space behind it and no room for a second one. */
static void realloc_grows_a_large_block_in_place(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 1);
	size_t largest = support_largest(map);
	struct support_block block;
	void *grown;

	g_assert_true(support_take(map, &block, largest * 5 / 8, 1));
	grown = qalloc_realloc(map, block.at, largest * 7 / 8);
	if (!grown)
		g_error("no growth in place: %s", g_strerror(errno));
	g_assert_true(support_kept(grown, block.size, block.size, block.tag));
	check_map(map);
	assert_void(qalloc_free(grown, map), 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	support_close(map);
}

static void realloc_gives_the_tail_of_a_large_block_back(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 1);
	size_t largest = support_largest(map);
	struct support_block block;
	void *small;

	g_assert_true(support_take(map, &block, largest, 1));
	assert_null(qalloc_dynmalloc(map, largest / 2), ENOMEM);
	small = qalloc_realloc(map, block.at, largest / 4);
	g_assert_nonnull(small);
	g_assert_true(support_kept(small, largest / 4, block.size, block.tag));
	g_assert_nonnull(qalloc_dynmalloc(map, largest / 2));
	check_map(map);
	support_close(map);
}

static void realloc_without_room_leaves_the_block(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 4 * MIB, 1);
	struct support_block a, b;

	g_assert_true(support_take(map, &a, 100, 1));
	g_assert_true(support_take(map, &b, MIB, 2));
	while (qalloc_dynmalloc(map, 65536))
		;
	while (qalloc_dynmalloc(map, 16))
		;
	assert_null(qalloc_realloc(map, a.at, 5000), ENOMEM);
	assert_null(qalloc_realloc(map, b.at, 2 * MIB), ENOMEM);
	support_give(map, &a);
	support_give(map, &b);
	check_map(map);
	support_close(map);
}

static void realloc_of_an_item_stays(void)
{
	mapinfo_t *map = support_stat(NULL, MIB, 100, 1);
	struct support_block item;

	g_assert_true(support_take(map, &item, 100, 1));
	for (size_t size = 1; size <= 104; size++)
		g_assert_true(qalloc_realloc(map, item.at, size) == item.at);
	support_give(map, &item);
	support_close(map);
}

static void realloc_at_random(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 2);
	struct support_block blocks[64] = { 0 };
	struct support_rand r;
	size_t live = 0;

	support_rand_seed(&r, 1);
	for (size_t round = 0; round < support_scale(40000); round++) {
		struct support_block *block = &blocks[support_rand_below(&r, 64)];
		size_t size =
			support_rand_below(&r, 40) ? support_rand_below(&r, 3000) : support_rand_below(&r, 500000);
		void *moved;

		live -= block->at ? 1 : 0;
		moved = qalloc_realloc(map, block->at, size);
		g_assert_true(moved || (block->at && size == 0));
		g_assert_true(!block->at || !moved ||
			      support_kept(moved, MIN(size, block->size), block->size, block->tag));
		*block = (struct support_block){ moved, size, round };
		if (moved) {
			support_fill(moved, size, round);
			live++;
		}
	}
	g_assert_cmpuint(support_used(map), ==, live);
	check_map(map);
	g_assert_cmpuint(support_free_all(map), ==, live);
	support_close(map);
}

/* --- calloc --- */

static void calloc_is_zero_on_used_space(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 1);

	for (size_t i = 0; i < G_N_ELEMENTS(some_sizes); i++) {
		size_t size = some_sizes[i];
		void *block;

		for (int round = 0; round < 3; round++) {
			block = qalloc_dynmalloc(map, size);
			memset(block, 0xa5, qalloc_usable_size(map, block));
			qalloc_dynfree(block, map);
			block = qalloc_calloc(map, 1, size);
			g_assert_true(support_zero(block, size));
			memset(block, 0x5a, size);
			qalloc_dynfree(block, map);
		}
	}
	check_map(map);
	support_close(map);
}

static void calloc_of_an_item(void)
{
	mapinfo_t *map = support_stat(NULL, 64 * KIB, 96, 1);
	void *item;

	while ((item = qalloc_statmalloc(map)))
		memset(item, 0xa5, 96);
	support_free_all(map);
	while ((item = qalloc_calloc(map, 8, 12)))
		g_assert_true(support_zero(item, 96));
	assert_errno_is(ENOMEM);
	support_close(map);
}

static void calloc_of_nothing(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	void *a = qalloc_calloc(map, 0, 100), *b = qalloc_calloc(map, 100, 0);

	g_assert_true(a && b && a != b);
	support_close(map);
}

/* --- memalign --- */

static void aligned_block(dynmapinfo_t *map, size_t alignment, size_t size)
{
	struct support_block block;

	block.at = qalloc_memalign(map, alignment, size);
	if (!block.at)
		g_error("memalign(%zu, %zu): %s", alignment, size, g_strerror(errno));
	g_assert_cmpuint((uintptr_t)block.at % alignment, ==, 0);
	block.size = qalloc_usable_size(map, block.at);
	g_assert_cmpuint(block.size, >=, size);
	g_assert_true((char *)block.at + block.size <= support_end(map));
	block.tag = alignment;
	support_fill(block.at, block.size, block.tag);
	support_give(map, &block);
}

static void memalign_of_all_sizes(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 2);
	struct support_block guard;

	g_assert_true(support_take(map, &guard, 20, 9));
	for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
		aligned_block(map, alignment, 0);
		for (size_t i = 0; i < G_N_ELEMENTS(some_sizes); i++)
			aligned_block(map, alignment, some_sizes[i]);
		check_map(map);
	}
	support_give(map, &guard);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_close(map);
}

static void memalign_side_by_side(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 1);
	struct support_block blocks[300];
	size_t largest = support_largest(map);

	for (size_t i = 0; i < 300; i++) {
		size_t alignment = (size_t)1 << i % 17;

		blocks[i] = (struct support_block){ qalloc_memalign(map, alignment, i * 40), i * 40, i };
		g_assert_nonnull(blocks[i].at);
		g_assert_cmpuint((uintptr_t)blocks[i].at % alignment, ==, 0);
		support_fill(blocks[i].at, blocks[i].size, i);
	}
	g_assert_cmpuint(support_used(map), ==, 300);
	support_no_overlap(map, blocks, 300);
	check_map(map);
	for (size_t i = 0; i < 300; i++)
		support_give(map, &blocks[i]);
	g_assert_cmpuint(support_largest(map), ==, largest);
	support_close(map);
}

/* What memalign gave can be moved, measured and freed as any other block. */
static void memalign_then_realloc(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 1);

	for (size_t alignment = 16; alignment <= 256 * KIB; alignment *= 2) {
		struct support_block block = { qalloc_memalign(map, alignment, 3000), 3000, alignment };
		void *moved;

		support_fill(block.at, block.size, block.tag);
		moved = qalloc_realloc(map, block.at, 300000);
		g_assert_true(support_kept(moved, 3000, 3000, alignment));
		assert_void(qalloc_free(moved, map), 0);
	}
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_close(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/realloc/null", realloc_null_is_malloc);
	support_add("/qalloc/realloc/zero", realloc_to_0_frees);
	support_add("/qalloc/realloc/all-sizes", realloc_between_all_sizes);
	support_add("/qalloc/realloc/in-place", realloc_in_place_up_to_the_usable_size);
	support_add("/qalloc/realloc/grow-large", realloc_grows_a_large_block_in_place);
	support_add("/qalloc/realloc/shrink-large", realloc_gives_the_tail_of_a_large_block_back);
	support_add("/qalloc/realloc/no-room", realloc_without_room_leaves_the_block);
	support_add("/qalloc/realloc/item", realloc_of_an_item_stays);
	support_add("/qalloc/realloc/random", realloc_at_random);
	support_add("/qalloc/calloc/zero", calloc_is_zero_on_used_space);
	support_add("/qalloc/calloc/item", calloc_of_an_item);
	support_add("/qalloc/calloc/nothing", calloc_of_nothing);
	support_add("/qalloc/memalign/all-sizes", memalign_of_all_sizes);
	support_add("/qalloc/memalign/side-by-side", memalign_side_by_side);
	support_add("/qalloc/memalign/realloc", memalign_then_realloc);
	return support_run();
}
