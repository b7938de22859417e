/* SPDX-License-Identifier: BSD-3-Clause */
/* No call is a cancellation point, and a thread that is cancelled leaves nothing locked or lost. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/support_cancel.h"
#include "tests/support/support_mmalloc.h"

static void blocks(void *md)
{
	void *block[4], *large;

	for (size_t i = 0; i < 4; i++)
		g_assert_nonnull(block[i] = CALL(mmalloc(md, 1 + i * 40)));
	for (size_t i = 0; i < 4; i++)
		CALL(mfree(md, block[i]));
	g_assert_nonnull(large = CALL(mcalloc(md, 2, MIB)));
	g_assert_nonnull(large = CALL(mrealloc(md, large, 3 * MIB)));
	CALL(mfree(md, large));
	g_assert_nonnull(large = CALL(mvalloc(md, 5000)));
	CALL(mfree(md, large));
	g_assert_null(CALL(mmalloc(md, (size_t)1 << 50)));
}

static void each_call(void *arg)
{
	const struct mmalloc_options options = { .flags = MMALLOC_FORK_SNAPSHOT };
	struct mmalloc_lock *lock;
	struct mmalloc_stats stats;
	int fd = *(int *)arg, created;
	char *copy = g_strdup_printf("%s/copy", support_dir());
	void *md;

	blocks(NULL);
	g_assert_nonnull(md = CALL(mmalloc_attach_opt(fd, NULL, &options)));
	blocks(md);
	g_assert_nonnull(CALL(mmalloc_find_or_create(md, "root", 100, cancel_set_up, NULL, &created)));
	g_assert_cmpint(CALL(mmalloc_setroot(md, "other", NULL)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_setkey(md, 3, NULL)), !=, 2);
	g_assert_cmpint(CALL(mmalloc_walkroots(md, cancel_see_root, NULL)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_walk(md, cancel_see_block, NULL)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_check(md, NULL, NULL)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_stats(md, &stats)), ==, 0);
	g_assert_nonnull(lock = CALL(mcalloc(md, 1, sizeof(*lock))));
	g_assert_cmpint(CALL(mmalloc_lock(md, lock)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_unlock(md, lock)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_trim(md)), >=, 0);
	g_assert_cmpint(CALL(mmalloc_sync(md)), ==, 0);
	g_assert_cmpint(CALL(mmalloc_snapshot(md, copy)), ==, 0);
	g_assert_cmpint(CALL(mmcheckf(md, NULL, 1)), ==, 1);
	blocks(md);
	g_assert_cmpint(CALL(mmtrace()), ==, 1);
	blocks(md);
	g_assert_nonnull(CALL(mmalloc_findbase(MIB)));
	g_assert_null(CALL(mmalloc_detach(md)));
	g_free(copy);
}

static int no_point(void *arg)
{
	int fd = open(support_path("heap"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void)arg;
	support_with_cancel_pending(each_call, &fd);
	blocks(NULL);
	close(fd);
	return 0;
}

/* In a process of its own: a trace does not end, and the environment counts as it was at the start. */
static void no_call_is_a_point(void)
{
	bool here;

	g_setenv("MMALLOC_DEBUG", "1", TRUE);
	here = support_in_process_with("MALLOC_TRACE", support_path("trace"));
	g_unsetenv("MMALLOC_DEBUG");
	if (here)
		support_run_child(no_point, NULL);
}

static void loop(void *md)
{
	int fd = memfd_create("heap", MFD_CLOEXEC);
	void *own = mmalloc_attach(fd, NULL);

	close(fd);
	g_assert_nonnull(own);
	blocks(own);
	g_assert_null(mmalloc_detach(own));
	blocks(md);
}

static void loops(void)
{
	int fd = open(support_path("shared"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *md = mmalloc_attach(fd, NULL);
	struct mmalloc_stats stats;

	close(fd);
	support_cancel_in_loops(loop, md, (unsigned)support_scale(60));
	loop(md);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, 0);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_cmpuint(stats.used_blocks, ==, 0);
	g_assert_null(mmalloc_detach(md));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/cancel/no-point", no_call_is_a_point);
	support_add("/mmalloc/cancel/loops", loops);
	return support_run();
}
