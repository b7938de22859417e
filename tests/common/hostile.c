/* SPDX-License-Identifier: BSD-3-Clause */
/* Files that somebody made up, and that are too large for the fuzzer (tests/fuzz): what they cost must stay in proportion. */
#include "common/annotate.h"
#include "common/heap.h"
#include "common/map.h"
#include <qalloc.h>
#include "tests/support/support.h"

/* A dynamic map all of whose chunks' words are what word() says. */
static const char *make(uint64_t (*word)(uint64_t chunk, uint64_t chunks))
{
	const char *path = support_path("hostile");
	struct ma_image *map = (struct ma_image *)qalloc_makedynmap((off_t)GIB, NULL, path, 1);
	uint64_t *words;

	g_assert_nonnull(map);
	words = (uint64_t *)(void *)(map->base + map->lay.unit_off);
	for (uint64_t i = 0; i < ma_units(map); i++)
		words[i] = word(i, ma_units(map));
	ma_store(&ma_stream(map, 0)->backed, ma_units(map));
	g_assert_cmpint(qalloc_close(map), ==, 0);
	return path;
}

static uint64_t claims_all(uint64_t chunk, uint64_t chunks)
{
	return (chunks - chunk) << 12 | MA_RUN;
}

static uint64_t belongs_to_the_first(uint64_t chunk, uint64_t chunks)
{
	return chunk ? MA_CONT : claims_all(chunk, chunks);
}

static uint64_t nonsense(uint64_t chunk, uint64_t chunks)
{
	(void)chunk, (void)chunks;
	return UINT64_MAX;
}

static int count(void *block, size_t size, void *arg)
{
	size_t *blocks = arg;

	(void)block, (void)size;
	++*blocks;
	return 0;
}

/* The watchdog is what fails when the cost is the square of the size. */
static void look_at(const char *path, unsigned flags, bool sound)
{
	struct qalloc_stats stats;
	size_t blocks = 0;
	void *map = qalloc_open(path, flags);

	g_assert_nonnull(map);
	errno = 0;
	g_assert_cmpint(qalloc_check(map, NULL, NULL), ==, sound ? 0 : -1);
	g_assert_cmpint(errno, ==, sound ? 0 : EUCLEAN);
	g_assert_cmpint(qalloc_walk(map, count, &blocks), ==, 0);
	g_assert_cmpint(qalloc_stats(map, &stats), ==, 0);
	g_assert_cmpuint(stats.used_blocks, ==, blocks);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void every_head_claims_all(void)
{
	const char *path = make(claims_all);

	look_at(path, QALLOC_RDONLY, false);
	look_at(path, 0, false);
}

static void one_head_claims_all(void)
{
	const char *path = make(belongs_to_the_first);

	look_at(path, QALLOC_RDONLY, true);
}

static void every_word_is_nonsense(void)
{
	const char *path = make(nonsense);

	look_at(path, QALLOC_RDONLY, false);
	look_at(path, 0, false);
}

/* What ASan was told of a view's blocks is void when the view is closed, whatever a damaged map says of what was used of it. */
static void closed_view_is_forgotten(void)
{
#if MA_ASAN
	const char *path = support_path("forgotten");
	struct ma_image *map = (struct ma_image *)qalloc_makedynmap((off_t)MIB, NULL, path, 1);
	char *base, *block;
	uint64_t bytes;

	g_assert_nonnull(map);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	map = qalloc_open(path, QALLOC_PRIVATE);
	g_assert_nonnull(map);
	g_assert_nonnull(block = qalloc_malloc(map, 100000));
	base = map->base;
	bytes = map->mapped;
	qalloc_free(block, map);
	g_assert_nonnull(__asan_region_is_poisoned(block, 100000));
	ma_store(&ma_stream(map, 0)->backed, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	g_assert_null(__asan_region_is_poisoned(base, bytes));
#else
	g_test_skip("not built with AddressSanitizer");
#endif
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/hostile/every-head-claims-all", every_head_claims_all);
	support_add("/hostile/one-head-claims-all", one_head_claims_all);
	support_add("/hostile/nonsense", every_word_is_nonsense);
	support_add("/hostile/closed-view-is-forgotten", closed_view_is_forgotten);
	return support_run();
}
