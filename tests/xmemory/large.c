/* SPDX-License-Identifier: BSD-3-Clause */
/* Large blocks in RAM: the pages of freed ones are used again, count in the budget, and are returned to the kernel after a while. */
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/support/support_xmemory.h"

#define LIVE    8
#define THREADS 4

/* Without the library's own pages each of these blocks is a mapping of its own, as under xmemory-run. */
static void large_begin(size_t limit)
{
	mallopt(M_MMAP_THRESHOLD, (int)MIB);
	vm_begin(limit);
}

static bool pages_are_kept(void)
{
	if (!support_asan() && !support_tsan() && !support_valgrind())
		return true;
	g_test_skip("under this tool the process's pages are not its own");
	return false;
}

static size_t faults(void)
{
	struct rusage usage;

	g_assert_cmpint(getrusage(RUSAGE_SELF, &usage), ==, 0);
	return (size_t)usage.ru_minflt;
}

/* Of the process, in memory, and no file's. */
static size_t resident(void)
{
	return statm_bytes(1) - statm_bytes(2);
}

/* Every page. */
static void *take_all(size_t size)
{
	unsigned char *block = take(size);

	g_assert_nonnull(block);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	for (size_t i = 0; i < size; i += 4096)
		block[i] = (unsigned char)i;
	return block;
}

/* Other sizes each time: ranges of pages are split, merged, and continued. */
static void again(void)
{
	void *blocks[LIVE];
	struct support_rand r;
	size_t before;

	if (!pages_are_kept())
		return;
	large_begin(SIZE_MAX);
	support_rand_seed(&r, 1);
	for (size_t i = 0; i < LIVE; i++)
		blocks[i] = take_all(4 * MIB);
	before = faults();
	for (size_t i = 0; i < 100; i++) {
		give(blocks[i % LIVE]);
		blocks[i % LIVE] = take_all(2 * MIB + support_rand_below(&r, 4 * MIB));
	}
	/* New pages for each would be 102,400. */
	g_test_message("%zu page faults", faults() - before);
	g_assert_cmpuint(faults() - before, <, 25000);
	for (size_t i = 0; i < LIVE; i++)
		give(blocks[i]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

/* ---- contents ---- */

struct large {
	unsigned char *at;
	size_t size;
	unsigned mark;
};

static void make(struct large *l, struct support_rand *r)
{
	bool zeroed = support_rand_below(r, 2);

	l->size = 900 * KIB + support_rand_below(r, 3 * MIB);
	l->mark = (unsigned)support_rand_next(r);
	l->at = zeroed ? xmemory_calloc(1, l->size, __FILE__, __LINE__) : take(l->size);
	g_assert_nonnull(l->at);
	g_assert_cmpuint((uintptr_t)l->at % 16, ==, 0);
	for (size_t i = 0; zeroed && i < l->size; i++)
		if (l->at[i])
			g_error("byte %zu of %zu from calloc is %u", i, l->size, l->at[i]);
	fill(l->at, l->size, l->mark);
}

static void change(struct large *l, struct support_rand *r)
{
	size_t size = 900 * KIB + support_rand_below(r, 4 * MIB);

	l->at = retake(l->at, size);
	g_assert_nonnull(l->at);
	check(l->at, MIN(size, l->size), l->mark);
	l->size = size;
	fill(l->at, l->size, l->mark);
}

static void drop(struct large *l)
{
	g_assert_cmpuint(xmemory_size(l->at), ==, l->size);
	check(l->at, l->size, l->mark);
	give(l->at);
}

/* The limit ends within what is live. */
static void contents(void)
{
	static const size_t limits[] = { SIZE_MAX, 20 * MIB };
	struct large larges[LIVE];
	struct support_rand r;

	support_rand_seed(&r, 2);
	for (size_t l = 0; l < G_N_ELEMENTS(limits); l++) {
		large_begin(limits[l]);
		for (size_t i = 0; i < LIVE; i++)
			make(&larges[i], &r);
		for (size_t i = 0; i < support_scale(200); i++) {
			struct large *one = &larges[support_rand_below(&r, LIVE)];

			if (support_rand_below(&r, 3) == 0) {
				change(one, &r);
				continue;
			}
			drop(one);
			make(one, &r);
		}
		for (size_t i = 0; i < LIVE; i++)
			drop(&larges[i]);
		g_assert_cmpuint(figures().pointers, ==, 0);
		g_assert_cmpuint(figures().bytes, ==, 0);
	}
	xmemory_setlimit(0);
}

/* ---- how much is kept ---- */

static void return_to_kernel(void)
{
	size_t before;

	if (!pages_are_kept())
		return;
	large_begin(SIZE_MAX);
	before = resident();
	give(take_all(32 * MIB));
	g_assert_cmpuint(resident(), >, before + 31 * MIB);
	support_sleep_us(2100000);
	give(take_all(2 * MIB));
	support_sleep_us(2100000);
	give(take(100 * KIB)); /* It needs more than the thread has of the budget, or not: */
	xmemory_setlimit(SIZE_MAX);
	g_assert_cmpuint(resident(), <, before + MIB);

	/* More than is live, and than is always kept. */
	give(take_all(100 * MIB));
	g_assert_cmpuint(resident(), >, before + 63 * MIB);
	g_assert_cmpuint(resident(), <, before + 66 * MIB);
	xmemory_setlimit(0);
}

/* What is kept counts: blocks and it together stay within the limit. */
static void within_limit(void)
{
	enum { SIZE = 100000, BLOCKS = 500 };
	void *blocks[BLOCKS];
	size_t before;

	if (!pages_are_kept())
		return;
	large_begin(64 * MIB);
	before = resident();
	give(take_all(50 * MIB));
	g_assert_cmpuint(resident(), >, before + 49 * MIB);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = take_all(SIZE);
		g_assert_cmpuint(resident(), <, before + 66 * MIB);
	}
	g_assert_cmpuint(figures().ram_bytes, ==, (size_t)SIZE * BLOCKS);
	for (size_t i = 0; i < BLOCKS; i++)
		give(blocks[i]);
	xmemory_setlimit(20 * MIB); /* The C library returns the rest when it has more than it trims at. */
	malloc_trim(0);
	g_assert_cmpuint(resident(), <, before + 22 * MIB);
	give(take_all(10 * MIB));
	blocks[0] = take(30 * MIB);
	g_assert_cmpint(xmemory_kind(blocks[0]), ==, XMEMORY_VMFILE);
	g_assert_cmpuint(resident(), <, before + 2 * MIB);
	give(blocks[0]);
	xmemory_setlimit(0);
}

/* The kernel counts what is kept, too: it is returned before a block goes to a VM file, or falloc() fails. */
static int little_space(void *arg)
{
	struct rlimit to;
	char *name = g_build_filename(support_dir(), "file", NULL);
	void *block;
	char *file;

	(void)arg;
	g_assert_true(g_file_set_contents(name, "x", 1, NULL));
	g_assert_cmpint(truncate(name, 60 * MIB), ==, 0);
	to.rlim_cur = to.rlim_max = statm_bytes(0) + 100 * MIB;
	large_begin(SIZE_MAX);
	g_assert_cmpint(setrlimit(RLIMIT_AS, &to), ==, 0);

	give(take_all(60 * MIB));
	block = xmemory_memalign(64, 70 * MIB, __FILE__, __LINE__);
	g_assert_nonnull(block);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	give(block);
	give(take_all(60 * MIB));
	file = map(name, 0, NULL);
	g_assert_nonnull(file);
	give(file);
	g_free(name);
	return 0;
}

static void limited(void)
{
	if (pages_are_kept())
		support_run_child(little_space, NULL);
}

/* ---- other ways ---- */

static void switched_off(void)
{
	unsigned char *block, *other;

	large_begin(SIZE_MAX);
	block = take(3 * MIB);
	other = take(3 * MIB);
	fill(block, 3 * MIB, 1);
	xmemory_off();
	block = retake(block, 5 * MIB);
	give(other);
	xmemory_on();
	check(block, 3 * MIB, 1);
	g_assert_cmpuint(xmemory_size(block), ==, 5 * MIB);
	give(block);
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

static int use_copies(void *arg)
{
	struct large *larges = arg;
	struct support_rand r;

	support_rand_seed(&r, 4);
	for (size_t i = 0; i < LIVE; i++) {
		drop(&larges[i]);
		make(&larges[i], &r);
	}
	for (size_t i = 0; i < LIVE; i++)
		drop(&larges[i]);
	return 0;
}

static void forked(void)
{
	struct large larges[LIVE];
	struct support_rand r;

	large_begin(SIZE_MAX);
	support_rand_seed(&r, 3);
	for (size_t i = 0; i < LIVE; i++)
		make(&larges[i], &r);
	give(take(4 * MIB));
	support_run_child(use_copies, larges);
	for (size_t i = 0; i < LIVE; i++)
		drop(&larges[i]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

/* One thread frees what another one allocated. */
static void swap_blocks(struct support_thread *self)
{
	unsigned char *_Atomic *board = self->arg;
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t i = 0; i < support_scale(400); i++) {
		size_t size = MIB + 1 + support_rand_below(&r, MIB);
		unsigned char *fresh = take(size), *old;

		g_assert_nonnull(fresh);
		for (size_t j = 0; j < size; j += 4096)
			fresh[j] = (unsigned char)size;
		old = atomic_exchange(&board[support_rand_below(&r, LIVE)], fresh);
		if (!old)
			continue;
		for (size_t j = 0; j < xmemory_size(old); j += 4096)
			g_assert_cmpuint(old[j], ==, (unsigned char)xmemory_size(old));
		give(old);
	}
}

static void threads(void)
{
	unsigned char *_Atomic board[LIVE] = { NULL };

	large_begin(30 * MIB);
	support_threads(THREADS, swap_blocks, board);
	for (size_t i = 0; i < LIVE; i++)
		if (board[i])
			give(board[i]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().bytes, ==, 0);
	xmemory_setlimit(0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/large/again", again);
	support_add("/xmemory/large/contents", contents);
	support_add("/xmemory/large/returned", return_to_kernel);
	support_add("/xmemory/large/within-limit", within_limit);
	support_add("/xmemory/large/limited", limited);
	support_add("/xmemory/large/off", switched_off);
	support_add("/xmemory/large/forked", forked);
	support_add("/xmemory/large/threads", threads);
	return support_run();
}
