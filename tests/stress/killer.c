/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/stress/killer.h"

#include <fcntl.h>
#include <stdlib.h>

#define WORKERS 4

struct worker {
	pid_t pid;
	uint64_t incarnation;
	int alive[2]; /* a pipe that it and its children hold open */
};

struct duty {
	struct killer *killer;
	uint64_t incarnation;
};

static int be_worker(void *arg)
{
	struct duty *duty = arg;

	g_assert_cmpint(nice(10), !=, -1); /* the killer goes first */
	return duty->killer->work(duty->incarnation, duty->killer->arg);
}

static void start(struct killer *killer, struct worker *worker)
{
	struct duty duty = { killer, ++killer->incarnation };

	worker->incarnation = duty.incarnation;
	g_assert_cmpint(pipe2(worker->alive, O_CLOEXEC), ==, 0);
	worker->pid = support_fork(be_worker, &duty);
	close(worker->alive[1]);
}

/* Its child gets the news of its death a little later: nobody has the pipe any more when that is dead too. */
static void sweep(struct killer *killer, const struct worker *worker)
{
	char byte;

	g_assert_cmpint(read(worker->alive[0], &byte, 1), ==, 0);
	close(worker->alive[0]);
	killer->sweep(worker->incarnation, killer->arg);
	killer->sweep(worker->incarnation + KILLER_CHILD, killer->arg);
}

static void shoot(struct killer *killer, struct worker *worker)
{
	if (support_kill(worker->pid))
		killer->kills++;
	else
		killer->late++;
	sweep(killer, worker);
}

/* A test in which nothing is done for long counts as hung. */
static void someone_works(const struct killer *killer, uint64_t *before)
{
	uint64_t now = killer->calls(killer->arg);

	if (now != *before)
		support_watchdog(SUPPORT_HUNG_SECONDS);
	*before = now;
}

void killer_run(struct killer *killer, unsigned seconds)
{
	struct worker workers[WORKERS];
	uint64_t begin = support_now_us(), most = seconds * 1000000ull, seen = 0, passed;
	unsigned interval = support_valgrind() ? 300000 : support_tsan() || support_asan() ? 30000 : 4000;
	struct support_rand r;

	support_rand_seed(&r, 1);
	for (int i = 0; i < WORKERS; i++)
		start(killer, &workers[i]);
	while ((passed = support_now_us() - begin) < most ||
	       (passed / 100 < most && !(killer->kills && killer->seen_all(killer->arg)))) {
		struct worker *worker = &workers[support_rand_below(&r, WORKERS)];

		support_sleep_us((unsigned)support_rand_below(&r, 2 * interval));
		shoot(killer, worker);
		start(killer, worker);
		someone_works(killer, &seen);
	}
	support_watchdog(SUPPORT_HUNG_SECONDS);
	atomic_store(killer->stop, true);
	for (int i = 0; i < WORKERS; i++)
		support_wait_ok(workers[i].pid);
	for (int i = 0; i < WORKERS; i++)
		sweep(killer, &workers[i]); /* nothing to sweep, and nothing may be lost by it */
}

unsigned killer_seconds(unsigned otherwise)
{
	const char *given = getenv("MA_SOAK_SECONDS");

	return given ? (unsigned)strtoul(given, NULL, 10) : otherwise;
}
