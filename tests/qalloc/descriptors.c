/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that close descriptors which they did not open, or lock the map's file themselves: maps of both kinds, each way to open them. */
#include <signal.h>
#include <stdlib.h>

#include "tests/support/support_fd.h"
#include "tests/support/support_qalloc.h"

#define MOST 4000
#define ITEM 4000

static const char *path, *victim_path;
static bool by_hand, is_static;

static void choose(int way)
{
	by_hand = way % 2 != 0;
	is_static = way / 2 != 0;
	path = support_path("map");
	victim_path = support_path("victim");
}

static void *make(size_t size)
{
	const struct qalloc_options options = {
		.size = size, .range = 256 * MIB, .item = is_static ? ITEM : 0, .streams = 1
	};
	void *map = qalloc_make(path, &options);

	g_assert_nonnull(map);
	return map;
}

static void give_all(void *map, struct support_block *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		support_verify(&blocks[i]);
		support_give(map, &blocks[i]);
	}
}

/* Full, without its descriptor longer, full again; closed in order. */
static int grows(void *arg)
{
	struct support_block *blocks = calloc(MOST, sizeof(*blocks));
	void *map = make(2 * MIB);
	size_t count = support_fill_up(map, blocks, MOST, ITEM);
	struct qalloc_opening opening;
	struct victim victim;

	(void)arg;
	victim_moves_in(&victim, victim_path, by_hand);
	for (size_t size = 3; size < 16; size += 3) {
		g_assert_cmpint(qalloc_grow(map, size * MIB), ==, 0);
		count += support_fill_up(map, blocks + count, MOST - count, ITEM);
	}
	g_assert_cmpuint(count, >, 2000);
	check_map(map);
	victim_is_well(&victim);
	give_all(map, blocks, count);
	check_map(map);
	support_close(map);
	victim_is_well(&victim);
	map = support_load(path);
	g_assert_cmpint(qalloc_opening(map, &opening), ==, 0);
	g_assert_cmpuint(opening.closed, ==, 1);
	support_close(map);
	victim_is_well(&victim);
	free(blocks);
	return 0;
}

/* It cannot be opened again: what it has can be used to the last byte, and it cannot grow. */
static int cannot_grow(void *arg)
{
	struct support_block *blocks = calloc(MOST, sizeof(*blocks));
	void *map = make(8 * MIB);
	struct victim victim;
	size_t count;

	(void)arg;
	victim_moves_in(&victim, victim_path, by_hand);
	fd_make_nameless(path);
	errno = 0;
	for (count = 0; count < MOST && support_take(map, &blocks[count], ITEM, count); count++)
		;
	g_assert_cmpuint(count, <, MOST);
	assert_minus1(qalloc_grow(map, 16 * MIB), EBADF);
	g_assert_nonnull(strstr(qalloc_errmsg(), "the program closed descriptor"));
	give_all(map, blocks, count);
	support_close(map);
	victim_is_well(&victim);
	free(blocks);
	return 0;
}

/* Views for reading, and private ones, need none to be read, changed in memory, or copied. */
static int views(void *arg)
{
	const char *copy = support_path("copy");
	struct support_block block, more;
	void *map = make(8 * MIB), *view, *own;
	struct victim victim;

	(void)arg;
	g_assert_true(support_take(map, &block, ITEM, 1));
	support_close(map);
	view = support_open(path, QALLOC_RDONLY);
	assert_null(qalloc_open(path, QALLOC_PRIVATE), EBUSY); /* One way a process. */
	victim_moves_in(&victim, victim_path, by_hand);
	support_verify(&block);
	g_assert_cmpint(qalloc_snapshot(view, copy), ==, 0);
	victim_is_well(&victim);
	support_close(view);
	victim_is_well(&victim);
	own = support_open(copy, QALLOC_PRIVATE);
	fd_close_all(by_hand);
	fd_take_numbers(victim_path);
	g_assert_true(support_take(own, &more, ITEM, 2));
	support_close(own);
	victim_is_well(&victim);
	return 0;
}

/* Whoever has it to himself keeps it. */
static int try_to_open(void *arg)
{
	(void)arg;
	assert_null(qalloc_open(path, 0), EBUSY);
	return 0;
}

static int alone(void *arg)
{
	struct support_block block;
	void *map = make(2 * MIB);
	struct victim victim;

	(void)arg;
	support_close(map);
	map = support_open(path, QALLOC_EXCLUSIVE);
	victim_moves_in(&victim, victim_path, by_hand);
	g_assert_cmpint(qalloc_grow(map, 8 * MIB), ==, 0);
	g_assert_true(support_take(map, &block, ITEM, 1));
	support_run_child(try_to_open, NULL);
	support_close(map);
	victim_is_well(&victim);
	return 0;
}

/* ---- locks ---- */

struct shared {
	struct support_sync sync;
	_Atomic(pid_t) child;
};

static int holds_a_lock(void *arg)
{
	struct shared *shared = arg;
	void *map = support_load(path);
	struct qalloc_lock *lock = qalloc_find_or_create(map, "lock", sizeof(*lock), NULL, NULL, NULL);
	pid_t pid;

	g_assert_cmpint(qalloc_lock(map, lock), ==, 0);
	if (by_hand)
		fd_close_all(true);
	pid = fork();
	if (pid == 0) {
		alarm(120); /* When the test fails, too. */
		shared->child = getpid();
		support_point(&shared->sync, "child");
		_exit(0);
	}
	for (;;)
		pause();
}

/* A child that lives on with its parent's mappings does not keep its dead parent's locks. */
static int parent_dies(void *arg)
{
	struct shared *shared = support_shared(sizeof(*shared));
	struct qalloc_lock *lock;
	void *map = make(2 * MIB);
	pid_t pid;

	(void)arg;
	support_close(map); /* Its holder has opened it itself. */
	pid = support_fork(holds_a_lock, shared);
	support_await(&shared->sync, "child");
	map = support_load(path);
	lock = qalloc_find_or_create(map, "lock", sizeof(*lock), NULL, NULL, NULL);
	kill(pid, SIGKILL);
	support_wait(pid);
	g_assert_cmpint(kill(shared->child, 0), ==, 0);
	/* Not trylock: a process that reads its /proc/PID/stat, as tests/support/watch does, keeps its mappings, and so its locks, a moment longer. */
	g_assert_cmpint(qalloc_lock(map, lock), ==, EOWNERDEAD);
	g_assert_cmpint(qalloc_unlock(map, lock), ==, 0);
	kill(shared->child, SIGKILL);
	support_finish(map, path);
	return 0;
}

/* Of the map's file. */
static size_t open_descriptors(void)
{
	struct stat st, other;
	size_t count = 0;

	g_assert_cmpint(stat(path, &st), ==, 0);
	for (int fd = 0; fd < 1024; fd++)
		count += fstat(fd, &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev;
	return count;
}

/* By name, again and again: it says why, keeps the program's lock, and uses no more descriptors each time. */
static int lockf_first(void *arg)
{
	void *map = make(2 * MIB);
	int fd;

	(void)arg;
	support_close(map);
	fd = open(path, O_RDWR);
	g_assert_cmpint(lockf(fd, F_LOCK, 0), ==, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_null(qalloc_loadmap(path), EDEADLK);
		g_assert_true(fd_is_locked(path));
		g_assert_cmpuint(open_descriptors(), ==, 2); /* Ours stays open, for closing it would drop the lock. */
	}
	g_assert_cmpint(lockf(fd, F_ULOCK, 0), ==, 0);
	support_close(support_load(path));
	g_assert_cmpuint(open_descriptors(), ==, 1);
	return 0;
}

FD_CASE(grows, 4, choose)
FD_CASE(cannot_grow, 4, choose)
FD_CASE(views, 4, choose)
FD_CASE(alone, 4, choose)
FD_CASE(parent_dies, 4, choose)
FD_CASE(lockf_first, 4, choose)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/descriptors/grows", grows_case);
	support_add("/qalloc/descriptors/cannot-grow", cannot_grow_case);
	support_add("/qalloc/descriptors/views", views_case);
	support_add("/qalloc/descriptors/alone", alone_case);
	support_add("/qalloc/descriptors/parent-dies", parent_dies_case);
	support_add("/qalloc/descriptors/lockf-first", lockf_first_case);
	return support_run();
}
