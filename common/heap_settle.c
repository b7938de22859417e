/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words of a heap that may be of different moments: of a copy that was made while others changed them (heap_private.c), or of a file that its
 * machine's death left half old and half new (heap_salvage.c). The first of those is nothing to tell; of the second each block counts.
 */
#include <inttypes.h>

#include "common/heap_internal.h"

static uint64_t place_of(const struct ma_image *map, uint64_t chunk, uint64_t offset)
{
	return map->lay.user_off + chunk * MA_CHUNK + offset;
}

/* The allocation bytes of slots, which begin in the chunk. */
struct bytes {
	struct ma_image *map;
	struct ma_findings *to; /* May be NULL. */
	uint64_t chunk;
	uint64_t from; /* Offset in the chunk, where the first byte's slot is. */
	uint64_t step; /* Bytes of the user area that a byte stands for. */
};

/* Where no slot is, no byte may be marked: it was copied, or written, when it served another slab. */
static void settle_byte(const struct bytes *b, _Atomic uint8_t *byte, uint32_t i, bool is_slot)
{
	uint64_t at = place_of(b->map, b->chunk, b->from + i * b->step);
	uint8_t value = ma_load(byte);

	if (value == 0 || (value == 1 && is_slot))
		return;
	if (b->to)
		ma_found(b->to, is_slot ? "salvage/kept" : "salvage/lost", at,
			 is_slot ? "offset %" PRIu64 ": whether this block is allocated is unknown: it stays"
				 : "offset %" PRIu64 ": a block is lost: no slab is there any more",
			 at);
	ma_store(byte, is_slot);
}

static void settle_bytes(const struct bytes *b, _Atomic uint8_t *first, uint32_t slots, uint32_t bytes, uint32_t stride)
{
	for (uint32_t i = 0; i < bytes; i++)
		settle_byte(b, &first[i], i, i < slots && i % stride == 0);
}

void ma_slab_settle(struct ma_image *map, uint64_t head, uint32_t class, struct ma_findings *to)
{
	struct bytes b = { map, to, head, 0, ma_class_bytes(class) };

	settle_bytes(&b, ma_slab_alloc_bytes(map, head, class), ma_slab_slots(map, class),
		     ma_slab_units(map, class) * (uint32_t)MA_UNIT, 1);
}

static void forget_cell(const struct bytes *b, _Atomic uint64_t *word)
{
	uint64_t at = place_of(b->map, b->chunk, b->from);

	if (b->to)
		ma_found(b->to, "salvage/lost", at,
			 "offset %" PRIu64 ": a slab of small blocks is lost: its word %#" PRIx64 " makes no sense", at,
			 ma_load(word));
	ma_store(word, 0);
}

/* A small slab that overlaps the one before was made when that one had been given up already, or the other way round. */
void ma_cells_settle(struct ma_image *map, uint64_t chunk, struct ma_findings *to)
{
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	uint32_t end = 0;

	for (uint32_t cell = 0; cells && cell < MA_CHUNK_CELLS; cell++) {
		uint32_t class = ma_cell_class(map, cells, cell);
		_Atomic uint8_t *first = (_Atomic uint8_t *)cells - MA_GRANULE_BYTES + cell * 64;
		struct bytes b = { map, to, chunk, cell * MA_CELL, MA_GRANULE };

		if (class < MA_CLASSES && cell >= end) {
			uint32_t stride = (uint32_t)ma_class_bytes(class) / MA_GRANULE;

			end = cell + map->lay.small_span[class];
			settle_bytes(&b, first, ma_small_slots(map, class) * stride, map->lay.small_span[class] * 64u,
				     stride);
			continue;
		}
		if (ma_load(&cells->word[cell]))
			forget_cell(&b, &cells->word[cell]);
		if (cell >= end)
			settle_bytes(&b, first, 0, 64, 1);
	}
}
