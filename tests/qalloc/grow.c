/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps of both kinds grow in place: alone, under threads and processes, in views and copies, up to their range and not beyond. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/support_qalloc.h"

#define MOST 6000
#define ITEM 1000

static void *make(const char *path, bool is_static, size_t size, size_t range, size_t streams)
{
	const struct qalloc_options options = {
		.size = size,
		.range = range,
		.item = is_static ? ITEM : 0,
		.streams = streams,
	};
	void *map = qalloc_make(path, &options);

	g_assert_nonnull(map);
	return map;
}

/* Full, longer, full again, in steps that end anywhere; then as it was, in the next process. */
static void grows_step_by_step(bool is_static)
{
	static const size_t sizes[] = { 200000, 200001, 300000, 512 * KIB, 513 * KIB, MIB + 5, 3 * MIB, 3 * MIB + 100000 };
	struct support_block *blocks = calloc(MOST, sizeof(*blocks));
	const char *path = support_path("steps");
	void *map = make(path, is_static, 160 * KIB, 16 * MIB, 1);
	size_t had = 160 * KIB, count = support_fill_up(map, blocks, MOST, ITEM);

	g_assert_cmpuint(count, >, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		size_t before = count;

		g_assert_cmpint(qalloc_grow(map, sizes[i]), ==, 0);
		g_assert_cmpint(support_file_size(path), ==, (off_t)sizes[i]);
		check_map(map);
		count += support_fill_up(map, blocks + count, MOST - count, ITEM);
		if (sizes[i] - had >= 300000)
			g_assert_cmpuint((count - before) * ITEM, >, (sizes[i] - had) / 2);
		had = sizes[i];
		check_map(map);
	}
	support_no_overlap(map, blocks, count);
	for (size_t i = 0; i < count; i++)
		support_verify(&blocks[i]);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, count);
	g_assert_cmpuint(support_stats(map).file_bytes, ==, had);
	for (size_t i = 0; i < count; i++) {
		support_verify(&blocks[i]);
		support_give(map, &blocks[i]);
	}
	support_finish(map, path);
	free(blocks);
}

static void dynamic_steps(void)
{
	grows_step_by_step(false);
}

static void static_steps(void)
{
	grows_step_by_step(true);
}

/* A block may lie over all that was added. */
static void large_blocks_over_the_seams(void)
{
	const char *path = support_path("seams");
	struct support_block block = { 0 };
	void *map = make(path, false, 256 * KIB, 64 * MIB, 3);

	g_assert_null(qalloc_malloc(map, 30 * MIB));
	g_assert_cmpint(qalloc_grow(map, 32 * MIB), ==, 0);
	g_assert_true(support_take(map, &block, 30 * MIB, 5));
	g_assert_cmpint(qalloc_setroot(map, "large", block.at), ==, 0);
	check_map(map);
	support_close(map);
	map = support_load(path);
	support_verify(&block);
	support_give(map, &block);
	support_finish(map, path);
}

/* --- others --- */

struct others {
	void *map;
	const char *path;
	char *block;
	_Atomic int turn;
	bool is_static;
};

static int take_behind(void *arg)
{
	struct others *o = arg;
	void *map = support_load(o->path);
	char *last = NULL, *next;

	atomic_store(&o->turn, 1);
	while (atomic_load(&o->turn) != 2)
		support_sleep_us(100);
	while ((next = qalloc_malloc(map, ITEM)) != NULL) /* Nobody told this process. */
		last = next > last ? next : last;
	o->block = last;
	support_close(map);
	return 0;
}

static void is_seen_by_others(bool is_static)
{
	struct others *o = support_shared(sizeof(*o));
	pid_t pid;

	o->path = support_path("others");
	o->is_static = is_static;
	o->map = make(o->path, is_static, 256 * KIB, 16 * MIB, 2);
	pid = support_fork(take_behind, o);
	while (atomic_load(&o->turn) != 1)
		support_sleep_us(100);
	g_assert_cmpint(qalloc_grow(o->map, 4 * MIB), ==, 0);
	atomic_store(&o->turn, 2);
	support_wait_ok(pid);
	g_assert_true(o->block > support_base(o->map) + 2 * MIB);
	check_map(o->map);
	errno = 0;
	qalloc_free(o->block, o->map);
	g_assert_cmpint(errno, ==, 0);
	g_assert_cmpuint(support_free_all(o->map), >, 2 * MIB / ITEM);
	support_finish(o->map, o->path);
}

static void dynamic_is_seen(void)
{
	is_seen_by_others(false);
}

static void static_is_seen(void)
{
	is_seen_by_others(true);
}

static void churn(struct support_thread *self)
{
	void *map = self->arg;
	struct support_block blocks[50] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t i = 0; i < support_scale(20000); i++) {
		struct support_block *block = &blocks[support_rand_below(&r, G_N_ELEMENTS(blocks))];

		if (block->at)
			support_give(map, block);
		else
			support_take(map, block, support_rand_below(&r, 30) ? 1 + i % ITEM : 150000, i);
		if (self->index == 0 && i % 500 == 0) {
			int result = qalloc_grow(map, support_stats(map).file_bytes + 70001);

			g_assert_true(result == 0 || errno == ENOMEM);
		}
	}
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		if (blocks[i].at)
			support_give(map, &blocks[i]);
}

static void under_threads(void)
{
	const char *path = support_path("threads");
	void *map = make(path, false, 512 * KIB, 3 * MIB, 2);

	support_threads(4, churn, map);
	check_map(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

/* --- views and copies --- */

static void views_and_copies(bool is_static)
{
	const char *path = support_path("map"), *copy = support_path("copy");
	struct support_block *blocks = calloc(MOST, sizeof(*blocks)), own = { 0 };
	void *map = make(path, is_static, 256 * KIB, 16 * MIB, 2);
	size_t count;

	g_assert_cmpint(qalloc_grow(map, 4 * MIB), ==, 0);
	count = support_fill_up(map, blocks, MOST, ITEM);
	g_assert_cmpint(qalloc_setroot(map, "last", blocks[count - 1].at), ==, 0);
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_close(map);

	map = support_load(copy);
	g_assert_cmpuint(support_used(map), ==, count);
	for (size_t i = 0; i < count; i++)
		support_verify(&blocks[i]);
	g_assert_cmpint(qalloc_grow(map, 5 * MIB), ==, 0);
	g_assert_true(support_take(map, &own, ITEM, 1));
	support_finish(map, copy);

	map = support_open(path, QALLOC_PRIVATE);
	g_assert_null(qalloc_malloc(map, ITEM));
	g_assert_cmpint(qalloc_grow(map, 6 * MIB), ==, 0);
	g_assert_true(support_take(map, &own, ITEM, 1));
	for (size_t i = 0; i < count; i++)
		support_verify(&blocks[i]);
	check_map(map);
	support_close(map);
	g_assert_cmpint(support_file_size(path), ==, 4 * MIB);

	support_file_copy(path, copy);
	map = support_load(copy); /* It is checked whole, and what is not in use made anew. */
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
	check_map(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, copy);
	g_assert_cmpint(remove(path), ==, 0);
	free(blocks);
}

static void dynamic_views(void)
{
	views_and_copies(false);
}

static void static_views(void)
{
	views_and_copies(true);
}

/* --- little address space --- */

static int open_with_little(void *arg)
{
	struct others *o = arg;
	struct rlimit limit = { 8 * GIB, 8 * GIB };
	void *map;

	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 1;
	map = support_load(o->path);
	g_assert_nonnull(qalloc_malloc(map, 100));
	g_assert_cmpint(qalloc_grow(map, 100 * MIB), ==, -1); /* Beyond what is mapped here. */
	assert_errno_is(ENOMEM);
	check_map(map);
	atomic_store(&o->turn, 1);
	while (atomic_load(&o->turn) != 2)
		support_sleep_us(100);
	g_assert_nonnull(qalloc_malloc(map, 100));
	qalloc_free(o->block, map);
	assert_errno_is(EINVAL);
	check_map(map);
	support_close(map);
	map = support_load(o->path);
	errno = 0;
	qalloc_free(o->block, map);
	g_assert_cmpint(errno, ==, 0);
	support_close(map);
	return 0;
}

static void little_address_space(void)
{
	struct others *o = support_shared(sizeof(*o));
	pid_t pid;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("they need more address space than that themselves");
		return;
	}
	o->path = support_path("little");
	o->map = make(o->path, false, MIB, 64 * GIB, 1);
	support_close(o->map);
	pid = support_fork(open_with_little, o);
	while (atomic_load(&o->turn) != 1)
		support_sleep_us(100);
	o->map = support_load(o->path);
	g_assert_cmpint(qalloc_grow(o->map, 100 * MIB), ==, 0);
	o->block = qalloc_malloc(o->map, 50 * MIB);
	g_assert_nonnull(o->block);
	atomic_store(&o->turn, 2);
	support_wait_ok(pid);
	support_finish(o->map, o->path);
}

/* --- what is refused --- */

static int grow_too_far(void *arg)
{
	struct rlimit limit = { 2 * MIB, 2 * MIB };

	setrlimit(RLIMIT_FSIZE, &limit);
	g_assert_cmpint(qalloc_grow(arg, 3 * MIB), ==, -1);
	assert_errno_is(EFBIG);
	check_map(arg);
	return 0;
}

static void refusals(void)
{
	const char *path = support_path("refused");
	void *map = make(path, false, MIB, 8 * MIB, 1), *reader;

	g_assert_cmpint(qalloc_grow(map, MIB - 1), ==, -1);
	assert_errno_is(EINVAL);
	g_assert_cmpint(qalloc_grow(map, MIB), ==, 0);
	g_assert_cmpint(qalloc_grow(map, 8 * MIB + 4096), ==, -1);
	assert_errno_is(ENOMEM);
	support_run_child(grow_too_far, map);
	g_assert_cmpint(support_file_size(path), ==, MIB);
	g_assert_cmpint(qalloc_grow(map, (size_t)support_stats(map).range_bytes), ==, 0);
	g_assert_cmpuint(support_stats(map).range_bytes, <=, 8 * MIB);
	g_assert_cmpuint(support_stats(map).range_bytes, >, 7 * MIB);
	support_close(map);
	g_assert_cmpint(qalloc_grow(map, 8 * MIB), ==, -1);
	assert_errno_is(EBADF);
	reader = support_open(path, QALLOC_RDONLY);
	g_assert_cmpint(qalloc_grow(reader, 8 * MIB), ==, -1);
	assert_errno_is(EROFS);
	support_close(reader);
	g_assert_cmpint(remove(path), ==, 0);
}

static void options(void)
{
	const char *path = support_path("options");
	struct qalloc_options o = { .size = MIB, .processes = 70000 };
	void *map;

	assert_null(qalloc_make(path, NULL), EINVAL);
	assert_null(qalloc_make(path, &o), EINVAL);
	o = (struct qalloc_options){ .size = MIB, .range = 4096 };
	assert_null(qalloc_make(path, &o), EINVAL);
	o = (struct qalloc_options){ .size = MIB, .reserved = { 0, 1 } };
	assert_null(qalloc_make(path, &o), EINVAL);
	o = (struct qalloc_options){ .size = 16 * MIB };
	map = qalloc_make(path, &o);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).slots, >=, 1024);
	g_assert_cmpuint(support_stats(map).range_bytes, >=, 4 * GIB / 2);
	support_finish(map, path);
	o = (struct qalloc_options){ .size = MIB, .processes = 3000 };
	map = qalloc_make(path, &o);
	g_assert_nonnull(map);
	g_assert_cmpuint(support_stats(map).slots, ==, 3000);
	support_finish(map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/grow/dynamic-steps", dynamic_steps);
	support_add("/qalloc/grow/static-steps", static_steps);
	support_add("/qalloc/grow/large-blocks-over-the-seams", large_blocks_over_the_seams);
	support_add("/qalloc/grow/dynamic-is-seen", dynamic_is_seen);
	support_add("/qalloc/grow/static-is-seen", static_is_seen);
	support_add("/qalloc/grow/under-threads", under_threads);
	support_add("/qalloc/grow/dynamic-views", dynamic_views);
	support_add("/qalloc/grow/static-views", static_views);
	support_add("/qalloc/grow/little-address-space", little_address_space);
	support_add("/qalloc/grow/refusals", refusals);
	support_add("/qalloc/grow/options", options);
	return support_run();
}
