/* SPDX-License-Identifier: BSD-3-Clause */
/* No call is a cancellation point, and a thread that is cancelled leaves nothing locked or lost. */
#include "tests/support/support_cancel.h"
#include "tests/support/support_qalloc.h"

static void blocks(void *map)
{
	void *block[4];

	for (size_t i = 0; i < 4; i++)
		g_assert_nonnull(block[i] = CALL(qalloc_malloc(map, i * 40)));
	for (size_t i = 0; i < 4; i++)
		CALL(qalloc_free(block[i], map));
}

static void large_blocks(void *map)
{
	void *block = CALL(qalloc_malloc(map, 5 * MIB));

	g_assert_nonnull(block);
	g_assert_nonnull(block = CALL(qalloc_realloc(map, block, 9 * MIB)));
	CALL(qalloc_free(block, map)); /* Its space goes back to the disk. */
	g_assert_null(CALL(qalloc_malloc(map, (size_t)1 << 50)));
	CALL(qalloc_free((char *)map + 1, map));
	g_assert_nonnull(block = CALL(qalloc_memalign(map, 4096, MIB)));
	CALL(qalloc_free(block, map));
	g_assert_cmpint(CALL(qalloc_trim(map)), >=, 0);
}

static void open_and_close(void *arg)
{
	char *dynamic = g_strdup_printf("%s/dynamic", (char *)arg), *fixed = g_strdup_printf("%s/static", (char *)arg);
	char *copy = g_strdup_printf("%s/copy", (char *)arg);
	const struct qalloc_options options = { .size = 16 * MIB, .range = 256 * MIB };
	struct qalloc_lock *lock;
	struct qalloc_stats stats;
	int created;
	void *map, *items;

	map = CALL(qalloc_make(dynamic, &options));
	items = CALL(qalloc_makestatmap(MIB, NULL, fixed, 200, 2));
	g_assert_true(map && items);
	blocks(map);
	blocks(items);
	large_blocks(map);
	g_assert_nonnull(CALL(qalloc_find_or_create(map, "root", 100, cancel_set_up, NULL, &created)));
	g_assert_cmpint(CALL(qalloc_setroot(map, "other", NULL)), ==, 0);
	CALL(qalloc_getroot(map, "none"));
	g_assert_cmpint(CALL(qalloc_walkroots(map, cancel_see_root, NULL)), ==, 0);
	g_assert_cmpint(CALL(qalloc_walk(map, cancel_see_block, NULL)), ==, 0);
	g_assert_cmpint(CALL(qalloc_check(map, NULL, NULL)), ==, 0);
	g_assert_cmpint(CALL(qalloc_stats(map, &stats)), ==, 0);
	g_assert_nonnull(lock = CALL(qalloc_calloc(map, 1, sizeof(*lock))));
	g_assert_cmpint(CALL(qalloc_lock(map, lock)), ==, 0);
	g_assert_cmpint(CALL(qalloc_timedlock(map, lock, 10)), !=, 0);
	g_assert_cmpint(CALL(qalloc_unlock(map, lock)), ==, 0);
	g_assert_cmpint(CALL(qalloc_grow(map, 32 * MIB)), ==, 0);
	g_assert_cmpint(CALL(qalloc_sync(map)), ==, 0);
	g_assert_cmpint(CALL(qalloc_snapshot(map, copy)), ==, 0);
	CALL(qalloc_checkpoint());
	g_assert_cmpint(CALL(qalloc_close(map)), ==, 0);
	g_assert_cmpint(CALL(qalloc_close(items)), ==, 0);
	g_assert_nonnull(map = CALL(qalloc_open(copy, QALLOC_PRIVATE)));
	g_assert_cmpint(CALL(qalloc_close(map)), ==, 0);
	g_assert_nonnull(map = CALL(qalloc_open(dynamic, QALLOC_RDONLY)));
	CALL(qalloc_cleanup());
	g_assert_null(CALL(qalloc_loadmap("/nowhere/at/all")));
	g_free(dynamic);
	g_free(fixed);
	g_free(copy);
}

static void no_call_is_a_point(void)
{
	const char *dir = support_dir();
	char *path;
	void *map;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	support_with_cancel_pending(open_and_close, (void *)(uintptr_t)dir);
	path = g_strdup_printf("%s/dynamic", dir);
	map = support_open(path, 0);
	blocks(map);
	support_close(map);
	g_free(path);
}

/* Its own map for a moment, and blocks of one that all share. */
static void loop(void *map)
{
	static _Atomic unsigned last;
	char *name = g_strdup_printf("%s/loop%u", support_dir(), atomic_fetch_add(&last, 1));
	void *own = qalloc_makedynmap(MIB, NULL, name, 1);

	g_assert_nonnull(own);
	blocks(own);
	g_assert_cmpint(qalloc_close(own), ==, 0);
	unlink(name);
	g_free(name);
	blocks(map);
	qalloc_free(qalloc_malloc(map, 2 * MIB), map);
}

static void loops(void)
{
	void *map = support_dyn(NULL, 64 * MIB, 2);

	support_cancel_in_loops(loop, map, (unsigned)support_scale(60));
	loop(map);
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, 0);
	g_assert_cmpuint(support_stats(map).used_blocks, ==, 0);
	support_close(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/cancel/no-point", no_call_is_a_point);
	support_add("/qalloc/cancel/loops", loops);
	return support_run();
}
