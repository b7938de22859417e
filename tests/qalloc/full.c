/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Full maps, of both kinds: after a search that failed, a process does not search again before there is news. What it costs, and that
 * each free, by the thread itself, another thread or another process, is found.
 */
#include "tests/support/support_qalloc.h"

#define ITEM 16

/* A map so large that a search takes longer than what is made each time, and all its blocks in some order. */
struct full {
	void *map;
	void **blocks;
	size_t count;
};

static void fill_up(struct full *full, void *map, size_t size)
{
	size_t most = 2 * support_stats(map).user_bytes / size;
	void *block;

	*full = (struct full){ .map = map, .blocks = g_new(void *, most) };
	while ((block = qalloc_malloc(map, size)) != NULL)
		full->blocks[full->count++] = block;
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpuint(full->count, >, 300);
}

static void fill_dynamic(struct full *full, size_t size)
{
	fill_up(full, support_dyn(NULL, support_size(64 * MIB, 2 * MIB), 1), size);
}

static void fill_static(struct full *full)
{
	fill_up(full, support_stat(NULL, support_size(64 * MIB, 2 * MIB), ITEM, 1), ITEM);
}

static void finish(struct full *full)
{
	check_map(full->map);
	support_close(full->map);
	g_free(full->blocks);
}

static void fail_often(struct full *full, size_t size, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		assert_null(qalloc_malloc(full->map, size), ENOMEM);
}

/* ---- cost ---- */

/* Before the process noted a failed search, each call cost what the first one did. */
static void many_failures_cost_a_few_searches(struct full *full, size_t size)
{
	const unsigned calls = 1000;
	uint64_t begin, first;

	/* News: the next call that fails searches all of the map. */
	qalloc_free(full->blocks[0], full->map);
	full->blocks[0] = qalloc_malloc(full->map, size);
	g_assert_nonnull(full->blocks[0]);
	begin = support_cpu_ns();
	fail_often(full, size, 1);
	first = support_cpu_ns() - begin;
	fail_often(full, size, calls);
	g_assert_cmpuint(support_cpu_ns() - begin, <, calls / 4 * first);
	finish(full);
}

static void failures_are_cheap(void)
{
	struct full full;

	fill_dynamic(&full, ITEM);
	many_failures_cost_a_few_searches(&full, ITEM);
	fill_static(&full);
	many_failures_cost_a_few_searches(&full, ITEM);
}

/* ---- what is found at once ---- */

/* Blocks from all over the map; sometimes two are freed, and both are found. */
static void own_frees_are_found(struct full *full, size_t size)
{
	struct support_rand r;

	support_rand_seed(&r, size);
	for (size_t round = 0; round < support_scale(1500); round++) {
		size_t count = 1 + round % 3;

		fail_often(full, size, 1 + round % 2);
		for (size_t i = 0; i < count; i++) {
			size_t at = support_rand_below(&r, full->count);

			qalloc_free(full->blocks[at], full->map);
			full->blocks[at] = full->blocks[--full->count];
		}
		for (size_t i = 0; i < count; i++) {
			full->blocks[full->count] = qalloc_malloc(full->map, size);
			if (!full->blocks[full->count++])
				g_error("round %zu: block %zu of %zu: %s", round, i, count, qalloc_errmsg());
		}
	}
	fail_often(full, size, 1);
	finish(full);
}

static void frees_of_the_same_thread_are_found(void)
{
	static const size_t sizes[] = { 16, 48, 200, 1000, 5000 };
	struct full full;

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		fill_dynamic(&full, sizes[i]);
		own_frees_are_found(&full, sizes[i]);
	}
	fill_static(&full);
	own_frees_are_found(&full, ITEM);
}

/* A block of another size makes room only when its slab is empty then; a run always does. */
static void freed_runs_are_found(void)
{
	void *map = support_dyn(NULL, support_size(64 * MIB, 4 * MIB), 1), *run = qalloc_malloc(map, 300000);
	struct full full;

	fill_up(&full, map, ITEM);
	fail_often(&full, ITEM, 2);
	run = qalloc_realloc(map, run, 150000);
	g_assert_nonnull(run);
	g_assert_nonnull(qalloc_malloc(map, ITEM));
	while (qalloc_malloc(map, ITEM))
		;
	fail_often(&full, ITEM, 2);
	qalloc_free(run, map);
	g_assert_nonnull(qalloc_malloc(map, ITEM));
	finish(&full);
}

static void more_length_is_found(void)
{
	struct qalloc_options options = { .size = support_size(32 * MIB, 2 * MIB), .streams = 1, .range = 256 * MIB };
	struct full full;

	fill_up(&full, qalloc_make(support_path("grows.map"), &options), ITEM);
	fail_often(&full, ITEM, 2);
	g_assert_cmpint(qalloc_grow(full.map, 2 * options.size), ==, 0);
	g_assert_nonnull(qalloc_malloc(full.map, ITEM));
	finish(&full);
}

/* ---- threads ---- */

struct turns {
	struct full *full;
	struct support_barrier *both;
	size_t size;
	void *block;
};

#define ROUNDS 200u

/* One thread frees, between two calls of the other one that fail and do not fail. */
static void take_turns(struct support_thread *self)
{
	struct turns *turns = self->arg;

	if (self->index == 0) /* What a thread owns serves no other. */
		fill_up(turns->full, turns->full->map, turns->size);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (self->index == 0)
			fail_often(turns->full, turns->size, 2);
		support_barrier_wait(turns->both);
		if (self->index == 1)
			qalloc_free(turns->full->blocks[round * (turns->full->count / ROUNDS)], turns->full->map);
		support_barrier_wait(turns->both);
		if (self->index == 0 && !qalloc_malloc(turns->full->map, turns->size))
			g_error("round %u: %s", round, qalloc_errmsg());
	}
}

static void frees_of_another_thread_are_found(void)
{
	size_t bytes = support_size(64 * MIB, 2 * MIB);
	struct full full = { .map = support_dyn(NULL, bytes, 1) };
	struct turns turns = { .full = &full, .both = support_barrier_new(2), .size = ITEM };

	support_threads(2, take_turns, &turns);
	finish(&full);
	full.map = support_stat(NULL, bytes, ITEM, 1);
	support_threads(2, take_turns, &turns);
	finish(&full);
}

static void take_some(struct support_thread *self)
{
	struct turns *turns = self->arg;

	turns->block = qalloc_malloc(turns->full->map, turns->size);
	g_assert_nonnull(turns->block);
}

/* What a thread that ended owned and did not use is news, though nothing was freed. */
static void what_a_thread_leaves_is_found(void)
{
	struct full full;
	struct turns turns = { .full = &full, .size = ITEM };

	fill_dynamic(&full, ITEM);
	for (unsigned i = 0; i < 40; i++)
		qalloc_free(full.blocks[i], full.map);
	support_threads(1, take_some, &turns);
	for (unsigned i = 1; i < 40; i++)
		g_assert_nonnull(qalloc_malloc(full.map, ITEM));
	fail_often(&full, ITEM, 1);
	finish(&full);
}

/* ---- processes ---- */

static int free_one(void *arg)
{
	struct full *full = arg;

	qalloc_free(full->blocks[--full->count], full->map);
	return 0;
}

/* It is no news to this process, so it is found when the search is repeated. */
static void frees_of_another_process_are_found_soon(struct full *full)
{
	for (size_t round = 0; round < support_scale(20); round++) {
		fail_often(full, ITEM, 2);
		support_run_child(free_one, full);
		while (!qalloc_malloc(full->map, ITEM))
			;
		full->count--;
	}
	finish(full);
}

static void frees_of_another_process_are_found(void)
{
	struct full full;

	if (support_tsan()) {
		g_test_skip("ThreadSanitizer allows a fork child no locks");
		return;
	}
	fill_dynamic(&full, ITEM);
	frees_of_another_process_are_found_soon(&full);
	fill_static(&full);
	frees_of_another_process_are_found_soon(&full);
}

/* A child inherits the notes of the searches that failed in its parent, and its own frees are news. */
static int fails_and_finds(void *arg)
{
	struct full *full = arg;

	fail_often(full, ITEM, 3);
	qalloc_free(full->blocks[0], full->map);
	return qalloc_malloc(full->map, ITEM) ? 0 : 1;
}

static void children_find_their_own_frees(void)
{
	struct full full;

	if (support_tsan()) {
		g_test_skip("ThreadSanitizer allows a fork child no locks");
		return;
	}
	fill_dynamic(&full, ITEM);
	fail_often(&full, ITEM, 3);
	support_run_child(fails_and_finds, &full);
	finish(&full);
}

/* The frees that go the slow way for a moment are the reason why a closed map might be taken for an open one. */
static void closed_maps_stay_closed(void)
{
	struct full full;

	fill_dynamic(&full, ITEM);
	fail_often(&full, ITEM, 3);
	support_close(full.map);
	errno = 0;
	qalloc_free(full.blocks[0], full.map);
	g_assert_cmpint(errno, ==, EBADF);
	assert_null(qalloc_malloc(full.map, ITEM), EBADF);
	g_free(full.blocks);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/full/failures-are-cheap", failures_are_cheap);
	support_add("/full/frees-of-the-same-thread", frees_of_the_same_thread_are_found);
	support_add("/full/freed-runs", freed_runs_are_found);
	support_add("/full/more-length", more_length_is_found);
	support_add("/full/frees-of-another-thread", frees_of_another_thread_are_found);
	support_add("/full/what-a-thread-leaves", what_a_thread_leaves_is_found);
	support_add("/full/frees-of-another-process", frees_of_another_process_are_found);
	support_add("/full/children", children_find_their_own_frees);
	support_add("/full/closed", closed_maps_stay_closed);
	return support_run();
}
