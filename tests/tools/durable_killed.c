/* SPDX-License-Identifier: BSD-3-Clause */
/* restore and set, killed on their way into and out of each call that may change a file: the map is of one moment. */
#include <errno.h>
#include <unistd.h>

#include "tests/tools/durables.h"
#include "tests/tools/victim.h"

/* Blocks at both ends of more pages than are written at once. */
static const char *make_long(const struct heap *heap)
{
	const char *path = make(heap);
	void *map = heap->open(path);
	uint64_t between = heap->malloc(map, MIB), last = heap->malloc(map, 300000);

	memset(heap->at(map, between), 2, MIB);
	*(char *)heap->at(map, last) = 0x5a;
	g_assert_cmpint(heap->setroot(map, "last", last), ==, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	unlink(beside(path));
	return path;
}

static void change(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);

	*(char *)heap->at(map, heap->getroot(map, "first")) = 1;
	*(char *)heap->at(map, heap->getroot(map, "last")) = 1;
	g_assert_cmpint(heap->close(map), ==, 0);
}

/* Both blocks are of one moment. */
static char moment_of(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);
	char first, last;

	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	first = *(char *)heap->at(map, heap->getroot(map, "first"));
	last = *(char *)heap->at(map, heap->getroot(map, "last"));
	g_assert_cmpint(heap->close(map), ==, 0);
	g_assert_cmpint(first, ==, last);
	return last;
}

/* Not static maps: their items are small. */
static void restore_killed(void)
{
	for (size_t i = 1; i < DURABLE; i++) {
		const char *path = make_long(&heaps[i]);
		const victim_line line = { "restore", path };
		size_t k = 1, back = 0;

		if (!victim_begin())
			return;
		victim_expect(0, "set", path, "durable=on");
		change(&heaps[i], path);
		for (; victim_killed_at(line, k); k++) {
			back += moment_of(&heaps[i], path) == 0x5a;
			change(&heaps[i], path);
		}
		g_assert_cmpuint(k, >, 10);
		g_assert_cmpuint(back, >, 0);
		g_assert_cmpuint(back, <, k);
	}
}

/* Durable or not, the map is as it was. */
static void set_killed(void)
{
	const struct heap *heap = &heaps[2];
	const char *path = make_long(heap);
	bool more = true;
	size_t k = 1;

	if (!victim_begin())
		return;
	change(heap, path);
	for (; more; k++) {
		more = victim_killed_at((victim_line){ "set", path, "durable=on" }, k);
		g_assert_cmpint(moment_of(heap, path), ==, 1);
		victim_expect(0, "set", path, "durable=on");
		more |= victim_killed_at((victim_line){ "set", path, "durable=off" }, k);
		g_assert_cmpint(moment_of(heap, path), ==, 1);
		victim_expect(0, "set", path, "durable=off");
	}
	g_assert_cmpuint(k, >, 10);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/durable-killed/restore", restore_killed);
	support_add("/tools/durable-killed/set", set_killed);
	return support_run();
}
