// SPDX-License-Identifier: BSD-3-Clause
//
// An old-style C++ source: the shims come first, standard headers after them, and both the short names and those of
// namespace std are used. Prints its own TAP.
#include <xmemory.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <string>
#include <vector>

static int tests, failures;

static void ok(bool good, const char *what)
{
	if (!good)
		failures++;
	std::printf("%sok %d - /xmemory/legacy-cxx/%s\n", good ? "" : "not ", ++tests, what);
}

struct counter {
	size_t blocks;
};

static int count(const xmemory_leak *leak, void *arg)
{
	if (std::strstr(leak->file, "legacy_cxx"))
		static_cast<counter *>(arg)->blocks += leak->blocks;
	return 0;
}

static size_t blocks()
{
	counter c = { 0 };

	xmemory_leaks(count, &c);
	return c.blocks;
}

int main()
{
	double *table = (double *)malloc(100 * sizeof(double));
	char *text = strdup("text");
	void *other = std::malloc(10);

	ok(blocks() == 3, "malloc, strdup and std::malloc come from here");
	other = std::realloc(other, 1000);
	table = static_cast<double *>(realloc(table, 200 * sizeof(double)));
	ok(blocks() == 3, "realloc and std::realloc");
	ok(xmemory_kind(table) == XMEMORY_RAM && xmemory_size(other) == 1000, "they are ours");
	free(table);
	free(text);
	std::free(other);
	ok(blocks() == 0, "free and std::free");
	std::vector<std::string> words{ "b", "a" };
	std::sort(words.begin(), words.end());
	ok(words[0] == "a" && blocks() == 0, "operator new is not ours");
	size_t size = 0;
	char *self = falloc(__FILE__, 3, &size);
	ok(self == nullptr || (size > 100 && std::strncmp(self, "SPDX", 4) == 0), "falloc");
	if (self)
		free(self);
	std::printf("1..%d\n", tests);
	return failures != 0;
}
