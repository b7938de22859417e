/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree of free chunks, after each random step compared with a look at all the words. */
#include <errno.h>
#include <string.h>

#include "common/heap_internal.h"
#include "common/map.h"
#include "tests/support/support_qalloc.h"

#define CHUNKS 2000
#define RUNS   64

static const struct ma_engine *const engines[] = { &ma_heap_engine_keys, NULL };

struct run {
	uint64_t first, count; /* no chunk: count 0 */
};

static struct ma_image *open_map(void)
{
	struct ma_open how = {
		.fd = -1,
		.flags = MA_MAP_CREATE | MA_MAP_ANON,
		.reserved = (uint64_t)1 << 30,
		.param = { 1 },
		.engines = engines,
	};
	struct ma_map *map = ma_map_open(&how);

	if (!map)
		g_error("ma_map_open: %s", g_strerror(errno));
	return &map->image;
}

/* The lowest run of count free chunks among those that are in the tree, found the slow way. */
static uint64_t find_slowly(struct ma_image *map, uint64_t count)
{
	uint64_t end = ma_load(&ma_stream(map, 0)->top) * MA_LEAF;
	uint64_t free = 0;

	for (uint64_t at = 0; at < ma_min(end, ma_range_count(map, 0)); at++) {
		free = ma_chunk_is_free(map, at) ? free + 1 : 0;
		if (free == count)
			return at + 1 - count;
	}
	return MA_NO_CHUNK;
}

static void compare(struct ma_image *map, uint64_t count)
{
	g_assert_cmpuint(ma_tree_find(map, 0, count), ==, find_slowly(map, count));
}

static uint64_t a_count(struct support_rand *r)
{
	return 1 + support_rand_below(r, support_rand_below(r, 4) ? 8 : 200);
}

static void take(struct ma_image *map, struct run *run, uint64_t count)
{
	run->first = ma_chunk_take(map, 0, count, 1, ma_word(MA_RUN, 0, count));
	g_assert_cmpuint(run->first, !=, MA_NO_CHUNK);
	run->count = count;
}

static void give(struct ma_image *map, struct run *run)
{
	ma_chunk_give(map, run->first, run->count);
	run->count = 0;
}

static void step(struct ma_image *map, struct run *run, struct support_rand *r)
{
	uint64_t count = a_count(r);

	if (!run->count)
		take(map, run, count);
	else if (support_rand_below(r, 3))
		give(map, run);
	else if (ma_chunk_resize(map, run->first, run->count, count))
		run->count = count;
}

static void finds_the_lowest(void)
{
	struct ma_image *map = open_map();
	struct run runs[RUNS] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, 1);
	for (size_t i = 0; i < support_scale(20000); i++) {
		step(map, &runs[support_rand_below(&r, RUNS)], &r);
		compare(map, a_count(&r));
		compare(map, 1 + support_rand_below(&r, CHUNKS));
	}
	g_assert_cmpuint(ma_load(&ma_stream(map, 0)->top), >, 8);
	g_assert_cmpuint(map->engine->check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* The tree grows by several levels at once, and what was in it before is still found. */
static void grows_by_levels(void)
{
	struct ma_image *map = open_map();
	struct run first, huge, last;

	take(map, &first, 1);
	take(map, &huge, 40 * MA_LEAF);
	take(map, &last, 1);
	give(map, &first);
	for (uint64_t count = 1; count < 42 * MA_LEAF; count++)
		compare(map, count);
	give(map, &huge);
	for (uint64_t count = 1; count < 42 * MA_LEAF; count++)
		compare(map, count);
	give(map, &last);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* A process died between two levels: the leaf is right, and its span, but nothing over it. */
static void mends_what_is_torn(void)
{
	struct ma_image *map = open_map();
	uint64_t node = map->lay.seg[0].span_base + 3;
	struct run a, b;

	take(map, &a, 10 * MA_LEAF);
	take(map, &b, 1);
	give(map, &a);
	while ((node /= 2) > 0)
		memset(map->base + map->lay.seg[0].span_off + node * 12, 0, 12);
	g_assert_cmpuint(ma_tree_find(map, 0, 1), ==, MA_NO_CHUNK);
	ma_tree_mend(map, 0, 0, 11 * MA_LEAF);
	for (uint64_t count = 1; count < 12 * MA_LEAF; count++)
		compare(map, count);
	give(map, &b);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* A wild store: a full leaf seems to have room. One search is misled, and those after it are not. */
static void mends_a_lie(void)
{
	struct ma_image *map = open_map();
	uint64_t node = map->lay.seg[0].span_base;
	const uint32_t lie[3] = { 64, 64, 4 * MA_LEAF };
	struct run a, b, c;

	take(map, &a, MA_LEAF);
	take(map, &b, 2 * MA_LEAF);
	take(map, &c, 1);
	give(map, &b);
	for (; node > 0; node /= 2)
		memcpy(map->base + map->lay.seg[0].span_off + node * 12, lie, 12);
	g_assert_cmpuint(ma_tree_find(map, 0, 3), ==, MA_NO_CHUNK);
	for (uint64_t count = 1; count < 4 * MA_LEAF; count++)
		compare(map, count);
	give(map, &a);
	give(map, &c);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

/* A damaged leaf has bits behind the last chunk: recovery clears them, or the check would refuse the map after each salvage. */
static void mends_bits_of_no_chunk(void)
{
	void *handle = support_dyn(NULL, MIB, 1), *block = qalloc_malloc(handle, 2 * MA_CHUNK);
	struct ma_image *map = handle;
	_Atomic uint64_t *leaf = ma_tree_leaf(map, 0, 0);
	uint64_t chunks = ma_range_whole(map, 0), word = ma_load(leaf), spare = ma_load(&ma_stream(map, 0)->spare);

	g_assert_nonnull(block);
	g_assert_cmpuint(chunks, <, MA_LEAF);
	ma_store(leaf, word | (uint64_t)0xb2a1 << chunks);
	ma_store(&ma_stream(map, 0)->spare, spare + ma_bits(0xb2a1));
	ma_tree_mend(map, 0, 0, chunks);
	g_assert_cmpuint(ma_load(leaf), ==, word);
	g_assert_cmpuint(ma_load(&ma_stream(map, 0)->spare), ==, spare);
	support_close(handle);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tree/finds-the-lowest", finds_the_lowest);
	support_add("/tree/grows-by-levels", grows_by_levels);
	support_add("/tree/mends-what-is-torn", mends_what_is_torn);
	support_add("/tree/mends-a-lie", mends_a_lie);
	support_add("/tree/mends-bits-of-no-chunk", mends_bits_of_no_chunk);
	return support_run();
}
