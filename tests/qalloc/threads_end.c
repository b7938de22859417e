/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that allocate in their last moments, and threads with the smallest stack. */
#include <sched.h>

#include "tests/support/support_qalloc.h"

/* ---- destructors that allocate ---- */

#define ROUNDS 4 /* PTHREAD_DESTRUCTOR_ITERATIONS of the C library. */

static pthread_key_t late_key;
static void *late_map;
static unsigned late_from; /* The round in which it begins to allocate. */
static _Thread_local unsigned late_round;

static void allocate_late(void *value)
{
	if (++late_round >= late_from) {
		void *block = qalloc_malloc(late_map, 100);

		if (!block)
			g_error("round %u: %s", late_round, qalloc_errmsg());
		qalloc_free(block, late_map);
	}
	if (late_round < ROUNDS)
		g_assert_cmpint(pthread_setspecific(late_key, value), ==, 0);
}

static void *late_thread(void *arg)
{
	g_assert_cmpint(pthread_setspecific(late_key, &late_map), ==, 0);
	return arg;
}

/* More threads than the map has room for, were each to keep something; also where their process is a fork child. */
static int end_late(void *arg)
{
	const unsigned *from = arg;

	late_from = *from;
	for (unsigned i = 0; i < 500; i++) {
		pthread_t thread;

		g_assert_cmpint(pthread_create(&thread, NULL, late_thread, NULL), ==, 0);
		g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	}
	return 0;
}

static void late_destructors(void)
{
	if (support_tsan()) {
		g_test_skip("TSan has forgotten the thread in the last round");
		return;
	}
	late_map = qalloc_makedynmap(MIB, NULL, support_path("late"), 1);
	/* The library's key comes first: in each round its destructor is called before ours. */
	g_assert_nonnull(qalloc_malloc(late_map, 8));
	g_assert_cmpint(pthread_key_create(&late_key, allocate_late), ==, 0);
	for (unsigned from = 1; from <= ROUNDS; from++) {
		end_late(&from);
		support_run_child(end_late, &from);
		g_assert_cmpint(qalloc_check(late_map, NULL, NULL), ==, 0);
	}
	g_assert_cmpint(pthread_key_delete(late_key), ==, 0);
	g_assert_cmpint(qalloc_close(late_map), ==, 0);
}

/* ---- small stacks ---- */

/* Failures too: their sentences are composed there. */
static void open_and_use(void *arg)
{
	void *map = qalloc_makedynmap(MIB, NULL, arg, 1);

	for (size_t bytes = 1; map && bytes < MIB; bytes *= 3)
		qalloc_free(qalloc_malloc(map, bytes), map);
	if (!map || qalloc_malloc(map, GIB) || qalloc_snapshot(map, support_path("copy")) < 0 || qalloc_close(map) < 0)
		g_error("on a small stack: %s", qalloc_errmsg());
	map = qalloc_loadmap(arg);
	if (!map || qalloc_check(map, NULL, NULL) != 0 || qalloc_close(map) < 0 || qalloc_loadmap("/no/such/map"))
		g_error("on a small stack: %s", qalloc_errmsg());
}

static void smallest_stack(void)
{
	support_small_stack(open_and_use, (void *)(uintptr_t)support_path("small-stack"));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/threads/late-destructors", late_destructors);
	support_add("/qalloc/threads/small-stack", smallest_stack);
	return support_run();
}
