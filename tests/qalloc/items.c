/* SPDX-License-Identifier: BSD-3-Clause */
/* A small static map is not full when it is nearly empty: threads share few items, and a killed owner loses none. */
#include "tests/support/support_qalloc.h"

struct crowd {
	void *map;
	struct support_barrier *all;
	_Atomic unsigned failed;
};

struct victim {
	void *map;
	struct support_sync sync;
};

static void hold_an_item(struct support_thread *self)
{
	struct crowd *crowd = self->arg;
	void *item = qalloc_statmalloc(crowd->map);

	crowd->failed += item == NULL;
	support_barrier_wait(crowd->all);
	support_barrier_wait(crowd->all);
	qalloc_statfree(item, crowd->map);
}

static size_t fill_items(void *map)
{
	size_t count = 0;

	while (qalloc_statmalloc(map))
		count++;
	assert_errno_is(ENOMEM);
	return count;
}

static void serve_items(size_t bytes, size_t item, size_t streams, unsigned threads)
{
	struct crowd crowd = { .map = support_stat(NULL, bytes, item, streams),
			       .all = support_barrier_new(threads + 1) };
	struct support_thread *self = g_new0(struct support_thread, threads);
	size_t items = support_stats(crowd.map).user_bytes / item;

	support_threads_start(self, threads, hold_an_item, &crowd);
	support_barrier_wait(crowd.all);
	g_assert_cmpuint(crowd.failed, ==, 0);
	g_assert_cmpuint(support_used(crowd.map), ==, threads);
	support_barrier_wait(crowd.all);
	support_threads_join(self, threads);
	g_assert_cmpuint(support_used(crowd.map), ==, 0);
	g_assert_cmpuint(fill_items(crowd.map), ==, items);
	g_assert_cmpuint(support_free_all(crowd.map), ==, items);
	g_assert_cmpuint(fill_items(crowd.map), ==, items);
	check_map(crowd.map);
	support_close(crowd.map);
	g_free(self);
}

/* A group of items each would be too much: there are fewer groups than threads. */
static void threads_share_few_items(void)
{
	for (size_t streams = 1; streams <= 4; streams += 3) {
		serve_items(16 * KIB, 64, streams, 16);
		serve_items(MIB, KIB, streams, 64);
		serve_items(MIB, 30 * KIB, streams, 16);
	}
}

static int hold_items_and_wait(void *arg)
{
	struct victim *victim = arg;

	for (unsigned i = 0; i < 3; i++)
		if (!qalloc_statmalloc(victim->map))
			return 1;
	support_point(&victim->sync, "holds");
	return 0;
}

static void killed_owner_loses_no_items(void)
{
	struct victim *victim = support_shared(sizeof(*victim));
	size_t items;

	victim->map = support_stat(NULL, 64 * KIB, 64, 1);
	items = support_stats(victim->map).user_bytes / 64;
	for (size_t i = 0; i < support_scale(40); i++) {
		memset(&victim->sync, 0, sizeof(victim->sync));
		support_kill_at(support_fork(hold_items_and_wait, victim), &victim->sync, "holds");
		g_assert_cmpuint(support_free_all(victim->map), ==, 3);
	}
	g_assert_cmpuint(fill_items(victim->map), ==, items);
	check_map(victim->map);
	support_close(victim->map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/items/threads-share-few", threads_share_few_items);
	support_add("/items/killed-owner-loses-none", killed_owner_loses_no_items);
	return support_run();
}
