/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fork children of a process that makes checkpoints: forked by another thread while one has opened the checkpoint file and not noted its
 * descriptor yet, and children of _Fork(), of which fork's handlers know nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/power/numbered.h"

static void *map;
static char *path, *checkpoints;

static void make(const char *name)
{
	path = g_strdup(support_path(name));
	checkpoints = g_strconcat(path, ".checkpoint", NULL);
	map = numbered_make(path, true);
}

/* The machine dies, and the map is what the last checkpoint says. */
static void assert_after_cut(uint64_t is)
{
	lib_close(map);
	cut_the_power(path);
	assert_number(path, is, true);
	g_free(path);
	g_free(checkpoints);
}

/* ---- a fork between open(2) and the note ---- */

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

static unsigned stop_at,
	stops;         /* The call of fstat(2) of the checkpoint file at which another thread forks; 0: none. */
static int descriptor; /* Which it was called with. */
static int taken = -1; /* The program's own file, which got the number of the call before. */
static uint64_t stored;

static bool is_checkpoint_file(const struct stat *st)
{
	struct stat is;

	return stat(checkpoints, &is) == 0 && st->st_dev == is.st_dev && st->st_ino == is.st_ino;
}

/* The number leads to a file of the child's own: that is neither closed nor written to. */
static int use_number(void *arg)
{
	const char *name = support_path("own");
	int own = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	g_assert_cmpint(dup3(own, descriptor, O_CLOEXEC), ==, descriptor);
	stop_at = 0;
	*number_in(map) = stored;
	g_assert_cmpint(lib_sync(map), ==, 0);
	lib_close(map);
	g_assert_cmpint(__real_fstat(descriptor, &st), ==, 0);
	g_assert_cmpint(st.st_size, ==, 0);
	g_assert_false(is_checkpoint_file(&st));
	(void)arg;
	return 0;
}

/* It keeps the descriptor, as it does not know of it. */
static int use_map(void *arg)
{
	stop_at = 0;
	g_assert_true(taken < 0 || fcntl(taken, F_GETFD) >= 0);
	*number_in(map) = stored;
	g_assert_cmpint(lib_sync(map), ==, 0);
	g_assert_nonnull(lib_malloc(map, 100));
	(void)arg;
	return 0;
}

static void *fork_there(void *arg)
{
	stored++;
	support_run_child(use_number, arg);
	stored++;
	support_run_child(use_map, arg);
	return NULL;
}

int __wrap_fstat(int fd, struct stat *st)
{
	int result = __real_fstat(fd, st);
	pthread_t thread;

	if (stop_at == 0 || result < 0 || !is_checkpoint_file(st) || ++stops != stop_at)
		return result;
	stop_at = 0;
	descriptor = fd;
	g_assert_cmpint(pthread_create(&thread, NULL, fork_there, NULL), ==, 0);
	pthread_join(thread, NULL);
	return result;
}

static unsigned count_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void stops_in(int (*call)(void *map), unsigned at)
{
	unsigned before = count_descriptors();

	stops = 0;
	stop_at = at;
	g_assert_cmpint(call(map), ==, 0);
	g_assert_cmpuint(count_descriptors(), ==, before);
	g_assert_cmpuint(stop_at, ==, 0);
	g_assert_cmpuint(*number_in(map), ==, stored);
	*number_in(map) = ++stored;
	g_assert_cmpint(lib_sync(map), ==, 0);
}

static int sync_map(void *of)
{
	return lib_sync(of);
}

static int capture_and_commit(void *of)
{
	return lib_capture(of) == 0 ? lib_commit(of) : -1;
}

static void between(void)
{
	static int (*const calls[])(void *map) = { sync_map, capture_and_commit };

	if (support_valgrind()) {
		g_test_skip("a child leaves its parent's tables as they are when a call was at them: a leak");
		return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
		make("between");
		g_assert_cmpint(lib_sync(map), ==, 0);
		stored = 1;
		stops_in(calls[i], 1); /* It was opened. */
		taken = descriptor;
		g_assert_cmpint(dup3(STDERR_FILENO, taken, O_CLOEXEC), ==, taken);
		stops_in(calls[i], 2); /* Its identity is asked for, to note it. After that it is locked. */
		g_assert_cmpint(fcntl(taken, F_GETFD), >=, 0);
		close(taken);
		taken = -1;
		assert_after_cut(stored);
	}
}

/* ---- children of _Fork() ---- */

static void run_plain_child(int (*fn)(void))
{
	pid_t pid = _Fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid == 0)
		_exit(fn());
	support_wait_ok(pid);
}

static int store_and_sync(void)
{
	*number_in(map) = 6;
	if (lib_sync(map) < 0)
		g_error("%s", lib_errmsg());
	return 0;
}

static int store_again(void)
{
	store_and_sync();
	*number_in(map) = 7;
	return 0;
}

/* By itself, without a call before. */
static void plain_syncs(void)
{
	make("syncs");
	g_assert_cmpint(lib_sync(map), ==, 0);
	run_plain_child(store_and_sync);
	assert_after_cut(6);
}

/* After a call of its own, its parent's checkpoints have its stores, too. */
static void plain_stores(void)
{
	make("stores");
	g_assert_cmpint(lib_sync(map), ==, 0);
	run_plain_child(store_again);
	g_assert_cmpuint(*number_in(map), ==, 7);
	g_assert_cmpint(lib_sync(map), ==, 0);
	assert_after_cut(7);
}

/* What its parent captured is not the child's. */
static int commit(void)
{
	g_assert_cmpint(lib_commit(map), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
	return 0;
}

static void plain_commits(void)
{
	make("commits");
	*number_in(map) = 2;
	g_assert_cmpint(lib_capture(map), ==, 0);
	run_plain_child(commit);
	g_assert_cmpint(lib_commit(map), ==, 0);
	*number_in(map) = 3;
	g_assert_cmpint(lib_sync(map), ==, 0);
	assert_after_cut(3);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/power/" LIB_NAME "-forks/between", between);
	support_add("/power/" LIB_NAME "-forks/plain-syncs", plain_syncs);
	support_add("/power/" LIB_NAME "-forks/plain-stores", plain_stores);
	support_add("/power/" LIB_NAME "-forks/plain-commits", plain_commits);
	return support_run();
}
