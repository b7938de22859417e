/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls that make checkpoints: what each refuses, who waits for whom, and what becomes of the two files. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/power/numbered.h"

#define assert_fails(call, err)                    \
	do {                                       \
		g_assert_cmpint((call), ==, -1);   \
		g_assert_cmpint(errno, ==, (err)); \
	} while (0)

static char *checkpoints_of(const char *path)
{
	return g_strconcat(path, ".checkpoint", NULL);
}

/* ---- refusals ---- */

static void refusals(void)
{
	const char *path = support_path("refusals");
	void *map = numbered_make(path, false);

	assert_fails(lib_capture(map), EINVAL);
	assert_fails(lib_commit(map), EINVAL);
	assert_fails(lib_restore(path), EBUSY);
	g_assert_cmpint(lib_durable(map), ==, 0);
	assert_fails(lib_commit(map), EINVAL);
	g_assert_cmpint(lib_capture(map), ==, 0);
	assert_fails(lib_capture(map), EBUSY);
	assert_fails(lib_sync(map), EBUSY);
	g_assert_cmpint(lib_commit(map), ==, 0);
	assert_fails(lib_commit(map), EINVAL);
	lib_close(map);
	assert_fails(lib_restore(support_path("absent")), ENOENT);
	map = numbered_make(support_path("plain"), false);
	lib_close(map);
	assert_fails(lib_restore(support_path("plain")), ENOENT);
}

static void no_name(void)
{
	const char *path = support_path("nameless");
	void *map = numbered_make(path, false);

	g_assert_cmpint(unlink(path), ==, 0);
	assert_fails(lib_durable(map), ENOENT);
	lib_close(map);
}

static void another_maps_file(void)
{
	const char *one = support_path("one"), *two = support_path("two");
	char *from = checkpoints_of(one), *to = checkpoints_of(two);
	void *map = numbered_make(one, true);

	lib_close(map);
	map = numbered_make(two, false);
	g_assert_cmpint(rename(from, to), ==, 0);
	assert_fails(lib_durable(map), EUCLEAN);
	lib_close(map);
	g_free(from);
	g_free(to);
}

/* ---- the two files ---- */

static void going_back(void)
{
	const char *path = support_path("back");
	void *map = numbered_make(path, true);

	*number_in(map) = 2;
	lib_close(map);
	assert_number(path, 2, false);
	g_assert_cmpint(lib_restore(path), ==, 0);
	assert_number(path, 1, true);
	assert_number(path, 1, false);
}

static void renamed(void)
{
	const char *path = support_path("old"), *other = support_path("new");
	char *from = checkpoints_of(path), *to = checkpoints_of(other);
	void *map = numbered_make(path, true);

	*number_in(map) = 2;
	lib_close(map);
	g_assert_cmpint(rename(path, other), ==, 0);
	g_assert_cmpint(rename(from, to), ==, 0);
	cut_the_power(other);
	assert_number(other, 1, true);
	g_free(from);
	g_free(to);
}

/* What the machine left may be anything, so it is not opened as if it were the checkpoint. */
static void missing(void)
{
	const char *path = support_path("missing");
	char *checkpoints = checkpoints_of(path);
	void *map = numbered_make(path, true);

	lib_close(map);
	g_assert_cmpint(unlink(checkpoints), ==, 0);
	assert_number(path, 1, false); /* Nothing happened to the machine. */
	cut_the_power(path);
	g_assert_null(lib_load(path));
	g_assert_cmpint(errno, ==, EUCLEAN);
	g_assert_nonnull(strstr(lib_errmsg(), ".checkpoint"));
	g_free(checkpoints);
}

static void copy_file(const char *from, const char *to)
{
	char *bytes;
	gsize length;

	g_assert_true(g_file_get_contents(from, &bytes, &length, NULL));
	g_assert_true(g_file_set_contents(to, bytes, (gssize)length, NULL));
	g_free(bytes);
}

static void copied(void)
{
	const char *path = support_path("original"), *alone = support_path("alone"), *both = support_path("both");
	char *from = checkpoints_of(path), *to = checkpoints_of(both);
	void *map = numbered_make(path, true);

	*number_in(map) = 2;
	lib_close(map);
	copy_file(path, alone);
	copy_file(path, both);
	copy_file(from, to);
	assert_number(alone, 2, false);
	map = lib_load(alone);
	assert_fails(lib_capture(map), EINVAL); /* It is not durable. */
	lib_close(map);
	assert_number(both, 1, true);
	g_free(from);
	g_free(to);
}

static void nothing_to_write(void)
{
	const char *path = support_path("nothing");
	char *checkpoints = checkpoints_of(path);
	void *map = numbered_make(path, true);
	struct stat before, after;

	g_assert_cmpint(stat(checkpoints, &before), ==, 0);
	for (int i = 0; i < 100; i++)
		g_assert_cmpint(lib_sync(map), ==, 0);
	g_assert_cmpint(stat(checkpoints, &after), ==, 0);
	g_assert_cmpint(after.st_mtim.tv_sec, ==, before.st_mtim.tv_sec);
	g_assert_cmpint(after.st_mtim.tv_nsec, ==, before.st_mtim.tv_nsec);
	lib_close(map);
	g_free(checkpoints);
}

/* ---- threads and processes ---- */

static void *map_of_all;
static atomic_uint done;

static void *sync_once(void *arg)
{
	(void)arg;
	g_assert_cmpint(lib_sync(map_of_all), ==, 0);
	atomic_fetch_add(&done, 1);
	return NULL;
}

/* All that wait for a commit are served by one more checkpoint. */
static void group(void)
{
	const char *path = support_path("group");
	pthread_t thread[8];
	struct ma_header before, after;
	int fd;

	map_of_all = numbered_make(path, true);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	*number_in(map_of_all) = 2;
	g_assert_cmpint(lib_capture(map_of_all), ==, 0);
	atomic_store(&done, 0);
	*number_in(map_of_all) = 3;
	for (size_t i = 0; i < 8; i++)
		g_assert_cmpint(pthread_create(&thread[i], NULL, sync_once, NULL), ==, 0);
	g_usleep(100000); /* So most of them wait. */
	g_assert_cmpuint(atomic_load(&done), ==, 0);
	g_assert_cmpint(pread(fd, &before, sizeof(before), 0), ==, sizeof(before));
	g_assert_cmpint(lib_commit(map_of_all), ==, 0);
	for (size_t i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	g_assert_cmpint(pread(fd, &after, sizeof(after), 0), ==, sizeof(after));
	g_assert_cmpuint(after.captures - before.captures, <=, 8);
	close(fd);
	lib_close(map_of_all);
	cut_the_power(path);
	assert_number(path, 3, true);
}

static int child_syncs(void *arg)
{
	*number_in(arg) = 5;
	return lib_sync(arg) == 0 ? 0 : 1;
}

/* What a fork child stores is in its checkpoints, and in its parent's. */
static void children(void)
{
	const char *path = support_path("children");
	void *map = numbered_make(path, true);
	pid_t child = support_fork(child_syncs, map);

	g_assert_cmpint(support_wait(child), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 5, true);
}

static int child_stores(void *arg)
{
	*number_in(arg) = 6;
	return 0;
}

static void children_without_calls(void)
{
	const char *path = support_path("stores");
	void *map = numbered_make(path, true);

	g_assert_cmpint(lib_sync(map), ==, 0);
	g_assert_cmpint(support_wait(support_fork(child_stores, map)), ==, 0);
	g_assert_cmpint(lib_sync(map), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 6, true);
}

/* A child of a process that has captured has nothing to commit, and does not keep others waiting. */
static int child_in_between(void *arg)
{
	assert_fails(lib_commit(arg), EINVAL);
	return 0;
}

static void fork_in_between(void)
{
	const char *path = support_path("between");
	void *map = numbered_make(path, true);

	*number_in(map) = 7;
	g_assert_cmpint(lib_capture(map), ==, 0);
	g_assert_cmpint(support_wait(support_fork(child_in_between, map)), ==, 0);
	g_assert_cmpint(lib_commit(map), ==, 0);
	g_assert_cmpint(lib_sync(map), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 7, true);
}

/* A daemon that closes all descriptors: the checkpoint fails or is made, and the next one has all. */
static void closed_descriptors(void)
{
	const char *path = support_path("closed");
	void *map = numbered_make(path, true);

	*number_in(map) = 8;
	g_assert_cmpint(lib_capture(map), ==, 0);
	for (int fd = 3; fd < 4096; fd++)
		close(fd);
	assert_fails(lib_commit(map), EBADF);
	g_assert_cmpint(lib_sync(map), ==, 0);
	*number_in(map) = 9;
	for (int fd = 3; fd < 4096; fd++)
		close(fd);
	g_assert_cmpint(lib_sync(map), ==, 0);
	lib_close(map);
	cut_the_power(path);
	assert_number(path, 9, true);
}

/* On a stack as small as threads can have: sync, capture and commit, going back, and opening after a cut. */
static void use_small_stack(void *arg)
{
	const char *path = arg;
	void *map = lib_load(path);

	g_assert_nonnull(map);
	*number_in(map) = 4;
	g_assert_cmpint(lib_sync(map), ==, 0);
	g_assert_cmpint(lib_capture(map), ==, 0);
	g_assert_cmpint(lib_commit(map), ==, 0);
	lib_close(map);
	g_assert_cmpint(lib_restore(path), ==, 0);
	cut_the_power(path);
	map = lib_load(path);
	g_assert_nonnull(map);
	g_assert_cmpuint(*number_in(map), ==, 4);
	lib_close(map);
}

static void small_stack(void)
{
	char *path = g_strdup(support_path("stack"));

	lib_close(numbered_make(path, true));
	support_small_stack(use_small_stack, path);
	g_free(path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/power/" LIB_NAME "-calls/refusals", refusals);
	support_add("/power/" LIB_NAME "-calls/no-name", no_name);
	support_add("/power/" LIB_NAME "-calls/another-maps-file", another_maps_file);
	support_add("/power/" LIB_NAME "-calls/going-back", going_back);
	support_add("/power/" LIB_NAME "-calls/renamed", renamed);
	support_add("/power/" LIB_NAME "-calls/missing", missing);
	support_add("/power/" LIB_NAME "-calls/copied", copied);
	support_add("/power/" LIB_NAME "-calls/nothing-to-write", nothing_to_write);
	support_add("/power/" LIB_NAME "-calls/group", group);
	support_add("/power/" LIB_NAME "-calls/children", children);
	support_add("/power/" LIB_NAME "-calls/children-without-calls", children_without_calls);
	support_add("/power/" LIB_NAME "-calls/fork-in-between", fork_in_between);
	support_add("/power/" LIB_NAME "-calls/closed-descriptors", closed_descriptors);
	support_add("/power/" LIB_NAME "-calls/small-stack", small_stack);
	return support_run();
}
