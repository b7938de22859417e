/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps and marked blocks for the tests of libqalloc.
 *
 * A marked block's content follows from its tag and the position alone, so that any process can verify it, and two
 * blocks that overlap cannot both be intact.
 */
#include "tests/support/support_qalloc.h"

#include <stdlib.h>

#define FULLY  (4 * KIB) /* blocks up to here are filled wholly */
#define STRIDE 512u      /* above: eight bytes of each so many */

/* --- maps --- */

dynmapinfo_t *support_dyn(const char *path, size_t bytes, size_t streams)
{
	dynmapinfo_t *map;

	map = qalloc_makedynmap((off_t)bytes, NULL, path ? path : support_path("dyn"), streams);
	if (!map)
		g_error("qalloc_makedynmap: %s", g_strerror(errno));
	return map;
}

mapinfo_t *support_stat(const char *path, size_t bytes, size_t itemsize, size_t streams)
{
	mapinfo_t *map;

	map = qalloc_makestatmap((off_t)bytes, NULL, path ? path : support_path("stat"), itemsize, streams);
	if (!map)
		g_error("qalloc_makestatmap, items of %zu: %s", itemsize, g_strerror(errno));
	return map;
}

void *support_load(const char *path)
{
	void *map = qalloc_loadmap(path);

	if (!map)
		g_error("qalloc_loadmap: %s", g_strerror(errno));
	return map;
}

void *support_open(const char *path, unsigned flags)
{
	void *map = qalloc_open(path, flags);

	if (!map)
		g_error("qalloc_open with flags %u: %s", flags, g_strerror(errno));
	return map;
}

void support_close(void *map)
{
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

/* --- looking --- */

static void print_violation(const char *text, void *arg)
{
	g_printerr("# violation: %s\n", text);
	(*(size_t *)arg)++;
}

size_t support_violations(void *map)
{
	size_t count = 0;
	int result = qalloc_check(map, print_violation, &count);
	int error = errno;

	g_assert_cmpint(result, ==, count ? -1 : 0);
	if (count)
		g_assert_cmpint(error, ==, EUCLEAN);
	errno = error;
	return count;
}

void support_check_at(void *map, const char *file, int line)
{
	size_t count = 0;
	int result = qalloc_check(map, print_violation, &count);

	if (result != 0 || count)
		g_error("%s:%d: qalloc_check: %s, %zu violations", file, line,
			result ? g_strerror(errno) : "returned 0", count);
}

struct qalloc_stats support_stats(void *map)
{
	struct qalloc_stats stats;

	memset(&stats, 0xff, sizeof(stats));
	g_assert_cmpint(qalloc_stats(map, &stats), ==, 0);
	return stats;
}

size_t support_used(void *map)
{
	return (size_t)support_stats(map).used_blocks;
}

static int count_one(void *block, size_t size, void *arg)
{
	g_assert_nonnull(block);
	g_assert_cmpuint(size, >, 0);
	(*(size_t *)arg)++;
	return 0;
}

size_t support_count(void *map)
{
	size_t count = 0;

	g_assert_cmpint(qalloc_walk(map, count_one, &count), ==, 0);
	return count;
}

static bool there_is_room(void *map, size_t size)
{
	void *block = qalloc_malloc(map, size);

	if (!block)
		return false;
	assert_void(qalloc_free(block, map), 0);
	return true;
}

size_t support_largest(void *map)
{
	size_t low = 0, high = (size_t)support_stats(map).file_bytes + 1;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (there_is_room(map, middle))
			low = middle;
		else
			high = middle;
	}
	return low;
}

struct freeing {
	void *map;
	size_t count;
};

static int free_one(void *block, size_t size, void *arg)
{
	struct freeing *freeing = arg;

	(void)size;
	assert_void(qalloc_free(block, freeing->map), 0);
	freeing->count++;
	return 0;
}

size_t support_free_all(void *map)
{
	struct freeing freeing = { map, 0 };

	g_assert_cmpint(qalloc_walk(map, free_one, &freeing), ==, 0);
	return freeing.count;
}

char *support_base(void *map)
{
	return support_stats(map).base;
}

char *support_end(void *map)
{
	struct qalloc_stats stats = support_stats(map);

	return (char *)stats.base + stats.file_bytes;
}

/* --- marked blocks --- */

static uint64_t word_at(uint64_t tag, size_t offset)
{
	uint64_t z = (tag ^ (uint64_t)offset << 32) * 0x9e3779b97f4a7c15u;

	return z ^ z >> 29;
}

/* Offset of the next filled word behind @p at: a step on, but never past the last word, which may be cut off. */
static size_t next_offset(size_t size, size_t at)
{
	size_t step = size <= FULLY ? sizeof(uint64_t) : STRIDE;
	size_t last = (size - 1) & ~(size_t)7;

	return at >= last ? size : MIN(at + step, last);
}

void support_fill(void *block, size_t size, uint64_t tag)
{
	for (size_t at = 0; at < size; at = next_offset(size, at)) {
		uint64_t word = word_at(tag, at);

		memcpy((char *)block + at, &word, MIN(size - at, sizeof(word)));
	}
}

bool support_kept(const void *block, size_t kept, size_t size, uint64_t tag)
{
	for (size_t at = 0; at < size && at < kept; at = next_offset(size, at)) {
		uint64_t word = word_at(tag, at);
		size_t bytes = MIN(MIN(size, kept) - at, sizeof(word));

		if (memcmp((const char *)block + at, &word, bytes) != 0)
			return false;
	}
	return true;
}

bool support_intact(const void *block, size_t size, uint64_t tag)
{
	return support_kept(block, size, size, tag);
}

bool support_zero(const void *block, size_t size)
{
	const char *bytes = block;

	return !size || (!bytes[0] && memcmp(bytes, bytes + 1, size - 1) == 0);
}

bool support_take(void *map, struct support_block *block, size_t size, uint64_t tag)
{
	block->at = qalloc_malloc(map, size);
	block->size = size;
	block->tag = tag;
	if (!block->at)
		return false;
	support_fill(block->at, size, tag);
	return true;
}

void support_verify(const struct support_block *block)
{
	if (!support_intact(block->at, block->size, block->tag))
		g_error("the block of %zu bytes at %p was overwritten", block->size, block->at);
}

void support_give(void *map, struct support_block *block)
{
	support_verify(block);
	assert_void(qalloc_free(block->at, map), 0);
	block->at = NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct support_block *left = a, *right = b;

	return left->at < right->at ? -1 : left->at > right->at;
}

void support_no_overlap(void *map, struct support_block *blocks, size_t count)
{
	char *behind = support_base(map), *end = support_end(map);

	qsort(blocks, count, sizeof(*blocks), by_address);
	for (size_t i = 0; i < count; i++) {
		g_assert_true((char *)blocks[i].at >= behind);
		behind = (char *)blocks[i].at + MAX(blocks[i].size, 1);
		g_assert_true(behind <= end);
	}
}

void support_shuffle(struct support_block *blocks, size_t count, struct support_rand *r)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = support_rand_below(r, i);
		struct support_block other = blocks[j];

		blocks[j] = blocks[i - 1];
		blocks[i - 1] = other;
	}
}

size_t support_fill_up(void *map, struct support_block *blocks, size_t most, size_t size)
{
	for (size_t i = 0; i < most; i++) {
		errno = 0;
		if (!support_take(map, &blocks[i], size, i * 0x10001 + size)) {
			assert_errno_is(ENOMEM);
			return i;
		}
	}
	g_error("the map holds more than %zu blocks of %zu bytes", most, size);
}
