/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was wrong in the original qalloc (shared/original-apis.md, section 1), one test a defect, named after it.
 * Written with the original calls only.
 */
#include <qthread/qalloc.h>

#include "tests/support/support_qalloc.h"

static void requests_of_2049_to_14336_bytes_returned_null(void)
{
	dynmapinfo_t *map = qalloc_makedynmap((off_t)(16 * MIB), NULL, support_path("sizes"), 4);

	g_assert_nonnull(map);
	for (size_t size = 2049; size <= 14336; size++) {
		struct support_block block = { qalloc_dynmalloc(map, size), size, size };

		g_assert_nonnull(block.at);
		support_fill(block.at, size, size);
		support_give(map, &block);
	}
	qalloc_cleanup();
}

static void exhausted_static_map_crashed(void)
{
	mapinfo_t *map = qalloc_makestatmap((off_t)(64 * KIB), NULL, support_path("full"), 32, 4);
	void *last = NULL, *item;
	size_t count = 0;

	g_assert_nonnull(map);
	while ((item = qalloc_statmalloc(map))) {
		memset(item, 1, 32);
		last = item;
		count++;
	}
	assert_errno_is(ENOMEM);
	g_assert_cmpuint(count, >, 1000);
	for (int i = 0; i < 100; i++)
		g_assert_null(qalloc_statmalloc(map));
	qalloc_statfree(last, map);
	g_assert_true(qalloc_statmalloc(map) == last);
	qalloc_cleanup();
}

static void freeing_big_blocks_hung(void)
{
	dynmapinfo_t *map = qalloc_makedynmap((off_t)(64 * MIB), NULL, support_path("big"), 2);

	g_assert_nonnull(map);
	for (size_t size = 14337; size < 32 * MIB; size += size / 3) {
		for (int i = 0; i < 5; i++) {
			void *block = qalloc_dynmalloc(map, size);

			g_assert_nonnull(block);
			memset(block, i, size);
			assert_void(qalloc_dynfree(block, map), 0);
		}
	}
	qalloc_cleanup();
}

static void last_block_ran_past_the_end(void)
{
	static const size_t file_sizes[] = { 256 * KIB, MIB + 1, MIB + 4095, 3 * MIB + 12345 };

	for (size_t i = 0; i < G_N_ELEMENTS(file_sizes); i++) {
		for (size_t size = 16; size < 200000; size = size * 5 + 3) {
			dynmapinfo_t *map;
			struct support_block block;
			char *end;

			map = qalloc_makedynmap((off_t)file_sizes[i], NULL, support_path("end"), 1);
			end = support_end(map);
			while (support_take(map, &block, size, size)) /* beyond the file's last page: SIGBUS */
				g_assert_true((char *)block.at + qalloc_usable_size(map, block.at) <= end);
			qalloc_cleanup();
		}
	}
}

static void last_item_ran_past_the_end(void)
{
	static const size_t file_sizes[] = { 64 * KIB, 100001, 256 * KIB + 4095 };

	for (size_t i = 0; i < G_N_ELEMENTS(file_sizes); i++) {
		for (size_t size = 1; size < 5000; size = size * 3 + 1) {
			mapinfo_t *map;
			char *item, *end;

			map = qalloc_makestatmap((off_t)file_sizes[i], NULL, support_path("end"), size, 1);
			end = support_end(map);
			while ((item = qalloc_statmalloc(map))) {
				g_assert_true(item + size <= end);
				memset(item, 1, size);
			}
			qalloc_cleanup();
		}
	}
}

static void blocks_had_odd_addresses(void)
{
	dynmapinfo_t *dyn = qalloc_makedynmap((off_t)(4 * MIB), NULL, support_path("odd"), 3);
	mapinfo_t *stat = qalloc_makestatmap((off_t)MIB, NULL, support_path("odd"), 13, 3);

	for (size_t i = 0; i < 1000; i++) {
		g_assert_cmpuint((uintptr_t)qalloc_dynmalloc(dyn, i % 30 + 1) % 16, ==, 0);
		g_assert_cmpuint((uintptr_t)qalloc_statmalloc(stat) % 8, ==, 0);
	}
	qalloc_cleanup();
}

struct shared {
	const char *path;
	bool is_static;
	struct support_barrier *barrier;
	_Atomic uint64_t calls;
};

static int work_until_killed(void *arg)
{
	struct shared *s = arg;
	void *map = qalloc_loadmap(s->path);

	for (size_t i = 0;; i++) {
		qalloc_free(qalloc_malloc(map, s->is_static ? i % 65 : i % 10 ? i % 3000 : 100000), map);
		atomic_fetch_add(&s->calls, 1);
	}
	return 0;
}

static void kill_a_worker(struct shared *s, unsigned usec)
{
	pid_t pid;

	atomic_store(&s->calls, 0);
	pid = support_fork(work_until_killed, s);
	while (!atomic_load(&s->calls))
		support_sleep_us(20);
	g_assert_true(support_kill_after_us(pid, usec));
}

/* Also after a reload: every second time nobody else has the map open when the process dies. */
static void killed_process_left_the_map_locked(void)
{
	struct shared *s = support_shared(sizeof(*s));
	struct support_rand r;

	support_rand_seed(&r, 1);
	for (size_t round = 0; round < support_scale(200); round++) {
		void *map;

		s->is_static = round % 4 < 2;
		s->path = support_path("locked");
		map = s->is_static ? (void *)qalloc_makestatmap((off_t)MIB, NULL, s->path, 64, 2)
				   : (void *)qalloc_makedynmap((off_t)(4 * MIB), NULL, s->path, 2);
		if (round % 2)
			qalloc_cleanup();
		kill_a_worker(s, (unsigned)support_rand_below(&r, 400));
		if (round % 2)
			map = qalloc_loadmap(s->path);
		g_assert_nonnull(map);
		for (size_t i = 0; i < 100; i++) {
			void *block = qalloc_malloc(map, s->is_static ? i % 65 : i * 300);

			g_assert_nonnull(block);
			assert_void(qalloc_free(block, map), 0);
		}
		check_map(map);
		qalloc_cleanup();
		unlink(s->path);
	}
}

static int take_many(void *arg)
{
	struct shared *s = arg;
	void *map = qalloc_loadmap(s->path);

	support_barrier_wait(s->barrier);
	for (size_t i = 0; i < support_scale(20000); i++) {
		char *block = qalloc_malloc(map, 500);

		g_assert_nonnull(block);
		support_fill(block, 500, (uint64_t)getpid());
		g_assert_true(support_intact(block, 500, (uint64_t)getpid()));
		qalloc_free(block, map);
	}
	qalloc_cleanup();
	return 0;
}

static void locks_were_not_shared_by_processes(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t pids[4];
	void *map;

	s->path = support_path("mutex");
	s->barrier = support_barrier_new(4);
	g_assert_nonnull(qalloc_makedynmap((off_t)(4 * MIB), NULL, s->path, 1));
	qalloc_cleanup();
	for (int i = 0; i < 4; i++)
		pids[i] = support_fork(take_many, s);
	for (int i = 0; i < 4; i++)
		support_wait_ok(pids[i]);
	map = qalloc_loadmap(s->path);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	qalloc_cleanup();
}

static void every_error_aborted_the_program(void)
{
	const char *path = support_path("error");
	dynmapinfo_t *map;
	int local;

	g_assert_null(qalloc_loadmap("/proc/nonexistent/file"));
	g_assert_null(qalloc_makedynmap(100, NULL, path, 4));
	g_assert_null(qalloc_makestatmap(100, NULL, path, 4, 4));
	g_assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 0, 4));
	support_file_write(path, "this is no map", 14);
	g_assert_null(qalloc_loadmap(path));
	unlink(path);
	map = qalloc_makedynmap((off_t)MIB, NULL, path, 4);
	g_assert_null(qalloc_dynmalloc(map, 2 * MIB));
	qalloc_dynfree(&local, map);
	qalloc_cleanup();
	g_assert_null(qalloc_dynmalloc(map, 10));
	qalloc_dynfree(&local, map);
	qalloc_checkpoint();
	qalloc_cleanup();
}

static void streams_given_on_reload_were_trusted(void)
{
	const char *dyn = support_path("dyn"), *stat = support_path("stat");
	void *map;

	g_assert_nonnull(qalloc_makedynmap((off_t)MIB, NULL, dyn, 2));
	g_assert_nonnull(qalloc_makestatmap((off_t)MIB, NULL, stat, 64, 2));
	qalloc_cleanup();
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, dyn, 100), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, stat, 64, 100), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, stat, 128, 2), EINVAL);
	map = qalloc_loadmap(dyn);
	g_assert_cmpuint(support_stats(map).streams, ==, 2);
	check_map(map);
	map = qalloc_loadmap(stat);
	g_assert_cmpuint(support_stats(map).streams, ==, 2);
	g_assert_cmpuint(support_stats(map).item_bytes, ==, 64);
	qalloc_cleanup();
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/was-wrong/2049-to-14336", requests_of_2049_to_14336_bytes_returned_null);
	support_add("/qalloc/was-wrong/exhausted-static-map", exhausted_static_map_crashed);
	support_add("/qalloc/was-wrong/freeing-big-blocks", freeing_big_blocks_hung);
	support_add("/qalloc/was-wrong/last-block", last_block_ran_past_the_end);
	support_add("/qalloc/was-wrong/last-item", last_item_ran_past_the_end);
	support_add("/qalloc/was-wrong/odd-addresses", blocks_had_odd_addresses);
	support_add("/qalloc/was-wrong/killed-process", killed_process_left_the_map_locked);
	support_add("/qalloc/was-wrong/process-shared", locks_were_not_shared_by_processes);
	support_add("/qalloc/was-wrong/errors-abort", every_error_aborted_the_program);
	support_add("/qalloc/was-wrong/streams-on-reload", streams_given_on_reload_were_trusted);
	return support_run();
}
