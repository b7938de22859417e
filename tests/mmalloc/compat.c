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

/* As the C library's: what fails leaves all as it was, and 0 bytes are a block. */
static void edges(void)
{
	char *block = strdup("kept"), *other;
	void *out = block;
	int i = 0;

	errno = 0;
	g_assert_null(reallocarray(block, SIZE_MAX / 8, 9));
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_null(calloc(SIZE_MAX / 8, 9));
	g_assert_null(realloc(block, SIZE_MAX));
	g_assert_null(malloc(SIZE_MAX));
	g_assert_null(aligned_alloc(64, SIZE_MAX - 63));
	errno = 0;
	g_assert_null(aligned_alloc(24, 100));
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_cmpstr(block, ==, "kept");
	/* It returns its error; errno and the pointer stay. */
	errno = ERANGE;
	g_assert_cmpint(posix_memalign(&out, 0, 10), ==, EINVAL);
	g_assert_cmpint(posix_memalign(&out, 4, 10), ==, EINVAL);
	g_assert_cmpint(posix_memalign(&out, 24, 10), ==, EINVAL);
	g_assert_cmpint(posix_memalign(&out, 64, SIZE_MAX - 63), ==, ENOMEM);
	g_assert_true(errno == ERANGE && out == block);
	g_assert_cmpint(posix_memalign(&out, sizeof(void *), 0), ==, 0);
	g_assert_true(is_in_the_heap(out) && errno == ERANGE);
	free(out);
	g_assert_true(is_in_the_heap(out = calloc(0, 8)));
	g_assert_true(is_in_the_heap(out = realloc(out, 8)));
	g_assert_null(realloc(out, 0));
	g_assert_false(is_in_the_heap(out));
	g_assert_true(is_in_the_heap(out = realloc(NULL, 0)));
	g_assert_null(reallocarray(out, 0, 8));
	g_assert_true(is_in_the_heap(out = reallocarray(NULL, 8, 0)));
	free(out);
	g_assert_true(is_in_the_heap(out = aligned_alloc(256, 0)));
	free(out);
	/* Each argument is evaluated once, whatever it is. */
	out = malloc((size_t)++i);
	out = realloc(out, (size_t)++i);
	out = reallocarray(out, (size_t)++i, 2);
	out = reallocarray((i++, out), 3, 2);
	g_assert_cmpint(i, ==, 4);
	free((i++, out));
	other = strndup(block + (i++, 1), 0 ? 1 : 2);
	g_assert_cmpstr(other, ==, "ep");
	g_assert_cmpint(i, ==, 6);
	free(other);
	other = strndup(block, SIZE_MAX);
	g_assert_cmpstr(other, ==, "kept");
	(void)(i ? free(other) : free(block));
	free(block);
}

static void default_heap(void)
{
	chosen = NULL;
	all_of_them();
	edges();
}

static void chosen_heap(void)
{
	chosen = mmalloc_attach(-1, NULL);
	g_assert_nonnull(chosen);
	all_of_them();
	edges();
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
