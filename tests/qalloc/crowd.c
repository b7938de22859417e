/* SPDX-License-Identifier: BSD-3-Clause */
/* As many processes in one map as a prefork server has. */
#include <unistd.h>

#include "tests/support/support_qalloc.h"

#define CROWD 1024u

struct crowd {
	const char *path;
	int gate[2]; /* Closed when all are to leave. */
	_Atomic unsigned arrived, refused;
};

static int be_one_of_many(void *arg)
{
	struct crowd *crowd = arg;
	void *map = support_load(crowd->path), *block;
	char end;

	close(crowd->gate[1]);
	errno = 0;
	block = qalloc_malloc(map, 100);
	if (!block && errno == EUSERS)
		atomic_fetch_add(&crowd->refused, 1);
	else
		g_assert_nonnull(block);
	atomic_fetch_add(&crowd->arrived, 1);
	g_assert_cmpint(read(crowd->gate[0], &end, 1), ==, 0);
	if (block)
		qalloc_free(block, map);
	return 0; /* Without closing: half of the places are the dead ones'. */
}

static unsigned gather(struct crowd *crowd, unsigned count)
{
	pid_t *pids = g_new(pid_t, count);

	crowd->arrived = crowd->refused = 0;
	g_assert_cmpint(pipe(crowd->gate), ==, 0);
	for (unsigned i = 0; i < count; i++)
		pids[i] = support_fork(be_one_of_many, crowd);
	while (atomic_load(&crowd->arrived) < count)
		support_sleep_us(1000);
	close(crowd->gate[0]);
	close(crowd->gate[1]);
	for (unsigned i = 0; i < count; i++)
		support_wait_ok(pids[i]);
	g_free(pids);
	return crowd->refused;
}

/* 16 MiB have 1,024 places by default. Whoever comes beyond that is told so, and all places are had again. */
static void a_thousand_at_once(void)
{
	struct crowd *crowd = support_shared(sizeof(*crowd));
	void *map;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("a thousand processes of a tool are too many");
		return;
	}
	crowd->path = support_path("crowd");
	support_close(support_dyn(crowd->path, 16 * MIB, 4));
	g_assert_cmpuint(gather(crowd, CROWD), ==, 0);
	g_assert_cmpuint(gather(crowd, CROWD + 3), ==, 3);
	map = support_load(crowd->path);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_finish(map, crowd->path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/crowd/a-thousand", a_thousand_at_once);
	return support_run();
}
