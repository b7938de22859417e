/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/durables.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

const char *beside(const char *path)
{
	static char name[500];

	snprintf(name, sizeof(name), "%s.checkpoint", path);
	return name;
}

bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

const char *make_durable(const struct heap *heap)
{
	const char *path = make(heap);

	unlink(beside(path));
	assert_status(0, "set", path, "durable=on");
	return path;
}

void put_byte(const struct heap *heap, const char *path, char byte)
{
	void *map = heap->open(path);

	g_assert_nonnull(map);
	*(char *)heap->at(map, heap->getroot(map, "first")) = byte;
	g_assert_cmpint(heap->close(map), ==, 0);
}

char get_byte(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);
	char byte;

	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	byte = *(char *)heap->at(map, heap->getroot(map, "first"));
	g_assert_cmpint(heap->close(map), ==, 0);
	return byte;
}

const char *make_stale(const struct heap *heap)
{
	const char *path = make_durable(heap);

	put_byte(heap, path, 1);
	forget_boot(path);
	return path;
}

/* The first pages lie behind the heads. */
void damage(const char *path)
{
	put(beside(path), 2 * MA_PAGE + 100, "damaged!", 8);
}
