/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad frees are found, leave EINVAL, and change nothing.
 */
#include "tests/support/support_qalloc.h"

#define COUNT 100

struct two_maps {
	dynmapinfo_t *dyn;
	mapinfo_t *stat;
	struct support_block blocks[COUNT];
};

static size_t size_of(size_t i)
{
	return i % 10 == 9 ? i * 5000 : i * i;
}

static void set_up(struct two_maps *m)
{
	m->dyn = support_dyn(NULL, 64 * MIB, 2);
	m->stat = support_stat(NULL, MIB, 40, 2);
	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(m->dyn, &m->blocks[i], size_of(i), i));
}

static void tear_down(struct two_maps *m)
{
	check_map(m->dyn);
	check_map(m->stat);
	support_close(m->dyn);
	support_close(m->stat);
}

/* All of set_up()'s blocks are still there, and still whole. */
static void nothing_changed(struct two_maps *m)
{
	g_assert_cmpuint(support_used(m->dyn), ==, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		support_verify(&m->blocks[i]);
	check_map(m->dyn);
}

static void null_is_nothing(void)
{
	struct two_maps m;

	set_up(&m);
	assert_void(qalloc_free(NULL, m.dyn), 0);
	assert_void(qalloc_dynfree(NULL, m.dyn), 0);
	assert_void(qalloc_statfree(NULL, m.stat), 0);
	assert_void(qalloc_free(NULL, m.stat), 0);
	nothing_changed(&m);
	tear_down(&m);
}

static void twice(void)
{
	struct two_maps m;

	set_up(&m);
	for (size_t i = 0; i < COUNT; i++) {
		support_give(m.dyn, &(struct support_block){ m.blocks[i].at, m.blocks[i].size, i });
		assert_void(qalloc_dynfree(m.blocks[i].at, m.dyn), EINVAL);
		assert_void(qalloc_free(m.blocks[i].at, m.dyn), EINVAL);
	}
	g_assert_cmpuint(support_used(m.dyn), ==, 0);
	for (size_t i = 0; i < COUNT; i++)
		assert_void(qalloc_dynfree(m.blocks[i].at, m.dyn), EINVAL);
	tear_down(&m);
}

static void twice_static(void)
{
	struct two_maps m;
	void *items[COUNT];

	set_up(&m);
	for (size_t i = 0; i < COUNT; i++)
		items[i] = qalloc_statmalloc(m.stat);
	for (size_t i = 0; i < COUNT; i++) {
		assert_void(qalloc_statfree(items[i], m.stat), 0);
		assert_void(qalloc_statfree(items[i], m.stat), EINVAL);
		assert_void(qalloc_free(items[i], m.stat), EINVAL);
	}
	g_assert_cmpuint(support_used(m.stat), ==, 0);
	tear_down(&m);
}

static void inside_a_block(void)
{
	struct two_maps m;

	set_up(&m);
	for (size_t i = 0; i < COUNT; i++) {
		char *block = m.blocks[i].at;
		size_t usable = qalloc_usable_size(m.dyn, block);

		assert_void(qalloc_dynfree(block + 1, m.dyn), EINVAL);
		assert_void(qalloc_dynfree(block + 8, m.dyn), EINVAL);
		assert_void(qalloc_dynfree(block + usable / 2 + 1, m.dyn), EINVAL);
		assert_void(qalloc_dynfree(block + usable - 1, m.dyn), EINVAL);
	}
	nothing_changed(&m);
	tear_down(&m);
}

/* Every page and every chunk of a large block, each 16 bytes of a small one. */
static void every_place_inside_a_block(void)
{
	struct two_maps m;
	char *large, *small;

	set_up(&m);
	small = m.blocks[40].at;
	for (size_t at = 1; at < size_of(40); at++)
		assert_void(qalloc_dynfree(small + at, m.dyn), EINVAL);
	large = m.blocks[99].at;
	for (size_t at = 16; at < size_of(99); at += 1008)
		assert_void(qalloc_dynfree(large + at, m.dyn), EINVAL);
	for (size_t at = 4096; at < size_of(99); at += 4096)
		assert_void(qalloc_dynfree(large + at, m.dyn), EINVAL);
	nothing_changed(&m);
	tear_down(&m);
}

static void inside_an_item(void)
{
	struct two_maps m;
	char *item;

	set_up(&m);
	item = qalloc_statmalloc(m.stat);
	for (size_t at = 1; at < 40; at++)
		assert_void(qalloc_statfree(item + at, m.stat), EINVAL);
	g_assert_cmpuint(support_used(m.stat), ==, 1);
	tear_down(&m);
}

static void of_another_map(void)
{
	struct two_maps m;
	dynmapinfo_t *other;
	void *item, *block;

	set_up(&m);
	other = support_dyn(NULL, MIB, 1);
	item = qalloc_statmalloc(m.stat);
	block = qalloc_dynmalloc(other, 100);
	assert_void(qalloc_dynfree(item, m.dyn), EINVAL);
	assert_void(qalloc_dynfree(block, m.dyn), EINVAL);
	assert_void(qalloc_statfree(block, m.stat), EINVAL);
	assert_void(qalloc_free(m.blocks[50].at, m.stat), EINVAL);
	assert_void(qalloc_free(m.blocks[50].at, other), EINVAL);
	g_assert_cmpuint(support_used(m.stat), ==, 1);
	g_assert_cmpuint(support_used(other), ==, 1);
	nothing_changed(&m);
	support_close(other);
	tear_down(&m);
}

static void of_no_map(void)
{
	struct two_maps m;
	void *heap = g_malloc(100);
	static int object;

	set_up(&m);
	for (int i = 0; i < 2; i++) {
		void *map = i ? (void *)m.stat : (void *)m.dyn;

		assert_void(qalloc_free(heap, map), EINVAL);
		assert_void(qalloc_free(&map, map), EINVAL);
		assert_void(qalloc_free(&object, map), EINVAL);
		assert_void(qalloc_free((void *)(uintptr_t)1, map), EINVAL);
		assert_void(qalloc_free((void *)(uintptr_t)16, map), EINVAL);
		assert_void(qalloc_free((void *)UINTPTR_MAX, map), EINVAL);
		assert_void(qalloc_free((void *)(UINTPTR_MAX - 15), map), EINVAL);
		assert_void(qalloc_free(map, map), EINVAL);
	}
	g_free(heap);
	nothing_changed(&m);
	tear_down(&m);
}

static void out_of_range(void)
{
	struct two_maps m;

	set_up(&m);
	for (int i = 0; i < 2; i++) {
		void *map = i ? (void *)m.stat : (void *)m.dyn;
		char *base = support_base(map), *end = support_end(map);

		for (size_t at = 0; at < 65536; at += 1024)
			assert_void(qalloc_free(base + at, map), EINVAL);
		assert_void(qalloc_free(base - 16, map), EINVAL);
		assert_void(qalloc_free(end, map), EINVAL);
		assert_void(qalloc_free(end + 16, map), EINVAL);
		assert_void(qalloc_free(end + 65536, map), EINVAL);
		assert_void(qalloc_free(end + GIB, map), EINVAL);
	}
	nothing_changed(&m);
	tear_down(&m);
}

/* Slots and items that were never dealt out. */
static void never_taken(void)
{
	struct two_maps m;
	char *end, *item;

	set_up(&m);
	end = support_end(m.dyn);
	assert_void(qalloc_dynfree(end - 65536, m.dyn), EINVAL);
	assert_void(qalloc_dynfree(end - 16, m.dyn), EINVAL);
	item = qalloc_statmalloc(m.stat);
	assert_void(qalloc_statfree(item + 40, m.stat), EINVAL);
	assert_void(qalloc_statfree(item + 4000, m.stat), EINVAL);
	nothing_changed(&m);
	tear_down(&m);
}

/* Every multiple of 8 in the whole map: exactly the live blocks can be freed. */
static void every_address_of_a_map(void)
{
	size_t bytes = 192 * KIB, freed = 0, large;
	dynmapinfo_t *map = support_dyn(NULL, bytes, 1);
	char *base = support_base(map);

	for (size_t i = 0; i < 50; i++)
		g_assert_nonnull(qalloc_dynmalloc(map, 33 + i % 16));
	large = qalloc_dynmalloc(map, 65536) ? 1 : 0;
	for (size_t at = 0; at < bytes + 4096; at += 8) {
		errno = 0;
		qalloc_dynfree(base + at, map);
		if (errno == 0)
			freed++;
		else
			assert_errno_is(EINVAL);
	}
	g_assert_cmpuint(freed, ==, 50 + large);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_close(map);
}

/* A slab that went back and came again with another size: old addresses are judged by the new slots. */
static void after_the_space_changed_its_size(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	struct support_block *blocks = g_new(struct support_block, 70000);
	size_t count = support_fill_up(map, blocks, 70000, 48), again;
	void **old = g_new(void *, count);

	for (size_t i = 0; i < count; i++) {
		old[i] = blocks[i].at;
		support_give(map, &blocks[i]);
	}
	again = support_fill_up(map, blocks, 70000, 1000);
	for (size_t i = 0; i < count; i++) {
		bool starts = false;

		for (size_t j = 0; j < again && !starts; j++)
			starts = blocks[j].at == old[i];
		if (!starts)
			assert_void(qalloc_dynfree(old[i], map), EINVAL);
	}
	for (size_t i = 0; i < again; i++)
		support_give(map, &blocks[i]);
	g_free(old);
	g_free(blocks);
	check_map(map);
	support_close(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/free/null", null_is_nothing);
	support_add("/qalloc/free/twice", twice);
	support_add("/qalloc/free/twice-static", twice_static);
	support_add("/qalloc/free/inside", inside_a_block);
	support_add("/qalloc/free/everywhere-inside", every_place_inside_a_block);
	support_add("/qalloc/free/inside-item", inside_an_item);
	support_add("/qalloc/free/another-map", of_another_map);
	support_add("/qalloc/free/no-map", of_no_map);
	support_add("/qalloc/free/out-of-range", out_of_range);
	support_add("/qalloc/free/never-taken", never_taken);
	support_add("/qalloc/free/every-address", every_address_of_a_map);
	support_add("/qalloc/free/after-reuse", after_the_space_changed_its_size);
	return support_run();
}
