// SPDX-License-Identifier: BSD-3-Clause
// The shims in a C++ program: every one of them, as an expression, beside the standard library's own use of malloc.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <glib.h>
#include <string>
#include <vector>

#include <mmalloc.h>

static void *chosen;
static int asked; // How often MMALLOC_COMPAT_MD was evaluated.

static void *which()
{
	asked++;
	return chosen;
}

#define MMALLOC_COMPAT_MD which()
#include <mmalloc-compat.h>

static bool ours(const void *block)
{
	return mmalloc_usable_size(chosen, block) > 0;
}

static void all_of_them()
{
	void *out = nullptr;
	int *numbers = static_cast<int *>(calloc(5, sizeof(int)));
	char *text = strdup("a text"), *part = strndup("a longer text", 8);

	g_assert_true(ours(numbers) && std::count(numbers, numbers + 5, 0) == 5);
	g_assert_true(ours(text) && std::string(text) == "a text");
	g_assert_true(ours(part) && std::string(part) == "a longer");
	numbers = static_cast<int *>(realloc(numbers, 1000 * sizeof(int)));
	numbers = static_cast<int *>(reallocarray(numbers, 2000, sizeof(int)));
	g_assert_true(ours(numbers));
	errno = 0;
	g_assert_null(reallocarray(numbers, SIZE_MAX / 2, 3));
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpint(posix_memalign(&out, 256, 10), ==, 0);
	g_assert_true(ours(out) && reinterpret_cast<std::uintptr_t>(out) % 256 == 0);
	g_assert_cmpint((free(out), posix_memalign(&out, 3, 10)), ==, EINVAL);
	out = aligned_alloc(4096, 8192);
	g_assert_true(ours(out) && reinterpret_cast<std::uintptr_t>(out) % 4096 == 0);
	free(out);
	out = malloc(0);
	g_assert_true(ours(out));
	// What the library allocates for itself is not redirected.
	std::vector<std::string> strings(100, std::string(1000, 'x'));
	g_assert_cmpuint(mmstats(chosen).chunks_used, ==, 4);
	free(out), free(text), free(part), free(numbers), free(nullptr);
	g_assert_cmpuint(mmstats(chosen).chunks_used, ==, 0);
	g_assert_cmpint(mmalloc_check(chosen, nullptr, nullptr), ==, 0);
}

static void default_heap()
{
	chosen = nullptr;
	all_of_them();
}

static void chosen_heap()
{
	chosen = mmalloc_attach(-1, nullptr);
	g_assert_nonnull(chosen);
	asked = 0;
	all_of_them();
	g_assert_cmpint(asked, ==, 17); // Once a call.
	g_assert_null(mmalloc_detach(chosen));
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, nullptr);
	g_test_add_func("/mmalloc/compat-cxx/default", default_heap);
	g_test_add_func("/mmalloc/compat-cxx/chosen", chosen_heap);
	return g_test_run();
}
