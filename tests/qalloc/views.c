/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Read-only and private maps.
 */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_qalloc.h"

struct view {
	const char *path;
	unsigned flags;
	struct support_block blocks[40];
	struct support_sync sync;
	_Atomic bool stop;
};

/* A closed map with 40 blocks and a root. */
static struct view *new_view(bool is_static)
{
	struct view *v = support_shared(sizeof(*v));
	void *map;

	v->path = support_path("view");
	map = is_static ? (void *)support_stat(v->path, 4 * MIB, 3000, 2) : (void *)support_dyn(v->path, 16 * MIB, 2);
	for (size_t i = 0; i < 40; i++)
		g_assert_true(support_take(map, &v->blocks[i], is_static || i % 10 ? i * 70 : i * 5000, i));
	g_assert_cmpint(qalloc_setroot(map, "root", v->blocks[5].at), ==, 0);
	support_close(map);
	return v;
}

static void verify_all(struct view *v)
{
	for (size_t i = 0; i < 40; i++)
		support_verify(&v->blocks[i]);
}

static void readonly_map(struct view *v)
{
	size_t size, after_size;
	char *before = support_file_read(v->path, &size), *after;
	void *map = support_open(v->path, QALLOC_RDONLY);

	verify_all(v);
	g_assert_cmpuint(support_used(map), ==, 40);
	g_assert_cmpuint(support_count(map), ==, 40);
	g_assert_cmpuint(qalloc_usable_size(map, v->blocks[3].at), >=, v->blocks[3].size);
	g_assert_true(qalloc_getroot(map, "root") == v->blocks[5].at);
	check_map(map);
	assert_null(qalloc_malloc(map, 10), EROFS);
	assert_null(qalloc_malloc(map, 100000), EROFS);
	assert_null(qalloc_calloc(map, 1, 10), EROFS);
	assert_null(qalloc_realloc(map, v->blocks[1].at, 10), EROFS);
	assert_null(qalloc_realloc(map, NULL, 10), EROFS);
	assert_null(qalloc_memalign(map, 8, 10), EROFS);
	assert_void(qalloc_free(v->blocks[1].at, map), EROFS);
	assert_minus1(qalloc_setroot(map, "root", v->blocks[6].at), EROFS);
	assert_minus1(qalloc_setroot(map, "new", v->blocks[6].at), EROFS);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	support_close(map);
	after = support_file_read(v->path, &after_size);
	g_assert_cmpuint(size, ==, after_size);
	g_assert_cmpint(memcmp(before, after, size), ==, 0);
	g_free(before);
	g_free(after);
}

static void readonly_looks_and_does_not_touch(void)
{
	readonly_map(new_view(false));
	readonly_map(new_view(true));
}

static int store_into(void *arg)
{
	struct view *v = arg;

	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	support_open(v->path, QALLOC_RDONLY);
	*(volatile char *)v->blocks[1].at = 1;
	return 0;
}

static void readonly_stores_fault(void)
{
	struct view *v = new_view(false);
	int status = support_wait(support_fork(store_into, v));

	g_assert_true(WIFSIGNALED(status));
	g_assert_cmpint(WTERMSIG(status), ==, SIGSEGV);
	verify_all((support_load(v->path), v));
	qalloc_cleanup();
}

static int write_and_wait(void *arg)
{
	struct view *v = arg;
	void *map = support_load(v->path);

	support_point(&v->sync, "open");
	for (size_t i = 0; i < 20; i++)
		support_give(map, &v->blocks[i]);
	g_assert_true(support_take(map, &v->blocks[0], 123, 77));
	g_assert_cmpint(qalloc_setroot(map, "root", v->blocks[30].at), ==, 0);
	support_point(&v->sync, "changed");
	support_close(map);
	return 0;
}

static void readonly_sees_what_others_do(void)
{
	struct view *v = new_view(false);
	pid_t pid = support_fork(write_and_wait, v);
	void *map;

	support_await(&v->sync, "open");
	map = support_open(v->path, QALLOC_RDONLY);
	g_assert_cmpuint(support_count(map), ==, 40);
	support_go(&v->sync, "open");
	support_await(&v->sync, "changed");
	g_assert_cmpuint(support_count(map), ==, 21);
	g_assert_true(qalloc_getroot(map, "root") == v->blocks[30].at);
	support_verify(&v->blocks[0]);
	check_map(map);
	support_go(&v->sync, "changed");
	support_wait_ok(pid);
	support_close(map);
}

static int hold_readonly(void *arg)
{
	struct view *v = arg;

	support_open(v->path, QALLOC_RDONLY);
	support_point(&v->sync, "open");
	return 0;
}

/* It takes no part in the locking: a writer that comes later is the first attacher all the same. */
static void readonly_delays_nobody(void)
{
	struct view *v = new_view(false);
	pid_t pid = support_fork(hold_readonly, v);
	void *map;

	support_await(&v->sync, "open");
	map = support_load(v->path);
	support_give(map, &v->blocks[0]);
	g_assert_true(support_take(map, &v->blocks[0], 5000, 1));
	support_close(map);
	support_kill(pid);
	map = support_load(v->path);
	support_finish(map, v->path);
}

/* --- private --- */

static void use_private(struct view *v, void *map)
{
	struct support_block more[50];

	verify_all(v);
	g_assert_cmpuint(support_used(map), ==, 40);
	for (size_t i = 0; i < 50; i++)
		g_assert_true(support_take(map, &more[i], i * 60, i + 100));
	for (size_t i = 0; i < 20; i++)
		support_give(map, &(struct support_block){ v->blocks[i].at, v->blocks[i].size, i });
	support_fill(v->blocks[25].at, v->blocks[25].size, 999);
	g_assert_cmpint(qalloc_setroot(map, "root", more[3].at), ==, 0);
	g_assert_cmpint(qalloc_setroot(map, "mine", more[4].at), ==, 0);
	g_assert_true(qalloc_getroot(map, "root") == more[3].at);
	g_assert_cmpuint(support_used(map), ==, 70);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	for (size_t i = 0; i < 50; i++)
		support_verify(&more[i]);
	check_map(map);
}

static void private_map(struct view *v)
{
	size_t size, after_size;
	char *before = support_file_read(v->path, &size), *after;
	void *map = support_open(v->path, QALLOC_PRIVATE);

	use_private(v, map);
	support_close(map);
	after = support_file_read(v->path, &after_size);
	g_assert_cmpuint(size, ==, after_size);
	g_assert_cmpint(memcmp(before, after, size), ==, 0);
	g_free(before);
	g_free(after);
	map = support_load(v->path);
	g_assert_cmpuint(support_used(map), ==, 40);
	verify_all(v);
	g_assert_true(qalloc_getroot(map, "root") == v->blocks[5].at);
	assert_null(qalloc_getroot(map, "mine"), ENOENT);
	support_finish(map, v->path);
}

static void private_changes_reach_nobody(void)
{
	private_map(new_view(false));
	private_map(new_view(true));
}

static void private_serves_every_size(void)
{
	struct view *v = new_view(false);
	void *map = support_open(v->path, QALLOC_PRIVATE);
	size_t largest;

	support_free_all(map);
	largest = support_largest(map);
	g_assert_cmpuint(largest, >, 14 * MIB);
	for (size_t size = 0; size < largest; size += 1 + size / 5) {
		struct support_block block;

		g_assert_true(support_take(map, &block, size, size));
		support_give(map, &block);
	}
	check_map(map);
	support_close(map);
}

/* Opened while others change the map all the time: the snapshot is sound, whatever moment it caught. */
static int churn(void *arg)
{
	struct view *v = arg;
	void *map = support_load(v->path);
	struct support_block blocks[64] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, 8);
	support_point(&v->sync, "running");
	while (!atomic_load(&v->stop)) {
		struct support_block *block = &blocks[support_rand_below(&r, 64)];

		if (block->at)
			assert_void(qalloc_free(block->at, map), 0);
		block->at = qalloc_malloc(map, support_rand_below(&r, 20) ? support_rand_below(&r, 2000)
									  : support_rand_below(&r, 200000));
	}
	support_close(map);
	return 0;
}

static void use_snapshot(void *map)
{
	size_t used = support_used(map), count;
	struct support_block block;

	check_map(map);
	count = support_count(map);
	g_assert_cmpuint(count, ==, used);
	g_assert_true(support_take(map, &block, 100, 1));
	support_give(map, &block);
	g_assert_cmpuint(support_count(map), ==, count);
	g_assert_cmpuint(support_free_all(map), ==, count);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_close(map);
}

static void snapshots_of_a_busy_map(bool is_static)
{
	struct view *v = new_view(is_static);
	pid_t pid = support_fork(churn, v);

	support_await(&v->sync, "running");
	support_go(&v->sync, "running");
	for (size_t round = 0; round < support_scale(100); round++)
		use_snapshot(support_open(v->path, QALLOC_PRIVATE));
	atomic_store(&v->stop, true);
	support_wait_ok(pid);
}

/* The map is new each time: while it takes up new space its metadata grows, too. */
static void private_snapshot_of_a_busy_map(void)
{
	for (int i = 0; i < 5; i++) {
		snapshots_of_a_busy_map(false);
		snapshots_of_a_busy_map(true);
	}
}

/* Same snapshot while readers look on. */
static void readonly_check_of_a_busy_map(void)
{
	struct view *v = new_view(false);
	pid_t pid = support_fork(churn, v);
	void *map;

	support_await(&v->sync, "running");
	map = support_open(v->path, QALLOC_RDONLY);
	support_go(&v->sync, "running");
	for (size_t round = 0; round < support_scale(200); round++) {
		check_map(map);
		g_assert_cmpuint(support_count(map), <=, 2 * (40 + 65));
		g_assert_cmpuint(support_stats(map).used_bytes, <=, support_stats(map).user_bytes);
	}
	atomic_store(&v->stop, true);
	support_wait_ok(pid);
	support_close(map);
}

/* A file that may only be read: views work, writing is refused by open(2). Root may write it all the same. */
static void file_without_write_permission(void)
{
	struct view *v = new_view(false);
	void *map;

	g_assert_cmpint(chmod(v->path, 0400), ==, 0);
	map = support_open(v->path, QALLOC_RDONLY);
	verify_all(v);
	support_close(map);
	map = support_open(v->path, QALLOC_PRIVATE);
	use_private(v, map);
	support_close(map);
	if (geteuid() != 0)
		assert_null(qalloc_loadmap(v->path), EACCES);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/views/readonly", readonly_looks_and_does_not_touch);
	support_add("/qalloc/views/readonly-faults", readonly_stores_fault);
	support_add("/qalloc/views/readonly-sees", readonly_sees_what_others_do);
	support_add("/qalloc/views/readonly-delays-nobody", readonly_delays_nobody);
	support_add("/qalloc/views/readonly-busy", readonly_check_of_a_busy_map);
	support_add("/qalloc/views/private", private_changes_reach_nobody);
	support_add("/qalloc/views/private-sizes", private_serves_every_size);
	support_add("/qalloc/views/private-busy", private_snapshot_of_a_busy_map);
	support_add("/qalloc/views/no-write-permission", file_without_write_permission);
	return support_run();
}
