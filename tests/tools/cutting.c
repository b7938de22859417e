/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/cutting.h"

#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <shmbuddy.h>
#include <unistd.h>

void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

void get(const char *path, off_t at, void *bytes, size_t count)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	g_assert_cmpint(pread(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

void forget_mount(const char *path)
{
	const uint64_t other = 12345;

	put(path, offsetof(struct ma_header, mount), &other, sizeof(other));
}

void forget_boot(const char *path)
{
	put(path, offsetof(struct ma_header, boot_id), "another machine ", 16);
}

bool renumber_device(const char *path)
{
	const uint64_t other = 12345;
	uint64_t filesystem;

	get(path, offsetof(struct ma_header, filesystem), &filesystem, sizeof(filesystem));
	if (filesystem)
		put(path, offsetof(struct ma_header, device), &other, sizeof(other));
	return filesystem != 0;
}

void put_state(const char *path, uint32_t state)
{
	put(path, offsetof(struct ma_header, state), &state, sizeof(state));
}

bool is_of(const struct heap *heap, const char *library)
{
	return g_str_has_prefix(heap->kind, library);
}

struct qalloc_opening found(const struct heap *heap, void *map)
{
	struct qalloc_opening opening;

	_Static_assert(sizeof(opening) == sizeof(struct mmalloc_opening), "the same");
	_Static_assert(sizeof(opening) == sizeof(struct shmbuddy_opening), "the same");
	if (is_of(heap, "qalloc"))
		g_assert_cmpint(qalloc_opening(map, &opening), ==, 0);
	else if (is_of(heap, "mmalloc"))
		g_assert_cmpint(mmalloc_opening(map, (struct mmalloc_opening *)(void *)&opening), ==, 0);
	else
		g_assert_cmpint(shmbuddy_opening(map, (struct shmbuddy_opening *)(void *)&opening), ==, 0);
	return opening;
}

const char *make(const struct heap *heap)
{
	const char *path = support_path(heap->kind);
	uint64_t first = 0;
	void *map;

	unlink(path);
	map = heap->open(path);
	g_assert_nonnull(map);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t block = heap->malloc(map, 64);

		memset(heap->at(map, block), 0x5a, 64);
		first = first ? first : block;
	}
	g_assert_cmpint(heap->setroot(map, "first", first), ==, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	return path;
}

void opens_at(const struct heap *heap, const char *path, bool verified, int line)
{
	void *map = heap->open(path);
	uint64_t block;

	if (!map)
		g_error("line %d: %s does not open: %s", line, heap->kind, strerror(errno));
	if (found(heap, map).verified != verified)
		g_error("line %d: %s is %sverified", line, heap->kind, verified ? "not " : "");
	block = heap->getroot(map, "first");
	g_assert_cmpuint(block, !=, 0);
	g_assert_cmpint(*(char *)heap->at(map, block), ==, 0x5a);
	g_assert_cmpint(heap->close(map), ==, 0);
	assert_status(0, "check", path);
}

void *open_to_read(const struct heap *heap, const char *path)
{
	const struct shmbuddy_options region = { .flags = SHMBUDDY_RDONLY };
	const struct mmalloc_options options = { .flags = MMALLOC_RDONLY };
	void *map;
	int fd;

	if (is_of(heap, "qalloc"))
		return qalloc_open(path, QALLOC_RDONLY);
	if (is_of(heap, "shmbuddy"))
		return shmbuddy_open(path, &region);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map = mmalloc_attach_opt(fd, NULL, &options);
	close(fd);
	return map;
}

void *open_privately(const struct heap *heap, const char *path)
{
	const struct mmalloc_options options = { .flags = MMALLOC_PRIVATE };
	void *map;
	int fd;

	if (is_of(heap, "qalloc"))
		return qalloc_open(path, QALLOC_PRIVATE);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map = mmalloc_attach_opt(fd, NULL, &options);
	close(fd);
	return map;
}
