/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts in earnest, of a durable map: the processes of examples/ledger.c use it on a file system of its own, which is shut down under them. What
 * opens then is a checkpoint, and no checkpoint that was told of is lost.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/tools/loop.h"

#define ROUNDS  10
#define WORKERS 2

struct ledger {
	const char *map, *what;
	int output;
};

static int run(void *arg)
{
	const struct ledger *l = arg;
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "examples", "ledger", NULL);

	if (l->output >= 0)
		dup2(l->output, STDOUT_FILENO);
	execl(program, program, l->map, l->what, NULL);
	return SUPPORT_CANNOT;
}

/* The last number that was written whole: lines that end. */
static uint64_t last_number(int fd)
{
	static char text[1 << 16];
	ssize_t got = read(fd, text, sizeof(text) - 1);
	char *end, *begin;

	text[got > 0 ? got : 0] = '\0';
	end = strrchr(text, '\n');
	if (!end)
		return 0;
	*end = '\0';
	begin = strrchr(text, '\n');
	return strtoull(begin ? begin + 1 : text, NULL, 10);
}

/* What `sum` finds: the test fails when the books are wrong. */
static uint64_t found(const char *map)
{
	int out[2];
	struct ledger sum = { map, "sum", -1 };
	uint64_t transfers;

	g_assert_cmpint(pipe(out), ==, 0);
	sum.output = out[1];
	g_assert_cmphex((unsigned)support_wait(support_fork(run, &sum)), ==, 0);
	transfers = last_number(out[0]);
	close(out[0]);
	close(out[1]);
	return transfers;
}

/* Until a checkpoint was told of, and then some time. */
static void wait_for_some(int told, struct support_rand *r)
{
	struct timeval most = { .tv_sec = 60 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(told, &set);
	g_assert_cmpint(select(told + 1, &set, NULL, NULL, &most), ==, 1);
	support_sleep_us(1000 * (unsigned)support_rand_below(r, 400));
}

/*
 * False: this file system cannot be shut down. What is told of while it is shut down does not count: that took ext4 5 to 30 ms, and a sync that ends meanwhile
 * may return 0 although the file's new length is lost. No program would hear of it when the power failed.
 */
static bool cut(const char *map, struct support_rand *r, uint64_t *told)
{
	struct ledger work = { map, "work", -1 }, keep = { map, "keep", -1 };
	pid_t pid[WORKERS + 1];
	int out[2];
	bool can;

	g_assert_cmpint(pipe(out), ==, 0);
	keep.output = out[1];
	for (size_t i = 0; i < WORKERS; i++)
		pid[i] = support_fork(run, &work);
	pid[WORKERS] = support_fork(run, &keep);
	wait_for_some(out[0], r);
	*told = last_number(out[0]);
	can = loop_shut_down();
	for (size_t i = 0; i <= WORKERS; i++)
		kill(pid[i], SIGKILL);
	for (size_t i = 0; i <= WORKERS; i++)
		support_wait(pid[i]);
	close(out[0]);
	close(out[1]);
	return can;
}

static int cut_all(void *arg)
{
	const char *const *fs = arg;
	struct ledger create = { NULL, "create", -1 };
	struct support_rand r;
	uint64_t told;

	if (!loop_make(fs[0], fs[1]) || !loop_attach())
		return SUPPORT_CANNOT;
	support_rand_seed(&r, (uint64_t)getpid());
	create.map = support_path("ledger");
	g_assert_cmphex((unsigned)support_wait(support_fork(run, &create)), ==, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool can = cut(create.map, &r, &told);

		loop_detach();
		if (!can)
			return SUPPORT_CANNOT;
		g_assert_true(loop_attach());
		g_assert_cmpuint(found(create.map), >=, told);
	}
	loop_detach();
	loop_remove();
	g_test_message("%s: %u cuts, each left a checkpoint, the last one that was told of or a later one", fs[0],
		       ROUNDS);
	return 0;
}

static void ext4(void)
{
	static const char *const fs[] = { "ext4", "300M" };

	loop_test(cut_all, fs);
}

static void xfs(void)
{
	static const char *const fs[] = { "xfs", "320M" };

	loop_test(cut_all, fs);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/cuts-durable/ext4", ext4);
	support_add("/tools/cuts-durable/xfs", xfs);
	return support_run();
}
