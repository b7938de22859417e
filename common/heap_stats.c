/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics of a heap: what is in use, and the largest block that a malloc could get. */
#include "common/heap_internal.h"

static int count_block(void *block, size_t size, void *arg)
{
	struct ma_heap_stats *stats = arg;

	(void)block;
	stats->used_blocks++;
	stats->used_bytes += size;
	return 0;
}

/* ---- what a malloc could get ---- */

/* Would the next malloc that finds no room take it: has it no owner but this thread, and no block? */
static int holds_something(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	return !ma_slab_is_unowned(map, slab, *(const uint64_t *)arg) || !ma_slab_is_empty(slab);
}

static bool slabs_would_go(struct ma_image *map, uint64_t chunk)
{
	uint64_t head = ma_chunk_head(map, chunk);
	struct ma_tcache *tc = ma_tcache_of(map);
	uint64_t tag = tc->id == ma_load(&map->id) ? tc->tag : 0;

	return head != MA_NO_CHUNK && ma_word_units(map, ma_chunk_load(map, head)) &&
	       !ma_chunk_slabs(map, head, holds_something, &tag);
}

static bool is_to_be_had(struct ma_image *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk);

	if (ma_word_kind(word) == MA_ALLOC_BYTES)
		return ma_alloc_bytes_would_go(map, chunk, slabs_would_go);
	return word == MA_FREE || ma_chunk_is_cached(map, chunk) || slabs_would_go(map, chunk);
}

/* Chunks; over the bounds of streams, for a block may lie over them too. */
static uint64_t longest_free(struct ma_image *map)
{
	uint64_t longest = 0;
	uint64_t run = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++) {
			run = is_to_be_had(map, chunk) ? run + 1 : 0;
			longest = ma_max(longest, run);
		}
		run += ma_range_count(map, s) - used;
		longest = ma_max(longest, run);
	}
	return longest;
}

/* Without a free chunk: a slot of the largest slab that free cells have room for, or a free slot. */
static int largest_slot(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	uint64_t *largest = arg;
	struct ma_tcache *tc = ma_tcache_of(map);

	if (ma_class_bytes(slab->class) > *largest && ma_slab_has_room(slab, MA_ANY_ROOM) &&
	    ma_slab_is_unowned(map, slab, tc->id == ma_load(&map->id) ? tc->tag : 0))
		*largest = ma_class_bytes(slab->class);
	return 0;
}

/* Cells of a small slab that the next malloc that finds no room would take. */
static int add_cells(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	uint64_t *free = arg;
	struct ma_tcache *tc = ma_tcache_of(map);
	uint64_t tag = tc->id == ma_load(&map->id) ? tc->tag : 0;

	if (!holds_something(map, slab, &tag))
		*free |= ma_low_bits(slab->cells) << ma_slab_cell(slab->id);
	return 0;
}

static uint64_t largest_in_cells(struct ma_image *map, uint64_t chunk, struct ma_cells *cells)
{
	uint64_t free = ma_cells_free(map, cells);

	ma_chunk_slabs(map, chunk, add_cells, &free);
	return ma_cell_largest(map, free);
}

static uint64_t largest_in_chunks(struct ma_image *map)
{
	uint64_t largest = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		for (uint64_t i = 0; i < ma_range_used(map, s); i++) {
			uint64_t chunk = ma_range_first(map, s) + i;
			struct ma_cells *cells = ma_chunk_cells(map, chunk);

			ma_chunk_slabs(map, chunk, largest_slot, &largest);
			if (cells && chunk < MA_SMALL_CHUNKS)
				largest = ma_max(largest, largest_in_cells(map, chunk, cells));
		}
	return largest;
}

void ma_heap_stats(struct ma_image *map, struct ma_heap_stats *stats)
{
	*stats = (struct ma_heap_stats){ 0 };
	ma_heap_walk(map, count_block, stats);
	stats->largest_free = longest_free(map) * MA_CHUNK;
	if (stats->largest_free == 0)
		stats->largest_free = largest_in_chunks(map);
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		stats->backed_bytes += used * MA_CHUNK;
		for (uint64_t chunk = first; chunk < first + used; chunk++)
			stats->free_chunks += ma_chunk_load(map, chunk) == MA_FREE || ma_chunk_is_cached(map, chunk);
	}
}
