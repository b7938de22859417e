/* SPDX-License-Identifier: BSD-3-Clause */
/* Space that was freed: it goes back to the disk by itself, at close, by qalloc_trim(); threads that need it at the same time all get some. */
#include <limits.h>
#include <time.h>

#include "tests/support/support_qalloc.h"

static void fill_bytes(void *map, size_t bytes)
{
	for (size_t had = 0; had < bytes; had += 112)
		memset(qalloc_malloc(map, 100), 1, 100);
}

static uint64_t disk(void *map)
{
	return support_stats(map).disk_bytes;
}

static void space_comes_back_by_itself(void)
{
	enum { WINDOW = 100 };
	static const size_t sizes[] = { 200, 1000, 40, 3000 };
	size_t bytes = support_size(32 * MIB, 4 * MIB);
	void *map = support_dyn(NULL, 2 * bytes, 1), *blocks[WINDOW] = { 0 };

	fill_bytes(map, bytes);
	g_assert_cmpuint(disk(map), >=, bytes / 8 * 7);
	support_free_all(map);
	/* It goes on with a few blocks per 100 ms, and frees the oldest. */
	for (unsigned i = 0; disk(map) > bytes / 8; i++) {
		qalloc_free(blocks[i % WINDOW], map);
		blocks[i % WINDOW] = qalloc_malloc(map, sizes[i % G_N_ELEMENTS(sizes)]);
		if (i % 5 == 0)
			support_sleep_us(100000);
	}
	check_map(map);
	support_close(map);
}

static void space_comes_back_at_close(void)
{
	size_t bytes = support_size(32 * MIB, 4 * MIB);
	const char *path = support_path("closed.map");
	void *map = support_dyn(path, 2 * bytes, 1);

	fill_bytes(map, bytes);
	support_free_all(map);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(disk(map), <, bytes / 8);
	support_finish(map, path);
}

static void space_comes_back_by_trim(void)
{
	size_t bytes = support_size(32 * MIB, 4 * MIB);
	void *map = support_dyn(NULL, 2 * bytes, 1), *kept = qalloc_malloc(map, 100);
	void *items = support_stat(NULL, MIB, 64, 1);

	fill_bytes(map, bytes);
	g_assert_cmpint(qalloc_trim(map), <, (gint64)(bytes / 8)); /* There is little to give. */
	support_free_all(map);
	g_assert_cmpint(qalloc_trim(map), >=, (gint64)(bytes / 8 * 7));
	g_assert_cmpuint(disk(map), <, bytes / 8);
	g_assert_cmpint(qalloc_trim(map), ==, 0);
	(void)kept;
	qalloc_statfree(qalloc_statmalloc(items), items);
	g_assert_cmpint(qalloc_trim(items), ==, 0);
	check_map(map);
	support_close(items);
	support_close(map);
	assert_minus1(qalloc_trim(NULL), EBADF);
}

/* --- emptied, and then needed by several threads at once --- */

#define TAKERS 4u

struct emptied {
	void *map;
	size_t size;
	struct support_barrier *all;
};

static void take_some(struct support_thread *self)
{
	struct emptied *emptied = self->arg;
	void *blocks[20];

	support_barrier_wait(emptied->all);
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		blocks[i] = qalloc_malloc(emptied->map, emptied->size);
		if (!blocks[i])
			g_error("no room for %zu bytes: %s", emptied->size, qalloc_errmsg());
	}
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		qalloc_free(blocks[i], emptied->map);
}

/* All chunks are empty slabs of another class. One thread gives them back while others are about to find that there is no room. */
static void emptied_map_serves_all(void)
{
	static const size_t sizes[] = { 16, 300, 1000 };
	size_t rounds = support_size(600, 10);
	struct emptied emptied = { .all = support_barrier_new(TAKERS) };

	for (size_t round = 0; round < rounds; round++) {
		emptied.map = support_dyn(NULL, MIB, 1 + round % 2);
		emptied.size = sizes[round % G_N_ELEMENTS(sizes)];
		while (qalloc_malloc(emptied.map, 2000))
			;
		support_free_all(emptied.map);
		support_threads(TAKERS, take_some, &emptied);
		support_close(emptied.map);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/small/space-comes-back-by-itself", space_comes_back_by_itself);
	support_add("/small/space-comes-back-at-close", space_comes_back_at_close);
	support_add("/small/space-comes-back-by-trim", space_comes_back_by_trim);
	support_add("/small/emptied-map-serves-all", emptied_map_serves_all);
	return support_run();
}
