/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an opening finds (qalloc_opening), the application's tag, and maps that one process has to itself.
 */
#include <fcntl.h>

#include "tests/support/support_qalloc.h"

#define AT_STATE   212 /* doc/format.md */
#define AT_BOOT_ID 216
#define CLOSED     1
#define SYNCED     2

static void *new_map(const char *path, bool is_static)
{
	return is_static ? (void *)support_stat(path, MIB, 64, 1) : (void *)support_dyn(path, MIB, 1);
}

static struct qalloc_opening found(void *map)
{
	struct qalloc_opening opening;

	memset(&opening, 0xff, sizeof(opening));
	g_assert_cmpint(qalloc_opening(map, &opening), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(opening.reserved); i++)
		g_assert_cmpuint(opening.reserved[i], ==, 0);
	return opening;
}

static void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

static void put_state(const char *path, uint32_t state)
{
	put(path, AT_STATE, &state, sizeof(state));
}

static void forget_boot(const char *path)
{
	put(path, AT_BOOT_ID, "another machine ", 16);
}

/* --- what was found ---------------------------------------------------------------------------------------- */

#define assert_found(map, ...) assert_found_at(found(map), (struct qalloc_opening){ __VA_ARGS__ }, __LINE__)

static void assert_found_at(struct qalloc_opening is, struct qalloc_opening should, int line)
{
	if (memcmp(&is, &should, sizeof(is)) != 0)
		g_error("line %d: generation %u, created %u, first %u, copied %u, died %u, closed %u, recovered %u, "
			"verified %u",
			line, (unsigned)is.generation, is.created, is.first, is.copied, is.machine_died, is.closed,
			is.recovered, is.verified);
}

static void tell_generations(bool is_static)
{
	const char *path = support_path("found"), *copy = support_path("copy");
	void *map = new_map(path, is_static);

	assert_found(map, .generation = 1, .created = 1, .first = 1);
	g_assert_true(support_load(path) == map);
	assert_found(map, .generation = 1, .created = 1, .first = 1);
	support_close(map);
	support_close(map);
	map = support_load(path);
	assert_found(map, .generation = 2, .first = 1, .closed = CLOSED);
	qalloc_cleanup();
	map = support_load(path);
	assert_found(map, .generation = 3, .first = 1, .closed = SYNCED);
	support_close(map);
	support_file_copy(path, copy);
	map = support_load(copy);
	assert_found(map, .generation = 4, .first = 1, .copied = 1, .closed = CLOSED, .verified = 1);
	support_finish(map, copy);
	unlink(path);
}

static void generations(void)
{
	tell_generations(false);
	tell_generations(true);
}

static int hold(void *arg)
{
	struct support_sync *sync = arg;
	void *map = support_load((const char *)(sync + 1));

	g_assert_nonnull(qalloc_malloc(map, 20));
	support_point(sync, "open");
	support_close(map);
	return 0;
}

static struct support_sync *named_sync(const char *path)
{
	struct support_sync *sync = support_shared(sizeof(*sync) + 4096);

	strcpy((char *)(sync + 1), path);
	return sync;
}

static void tell_others(bool is_static)
{
	const char *path = support_path("others");
	struct support_sync *sync = named_sync(path);
	pid_t pid;
	void *map;

	support_close(new_map(path, is_static));
	pid = support_fork(hold, sync);
	support_await(sync, "open");
	map = support_load(path);
	assert_found(map, .generation = 2);
	support_close(map);
	map = support_open(path, QALLOC_RDONLY);
	assert_found(map, .generation = 2);
	support_close(map);
	support_kill_at(pid, sync, "open");
	map = support_open(path, QALLOC_PRIVATE);
	assert_found(map, .generation = 2, .first = 1);
	support_close(map);
	map = support_load(path);
	assert_found(map, .generation = 3, .first = 1, .recovered = 1);
	support_finish(map, path);
}

static void others_and_the_killed(void)
{
	tell_others(false);
	tell_others(true);
}

static void tell_reboots(bool is_static)
{
	const char *path = support_path("boot");
	void *map;

	support_close(new_map(path, is_static));
	forget_boot(path);
	map = support_load(path);
	assert_found(map, .generation = 2, .first = 1, .machine_died = 1, .closed = CLOSED, .verified = 1);
	qalloc_cleanup();
	forget_boot(path);
	map = support_load(path);
	assert_found(map, .generation = 3, .first = 1, .closed = SYNCED);
	support_close(map);
	forget_boot(path);
	put_state(path, 0);
	map = support_open(path, QALLOC_RDONLY);
	assert_found(map, .generation = 3, .first = 1, .machine_died = 1);
	support_close(map);
	map = support_load(path);
	assert_found(map, .generation = 4, .first = 1, .machine_died = 1, .recovered = 1, .verified = 1);
	support_finish(map, path);
}

static void reboots(void)
{
	tell_reboots(false);
	tell_reboots(true);
}

/* Whatever number is there. */
static void strange_states(void)
{
	const char *path = support_path("strange");
	void *map;

	support_close(new_map(path, false));
	put_state(path, 77);
	map = support_load(path);
	g_assert_cmpuint(found(map).closed, <=, SYNCED);
	support_finish(map, path);
}

static void opening_errors(void)
{
	const char *path = support_path("errors");
	void *map = new_map(path, false);
	struct qalloc_opening opening;

	assert_minus1(qalloc_opening(map, NULL), EINVAL);
	assert_minus1(qalloc_opening(NULL, &opening), EBADF);
	support_finish(map, path);
	assert_minus1(qalloc_opening(map, &opening), EBADF);
}

/* --- the tag ----------------------------------------------------------------------------------------------- */

static void tag_map(bool is_static)
{
	const char *path = support_path("tag"), *copy = support_path("copy");
	void *map = new_map(path, is_static);

	errno = 0;
	g_assert_cmpuint(qalloc_gettag(map), ==, 0);
	assert_errno_is(0);
	assert_minus1(qalloc_settag(map, 0), EINVAL);
	g_assert_cmpint(qalloc_settag(map, UINT64_MAX), ==, 0);
	g_assert_cmpint(qalloc_settag(map, UINT64_MAX), ==, 0);
	assert_minus1(qalloc_settag(map, 1), EEXIST);
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_finish(map, copy);
	g_assert_cmpuint(qalloc_gettag(map), ==, 0);
	assert_errno_is(EBADF);
	assert_minus1(qalloc_settag(map, 1), EBADF);
	map = support_load(path);
	g_assert_cmpuint(qalloc_gettag(map), ==, UINT64_MAX);
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_close(map);
	map = support_load(copy);
	g_assert_cmpuint(qalloc_gettag(map), ==, UINT64_MAX);
	support_finish(map, copy);
	support_file_copy(path, copy);
	map = support_load(copy);
	g_assert_cmpuint(qalloc_gettag(map), ==, UINT64_MAX);
	support_finish(map, copy);
	map = support_open(path, QALLOC_RDONLY);
	assert_minus1(qalloc_settag(map, 1), EROFS);
	support_close(map);
	unlink(path);
}

static void tags(void)
{
	tag_map(false);
	tag_map(true);
}

/* What a private view does is its own. */
static void tag_of_a_view(void)
{
	const char *path = support_path("view");
	void *map;

	support_close(new_map(path, false));
	map = support_open(path, QALLOC_PRIVATE);
	g_assert_cmpint(qalloc_settag(map, 5), ==, 0);
	g_assert_cmpuint(qalloc_gettag(map), ==, 5);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(qalloc_gettag(map), ==, 0);
	support_finish(map, path);
}

struct race {
	const char *path;
	struct support_barrier *barrier;
	_Atomic uint64_t next, winner;
};

static int set_first(void *arg)
{
	struct race *race = arg;
	void *map = support_load(race->path);
	uint64_t mine = atomic_fetch_add(&race->next, 1) + 1;

	support_barrier_wait(race->barrier);
	if (qalloc_settag(map, mine) == 0)
		g_assert_cmpuint(atomic_exchange(&race->winner, mine), ==, 0);
	else
		assert_errno_is(EEXIST);
	return 0;
}

static void one_tag_wins(void)
{
	struct race *race = support_shared(sizeof(*race));
	pid_t pids[8];
	void *map;

	race->path = support_path("race");
	race->barrier = support_barrier_new(G_N_ELEMENTS(pids));
	support_close(new_map(race->path, false));
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(set_first, race);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		support_wait_ok(pids[i]);
	map = support_load(race->path);
	g_assert_cmpuint(qalloc_gettag(map), ==, atomic_load(&race->winner));
	support_finish(map, race->path);
}

/* --- alone ------------------------------------------------------------------------------------------------- */

static int others_stay_out(void *arg)
{
	const char *path = arg;

	assert_null(qalloc_loadmap(path), EBUSY);
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE), EBUSY);
	assert_null(qalloc_open(path, QALLOC_RDONLY), EBUSY);
	assert_null(qalloc_open(path, QALLOC_PRIVATE), EBUSY);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 0), EBUSY);
	return 0;
}

static int hold_alone(void *arg)
{
	struct support_sync *sync = arg;

	g_assert_nonnull(qalloc_malloc(support_open((const char *)(sync + 1), QALLOC_EXCLUSIVE), 20));
	support_point(sync, "alone");
	return 0;
}

static void alone_keeps_others_out(void)
{
	const char *path = support_path("alone");
	struct support_sync *sync = named_sync(path);
	pid_t pid;
	void *map;

	support_close(new_map(path, false));
	map = support_open(path, QALLOC_EXCLUSIVE);
	g_assert_true(support_open(path, QALLOC_EXCLUSIVE) == map);
	support_close(map);
	assert_null(qalloc_loadmap(path), EBUSY);
	g_assert_nonnull(qalloc_malloc(map, 100));
	support_run_child(others_stay_out, (void *)(uintptr_t)path);
	support_close(map);
	map = support_load(path);
	assert_found(map, .generation = 3, .first = 1, .closed = CLOSED);
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE), EBUSY);
	support_close(map);
	pid = support_fork(hold_alone, sync);
	support_await(sync, "alone");
	support_run_child(others_stay_out, (void *)(uintptr_t)path);
	support_kill_at(pid, sync, "alone");
	map = support_open(path, QALLOC_EXCLUSIVE);
	g_assert_cmpuint(found(map).recovered, ==, 1);
	g_assert_cmpuint(support_used(map), ==, 2);
	support_finish(map, path);
}

static void alone_needs_to_be_alone(void)
{
	const char *path = support_path("others");
	struct support_sync *sync = named_sync(path);
	pid_t pid;

	support_close(new_map(path, true));
	pid = support_fork(hold, sync);
	support_await(sync, "open");
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE), EBUSY);
	support_close(support_load(path));
	support_go(sync, "open");
	support_wait_ok(pid);
	support_finish(support_open(path, QALLOC_EXCLUSIVE), path);
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE | QALLOC_RDONLY), EINVAL);
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE | QALLOC_PRIVATE), EINVAL);
	assert_null(qalloc_open(path, 0x10), EINVAL);
}

static int use_parents(void *arg)
{
	assert_null(qalloc_malloc(arg, 10), EBADF);
	return 0;
}

static void a_fork_child_is_another(void)
{
	const char *path = support_path("fork");
	void *map;

	support_close(new_map(path, false));
	map = support_open(path, QALLOC_EXCLUSIVE);
	support_run_child(use_parents, map);
	g_assert_nonnull(qalloc_malloc(map, 10));
	support_run_child(others_stay_out, (void *)(uintptr_t)path);
	support_finish(map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/opening/generations", generations);
	support_add("/qalloc/opening/others", others_and_the_killed);
	support_add("/qalloc/opening/reboots", reboots);
	support_add("/qalloc/opening/strange-states", strange_states);
	support_add("/qalloc/opening/errors", opening_errors);
	support_add("/qalloc/opening/tags", tags);
	support_add("/qalloc/opening/tag-of-a-view", tag_of_a_view);
	support_add("/qalloc/opening/one-tag-wins", one_tag_wins);
	support_add("/qalloc/opening/alone", alone_keeps_others_out);
	support_add("/qalloc/opening/not-alone", alone_needs_to_be_alone);
	support_add("/qalloc/opening/alone-and-fork", a_fork_child_is_another);
	return support_run();
}
