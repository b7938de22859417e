/* SPDX-License-Identifier: BSD-3-Clause */
/* No call is a cancellation point, and a thread that is cancelled leaves nothing locked or lost. */
#include <unistd.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_cancel.h"

static int see_block(shm_offt offset, size_t size, void *arg)
{
	(void)offset, (void)size, (void)arg;
	pthread_testcancel();
	return 0;
}

static int see_root(const char *name, shm_offt offset, void *arg)
{
	(void)name, (void)offset, (void)arg;
	pthread_testcancel();
	return 0;
}

static void blocks(shmbuddy_t *region)
{
	shm_offt block[16], large;

	for (size_t i = 0; i < 16; i++)
		g_assert_cmpuint(block[i] = CALL(shmbuddy_malloc(region, 1 + i * 40)), !=, SHM_NULL);
	for (size_t i = 0; i < 16; i++)
		g_assert_cmpint(CALL(shmbuddy_free(region, block[i])), ==, 0);
	g_assert_cmpuint(large = CALL(shmbuddy_calloc(region, 1, 256 * KIB)), !=, SHM_NULL);
	g_assert_cmpuint(large = CALL(shmbuddy_realloc(region, large, 500 * KIB)), !=, SHM_NULL);
	g_assert_cmpint(CALL(shmbuddy_free(region, large)), ==, 0);
}

static void each_call(void *arg)
{
	const struct shmbuddy_options options = { .capacity = 8 * MIB, .range = 64 * MIB, .largest = MIB };
	const char *path = arg;
	struct shmbuddy_stats stats;
	shmbuddy_t *region;
	int created;

	g_assert_nonnull(region = CALL(shmbuddy_open(path, &options)));
	blocks(region);
	g_assert_cmpuint(CALL(shmbuddy_malloc(region, (size_t)1 << 40)), ==, SHM_NULL);
	g_assert_cmpint(CALL(shmbuddy_free(region, 5)), <, 0);
	g_assert_cmpuint(CALL(shmbuddy_find_or_create(region, "root", 100, cancel_set_up, NULL, &created)), !=, SHM_NULL);
	g_assert_cmpint(CALL(shmbuddy_walkroots(region, see_root, NULL)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_walk(region, see_block, NULL)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_check(region, NULL, NULL)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_stats(region, &stats)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_grow(region, 16 * MIB)), ==, 0);
	blocks(region);
	g_assert_cmpint(CALL(shmbuddy_mend(region)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_sync(region)), ==, 0);
	g_assert_cmpint(CALL(shmbuddy_close(region)), ==, 0);
	g_assert_nonnull(region = CALL(shmbuddy_open(path, NULL)));
	g_assert_cmpint(CALL(shmbuddy_close(region)), ==, 0);
	g_assert_null(CALL(shmbuddy_open("/nowhere/at/all", NULL)));
	g_assert_cmpint(CALL(shmbuddy_unlink(path)), ==, 0);
}

static void no_call_is_a_point(void)
{
	if (support_in_process_with("SHMBUDDY_DEBUG", "1"))
		support_with_cancel_pending(each_call, (void *)(uintptr_t)support_path("region"));
}

static void loop(void *shared)
{
	static _Atomic unsigned last;
	char *name = g_strdup_printf("%s/loop%u", support_dir(), atomic_fetch_add(&last, 1));
	shmbuddy_t *own = shmbuddy_open(name, NULL);

	g_assert_nonnull(own);
	g_assert_cmpint(shmbuddy_free(own, shmbuddy_malloc(own, 100)), ==, 0);
	g_assert_cmpint(shmbuddy_close(own), ==, 0);
	unlink(name);
	g_free(name);
	blocks(shared);
}

static void loops(void)
{
	const struct shmbuddy_options options = { .capacity = 16 * MIB, .largest = MIB };
	shmbuddy_t *region = shmbuddy_open(support_path("shared"), &options);
	struct shmbuddy_stats stats;

	support_cancel_in_loops(loop, region, (unsigned)support_scale(60));
	loop(region);
	g_assert_cmpint(shmbuddy_check(region, NULL, NULL), ==, 0);
	g_assert_cmpint(shmbuddy_stats(region, &stats), ==, 0);
	g_assert_cmpuint(stats.used_blocks, ==, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/cancel/no-point", no_call_is_a_point);
	support_add("/shmbuddy/cancel/loops", loops);
	return support_run();
}
