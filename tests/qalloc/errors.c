/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each errno of each call that works on an open map; and what is printed about it. Opening is in errors_open.c.
 */
#include <sys/mman.h>

#include "tests/support/support_qalloc.h"

static int go_on(void *block, size_t size, void *arg)
{
	(void)block;
	(void)size;
	(void)arg;
	return 0;
}

/* Every call on a handle that is not open (any more). */
static void all_say_ebadf(void *map, void *block)
{
	struct qalloc_stats stats;

	assert_null(qalloc_malloc(map, 8), EBADF);
	assert_null(qalloc_malloc(map, 100000), EBADF);
	assert_null(qalloc_statmalloc(map), EBADF);
	assert_null(qalloc_dynmalloc(map, 8), EBADF);
	assert_null(qalloc_dynmalloc(map, 100000), EBADF);
	assert_void(qalloc_free(block, map), EBADF);
	assert_void(qalloc_statfree(block, map), EBADF);
	assert_void(qalloc_dynfree(block, map), EBADF);
	assert_null(qalloc_calloc(map, 1, 8), EBADF);
	assert_null(qalloc_realloc(map, block, 8), EBADF);
	assert_null(qalloc_realloc(map, block, 100000), EBADF);
	assert_null(qalloc_realloc(map, NULL, 8), EBADF);
	assert_null(qalloc_memalign(map, 16, 8), EBADF);
	assert_minus1(qalloc_setroot(map, "name", block), EBADF);
	assert_null(qalloc_getroot(map, "name"), EBADF);
	assert_minus1(qalloc_sync(map), EBADF);
	assert_minus1(qalloc_check(map, NULL, NULL), EBADF);
	assert_minus1(qalloc_stats(map, &stats), EBADF);
	assert_minus1(qalloc_walk(map, go_on, NULL), EBADF);
	assert_minus1(qalloc_close(map), EBADF);
	errno = 0;
	g_assert_cmpuint(qalloc_usable_size(map, block), ==, 0);
	assert_errno_is(EBADF);
}

static void closed_maps_are_ebadf(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		void *map = is_static ? (void *)support_stat(NULL, MIB, 16, 1) : (void *)support_dyn(NULL, MIB, 1);
		void *block = qalloc_malloc(map, 16);

		g_assert_nonnull(block);
		support_close(map);
		all_say_ebadf(map, block);
	}
}

static void closed_stays_ebadf_beside_new_maps(void)
{
	void *closed = support_dyn(NULL, MIB, 1), *block = qalloc_malloc(closed, 16), *open[20];

	support_close(closed);
	for (int i = 0; i < 20; i++) {
		open[i] = support_dyn(NULL, MIB, 1);
		g_assert_nonnull(qalloc_malloc(open[i], 16));
	}
	all_say_ebadf(closed, block);
	for (int i = 0; i < 20; i++) {
		g_assert_cmpuint(support_used(open[i]), ==, 1);
		support_close(open[i]);
	}
}

static void null_map_is_ebadf(void)
{
	int local;

	all_say_ebadf(NULL, &local);
}

static void malloc_errors(void)
{
	mapinfo_t *stat = support_stat(NULL, 64 * KIB, 64, 1);
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);

	while (qalloc_statmalloc(stat))
		;
	assert_null(qalloc_statmalloc(stat), ENOMEM);
	assert_null(qalloc_malloc(stat, 1), ENOMEM);
	while (qalloc_dynmalloc(dyn, 1))
		;
	assert_null(qalloc_dynmalloc(dyn, 1), ENOMEM);
	assert_null(qalloc_malloc(dyn, 5000), ENOMEM);
	assert_null(qalloc_calloc(dyn, 3, 100), ENOMEM);
	assert_null(qalloc_realloc(dyn, NULL, 100), ENOMEM);
	assert_null(qalloc_memalign(dyn, 64, 100), ENOMEM);
	support_close(stat);
	support_close(dyn);
}

static void calloc_errors(void)
{
	mapinfo_t *stat = support_stat(NULL, MIB, 60, 1);
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);

	assert_null(qalloc_calloc(dyn, SIZE_MAX, 2), ENOMEM);
	assert_null(qalloc_calloc(dyn, 2, SIZE_MAX), ENOMEM);
	assert_null(qalloc_calloc(dyn, (size_t)1 << 32, ((size_t)1 << 32) + 1), ENOMEM);
	assert_null(qalloc_calloc(dyn, 2, MIB), ENOMEM);
	assert_null(qalloc_calloc(stat, SIZE_MAX, 2), ENOMEM);
	assert_null(qalloc_calloc(stat, 1, 65), EINVAL);
	assert_null(qalloc_calloc(stat, 13, 5), EINVAL);
	g_assert_nonnull(qalloc_calloc(stat, 12, 5));
	g_assert_cmpuint(support_used(dyn), ==, 0);
	support_close(stat);
	support_close(dyn);
}

static void realloc_errors(void)
{
	mapinfo_t *stat = support_stat(NULL, MIB, 64, 1);
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);
	struct support_block a, b;
	char local[64];

	g_assert_true(support_take(dyn, &a, 200, 1));
	g_assert_true(support_take(stat, &b, 64, 2));
	assert_null(qalloc_realloc(dyn, a.at, 2 * MIB), ENOMEM);
	assert_null(qalloc_realloc(dyn, a.at, SIZE_MAX), ENOMEM);
	assert_null(qalloc_realloc(dyn, (char *)a.at + 16, 10), EINVAL);
	assert_null(qalloc_realloc(dyn, (char *)a.at + 1, 10), EINVAL);
	assert_null(qalloc_realloc(dyn, local, 10), EINVAL);
	assert_null(qalloc_realloc(dyn, b.at, 10), EINVAL);
	assert_null(qalloc_realloc(stat, b.at, 65), EINVAL);
	assert_null(qalloc_realloc(stat, a.at, 10), EINVAL);
	support_give(dyn, &a);
	support_give(stat, &b);
	check_map(dyn);
	check_map(stat);
	support_close(stat);
	support_close(dyn);
}

static void memalign_errors(void)
{
	mapinfo_t *odd = support_stat(NULL, MIB, 24, 1), *even = support_stat(NULL, MIB, 32, 1);
	dynmapinfo_t *dyn = support_dyn(NULL, MIB, 1);

	assert_null(qalloc_memalign(dyn, 0, 10), EINVAL);
	assert_null(qalloc_memalign(dyn, 3, 10), EINVAL);
	assert_null(qalloc_memalign(dyn, 48, 10), EINVAL);
	assert_null(qalloc_memalign(dyn, SIZE_MAX, 10), EINVAL);
	assert_null(qalloc_memalign(dyn, (size_t)1 << 63, 10), ENOMEM);
	assert_null(qalloc_memalign(dyn, MIB, 10), ENOMEM);
	assert_null(qalloc_memalign(dyn, 64, SIZE_MAX), ENOMEM);
	assert_null(qalloc_memalign(dyn, 64, SIZE_MAX - 63), ENOMEM);
	assert_null(qalloc_memalign(odd, 16, 10), EINVAL);
	assert_null(qalloc_memalign(odd, 3, 10), EINVAL);
	assert_null(qalloc_memalign(even, MIB, 10), EINVAL);
	g_assert_nonnull(qalloc_memalign(odd, 8, 10));
	g_assert_nonnull(qalloc_memalign(even, 16, 10));
	g_assert_cmpuint(support_used(dyn), ==, 0);
	support_close(odd);
	support_close(even);
	support_close(dyn);
}

static void usable_size_errors(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	char *block = qalloc_dynmalloc(map, 100), *big = qalloc_dynmalloc(map, 100000);
	const char *const bad[] = { block + 16,         block + 1,         big + 65536,      big + 16,
				    (const char *)&map, support_base(map), support_end(map), (const char *)8 };

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		errno = 0;
		g_assert_cmpuint(qalloc_usable_size(map, bad[i]), ==, 0);
		assert_errno_is(EINVAL);
	}
	errno = 0;
	g_assert_cmpuint(qalloc_usable_size(map, NULL), ==, 0);
	assert_errno_is(0);
	qalloc_dynfree(block, map);
	g_assert_cmpuint(qalloc_usable_size(map, block), ==, 0);
	assert_errno_is(EINVAL);
	support_close(map);
}

static void root_errors(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	char long_name[QALLOC_ROOT_MAX + 2], *block = qalloc_dynmalloc(map, 100);
	int local;

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_minus1(qalloc_setroot(map, NULL, block), EINVAL);
	assert_minus1(qalloc_setroot(map, "", block), EINVAL);
	assert_minus1(qalloc_setroot(map, long_name, block), EINVAL);
	assert_minus1(qalloc_setroot(map, "a", &local), EINVAL);
	assert_minus1(qalloc_setroot(map, "a", support_base(map)), EINVAL);
	assert_minus1(qalloc_setroot(map, "a", support_base(map) - 1), EINVAL);
	assert_minus1(qalloc_setroot(map, "a", support_end(map)), EINVAL);
	assert_null(qalloc_getroot(map, NULL), EINVAL);
	assert_null(qalloc_getroot(map, ""), EINVAL);
	assert_null(qalloc_getroot(map, long_name), EINVAL);
	assert_null(qalloc_getroot(map, "a"), ENOENT);
	check_map(map);
	support_close(map);
}

static void walk_and_stats_errors(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);

	assert_minus1(qalloc_stats(map, NULL), EINVAL);
	assert_minus1(qalloc_walk(map, NULL, NULL), EINVAL);
	support_close(map);
}

static void success_leaves_errno_alone(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	void *small, *large;

	errno = ERANGE;
	small = qalloc_dynmalloc(map, 10);
	qalloc_dynfree(small, map);
	assert_errno_is(ERANGE);
	large = qalloc_dynmalloc(map, 200000);
	errno = ERANGE;
	qalloc_free(large, map);
	assert_errno_is(ERANGE);
	qalloc_free(NULL, map);
	assert_errno_is(ERANGE);
	g_assert_null(qalloc_realloc(map, qalloc_dynmalloc(map, 10), 0));
	assert_errno_is(ERANGE);
	support_close(map);
}

static void checkpoint_sets_errno_to_0(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);

	errno = ERANGE;
	qalloc_checkpoint();
	assert_errno_is(0);
	support_close(map);
	errno = ERANGE;
	qalloc_checkpoint();
	assert_errno_is(0);
}

/* --- what is printed --- */

/* One failing call of each sort. */
static void fail_in_many_ways(void)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);
	void *block = qalloc_dynmalloc(map, 100);

	g_assert_null(qalloc_dynmalloc(map, 2 * MIB));
	qalloc_dynfree((char *)block + 1, map);
	qalloc_dynfree(block, map);
	qalloc_dynfree(block, map);
	g_assert_null(qalloc_loadmap("/proc/nonexistent/map"));
	g_assert_null(qalloc_makedynmap(1, NULL, support_path("small"), 1));
	g_assert_null(qalloc_getroot(map, "absent"));
	support_close(map);
	g_assert_null(qalloc_dynmalloc(map, 1));
}

static void nothing_is_printed_by_default(void)
{
	char *text;

	if (!support_in_process_with("QALLOC_DEBUG", NULL))
		return;
	support_capture_begin();
	fail_in_many_ways();
	text = support_capture_end();
	g_assert_cmpstr(text, ==, "");
	g_free(text);
}

static size_t lines(const char *text)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* Asserts one line (not counting those of a sanitizer or Valgrind, of which there are none). */
static void assert_one_line(const char *text, const char *part)
{
	g_test_message("debug line: %s", text);
	g_assert_cmpuint(lines(text), ==, 1);
	g_assert_true(g_str_has_suffix(text, "\n"));
	g_assert_nonnull(strstr(text, part));
}

static void debug_line_of_a_bad_free(void)
{
	dynmapinfo_t *map;
	void *block;
	char *text, *address;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	map = support_dyn(NULL, MIB, 1);
	block = qalloc_dynmalloc(map, 100);
	address = g_strdup_printf("%p", block);
	qalloc_free(block, map);
	support_capture_begin();
	qalloc_free(block, map);
	text = support_capture_end();
	assert_one_line(text, address);
	g_free(text);
	g_free(address);
}

static void debug_line_gives_the_smallest_size(void)
{
	char *text;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	support_capture_begin();
	g_assert_null(qalloc_makedynmap(60000, NULL, support_path("small"), 1));
	assert_errno_is(EINVAL);
	text = support_capture_end();
	assert_one_line(text, "60000 bytes: with these numbers the smallest map has ");
	g_free(text);
}

static void debug_line_of_a_full_map(void)
{
	dynmapinfo_t *map;
	char *text;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	map = support_dyn(NULL, MIB, 1);
	support_capture_begin();
	g_assert_null(qalloc_dynmalloc(map, 5 * MIB));
	text = support_capture_end();
	assert_one_line(text, "5242880");
	g_free(text);
}

static void success_prints_nothing_in_debug_mode(void)
{
	dynmapinfo_t *map;
	char *text;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	support_capture_begin();
	map = support_dyn(NULL, MIB, 1);
	qalloc_free(qalloc_dynmalloc(map, 100), map);
	qalloc_free(NULL, map);
	check_map(map);
	support_close(map);
	text = support_capture_end();
	g_assert_cmpstr(text, ==, "");
	g_free(text);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/errors/closed", closed_maps_are_ebadf);
	support_add("/qalloc/errors/closed-beside-new", closed_stays_ebadf_beside_new_maps);
	support_add("/qalloc/errors/null-map", null_map_is_ebadf);
	support_add("/qalloc/errors/malloc", malloc_errors);
	support_add("/qalloc/errors/calloc", calloc_errors);
	support_add("/qalloc/errors/realloc", realloc_errors);
	support_add("/qalloc/errors/memalign", memalign_errors);
	support_add("/qalloc/errors/usable-size", usable_size_errors);
	support_add("/qalloc/errors/roots", root_errors);
	support_add("/qalloc/errors/walk-and-stats", walk_and_stats_errors);
	support_add("/qalloc/errors/errno-on-success", success_leaves_errno_alone);
	support_add("/qalloc/errors/checkpoint", checkpoint_sets_errno_to_0);
	support_add("/qalloc/errors/silent", nothing_is_printed_by_default);
	support_add("/qalloc/errors/debug-bad-free", debug_line_of_a_bad_free);
	support_add("/qalloc/errors/debug-smallest", debug_line_gives_the_smallest_size);
	support_add("/qalloc/errors/debug-full", debug_line_of_a_full_map);
	support_add("/qalloc/errors/debug-success", success_prints_nothing_in_debug_mode);
	return support_run();
}
