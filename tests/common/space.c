/* SPDX-License-Identifier: BSD-3-Clause */
/* Disk space: taken before use, in steps; kept by free chunks; given back; growth of a file. */
#include "common/space.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/heap.h"
#include "common/map.h"
#include "tests/support/support.h"

static const struct ma_engine *const engines[] = { &ma_heap_engine, NULL };

static struct ma_image *open_map(const char *path, uint64_t length, uint64_t reserved)
{
	struct ma_open how = {
		.filename = path,
		.flags = MA_MAP_CREATE,
		.length = length,
		.reserved = reserved,
		.param = { 1 },
		.engines = engines,
	};
	struct ma_map *map = ma_map_open(&how);

	g_assert_nonnull(map);
	return &map->image;
}

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (uint64_t)st.st_blocks * 512;
}

static void close_map(struct ma_image *map)
{
	g_assert_cmpuint(map->engine->check(map, NULL, NULL), ==, 0);
	g_assert_cmpint(ma_map_close(ma_map_of(map)), ==, 0);
}

static void is_taken_before_use(void)
{
	const char *path = support_path("take");
	struct ma_image *map = open_map(path, 64 * MIB, 64 * MIB);

	g_assert_cmpuint(disk_bytes(path), <, 2 * MIB);
	g_assert_nonnull(ma_heap_malloc(map, 8 * MIB)); /* Not touched. */
	g_assert_cmpuint(disk_bytes(path), >=, 8 * MIB);
	close_map(map);
}

static void stays_for_the_next_block(void)
{
	const char *path = support_path("keep");
	struct ma_image *map = open_map(path, 64 * MIB, 64 * MIB);
	char *block = ma_heap_malloc(map, 16 * MIB);

	block[10 * MIB] = 1;
	ma_heap_free(map, block);
	g_assert_cmpuint(disk_bytes(path), >=, 16 * MIB);
	g_assert_true(ma_heap_malloc(map, 16 * MIB) == block);
	g_assert_cmpint(block[10 * MIB], ==, 1); /* The pages stayed in memory. */
	close_map(map);
}

static void is_given_back_and_taken_again(void)
{
	const char *path = support_path("punch");
	struct ma_image *map = open_map(path, 64 * MIB, 64 * MIB);
	char *block = ma_heap_malloc(map, 16 * MIB);
	uint64_t full;

	memset(block, 7, 16 * MIB);
	full = disk_bytes(path);
	ma_heap_free(map, block);
	g_assert_cmpint(ma_heap_trim(map), >=, 16 * MIB);
	g_assert_cmpuint(disk_bytes(path), <=, full - 15 * MIB);
	g_assert_cmpuint(map->engine->check(map, NULL, NULL), ==, 0);
	g_assert_true(ma_heap_malloc(map, 16 * MIB) == block);
	g_assert_cmpuint(disk_bytes(path), >=, 16 * MIB);
	for (size_t i = 0; i < 16 * MIB; i += 4096)
		g_assert_cmpint(block[i], ==, 0);
	close_map(map);
}

/* The reserved range is mapped from the start: what grows later is there for every process at once. */
struct grown {
	struct ma_image *map;
	char *_Atomic block;
};

static int read_grown(void *arg)
{
	struct grown *grown = arg;
	char *block;

	while (!(block = atomic_load(&grown->block)))
		sched_yield();
	g_assert_cmpint(block[30 * MIB], ==, 5);
	close_map(grown->map); /* Valgrind would read all that is left mapped at the end, a fault for each page. */
	return 0;
}

static void file_grows_under_everybody(void)
{
	const char *path = support_path("grow");
	struct ma_image *map = open_map(path, 0, 256 * MIB);
	struct grown *grown = support_shared(sizeof(*grown));
	char *block;
	pid_t pid;

	grown->map = map;
	pid = support_fork(read_grown, grown);
	block = ma_heap_malloc(map, 32 * MIB);
	g_assert_nonnull(block);
	g_assert_cmpint(support_file_size(path), >, (off_t)(32 * MIB));
	g_assert_cmpint(support_file_size(path), <, (off_t)(100 * MIB));
	block[30 * MIB] = 5;
	atomic_store(&grown->block, block);
	support_wait_ok(pid);
	g_assert_null(ma_heap_malloc(map, 256 * MIB));
	g_assert_cmpint(errno, ==, ENOMEM);
	close_map(map);
	map = open_map(path, 0, 0);
	g_assert_cmpint(block[30 * MIB], ==, 5);
	close_map(map);
}

static int grow_too_far(void *arg)
{
	struct ma_image *map = arg;
	struct rlimit limit = { 40 * MIB, 40 * MIB };

	setrlimit(RLIMIT_FSIZE, &limit);
	errno = 0;
	g_assert_null(ma_heap_malloc(map, 64 * MIB));
	g_assert_cmpint(errno, ==, EFBIG);
	g_assert_nonnull(ma_heap_malloc(map, 1000));
	close_map(map);
	return 0;
}

static void limit_is_an_error_not_a_signal(void)
{
	struct ma_image *map = open_map(support_path("limit"), 0, 256 * MIB);

	support_run_child(grow_too_far, map);
	close_map(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/space/is-taken-before-use", is_taken_before_use);
	support_add("/space/stays-for-the-next-block", stays_for_the_next_block);
	support_add("/space/is-given-back-and-taken-again", is_given_back_and_taken_again);
	support_add("/space/file-grows-under-everybody", file_grows_under_everybody);
	support_add("/space/limit-is-an-error-not-a-signal", limit_is_an_error_not_a_signal);
	return support_run();
}
