/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * QALLOC_FORK_SNAPSHOT: a fork child sees the map as it was at fork, and what it does there is its own; whatever its parent and other
 * processes do meanwhile.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

#define COUNT 200

struct family {
	const char *path;
	void *map;
	bool is_static;
	struct support_block blocks[COUNT]; /* From before the fork. */
	struct support_block later[COUNT];
	struct support_sync sync;
	_Atomic bool stop;
	_Atomic unsigned forks;
};

static size_t size_of(const struct family *f, size_t i)
{
	return f->is_static ? 64 : i % 40 == 39 ? 70000 + i : 8 + i * 5;
}

static void fill(struct family *f, struct support_block *blocks, uint64_t tag)
{
	for (size_t i = 0; i < COUNT; i++)
		g_assert_true(support_take(f->map, &blocks[i], size_of(f, i), tag + i));
}

static struct family *new_family(bool is_static, unsigned flags)
{
	struct family *f = support_shared(sizeof(*f));

	f->path = support_path("family");
	f->is_static = is_static;
	support_close(is_static ? (void *)support_stat(f->path, MIB, 64, 2)
				: (void *)support_dyn(f->path, 16 * MIB, 2));
	f->map = support_open(f->path, QALLOC_FORK_SNAPSHOT | flags);
	fill(f, f->blocks, 1);
	g_assert_cmpint(qalloc_setroot(f->map, "root", f->blocks[3].at), ==, 0);
	g_assert_cmpint(qalloc_settag(f->map, 9), ==, 0);
	return f;
}

static void verify_all(const struct support_block *blocks)
{
	for (size_t i = 0; i < COUNT; i++)
		support_verify(&blocks[i]);
}

static void finish(struct family *f)
{
	support_finish(f->map, f->path);
}

/* --- the child's own --------------------------------------------------------------------------------------- */

/* Frees all that there was, and takes other blocks. */
static void change_all(struct family *f)
{
	struct support_block mine[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		qalloc_free(f->blocks[i].at, f->map);
	g_assert_cmpuint(support_used(f->map), ==, 0);
	fill(f, mine, 5000);
	g_assert_cmpint(qalloc_setroot(f->map, "root", mine[7].at), ==, 0);
	g_assert_cmpint(qalloc_setroot(f->map, "child", mine[7].at), ==, 0);
	check_map(f->map);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
}

static int look_and_change(void *arg)
{
	struct family *f = arg;

	support_point(&f->sync, "forked");
	g_assert_true(qalloc_getroot(f->map, "root") == f->blocks[3].at);
	g_assert_cmpuint(qalloc_gettag(f->map), ==, 9);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	verify_all(f->blocks);
	check_map(f->map);
	change_all(f);
	g_assert_cmpint(qalloc_sync(f->map), ==, 0);
	support_close(f->map);
	return 0;
}

static void at_fork(bool is_static, unsigned flags)
{
	struct family *f = new_family(is_static, flags);
	pid_t pid = support_fork(look_and_change, f);

	support_await(&f->sync, "forked");
	for (size_t i = 0; i < COUNT; i++) {
		memset(f->blocks[i].at, 0xee, f->blocks[i].size); /* Not what the child has noted. */
		qalloc_free(f->blocks[i].at, f->map);
	}
	fill(f, f->later, 9000);
	g_assert_cmpint(qalloc_setroot(f->map, "root", f->later[1].at), ==, 0);
	support_go(&f->sync, "forked");
	support_wait_ok(pid);
	verify_all(f->later);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	g_assert_true(qalloc_getroot(f->map, "root") == f->later[1].at);
	assert_null(qalloc_getroot(f->map, "child"), ENOENT);
	finish(f);
}

static void sees_what_was(void)
{
	at_fork(false, 0);
	at_fork(true, 0);
	at_fork(false, QALLOC_EXCLUSIVE);
}

/* --- again, and again -------------------------------------------------------------------------------------- */

static int grandchild(void *arg)
{
	struct family *f = arg;

	verify_all(f->later);
	for (size_t i = 0; i < COUNT; i++)
		qalloc_free(f->later[i].at, f->map);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	check_map(f->map);
	return 0;
}

static int child_forks(void *arg)
{
	struct family *f = arg;

	fill(f, f->later, 300);
	support_run_child(grandchild, f);
	verify_all(f->later);
	g_assert_cmpuint(support_used(f->map), ==, 2 * COUNT);
	check_map(f->map);
	return 0;
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int nothing(void *arg)
{
	struct family *f = arg;

	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	return 0;
}

/* Nothing is left of any of them: no descriptor, no file, no space. */
static void many_forks(void)
{
	struct family *f = new_family(false, 0);
	unsigned before = open_descriptors();

	for (int i = 0; i < 20; i++)
		support_run_child(i % 5 ? nothing : child_forks, f);
	g_assert_cmpuint(open_descriptors(), ==, before);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	verify_all(f->blocks);
	finish(f);
}

/* --- others at it ------------------------------------------------------------------------------------------ */

/* Another user of the file. The copy is at its address: that goes first. */
static int allocate_for_ever(void *arg)
{
	struct family *f = arg;
	struct support_block block;
	void *map;

	support_close(f->map);
	map = support_load(f->path);
	for (uint64_t i = 0; !atomic_load(&f->stop); i++) {
		g_assert_true(support_take(map, &block, size_of(f, i % COUNT), i));
		support_give(map, &block);
		if (i == 100)
			support_point(&f->sync, "busy");
	}
	support_close(map);
	return 0;
}

static int child_beside_others(void *arg)
{
	struct family *f = arg;
	struct support_block mine;

	verify_all(f->blocks);
	check_map(f->map);
	for (size_t i = 0; i < 500; i++) {
		g_assert_true(support_take(f->map, &mine, size_of(f, i % COUNT), i));
		support_give(f->map, &mine);
	}
	check_map(f->map);
	return 0;
}

static void beside_others(bool is_static)
{
	struct family *f = new_family(is_static, 0);
	pid_t pid = support_fork(allocate_for_ever, f);

	support_await(&f->sync, "busy");
	support_go(&f->sync, "busy");
	for (size_t i = 0; i < support_scale(20) + 1; i++)
		support_run_child(child_beside_others, f);
	atomic_store(&f->stop, true);
	support_wait_ok(pid);
	verify_all(f->blocks);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	finish(f);
}

static void other_processes_go_on(void)
{
	beside_others(false);
	beside_others(true);
}

static void allocate_or_fork(struct support_thread *self)
{
	struct family *f = self->arg;
	struct support_block block;

	if (self->index < 2) {
		for (size_t i = 0; i < support_scale(12) + 1; i++)
			support_run_child(child_beside_others, f);
		atomic_fetch_add(&f->forks, 1);
		return;
	}
	for (uint64_t i = 0; atomic_load(&f->forks) < 2; i++) {
		g_assert_true(support_take(f->map, &block, size_of(f, i % COUNT), i));
		support_give(f->map, &block);
	}
}

static void several_threads(void)
{
	struct family *f = new_family(false, 0);

	support_threads(4, allocate_or_fork, f);
	verify_all(f->blocks);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	finish(f);
}

/* --- no room ----------------------------------------------------------------------------------------------- */

static int handle_is_closed(void *arg)
{
	struct family *f = arg;

	assert_null(qalloc_malloc(f->map, 10), EBADF);
	assert_null(qalloc_getroot(f->map, "root"), EBADF);
	return 0;
}

static int fork_on_full_disk(void *arg)
{
	struct family *f;
	struct support_block block;

	(void)arg;
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	f = support_shared(sizeof(*f));
	f->path = support_path("full");
	f->is_static = true;
	support_close(support_stat(f->path, 768 * KIB, 64, 1));
	f->map = support_open(f->path, QALLOC_FORK_SNAPSHOT);
	while (support_take(f->map, &block, 64, 1))
		;
	support_run_child(handle_is_closed, f);
	check_map(f->map);
	support_free_all(f->map);
	finish(f);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(fork_on_full_disk, "no mount namespace here");
}

static int fork_without_descriptors(void *arg)
{
	struct family *f = new_family(false, 0);
	struct rlimit limit;

	(void)arg;
	g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	limit.rlim_cur = 3;
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	support_run_child(handle_is_closed, f);
	limit.rlim_cur = limit.rlim_max;
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	verify_all(f->blocks);
	finish(f);
	return 0;
}

static void no_descriptors(void)
{
	support_run_child(fork_without_descriptors, NULL);
}

/* A folder that is gone: the copy is in memory. */
static void no_folder(void)
{
	char *dir = g_strconcat(support_path("dir"), NULL), *path = g_build_filename(dir, "map", NULL);
	struct family *f = support_shared(sizeof(*f));

	g_assert_cmpint(mkdir(dir, 0700), ==, 0);
	f->path = path;
	support_close(support_dyn(path, 16 * MIB, 1));
	f->map = support_open(path, QALLOC_FORK_SNAPSHOT);
	fill(f, f->blocks, 1);
	g_assert_cmpint(unlink(path), ==, 0);
	g_assert_cmpint(rmdir(dir), ==, 0);
	support_run_child(child_beside_others, f);
	support_close(f->map);
	g_free(path);
	g_free(dir);
}

/* --- killed ------------------------------------------------------------------------------------------------ */

static int change_for_ever(void *arg)
{
	struct family *f = arg;
	struct support_block block;

	for (uint64_t i = 0;; i++) {
		g_assert_true(support_take(f->map, &block, size_of(f, i % COUNT), i));
		if (i == 50)
			support_point(&f->sync, "busy");
	}
	return 0;
}

static void killed_children_leave_nothing(void)
{
	struct family *f = new_family(false, 0);

	for (int i = 0; i < 5; i++) {
		pid_t pid;

		memset(&f->sync, 0, sizeof(f->sync));
		pid = support_fork(change_for_ever, f);
		support_await(&f->sync, "busy");
		support_kill_at(pid, &f->sync, "busy");
		check_map(f->map);
		g_assert_cmpuint(support_used(f->map), ==, COUNT);
	}
	verify_all(f->blocks);
	finish(f);
}

static int parent_that_dies(void *arg)
{
	struct family *f = arg;

	f->map = support_open(f->path, QALLOC_FORK_SNAPSHOT);
	support_fork(look_and_change, f);
	support_await(&f->sync, "forked");
	_exit(0);
}

static void contradictions(void)
{
	struct family *f = new_family(false, 0);

	assert_null(qalloc_open(f->path, QALLOC_FORK_SNAPSHOT | QALLOC_RDONLY), EINVAL);
	assert_null(qalloc_open(f->path, QALLOC_FORK_SNAPSHOT | QALLOC_PRIVATE), EINVAL);
	assert_null(qalloc_loadmap(f->path), EBUSY);
	support_close(f->map);
	support_run_child(parent_that_dies, f); /* The child ends as it does: its death is its parent's. */
	f->map = support_load(f->path);
	g_assert_cmpuint(support_used(f->map), ==, COUNT);
	finish(f);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/fork-snapshot/at-fork", sees_what_was);
	support_add("/qalloc/fork-snapshot/many", many_forks);
	support_add("/qalloc/fork-snapshot/others", other_processes_go_on);
	support_add("/qalloc/fork-snapshot/threads", several_threads);
	support_add("/qalloc/fork-snapshot/full-disk", full_disk);
	support_add("/qalloc/fork-snapshot/no-descriptors", no_descriptors);
	support_add("/qalloc/fork-snapshot/no-folder", no_folder);
	support_add("/qalloc/fork-snapshot/killed", killed_children_leave_nothing);
	support_add("/qalloc/fork-snapshot/contradictions", contradictions);
	return support_run();
}
