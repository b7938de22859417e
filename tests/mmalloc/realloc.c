/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrealloc: contents stay over all sizes; large blocks stay where they are when there is room behind them, also where the file
 * must grow for it; what a block no longer needs is given back.
 */
#include <sys/mman.h>

#include "tests/support/support_mmalloc.h"

static uint8_t byte_of(size_t at, size_t tag)
{
	return (uint8_t)(at * 31 + tag * 7 + at / 251);
}

static void mark(char *block, size_t size, size_t tag)
{
	for (size_t at = 0; at < size; at++)
		block[at] = (char)byte_of(at, tag);
}

static void assert_marked(const char *block, size_t size, size_t tag)
{
	for (size_t at = 0; at < size; at++)
		if ((uint8_t)block[at] != byte_of(at, tag))
			g_error("byte %zu of %zu is not what it was", at, size);
}

static size_t used(void *md)
{
	return mmstats(md).chunks_used;
}

/* With the heap annotated for ASan or Valgrind each block moves: they know sizes, not rooms. Heaps in files are not annotated. */
static bool moves_always(bool in_file)
{
	return !in_file && (support_asan() || support_valgrind());
}

static void *heap(bool in_file)
{
	void *md = in_file ? heap_attach(support_path("realloc")) : mmalloc_attach(-1, NULL);

	g_assert_nonnull(md);
	return md;
}

static void resize(void *md, size_t from, size_t to)
{
	char *block = mmalloc(md, from), *moved;

	g_assert_nonnull(block);
	mark(block, from, to);
	moved = mrealloc(md, block, to);
	g_assert_nonnull(moved);
	g_assert_cmpuint(mmalloc_usable_size(md, moved), >=, to);
	assert_marked(moved, MIN(from, to), to);
	mark(moved, to, 5);
	if (moved != block)
		assert_void(mfree(md, block), EINVAL);
	assert_void(mfree(md, moved), 0);
}

/* From each class to each other one, at both ends of each; a class ends where a larger block has more room. */
static void between_all_classes(void)
{
	size_t edges[256], count = 0;

	for (int in_file = 0; in_file < 2; in_file++) {
		void *md = heap(in_file);

		count = 0;
		for (size_t size = 1; size <= 70000 && count + 2 < G_N_ELEMENTS(edges);) {
			void *block = mmalloc(md, size);
			size_t room = mmalloc_usable_size(md, block);

			edges[count++] = size;
			/* ASan and Valgrind: the room of an annotated heap is the class's all the same. */
			edges[count++] = room;
			mfree(md, block);
			size = room + 1;
		}
		g_assert_cmpuint(count, >, 40);
		for (size_t i = 0; i < count; i += support_valgrind() ? 7 : 1)
			for (size_t j = 0; j < count; j += support_valgrind() ? 5 : 1)
				resize(md, edges[i], edges[j]);
		g_assert_cmpuint(used(md), ==, 0);
		heap_detach(md);
	}
}

static void large_sizes(void)
{
	static const size_t sizes[] = { 100, 65536, 65537, 131072, 200000, 1000000, 3000000, 20000000 };

	for (int in_file = 0; in_file < 2; in_file++) {
		void *md = heap(in_file);

		for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
			for (size_t j = 0; j < G_N_ELEMENTS(sizes); j++)
				resize(md, sizes[i], sizes[j]);
		g_assert_cmpuint(used(md), ==, 0);
		heap_detach(md);
	}
}

/* Nothing is behind the last block but the range: it grows there, and the file with it. */
static void grows_where_it_is(void)
{
	for (int in_file = 0; in_file < 2; in_file++) {
		void *md = heap(in_file);
		char *block = mmalloc(md, 200000);
		struct mmalloc_stats before, after;
		size_t size = 200000;

		mark(block, size, 1);
		g_assert_cmpint(mmalloc_stats(md, &before), ==, 0);
		while (size < (40 << 20)) {
			char *grown = mrealloc(md, block, size * 2);

			g_assert_nonnull(grown);
			g_assert_true(grown == block || moves_always(in_file));
			block = grown;
			assert_marked(block, size, 1);
			size *= 2;
			mark(block, size, 1);
		}
		g_assert_cmpint(mmalloc_stats(md, &after), ==, 0);
		g_assert_true(!in_file || after.file_bytes >= before.file_bytes + (39 << 20));
		g_assert_cmpuint(after.used_blocks, ==, 1);
		mfree(md, block);
		heap_detach(md);
	}
}

/* Into the place of one that was freed; not over one that is there. */
static void room_behind(void)
{
	void *md = heap(true);
	char *a = mmalloc(md, 1 << 20), *b = mmalloc(md, 1 << 20), *c = mmalloc(md, 1 << 20), *moved;

	if (!(a < b && b < c)) {
		char *low = MIN(MIN(a, b), c), *high = MAX(MAX(a, b), c);

		b = (char *)((uintptr_t)a ^ (uintptr_t)b ^ (uintptr_t)c ^ (uintptr_t)low ^ (uintptr_t)high);
		a = low;
		c = high;
	}
	g_assert_true(b == a + (1 << 20) && c == b + (1 << 20));
	mark(a, 1 << 20, 1);
	mark(c, 1 << 20, 3);
	moved = mrealloc(md, a, 3 << 19); /* b is in the way. */
	g_assert_true(moved != a);
	assert_marked(moved, 1 << 20, 1);
	mfree(md, moved);
	a = mmalloc(md, 1 << 20);
	mark(a, 1 << 20, 4);
	mfree(md, b);
	if (a + (1 << 20) == b) /* Dealt out from the lowest place. */
		g_assert_true(mrealloc(md, a, 2 << 20) == a);
	else
		g_error("the freed place was not dealt out again");
	assert_marked(a, 1 << 20, 4);
	assert_marked(c, 1 << 20, 3);
	moved = mrealloc(md, a, (2 << 20) + 1); /* c is in the way. */
	g_assert_true(moved != a);
	assert_marked(moved, 1 << 20, 4);
	assert_marked(c, 1 << 20, 3);
	mfree(md, moved);
	mfree(md, c);
	heap_detach(md);
}

static void shrinks_where_it_is(void)
{
	for (int in_file = 0; in_file < 2; in_file++) {
		void *md = heap(in_file);
		char *block = mmalloc(md, 32 << 20), *less;

		mark(block, 32 << 20, 1);
		for (size_t size = 16 << 20; size > 65536; size /= 2) {
			less = mrealloc(md, block, size);
			g_assert_true(less == block || moves_always(in_file));
			block = less;
			assert_marked(block, size, 1);
			g_assert_cmpuint(mmstats(md).bytes_used, <=, size + 65536);
		}
		heap_check(md);
		less = mmalloc(md, 16 << 20); /* In what was given back: the range need not grow. */
		g_assert_true(less > block || moves_always(in_file));
		mfree(md, less);
		mfree(md, block);
		g_assert_cmpuint(used(md), ==, 0);
		heap_detach(md);
	}
}

/* What lies behind min(old, new) is not read: the old block's neighbour may be anything, even gone. */
static void copies_what_there_is(void)
{
	void *md = heap(true);
	char *old = mmalloc(md, 1 << 20), *wall = mmalloc(md, 1 << 20), *moved;

	g_assert_true(wall == old + (1 << 20));
	mark(old, 1 << 20, 1);
	mark(wall, 1 << 20, 2);
	g_assert_cmpint(mprotect(wall, 1 << 20, PROT_NONE), ==, 0);
	moved = mrealloc(md, old, 8 << 20);
	g_assert_nonnull(moved);
	assert_marked(moved, 1 << 20, 1);
	g_assert_cmpint(mprotect(wall, 1 << 20, PROT_READ | PROT_WRITE), ==, 0);
	assert_marked(wall, 1 << 20, 2);
	/* And downwards: a slot of a small class gets no byte more than it has. */
	old = mmalloc(md, 100);
	g_assert_nonnull(old);
	for (size_t i = 0; i < 200; i++) {
		char *small = mrealloc(md, mmalloc(md, 5000), 100), *next = mmalloc(md, 100);

		mark(small, 100, i);
		mark(next, 100, i + 1);
		small = mrealloc(md, small, 40);
		assert_marked(small, 40, i);
		assert_marked(next, 100, i + 1);
		mfree(md, small);
		mfree(md, next);
	}
	mfree(md, old);
	mfree(md, moved);
	mfree(md, wall);
	g_assert_cmpuint(used(md), ==, 0);
	heap_detach(md);
}

static void at_random(void)
{
	struct {
		char *at;
		size_t size;
	} blocks[64] = { 0 };
	void *md = heap(true);
	struct support_rand r;
	size_t live = 0;

	support_rand_seed(&r, 1);
	for (size_t round = 0; round < support_scale(20000); round++) {
		size_t i = support_rand_below(&r, G_N_ELEMENTS(blocks));
		size_t size = support_rand_below(&r, support_rand_below(&r, 40) ? 3000 : 500000);
		char *moved = mrealloc(md, blocks[i].at, size);

		g_assert_true((moved != NULL) == (size != 0));
		live += (size_t)(moved != NULL) - (size_t)(blocks[i].at != NULL);
		if (moved && blocks[i].at)
			assert_marked(moved, MIN(size, blocks[i].size), i);
		blocks[i].at = moved;
		blocks[i].size = size;
		mark(moved, size, i);
		if (round % 1000 == 0)
			heap_check(md);
	}
	g_assert_cmpuint(used(md), ==, live);
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/realloc/classes", between_all_classes);
	support_add("/mmalloc/realloc/large", large_sizes);
	support_add("/mmalloc/realloc/grows", grows_where_it_is);
	support_add("/mmalloc/realloc/room-behind", room_behind);
	support_add("/mmalloc/realloc/shrinks", shrinks_where_it_is);
	support_add("/mmalloc/realloc/copies", copies_what_there_is);
	support_add("/mmalloc/realloc/random", at_random);
	return support_run();
}
