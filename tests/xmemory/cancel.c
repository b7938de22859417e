/* SPDX-License-Identifier: BSD-3-Clause */
/* No call is a cancellation point, and a thread that is cancelled leaves nothing locked. */
#include "tests/support/support_cancel.h"
#include "tests/support/support_xmemory.h"

static int see_leak(const struct xmemory_leak *leak, void *arg)
{
	(void)leak, (void)arg;
	pthread_testcancel(); /* The report is not left half done. */
	return 0;
}

static void each_call(void *arg)
{
	const char *path = arg;
	struct xmemory_stats stats;
	char *large, *small, *view;
	size_t size;

	large = CALL(take(MIB));
	small = CALL(take(1000));
	g_assert_true(large && small);
	memset(large, 1, MIB);
	g_assert_nonnull(large = CALL(retake(large, 3 * MIB)));
	g_assert_nonnull(large = CALL(retake(large, MIB)));
	g_assert_nonnull(small = CALL(retake(small, 20000)));
	CALL(give(large));
	CALL(give(small));
	CALL(give(NULL)); /* A line on stderr. */
	g_assert_nonnull(large = CALL(xmemory_calloc(3, MIB, __FILE__, __LINE__)));
	CALL(give(large));
	g_assert_nonnull(large = CALL(xmemory_memalign(4 * MIB, MIB, __FILE__, __LINE__)));
	CALL(give(large));
	g_assert_nonnull(view = CALL(map(path, 0, &size)));
	CALL(xmemory_fdealloc(view, 0, size, __FILE__, __LINE__));
	g_assert_null(CALL(map("/nowhere/at/all", 0, &size)));
	CALL(xmemory_status_(__FILE__, __LINE__));
	g_assert_cmpint(CALL(xmemory_leaks(see_leak, NULL)), ==, 0);
	g_assert_cmpint(CALL(xmemory_stats(&stats)), ==, 0);
	g_assert_cmpint(CALL(xmemory_setlimit(0)), ==, 0); /* Reads /proc. */
	CALL(xmemory_getlimit());
	CALL(xmemory_settmpdir(support_dir()));
	g_assert_cmpint(CALL(xmemory_setlimit(1)), ==, 0);
}

static void use_it(void *arg)
{
	char *block[4];

	(void)arg;
	for (int i = 0; i < 4; i++)
		fill(block[i] = take(i % 2 ? 300 * KIB : 2000), 2000, 5);
	for (int i = 0; i < 4; i++) {
		check(block[i], 2000, 5);
		give(block[i]);
	}
}

static void no_call_is_a_point(void)
{
	const char *path = support_path("file");

	if (!support_in_process_with("XMEMORY_DEBUG", "2"))
		return;
	support_file_write(path, "contents", 8);
	vm_begin(1);
	support_with_cancel_pending(each_call, (void *)(uintptr_t)path);
	vm_begin(1);
	use_it(NULL);
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
}

static void loops(void)
{
	vm_begin(1);
	support_cancel_in_loops(use_it, NULL, (unsigned)support_scale(100));
	use_it(NULL);
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/cancel/no-point", no_call_is_a_point);
	support_add("/xmemory/cancel/loops", loops);
	return support_run();
}
