/* SPDX-License-Identifier: BSD-3-Clause */
/* Maps whose range is larger than what they hold: files that grow, memory without a file, views that grow by themselves. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/heap.h"
#include "common/map.h"
#include "common/checkpoint_image.h"
#include "tests/support/support.h"

#define BLOCK MIB

static const struct ma_engine *const engines[] = { &ma_heap_engine_keys, NULL };

/* What the address space has room for: Valgrind is slow with huge ranges, TSan has a narrow window. */
static uint64_t large_range(void)
{
	return (uint64_t)(support_valgrind() || support_tsan() || support_asan() ? 4 : 1024) << 30;
}

static struct ma_image *open_map(const char *path, unsigned flags, uint64_t reserved, uint64_t streams)
{
	struct ma_open how = {
		.filename = path,
		.fd = -1,
		.flags = flags,
		.reserved = reserved,
		.param = { streams },
		.engines = engines,
	};
	struct ma_map *map = ma_map_open(&how);

	if (!map)
		g_error("ma_map_open(%s): %s", path ? path : "anonymous", g_strerror(errno));
	return &map->image;
}

static void check(struct ma_image *map)
{
	g_assert_cmpuint(map->engine->check(map, NULL, NULL), ==, 0);
}

static void close_map(struct ma_image *map)
{
	check(map);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (uint64_t)st.st_blocks * 512;
}

static char *take(struct ma_image *map, size_t size, int content)
{
	char *block = ma_heap_malloc(map, size);

	g_assert_nonnull(block);
	memset(block, content, size);
	return block;
}

static void small_file_in_a_huge_range(void)
{
	const char *path = support_path("huge");
	struct ma_image *map = open_map(path, MA_MAP_CREATE, large_range(), 1);
	char *first, *second;

	g_assert_cmpuint(disk_bytes(path), <, MIB);
	first = take(map, 100, 1);
	g_assert_cmpuint(disk_bytes(path), <, 2 * MIB);
	g_assert_cmpint(support_file_size(path), <, (off_t)MIB);
	second = take(map, 20 * MIB, 2);
	g_assert_cmpint(support_file_size(path), <, (off_t)(large_range() / 1024 + 32 * MIB));
	close_map(map);
	map = open_map(path, 0, 0, 0);
	g_assert_cmpint(first[99], ==, 1);
	g_assert_cmpint(second[20 * MIB - 1], ==, 2);
	take(map, 40 * MIB, 3);
	g_assert_cmpint(first[99], ==, 1);
	close_map(map);
}

/* Owners and all else that is laid out follow from the range, not from the length of the moment. */
static void layout_stays_while_the_file_grows(void)
{
	const char *path = support_path("layout");
	struct ma_image *map = open_map(path, MA_MAP_CREATE, 64 * MIB, 1);
	struct ma_layout before = map->lay;
	char *block = take(map, 1000, 5);

	take(map, 30 * MIB, 6);
	close_map(map);
	map = open_map(path, 0, 0, 0);
	g_assert_true(memcmp(&before, &map->lay, sizeof(before)) == 0);
	g_assert_cmpint(block[999], ==, 5);
	close_map(map);
}

struct grower {
	struct ma_image *map;
	unsigned self;
	char *block[48];
};

static void *grow(void *arg)
{
	struct grower *g = arg;

	for (size_t i = 0; i < G_N_ELEMENTS(g->block); i++)
		g->block[i] = take(g->map, BLOCK, (int)(g->self + i));
	return NULL;
}

/* Each thread may be in a stream of its own, and each makes the file longer: none may make it shorter again. */
static void streams_grow_at_once(void)
{
	enum { THREADS = 4 };
	struct ma_image *map = open_map(support_path("streams"), MA_MAP_CREATE, 4096 * MIB, 16);
	struct grower growers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		growers[i] = (struct grower){ .map = map, .self = i };
		g_assert_cmpint(pthread_create(&threads[i], NULL, grow, &growers[i]), ==, 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	g_assert_cmpuint((uint64_t)support_file_size(map->name), >=, ma_load(&map->header->length));
	for (unsigned i = 0; i < THREADS; i++)
		for (size_t k = 0; k < G_N_ELEMENTS(growers[i].block); k++)
			g_assert_cmpint(growers[i].block[k][BLOCK - 1], ==, (char)(i + k));
	close_map(map);
}

static int use_copy(void *arg)
{
	struct ma_image *map = arg;
	char *block = take(map, 100, 8);

	g_assert_nonnull(take(map, 3 * MIB, 9));
	ma_heap_free(map, block);
	check(map);
	return 0;
}

static void anonymous(void)
{
	struct ma_image *map = open_map(NULL, MA_MAP_ANON, large_range(), 1);
	char *small = take(map, 50, 1), *large = take(map, 10 * MIB, 2);
	uint64_t used;
	struct ma_heap_stats stats;

	ma_heap_stats(map, &stats);
	used = stats.used_bytes;
	support_run_child(use_copy, map);
	ma_heap_stats(map, &stats);
	g_assert_cmpuint(stats.used_bytes, ==, used); /* The child had a copy. */
	g_assert_cmpint(small[49], ==, 1);
	g_assert_cmpint(large[10 * MIB - 1], ==, 2);
	ma_heap_free(map, large);
	ma_heap_free(map, small);
	check(map);
	g_assert_cmpint(ma_image_sync(map), ==, 0);
	close_map(map);
}

static void private_view_grows_by_itself(void)
{
	const char *path = support_path("view");
	struct ma_image *map = open_map(path, MA_MAP_CREATE, 1024 * MIB, 2);
	char *block = take(map, 5000, 4);
	off_t length;

	ma_map_close(ma_map_of(map));
	length = support_file_size(path);
	map = open_map(path, MA_MAP_PRIVATE, 0, 0);
	take(map, 100 * MIB, 5);
	block[0] = 9;
	close_map(map);
	g_assert_cmpint(support_file_size(path), ==, length);
	map = open_map(path, 0, 0, 0);
	g_assert_cmpint(block[0], ==, 4);
	close_map(map);
}

static void trim_gives_back_what_is_free(void)
{
	const char *path = support_path("trim");
	struct ma_image *map = open_map(path, MA_MAP_CREATE, 1024 * MIB, 1);
	char *blocks[1000], *keep = take(map, 3000, 7), *large;

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		blocks[i] = take(map, 30000, 1);
	large = take(map, 32 * MIB, 2);
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		ma_heap_free(map, blocks[i]);
	ma_heap_free(map, large);
	g_assert_cmpuint(disk_bytes(path), >, 55 * MIB);
	g_assert_cmpint(ma_heap_trim(map), >, (gint64)(55 * MIB));
	g_assert_cmpuint(disk_bytes(path), <, 4 * MIB);
	check(map);
	g_assert_cmpint(ma_heap_trim(map), ==, 0);
	g_assert_cmpint(keep[2999], ==, 7);
	large = take(map, 40 * MIB, 3);
	g_assert_cmpuint(disk_bytes(path), >, 40 * MIB);
	ma_heap_free(map, large);
	close_map(map);
}

/* Its own file, closed in order, so it is believed: but no call may look behind the file's end. */
static void alloc_bytes_behind_the_end(void)
{
	struct ma_image *map = open_map(support_path("behind"), MA_MAP_CREATE, GIB, 1);
	char *block = take(map, 100, 1);
	uint64_t chunk = (uint64_t)(block - map->user) / MA_CHUNK;
	uint64_t was = ma_load(&map->slab_desc[chunk]);

	ma_store(&map->slab_desc[chunk], (map->mapped / MA_UNIT - 64) << 32 | (was & UINT32_MAX));
	errno = 0;
	ma_heap_free(map, block);
	g_assert_cmpint(errno, ==, EINVAL);
	ma_store(&map->slab_desc[chunk], was);
	ma_heap_free(map, block);
	close_map(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/growth/small-file-in-a-huge-range", small_file_in_a_huge_range);
	support_add("/growth/layout-stays", layout_stays_while_the_file_grows);
	support_add("/growth/streams-grow-at-once", streams_grow_at_once);
	support_add("/growth/anonymous", anonymous);
	support_add("/growth/private-view", private_view_grows_by_itself);
	support_add("/growth/truth-behind-the-end", alloc_bytes_behind_the_end);
	support_add("/growth/trim", trim_gives_back_what_is_free);
	return support_run();
}
