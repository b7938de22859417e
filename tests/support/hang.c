/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests that hang, and tests that are only slow: what tests/install/watch shows to watch.c, one at a time. */
#include <time.h>

#include "tests/support/support.h"

/* Waits for ever in futex(2). */
static void deadlock(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	pthread_mutex_lock(&lock);
}

static int read_for_ever(void *arg)
{
	char byte;

	return (int)read(((int *)arg)[0], &byte, 1);
}

/* Each child waits for the other one, and the program for both. */
static void children(void)
{
	int pipes[2];
	pid_t pid[2];

	g_assert_cmpint(pipe(pipes), ==, 0);
	for (int i = 0; i < 2; i++)
		pid[i] = support_fork(read_for_ever, pipes);
	for (int i = 0; i < 2; i++)
		support_wait(pid[i]);
}

/* Looks again and again for what never comes. */
static void poll_for_ever(void)
{
	struct support_sync *sync = support_shared(sizeof(*sync));

	support_await(sync, "never");
}

static void circles(void)
{
	volatile bool go_on = true;

	while (go_on)
		;
}

/* Asleep most of the time; a step each second. */
static void slow(void)
{
	for (int i = 0; i < 8; i++) {
		support_sleep_us(1000000);
		support_watchdog(1);
	}
}

static uint64_t cpu_us(void)
{
	return (uint64_t)clock() * 1000000u / CLOCKS_PER_SEC;
}

/* A single step without a word, and much work. */
static void works(void)
{
	uint64_t end = cpu_us() + 5000000u;

	while (cpu_us() < end)
		;
}

/* It is known to wait for so long. */
static void patient(void)
{
	support_watchdog(60);
	support_sleep_us(6000000);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/hang/deadlock", deadlock);
	support_add("/hang/children", children);
	support_add("/hang/polls", poll_for_ever);
	support_add("/hang/circles", circles);
	support_add("/hang/not/slow", slow);
	support_add("/hang/not/works", works);
	support_add("/hang/not/patient", patient);
	return support_run();
}
