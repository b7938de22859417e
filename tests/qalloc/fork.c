/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork(2): a shared map stays shared and the child acts on its own account; a private map becomes the child's copy.
 */
#include <sys/wait.h>

#include "tests/support/support_qalloc.h"

#define COUNT 300

struct family {
	void *map;
	struct support_block blocks[COUNT]; /* the parent's, from before the fork */
	struct support_block child[COUNT];  /* what the child leaves behind */
	struct support_sync sync;
	_Atomic bool stop;
};

static size_t size_of(const struct family *f, size_t i)
{
	return support_stats(f->map).is_static ? 128 : i % 40 == 39 ? i * 700 : i * 5;
}

static struct family *new_family(void *map)
{
	struct family *f = support_shared(sizeof(*f));

	f->map = map;
	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(map, &f->blocks[i], size_of(f, i), i));
	return f;
}

static void *some_map(bool is_static)
{
	return is_static ? (void *)support_stat(NULL, MIB, 128, 3) : (void *)support_dyn(NULL, 64 * MIB, 3);
}

/* Frees half of the parent's blocks and takes as many of its own. */
static int work_in_child(void *arg)
{
	struct family *f = arg;

	for (size_t i = 0; i < COUNT; i += 2)
		support_give(f->map, &f->blocks[i]);
	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(f->map, &f->child[i], size_of(f, i), i + 1000));
	return 0;
}

static void work_in_parent(struct family *f)
{
	struct support_block more[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(f->map, &more[i], size_of(f, i), i + 2000));
	for (size_t i = 0; i < COUNT; i++)
		support_give(f->map, &more[i]);
}

static void child_shares_the_map(bool is_static)
{
	struct family *f = new_family(some_map(is_static));
	pid_t pid = support_fork(work_in_child, f);

	for (size_t round = 0; round < 20; round++)
		work_in_parent(f);
	support_wait_ok(pid);
	work_in_parent(f);
	check_map(f->map);
	g_assert_cmpuint(support_used(f->map), ==, COUNT + COUNT / 2);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 2)
			support_give(f->map, &f->blocks[i]);
		support_give(f->map, &f->child[i]);
	}
	g_assert_cmpuint(support_used(f->map), ==, 0);
	support_close(f->map);
}

static void shared_map_stays_shared(void)
{
	child_shares_the_map(false);
	child_shares_the_map(true);
}

/* Parent and child hold the same cursor at the moment of the fork: they must not deal out the same slot. */
static int take_as_the_parent(void *arg)
{
	struct family *f = arg;

	support_point(&f->sync, "forked");
	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(f->map, &f->child[i], 64, i + 1000));
	return 0;
}

static void child_forgets_the_cursors(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		struct family *f = new_family(some_map(is_static));
		struct support_block all[2 * COUNT];
		pid_t pid = support_fork(take_as_the_parent, f);

		support_await(&f->sync, "forked");
		support_go(&f->sync, "forked");
		for (size_t i = 0; i < COUNT; i++)
			g_assert_true(support_take(f->map, &all[i], 64, i + 2000));
		support_wait_ok(pid);
		memcpy(all + COUNT, f->child, sizeof(f->child));
		support_no_overlap(f->map, all, G_N_ELEMENTS(all));
		for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
			support_give(f->map, &all[i]);
		check_map(f->map);
		support_close(f->map);
	}
}

static int end_holding_a_reserve(void *arg)
{
	struct family *f = arg;

	g_assert_true(support_take(f->map, &f->child[0], 64, 1));
	return 0;
}

static void ended_child_gives_its_reserve_back(void)
{
	struct family *f = support_shared(sizeof(*f));
	size_t all, taken = 0;

	f->map = support_stat(NULL, 4 * MIB, 64, 4);
	all = support_stats(f->map).user_bytes / 64;
	for (int i = 0; i < 20; i++)
		support_run_child(end_holding_a_reserve, f);
	while (qalloc_malloc(f->map, 64))
		taken++;
	g_assert_cmpuint(taken, ==, all - 20);
	check_map(f->map);
	support_close(f->map);
}

static int close_in_child(void *arg)
{
	struct family *f = arg;

	support_close(f->map);
	assert_null(qalloc_malloc(f->map, 10), EBADF);
	return 0;
}

static int cleanup_in_child(void *arg)
{
	struct family *f = arg;

	qalloc_cleanup();
	assert_null(qalloc_malloc(f->map, 10), EBADF);
	return 0;
}

static void closing_in_the_child_leaves_the_parent_alone(void)
{
	struct family *f = new_family(some_map(false));

	support_run_child(close_in_child, f);
	support_run_child(cleanup_in_child, f);
	work_in_parent(f);
	for (size_t i = 0; i < COUNT; i++)
		support_give(f->map, &f->blocks[i]);
	g_assert_cmpuint(support_used(f->map), ==, 0);
	support_close(f->map);
}

static int use_alone(void *arg)
{
	struct family *f = arg;

	support_point(&f->sync, "alone");
	work_in_child(f);
	check_map(f->map);
	support_close(f->map);
	return 0;
}

static void child_goes_on_after_the_parent_closed(void)
{
	const char *path = support_path("alone");
	struct family *f = new_family(support_dyn(path, 64 * MIB, 2));
	pid_t pid = support_fork(use_alone, f);
	void *map;

	support_await(&f->sync, "alone");
	support_close(f->map);
	support_go(&f->sync, "alone");
	support_wait_ok(pid);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, COUNT + COUNT / 2);
	support_finish(map, path);
}

static int fork_again(void *arg)
{
	struct family *f = arg;

	support_run_child(work_in_child, f);
	work_in_parent(f);
	return 0;
}

static void grandchildren(void)
{
	struct family *f = new_family(some_map(false));

	support_run_child(fork_again, f);
	work_in_parent(f);
	g_assert_cmpuint(support_used(f->map), ==, COUNT + COUNT / 2);
	check_map(f->map);
	support_close(f->map);
}

static int many_maps_in_child(void *arg)
{
	void **maps = arg;

	for (int i = 0; i < 20; i++) {
		g_assert_nonnull(qalloc_malloc(maps[i], 100));
		check_map(maps[i]);
	}
	return 0;
}

static void many_maps_over_a_fork(void)
{
	void *maps[20];

	for (int i = 0; i < 20; i++)
		maps[i] = i % 2 ? (void *)support_stat(NULL, MIB, 100, 1) : (void *)support_dyn(NULL, MIB, 1);
	support_run_child(many_maps_in_child, maps);
	for (int i = 0; i < 20; i++) {
		g_assert_cmpuint(support_used(maps[i]), ==, 1);
		support_close(maps[i]);
	}
}

/* --- private maps --- */

static int own_copy(void *arg)
{
	struct family *f = arg;

	work_in_child(f);
	for (size_t i = 1; i < COUNT; i += 2)
		support_fill(f->blocks[i].at, f->blocks[i].size, 4711);
	g_assert_cmpuint(support_used(f->map), ==, COUNT + COUNT / 2);
	check_map(f->map);
	return 0;
}

static void private_map_becomes_a_copy(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		const char *path = support_path("private");
		struct support_block before[COUNT];
		struct family *f;

		support_close(is_static ? (void *)support_stat(path, MIB, 128, 2)
					: (void *)support_dyn(path, 64 * MIB, 2));
		f = new_family(support_open(path, QALLOC_PRIVATE));
		memcpy(before, f->blocks, sizeof(before));
		for (int round = 0; round < 3; round++) {
			pid_t pid = support_fork(own_copy, f);

			work_in_parent(f);
			support_wait_ok(pid);
			memcpy(f->blocks, before, sizeof(before));
			g_assert_cmpuint(support_used(f->map), ==, COUNT);
			for (size_t i = 0; i < COUNT; i++)
				support_verify(&before[i]);
			check_map(f->map);
		}
		support_close(f->map);
	}
}

static int use_readonly(void *arg)
{
	struct family *f = arg;

	for (size_t i = 0; i < COUNT; i++)
		support_verify(&f->blocks[i]);
	assert_null(qalloc_malloc(f->map, 10), EROFS);
	check_map(f->map);
	return 0;
}

static void readonly_map_over_a_fork(void)
{
	const char *path = support_path("readonly");
	struct family *f = new_family(support_dyn(path, 64 * MIB, 2));

	support_close(f->map);
	f->map = support_open(path, QALLOC_RDONLY);
	support_run_child(use_readonly, f);
	use_readonly(f);
	support_close(f->map);
}

/* --- fork while threads are inside calls --- */

static void churn(struct support_thread *self)
{
	struct family *f = self->arg;
	struct support_block blocks[50] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, self->index);
	while (!atomic_load(&f->stop)) {
		struct support_block *block = &blocks[support_rand_below(&r, 50)];

		if (block->at)
			support_give(f->map, block);
		g_assert_true(support_take(f->map, block, support_rand_below(&r, 10) ? 100 : 100000, 1));
	}
	for (size_t i = 0; i < 50; i++)
		if (blocks[i].at)
			support_give(f->map, &blocks[i]);
}

static int use_a_little(void *arg)
{
	struct family *f = arg;

	for (size_t i = 0; i < 20; i++) {
		struct support_block block;

		g_assert_true(support_take(f->map, &block, i % 4 ? i * 60 : 70000, i));
		support_give(f->map, &block);
	}
	return 0;
}

static void fork_while_threads_work(void *map, size_t largest)
{
	struct family *f = support_shared(sizeof(*f));
	struct support_thread threads[2];

	f->map = map;
	support_threads_start(threads, 2, churn, f);
	for (size_t round = 0; round < support_scale(200); round++)
		support_run_child(use_a_little, f);
	atomic_store(&f->stop, true);
	support_threads_join(threads, 2);
	check_map(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	if (largest)
		g_assert_cmpuint(support_largest(map), ==, largest);
	support_close(map);
}

static void fork_while_threads_share(void)
{
	void *map = support_dyn(NULL, 64 * MIB, 2);

	fork_while_threads_work(map, support_largest(map));
}

static void fork_while_threads_use_a_private_map(void)
{
	const char *path = support_path("private");

	support_close(support_dyn(path, 64 * MIB, 2));
	fork_while_threads_work(support_open(path, QALLOC_PRIVATE), 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/fork/shared", shared_map_stays_shared);
	support_add("/qalloc/fork/cursors", child_forgets_the_cursors);
	support_add("/qalloc/fork/reserve-back", ended_child_gives_its_reserve_back);
	support_add("/qalloc/fork/close-in-child", closing_in_the_child_leaves_the_parent_alone);
	support_add("/qalloc/fork/close-in-parent", child_goes_on_after_the_parent_closed);
	support_add("/qalloc/fork/grandchildren", grandchildren);
	support_add("/qalloc/fork/many-maps", many_maps_over_a_fork);
	support_add("/qalloc/fork/private", private_map_becomes_a_copy);
	support_add("/qalloc/fork/readonly", readonly_map_over_a_fork);
	support_add("/qalloc/fork/while-threads-share", fork_while_threads_share);
	support_add("/qalloc/fork/while-threads-private", fork_while_threads_use_a_private_map);
	return support_run();
}
