/* SPDX-License-Identifier: BSD-3-Clause */
/* VM files of many processes: nothing is left of them, however they end, and they are in nobody's way. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

struct ending {
	struct support_sync sync;
	const char *dir;
	int how;
};

static int end(void *arg)
{
	struct ending *e = arg;
	void *block;

	xmemory_settmpdir(e->dir);
	xmemory_setlimit(1);
	for (int i = 0; i < 20; i++) {
		block = take(i % 2 ? 1000 * KIB : 1000);
		memset(block, 1, 1000);
	}
	if (e->how == 2) {
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	if (e->how == 1)
		exit(0);
	support_point(&e->sync, "ready");
	return 0;
}

static void nothing_is_left(void)
{
	for (int how = 0; how < 3; how++) {
		struct ending *e = support_shared(sizeof(*e));
		pid_t pid;

		e->dir = support_path("end");
		e->how = how;
		g_assert_cmpint(mkdir(e->dir, 0700), ==, 0);
		pid = support_fork(end, e);
		if (how == 0)
			support_kill_at(pid, &e->sync, "ready");
		else
			support_wait(pid);
		g_assert_cmpuint(names_in(e->dir), ==, 0);
	}
}

/* The space too: on a disk that nobody else writes to. */
static int killed_on_small_disk(void *arg)
{
	struct ending *e = arg;
	uint64_t before;

	if (!support_small_disk("size=32m"))
		return SUPPORT_CANNOT;
	before = disk_free();
	e->dir = support_dir();
	support_kill_at(support_fork(end, e), &e->sync, "ready");
	g_assert_cmpuint(disk_free(), ==, before);
	return 0;
}

static void space_of_the_killed(void)
{
	struct ending *e = support_shared(sizeof(*e));
	int status = support_wait(support_fork(killed_on_small_disk, e));

	g_assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip("no file system of our own here");
	else
		g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static int work_beside_others(void *arg)
{
	char *blocks[20] = { 0 };
	struct support_rand r;

	(void)arg;
	vm_begin(1);
	support_rand_seed(&r, (uint64_t)getpid());
	for (size_t i = 0; i < support_scale(300); i++) {
		size_t at = support_rand_below(&r, 20);

		if (blocks[at]) {
			check(blocks[at], 1000, (unsigned)getpid());
			give(blocks[at]);
		}
		blocks[at] = take(i % 2 ? 300 * KIB : 1000);
		fill(blocks[at], 1000, (unsigned)getpid());
	}
	return 0;
}

static void processes(void)
{
	pid_t pids[4];

	for (size_t i = 0; i < 4; i++)
		pids[i] = support_fork(work_beside_others, NULL);
	for (size_t i = 0; i < 4; i++)
		support_wait_ok(pids[i]);
	g_assert_cmpuint(figures().pointers, ==, 0);
}

/* ---- the same process id, in containers that share a directory ---- */

static long refuse_nameless(const long args[6])
{
	return (args[2] & O_TMPFILE) == O_TMPFILE ? -EOPNOTSUPP : support_real(args);
}

static int first_of_its_kind(void *arg)
{
	g_assert_cmpint(getpid(), ==, 1);
	return support_hook(SYS_openat, refuse_nameless) ? work_beside_others(arg) : SUPPORT_CANNOT;
}

static int container(void *arg)
{
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWPID) < 0)
		return SUPPORT_CANNOT;
	pid = fork(); /* support_fork()'s child would miss its parent. */
	if (pid == 0)
		_exit(first_of_its_kind(arg));
	status = support_wait(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Their files' names, which they have for a moment here, would be the same. */
static int containers(void *arg)
{
	int statuses[4];
	pid_t pids[4];

	(void)arg;
	for (size_t i = 0; i < 4; i++)
		pids[i] = support_fork(container, NULL);
	for (size_t i = 0; i < 4; i++)
		statuses[i] = support_wait(pids[i]);
	for (size_t i = 0; i < 4; i++) {
		g_assert_true(WIFEXITED(statuses[i]));
		if (WEXITSTATUS(statuses[i]))
			return WEXITSTATUS(statuses[i]);
	}
	return 0;
}

static void same_pid(void)
{
	support_run_or_skip(containers, "no process ids of our own, or system calls cannot be caught here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/processes/nothing-left", nothing_is_left);
	support_add("/xmemory/processes/space-of-the-killed", space_of_the_killed);
	support_add("/xmemory/processes/beside", processes);
	support_add("/xmemory/processes/same-pid", same_pid);
	return support_run();
}
