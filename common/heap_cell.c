/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small slabs: the first blocks that a thread asks for in a size class come from a few cells of 1 KiB, not from a chunk.
 * So a thread that holds one block of each of many sizes takes little of the map.
 *
 * A chunk in cells has one allocation byte per 16 bytes, whatever the classes of its slabs: the byte of a block's first 16
 * bytes is the block's, the others stay zero. So the same slab descriptor serves all its blocks, and freeing one is as fast as elsewhere.
 *
 * A cell's word changes under the stream's lock, by one store: the cells behind a first cell are taken because of its
 * word alone. So no intent is needed. The list of chunks with free cells is derived: a stream that is stale gets a new one.
 */
#include <errno.h>

#include "common/heap_internal.h"

#define LIST_LOOKS 8
#define SPAN_MOST  4     /* Cells that a slab takes for more than one slot. */
#define SPAN_LARGE 4     /* Cells at least, in maps that were made with so many chunks: */
#define LARGE      128

/* The fewest cells of which at most an eighth is left over; else as many as may be. */
static uint32_t span_of(uint64_t bytes, uint32_t least)
{
	uint32_t span = (uint32_t)ma_max((bytes + MA_CELL - 1) >> MA_CELL_SHIFT, least);

	while (span < SPAN_MOST && (span << MA_CELL_SHIFT) % bytes * 8 > span << MA_CELL_SHIFT)
		span++;
	return span;
}

void ma_cell_layout(struct ma_layout *lay)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		lay->small_span[c] = (uint8_t)span_of(ma_class_bytes(c), lay->seg[0].count >= LARGE ? SPAN_LARGE : 1);
}

struct ma_cells *ma_chunk_cells(struct ma_image *map, uint64_t chunk)
{
	_Atomic uint8_t *alloc_bytes;

	if (ma_word_kind(ma_chunk_load(map, chunk)) != MA_CELLS)
		return NULL;
	alloc_bytes = ma_chunk_alloc_bytes(map, chunk, MA_UNITS_MOST * (uint32_t)MA_UNIT);
	return alloc_bytes ? (struct ma_cells *)(void *)(alloc_bytes + MA_GRANULE_BYTES) : NULL;
}

uint32_t ma_cell_class(const struct ma_image *map, struct ma_cells *cells, uint32_t cell)
{
	uint64_t word = ma_load_acquire(&cells->word[cell]); /* Pairs with common/heap_cell.c:take_listed. */
	uint32_t class = ma_word_class(word);

	if (ma_word_kind(word) != MA_SLAB || class >= MA_CLASSES || cell + map->lay.small_span[class] > MA_CHUNK_CELLS)
		return MA_CLASSES;
	return class;
}

uint32_t ma_cell_head(const struct ma_image *map, struct ma_cells *cells, uint32_t cell)
{
	for (uint32_t head = cell + 1; head-- > 0;) {
		uint32_t class = ma_cell_class(map, cells, head);

		if (class < MA_CLASSES)
			return head + map->lay.small_span[class] > cell ? head : MA_CHUNK_CELLS;
	}
	return MA_CHUNK_CELLS;
}

uint64_t ma_cells_free(const struct ma_image *map, struct ma_cells *cells)
{
	uint64_t taken = 0;

	for (uint32_t cell = 0; cell < MA_CHUNK_CELLS; cell++) {
		uint32_t class = ma_cell_class(map, cells, cell);

		if (class < MA_CLASSES)
			taken |= ma_low_bits(map->lay.small_span[class]) << cell;
		else if (ma_load(&cells->word[cell])) /* Damaged: not to be touched. */
			taken |= (uint64_t)1 << cell;
	}
	return ~taken;
}

/* ---- the list of chunks with free cells ---- */

static void list_chunk(struct ma_image *map, uint32_t stream, uint64_t chunk)
{
	ma_store(ma_chunk_next(map, chunk), ma_load(&ma_stream(map, stream)->celled));
	ma_store(&ma_stream(map, stream)->celled, (uint32_t)chunk + 1);
}

/* The cells of the chunk that the link names; NULL ends the list, which is derived and may lead anywhere. */
static struct ma_cells *listed(struct ma_image *map, uint32_t stream, _Atomic uint32_t *link, uint64_t *chunk)
{
	*chunk = (uint64_t)ma_load(link) - 1;
	if (*chunk >= ma_units(map) || ma_stream_of(map, *chunk) != stream || !ma_chunk_is_backed(map, *chunk))
		return NULL;
	return ma_chunk_cells(map, *chunk);
}

void ma_cell_relist(struct ma_image *map, uint32_t stream, uint64_t chunk)
{
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	uint64_t free = cells ? ma_cells_free(map, cells) : 0;

	if (free == ~(uint64_t)0)
		ma_slab_chunks_give(map, chunk, 1);
	else if (free)
		list_chunk(map, stream, chunk);
}

bool ma_cell_reap(struct ma_image *map, uint32_t stream)
{
	_Atomic uint32_t *link = &ma_stream(map, stream)->celled;
	uint64_t most = ma_range_used(map, stream); /* It may lead round. */
	bool any = false;

	for (uint64_t i = 0; i < most; i++) {
		uint64_t chunk;
		struct ma_cells *cells = listed(map, stream, link, &chunk);

		if (!cells)
			break;
		if (ma_cells_free(map, cells) == ~(uint64_t)0) {
			ma_store(link, ma_load(ma_chunk_next(map, chunk)));
			ma_slab_chunks_give(map, chunk, 1);
			any = true;
		} else {
			link = ma_chunk_next(map, chunk);
		}
	}
	return any;
}

/* ---- taking ---- */

/* A slab begins where each alignment that divides its slots' size is given. */
static uint32_t align_of(uint32_t class)
{
	uint64_t bytes = ma_class_bytes(class);

	return (uint32_t)ma_max(1, ma_min(MA_CHUNK_CELLS, (bytes & -bytes) >> MA_CELL_SHIFT));
}

static uint32_t find_cells(uint64_t free, uint32_t span, uint32_t align)
{
	uint64_t want = ma_low_bits(span);

	for (uint32_t at = 0; at + span <= MA_CHUNK_CELLS; at += align)
		if ((free >> at & want) == want)
			return at;
	return MA_CHUNK_CELLS;
}

uint64_t ma_cell_largest(const struct ma_image *map, uint64_t free)
{
	for (uint32_t c = MA_CLASSES; free && c-- > 0;)
		if (find_cells(free, map->lay.small_span[c], align_of(c)) < MA_CHUNK_CELLS)
			return ma_class_bytes(c);
	return 0;
}

/* Room in the first chunks of the list; a chunk without a free cell leaves it. */
static uint32_t take_listed(struct ma_image *map, uint32_t stream, uint32_t class, uint64_t tag, uint64_t looks)
{
	_Atomic uint32_t *link = &ma_stream(map, stream)->celled;
	uint32_t span = map->lay.small_span[class];

	for (uint64_t i = 0; i < looks; i++) {
		uint64_t chunk;
		struct ma_cells *cells = listed(map, stream, link, &chunk);
		uint64_t free = cells ? ma_cells_free(map, cells) : 0;
		uint32_t at = find_cells(free, span, align_of(class));

		if (!cells)
			return MA_NO_SLAB;
		if (at < MA_CHUNK_CELLS) {
			ma_store(&cells->next[at], 0);
			/* Pairs with common/heap_cell.c:ma_cell_class. */
			ma_store_kill(&cells->word[at], ma_word(MA_SLAB, class, tag)); /* The commit. */
			if ((free & ~(ma_low_bits(span) << at)) == 0)
				ma_store(link, ma_load(ma_chunk_next(map, chunk)));
			return MA_SMALL | (uint32_t)chunk * MA_CHUNK_CELLS | at;
		}
		link = ma_chunk_next(map, chunk);
	}
	return MA_NO_SLAB;
}

uint32_t ma_cell_take(struct ma_image *map, uint32_t stream, uint32_t class, uint64_t tag)
{
	uint32_t id = take_listed(map, stream, class, tag, LIST_LOOKS);
	uint64_t chunk;

	if (id != MA_NO_SLAB)
		return id;
	chunk = ma_cell_chunk_take(map, stream);
	if (chunk != MA_NO_CHUNK)
		list_chunk(map, stream, chunk);
	return take_listed(map, stream, class, tag, chunk != MA_NO_CHUNK ? 1 : ma_range_used(map, stream));
}

void ma_cell_give(struct ma_image *map, uint32_t id)
{
	uint64_t chunk = ma_slab_chunk(id);
	uint32_t stream = ma_stream_of(map, chunk);
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	_Atomic uint32_t *first = &ma_stream(map, stream)->celled;
	bool was_full;

	if (!cells)
		return;
	was_full = ma_cells_free(map, cells) == 0;
	ma_store_kill(&cells->word[ma_slab_cell(id)], 0); /* The commit. Pairs with common/heap_cell.c:ma_cell_class. */
	ma_stream_count_return(map, stream);
	if (was_full)
		list_chunk(map, stream, chunk);
	/* Elsewhere in the list it stays until ma_cell_reap() comes by: it may soon be used again. */
	if (ma_load(first) == chunk + 1 && ma_cells_free(map, cells) == ~(uint64_t)0) {
		ma_store(first, ma_load(ma_chunk_next(map, chunk)));
		ma_slab_chunks_give(map, chunk, 1);
	}
}
