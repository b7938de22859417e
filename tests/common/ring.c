/* SPDX-License-Identifier: BSD-3-Clause */
/* The slabs that a thread owns of a class (common/heap_ring.c): the latest ones, as many as a search can read quickly. */
#include "common/heap_internal.h"
#include "tests/support/support_qalloc.h"

#define MOST_SLABS 400

static uint32_t slab_of(struct ma_image *map, const void *block)
{
	return (uint32_t)((uint64_t)((const char *)block - map->user) / MA_CHUNK);
}

/* Allocates until it has had blocks of so many slabs, one after the other; returns how many. */
static size_t go_through(void *map, size_t size, uint32_t *slabs, size_t most)
{
	size_t count = 0;

	while (count < most) {
		void *block = qalloc_malloc(map, size);
		uint32_t id;

		g_assert_nonnull(block);
		id = slab_of(map, block);
		if (count == 0 || slabs[count - 1] != id)
			slabs[count++] = id;
	}
	return count;
}

static bool is_in_ring(const struct ma_tcache *tc, uint32_t class, uint32_t id)
{
	for (uint32_t i = 0; i < tc->cursor[class].count; i++)
		if (tc->ring[class][i] == id)
			return true;
	return false;
}

/* Through several times as many slabs as a ring has: those that are left are the last ones. */
static void a_ring_keeps_the_latest(size_t size, uint32_t places)
{
	struct ma_image *map = (void *)support_dyn(NULL, 256 * MIB, 1);
	uint32_t slabs[MOST_SLABS], class = ma_class_of(size);
	size_t count = go_through(map, size, slabs, 3 * places);
	const struct ma_tcache *tc = ma_tcache_of(map);

	g_assert_cmpuint(tc->cursor[class].count, ==, places);
	for (size_t i = count - places; i < count; i++)
		g_assert_true(is_in_ring(tc, class, slabs[i]));
	g_assert_cmpuint(tc->ring[class][tc->cursor[class].at], ==, slabs[count - 1]);
	check_map(map);
	support_close(map);
}

static void of_many_small_blocks(void)
{
	a_ring_keeps_the_latest(16, 16);
	a_ring_keeps_the_latest(32, 32);
}

static void of_larger_blocks(void)
{
	a_ring_keeps_the_latest(64, MA_RING);
	a_ring_keeps_the_latest(1024, MA_RING);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/ring/many-small-blocks", of_many_small_blocks);
	support_add("/ring/larger-blocks", of_larger_blocks);
	return support_run();
}
