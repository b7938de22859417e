/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps of libqalloc, and its calls as all tests know them. */
#include "tests/support/support_qalloc.h"

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

size_t support_violations(void *map)
{
	size_t count = 0;
	int result = qalloc_check(map, support_print_violation, &count);
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
	int result = qalloc_check(map, support_print_violation, &count);

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

size_t support_count(void *map)
{
	return support_count_by(&support_qalloc_calls, map);
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

size_t support_free_all(void *map)
{
	return support_free_all_by(&support_qalloc_calls, map);
}

char *support_base(void *map)
{
	return support_stats(map).base;
}

char *support_end(void *map)
{
	struct qalloc_stats stats = support_stats(map);

	return (char *)stats.base + stats.file_bytes + 64 * KIB; /* Blocks may begin at the next chunk. */
}

/* --- marked blocks --- */

static void *calls_calloc(void *map, size_t size)
{
	return qalloc_calloc(map, 1, size);
}

static void calls_free(void *map, void *block)
{
	qalloc_free(block, map);
}

const struct support_calls support_qalloc_calls = {
	.name = "qalloc",
	.malloc = qalloc_malloc,
	.calloc = calls_calloc,
	.realloc = qalloc_realloc,
	.memalign = qalloc_memalign,
	.free = calls_free,
	.usable_size = qalloc_usable_size,
	.walk = qalloc_walk,
	.check = qalloc_check,
};

bool support_take(void *map, struct support_block *block, size_t size, uint64_t tag)
{
	return support_take_by(&support_qalloc_calls, map, block, size, tag);
}

void support_give(void *map, struct support_block *block)
{
	support_give_by(&support_qalloc_calls, map, block);
}

void support_no_overlap(void *map, struct support_block *blocks, size_t count)
{
	support_no_overlap_in(support_base(map), support_end(map), blocks, count);
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
