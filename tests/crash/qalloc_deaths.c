/* SPDX-License-Identifier: BSD-3-Clause */
/* More processes die than a map has owner records: records of dead processes must be used again. */
#include <signal.h>

#include "tests/crash/qalloc_scene.h"

#define DEATHS  300
#define THREADS 8u

static int die_owning(void *arg)
{
	void *map = support_load(arg);

	g_assert_nonnull(qalloc_malloc(map, 64));
	kill(getpid(), SIGKILL);
	return 1;
}

static void take_and_free(struct support_thread *self)
{
	void *block = qalloc_malloc(self->arg, 64);

	g_assert_nonnull(block);
	assert_void(qalloc_free(block, self->arg), 0);
}

static int be_many_threads(void *arg)
{
	void *map = support_load(arg);

	support_threads(THREADS, take_and_free, map);
	support_close(map);
	return 0;
}

/* A map of 1 MiB has 256 owner records. Each process takes the process slot that the one before it had. */
void deaths_owners_come_back(void)
{
	const char *file = support_path("owners");
	void *map = support_dyn(file, MIB, 1);

	qalloc_free(qalloc_malloc(map, 64), map);
	for (int i = 0; i < DEATHS; i++) {
		int status = support_wait(support_fork(die_owning, (void *)(uintptr_t)file));

		g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	g_assert_cmpuint(support_count(map), ==, DEATHS);
	support_run_child(be_many_threads, (void *)(uintptr_t)file);
	support_threads(THREADS, take_and_free, map);
	support_free_all(map);
	support_finish(map, file);
}
