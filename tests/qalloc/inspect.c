/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking into a map: walk, statistics, check.
 */
#include <sys/stat.h>

#include "tests/support/support_qalloc.h"

#define COUNT 500

/* --- walk --- */

struct tour {
	void *map;
	GHashTable *expected; /* block -> nothing */
	char *behind;
	size_t seen;
	size_t end_at;
	int result;
};

static int visit(void *block, size_t size, void *arg)
{
	struct tour *tour = arg;

	g_assert_true((char *)block >= tour->behind);
	g_assert_cmpuint(qalloc_usable_size(tour->map, block), ==, size);
	tour->behind = (char *)block + size;
	g_assert_true(g_hash_table_remove(tour->expected, block));
	return ++tour->seen == tour->end_at ? tour->result : 0;
}

static size_t take_some(void *map, struct support_block *blocks, GHashTable *expected)
{
	size_t count = 0;

	for (size_t i = 0; i < COUNT; i++) {
		size_t size = i % 50 == 0 ? i * 500 : i * 7;

		g_assert_true(support_take(map, &blocks[i], size, i));
	}
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			support_give(map, &blocks[i]);
		else if (g_hash_table_add(expected, blocks[i].at))
			count++;
	}
	return count;
}

static void walk_visits_each_block_once(void)
{
	struct support_block blocks[COUNT];
	struct tour tour = { .expected = g_hash_table_new(NULL, NULL) };
	size_t count;

	tour.map = support_dyn(NULL, 64 * MIB, 2);
	count = take_some(tour.map, blocks, tour.expected);
	g_assert_cmpint(qalloc_walk(tour.map, visit, &tour), ==, 0);
	g_assert_cmpuint(tour.seen, ==, count);
	g_assert_cmpuint(g_hash_table_size(tour.expected), ==, 0);
	g_hash_table_destroy(tour.expected);
	support_close(tour.map);
}

static void walk_of_a_static_map(void)
{
	struct tour tour = { .expected = g_hash_table_new(NULL, NULL) };
	void *items[COUNT];

	tour.map = support_stat(NULL, MIB, 72, 3);
	for (size_t i = 0; i < COUNT; i++)
		items[i] = qalloc_statmalloc(tour.map);
	for (size_t i = 0; i < COUNT; i++) {
		if (i % 3 == 0)
			qalloc_statfree(items[i], tour.map);
		else
			g_hash_table_add(tour.expected, items[i]);
	}
	g_assert_cmpint(qalloc_walk(tour.map, visit, &tour), ==, 0);
	g_assert_cmpuint(g_hash_table_size(tour.expected), ==, 0);
	g_hash_table_destroy(tour.expected);
	support_close(tour.map);
}

static void walk_of_an_empty_map(void)
{
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);
	mapinfo_t *stat = support_stat(NULL, MIB, 8, 1);

	g_assert_cmpuint(support_count(dyn), ==, 0);
	g_assert_cmpuint(support_count(stat), ==, 0);
	qalloc_dynfree(qalloc_dynmalloc(dyn, 100), dyn);
	qalloc_statfree(qalloc_statmalloc(stat), stat);
	g_assert_cmpuint(support_count(dyn), ==, 0);
	g_assert_cmpuint(support_count(stat), ==, 0);
	support_close(dyn);
	support_close(stat);
}

static void walk_ends_when_told(void)
{
	struct support_block blocks[COUNT];
	static const int results[] = { 1, -1, 4711 };

	for (size_t i = 0; i < G_N_ELEMENTS(results); i++) {
		struct tour tour = { .expected = g_hash_table_new(NULL, NULL), .end_at = 5 };

		tour.result = results[i];
		tour.map = support_dyn(NULL, 64 * MIB, 2);
		take_some(tour.map, blocks, tour.expected);
		g_assert_cmpint(qalloc_walk(tour.map, visit, &tour), ==, results[i]);
		g_assert_cmpuint(tour.seen, ==, 5);
		g_hash_table_destroy(tour.expected);
		support_close(tour.map);
	}
}

static void walk_may_free(void)
{
	struct support_block blocks[COUNT];
	GHashTable *expected = g_hash_table_new(NULL, NULL);
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 2);
	size_t largest = support_largest(map), count = take_some(map, blocks, expected);

	g_assert_cmpuint(support_free_all(map), ==, count);
	g_assert_cmpuint(support_free_all(map), ==, 0);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	check_map(map);
	g_hash_table_destroy(expected);
	support_close(map);
}

/* Others take and free meanwhile: what they leave alone is seen exactly once. */
static _Atomic bool stop;

static void churn(struct support_thread *self)
{
	struct support_block block;
	struct support_rand r;

	support_rand_seed(&r, self->index);
	while (!atomic_load(&stop)) {
		g_assert_true(support_take(self->arg, &block, support_rand_below(&r, 100 * KIB), 1));
		support_give(self->arg, &block);
	}
}

static int visit_marked(void *block, size_t size, void *arg)
{
	GHashTable *expected = arg;

	(void)size;
	if (g_hash_table_contains(expected, block))
		g_hash_table_remove(expected, block);
	return 0;
}

static void walk_beside_others(void)
{
	struct support_block blocks[COUNT];
	struct support_thread threads[3];
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 2);
	GHashTable *expected = g_hash_table_new(NULL, NULL);

	take_some(map, blocks, expected);
	atomic_store(&stop, false);
	support_threads_start(threads, 3, churn, map);
	for (size_t round = 0; round < support_scale(50); round++) {
		g_hash_table_remove_all(expected);
		for (size_t i = 0; i < COUNT; i++)
			if (blocks[i].at)
				g_hash_table_add(expected, blocks[i].at);
		g_assert_cmpint(qalloc_walk(map, visit_marked, expected), ==, 0);
		g_assert_cmpuint(g_hash_table_size(expected), ==, 0);
		check_map(map);
		support_stats(map);
	}
	atomic_store(&stop, true);
	support_threads_join(threads, 3);
	g_hash_table_destroy(expected);
	check_map(map);
	support_close(map);
}

/* --- statistics --- */

static void stats_of_an_empty_map(void)
{
	const char *path = support_path("empty");
	struct qalloc_stats stats = { 0 };
	dynmapinfo_t *map = support_dyn(path, 4 * MIB, 5);

	stats = support_stats(map);
	g_assert_cmpuint(stats.file_bytes, ==, 4 * MIB);
	g_assert_cmpuint(stats.disk_bytes, <=, 4 * MIB);
	g_assert_cmpuint(stats.user_bytes, <, 4 * MIB);
	g_assert_cmpuint(stats.user_bytes, >, 3 * MIB);
	g_assert_cmpuint(stats.used_bytes, ==, 0);
	g_assert_cmpuint(stats.used_blocks, ==, 0);
	g_assert_cmpuint(stats.free_bytes, ==, stats.user_bytes);
	g_assert_cmpuint(stats.item_bytes, ==, 0);
	g_assert_cmpuint(stats.streams, ==, 5);
	g_assert_cmpuint(stats.is_static, ==, 0);
	g_assert_nonnull(stats.base);
	g_assert_true(support_zero(stats.reserved, sizeof(stats.reserved)));
	support_finish(map, path);
}

static void stats_count_blocks(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 1);
	struct support_block blocks[300];
	uint64_t usable = 0;

	for (size_t i = 0; i < 300; i++) {
		struct qalloc_stats stats;

		g_assert_true(support_take(map, &blocks[i], i % 30 ? i * 3 : i * 3000, i));
		usable += qalloc_usable_size(map, blocks[i].at);
		stats = support_stats(map);
		g_assert_cmpuint(stats.used_blocks, ==, i + 1);
		g_assert_cmpuint(stats.used_bytes, ==, usable);
		g_assert_cmpuint(stats.free_bytes, ==, stats.user_bytes - stats.used_bytes);
		g_assert_cmpuint(stats.largest_free, <=, stats.free_bytes);
	}
	for (size_t i = 0; i < 300; i++)
		support_give(map, &blocks[i]);
	g_assert_cmpuint(support_stats(map).used_bytes, ==, 0);
	support_close(map);
}

static void stats_of_a_static_map(void)
{
	mapinfo_t *map = support_stat(NULL, MIB, 50, 3);
	struct qalloc_stats stats;
	size_t count = 0;

	while (qalloc_statmalloc(map))
		count++;
	stats = support_stats(map);
	g_assert_cmpuint(stats.item_bytes, ==, 56);
	g_assert_cmpuint(stats.is_static, ==, 1);
	g_assert_cmpuint(stats.used_blocks, ==, count);
	g_assert_cmpuint(stats.used_bytes, ==, count * 56);
	g_assert_cmpuint(stats.used_bytes, ==, stats.user_bytes);
	g_assert_cmpuint(stats.free_bytes, ==, 0);
	g_assert_cmpuint(stats.largest_free, ==, 0);
	support_free_all(map);
	stats = support_stats(map);
	g_assert_cmpuint(stats.largest_free, ==, 56);
	g_assert_cmpuint(stats.free_bytes, ==, stats.user_bytes);
	support_close(map);
}

static void stats_of_the_disk(void)
{
	const char *path = support_path("disk");
	dynmapinfo_t *map = support_dyn(path, 64 * MIB, 1);
	uint64_t before = support_stats(map).disk_bytes, after;
	char *block = qalloc_dynmalloc(map, 8 * MIB);
	struct stat st;

	memset(block, 1, 8 * MIB);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	after = support_stats(map).disk_bytes;
	g_assert_cmpint(stat(path, &st), ==, 0);
	g_assert_cmpuint(after, ==, (uint64_t)st.st_blocks * 512);
	g_assert_cmpuint(after, >=, before + 7 * MIB);
	g_assert_cmpuint(after, <=, 64 * MIB + MIB);
	support_finish(map, path);
}

struct counting {
	const char *path;
	struct support_sync sync;
};

static int take_and_wait(void *arg)
{
	struct counting *c = arg;
	void *map = support_load(c->path);

	g_assert_nonnull(qalloc_malloc(map, 10));
	support_point(&c->sync, "allocated");
	support_close(map);
	return 0;
}

static void stats_count_live_processes(void)
{
	struct counting *c = support_shared(3 * sizeof(*c));
	dynmapinfo_t *map;
	pid_t pids[3];

	c->path = support_path("processes");
	support_close(support_dyn(c->path, MIB, 1));
	for (int i = 0; i < 3; i++) {
		c[i].path = c->path;
		pids[i] = support_fork(take_and_wait, &c[i]);
		support_await(&c[i].sync, "allocated");
	}
	map = support_load(c->path);
	g_assert_nonnull(qalloc_dynmalloc(map, 10));
	g_assert_cmpuint(support_stats(map).processes, ==, 4);
	support_kill(pids[0]);
	g_assert_cmpuint(support_stats(map).processes, ==, 3);
	support_go(&c[1].sync, "allocated");
	support_wait_ok(pids[1]);
	g_assert_cmpuint(support_stats(map).processes, ==, 2);
	support_kill(pids[2]);
	g_assert_cmpuint(support_stats(map).processes, ==, 1);
	support_finish(map, c->path);
}

/* --- check --- */

static void check_of_a_sound_map(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 16 * MIB, 3);
	struct support_block blocks[COUNT];
	GHashTable *expected = g_hash_table_new(NULL, NULL);

	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	take_some(map, blocks, expected);
	g_assert_cmpuint(support_violations(map), ==, 0);
	g_hash_table_destroy(expected);
	support_close(map);
}

/* Writes over all metadata between the header's page and the first block, as a wild program might. */
static int scribble(void *arg)
{
	const char *path = arg;
	struct support_rand r;
	void *map = support_load(path);
	char *base = support_base(map), *block = qalloc_malloc(map, 100);

	support_rand_seed(&r, 9);
	for (char *at = base + 4096; at < block; at++)
		*at = (char)support_rand_between(&r, 2, 255);
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, -1);
	assert_errno_is(EUCLEAN);
	g_assert_cmpuint(support_violations(map), >, 0);
	return 0;
}

static void check_finds_scribbled_metadata(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		const char *path = support_path("scribble");

		support_close(is_static ? (void *)support_stat(path, MIB, 128, 1) : (void *)support_dyn(path, MIB, 1));
		support_run_child(scribble, (void *)(uintptr_t)path);
	}
}

static void overrun_of_a_block_leaves_the_map_sound(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	char *block = qalloc_dynmalloc(map, 64);
	/* It is the first one, in the first chunk. */
	char *end = (char *)((uintptr_t)block & ~(uintptr_t)65535) + support_stats(map).user_bytes;

	memset(block, 0xff, (size_t)(end - block));
	check_map(map);
	g_assert_nonnull(qalloc_dynmalloc(map, 64));
	assert_void(qalloc_dynfree(block, map), 0);
	check_map(map);
	support_close(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/inspect/walk", walk_visits_each_block_once);
	support_add("/qalloc/inspect/walk-static", walk_of_a_static_map);
	support_add("/qalloc/inspect/walk-empty", walk_of_an_empty_map);
	support_add("/qalloc/inspect/walk-ends", walk_ends_when_told);
	support_add("/qalloc/inspect/walk-frees", walk_may_free);
	support_add("/qalloc/inspect/walk-beside-others", walk_beside_others);
	support_add("/qalloc/inspect/stats-empty", stats_of_an_empty_map);
	support_add("/qalloc/inspect/stats-blocks", stats_count_blocks);
	support_add("/qalloc/inspect/stats-static", stats_of_a_static_map);
	support_add("/qalloc/inspect/stats-disk", stats_of_the_disk);
	support_add("/qalloc/inspect/stats-processes", stats_count_live_processes);
	support_add("/qalloc/inspect/check-sound", check_of_a_sound_map);
	support_add("/qalloc/inspect/check-scribbled", check_finds_scribbled_metadata);
	support_add("/qalloc/inspect/overrun", overrun_of_a_block_leaves_the_map_sound);
	return support_run();
}
