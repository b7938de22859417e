/* SPDX-License-Identifier: BSD-3-Clause */
/* An old program that only knows malloc: its source is redirected, to a heap that it chooses. */
#include <errno.h>
#include <mmalloc.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/support.h"

static void *chosen; /* NULL: the default heap. */

#define MMALLOC_COMPAT_MD chosen
#include <mmalloc-compat.h>

static bool is_in_the_heap(const void *block)
{
	return mmalloc_usable_size(chosen, block) > 0;
}

static void all_of_them(void)
{
	char *text, *copy, **table = malloc(10 * sizeof(*table));
	void *block = NULL;
	int *numbers = calloc(5, sizeof(int));

	g_assert_true(is_in_the_heap(table));
	for (int i = 0; i < 5; i++)
		g_assert_cmpint(numbers[i], ==, 0);
	/* As expressions: the old macro of realloc ended in a stray semicolon. */
	free((table = realloc(table, 20 * sizeof(*table))) ? table : NULL);
	numbers = reallocarray(numbers, 1000, sizeof(int));
	g_assert_true(is_in_the_heap(numbers));
	free(numbers);
	errno = 0;
	g_assert_null(reallocarray(NULL, SIZE_MAX / 2, 3));
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpint(posix_memalign(&block, 256, 10), ==, 0);
	g_assert_true((uintptr_t)block % 256 == 0 && is_in_the_heap(block));
	free(block);
	g_assert_cmpint(posix_memalign(&block, 3, 10), ==, EINVAL);
	block = aligned_alloc(4096, 8192);
	g_assert_true((uintptr_t)block % 4096 == 0 && is_in_the_heap(block));
	free(block);
	text = strdup("a text");
	copy = strndup("a longer text", 8);
	g_assert_true(is_in_the_heap(text) && is_in_the_heap(copy));
	g_assert_cmpstr(text, ==, "a text");
	g_assert_cmpstr(copy, ==, "a longer");
	free(text);
	free(copy);
	block = malloc(0);
	g_assert_true(is_in_the_heap(block));
	free(block);
	free(NULL);
}

static void default_heap(void)
{
	chosen = NULL;
	all_of_them();
}

static void chosen_heap(void)
{
	chosen = mmalloc_attach(-1, NULL);
	g_assert_nonnull(chosen);
	all_of_them();
	g_assert_cmpuint(mmstats(chosen).chunks_used, ==, 0);
	g_assert_null(mmalloc_detach(chosen));
	chosen = NULL;
}

static void on_abort(void)
{
	g_error("a guard was damaged");
}

static void checked_heap(void)
{
	chosen = mmalloc_attach(-1, NULL);
	g_assert_cmpint(mmcheck(chosen, on_abort), ==, 1);
	all_of_them();
	g_assert_cmpint(mmalloc_check(chosen, NULL, NULL), ==, 0);
	g_assert_cmpuint(mmstats(chosen).chunks_used, ==, 0);
	g_assert_null(mmalloc_detach(chosen));
	chosen = NULL;
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/compat/default", default_heap);
	support_add("/mmalloc/compat/chosen", chosen_heap);
	support_add("/mmalloc/compat/checked", checked_heap);
	return support_run();
}
