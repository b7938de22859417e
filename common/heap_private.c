/* SPDX-License-Identifier: BSD-3-Clause */
/* A private view of a heap, or a snapshot: own copies of the metadata in use, settled to what is consistent. */
#include <errno.h>

#include "common/heap_internal.h"
#include "common/page.h"
#include "common/privatize.h"
#include "common/roots.h"

/* What was copied of a chunk may be of different moments: its word decides, and what does not go with it was just made. */
static void settle(struct ma_image *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);

	if ((kind == MA_CONT && ma_chunk_head(map, chunk) == MA_NO_CHUNK) ||
	    (kind == MA_ROOTS && !ma_root_is_linked(map, chunk)))
		ma_store(ma_chunk(map, chunk), MA_FREE);
	if (kind != MA_SLAB && kind != MA_CELLS)
		ma_store(&map->slab_desc[chunk], 0);
}

/* A slab whose allocation bytes are not its own was made, or given up, meanwhile: it is free, and so is then what follows it. */
static void settle_slab(struct ma_image *map, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head);
	uint32_t class = ma_word_class(word);
	bool is_cells = ma_word_kind(word) == MA_CELLS;

	if (ma_word_kind(word) != MA_SLAB && !is_cells)
		return;
	if (!ma_word_chunks(map, head, word) || !ma_chunk_owns_alloc_bytes(map, head, ma_word_units(map, word)) ||
	    (uint32_t)ma_load(&map->slab_desc[head]) != (is_cells ? MA_GRANULE_RECIP : ma_slab_recip(map, class))) {
		ma_store(ma_chunk(map, head), MA_FREE);
		return;
	}
	if (is_cells)
		ma_cells_settle(map, head, NULL);
	else
		ma_slab_settle(map, head, class, NULL);
}

/*
 * A head whose followers were copied when they were something else, or before they had their disk space, gets only what
 * still follows it. A cached run is free.
 */
static void settle_claims(struct ma_image *map, uint64_t head)
{
	uint64_t count = ma_word_chunks(map, head, ma_chunk_load(map, head));
	uint64_t n = count ? ma_chunk_followers(map, head, count) : 0;

	if (ma_word_kind(ma_chunk_load(map, head)) == MA_CACHED)
		ma_store(ma_chunk(map, head), MA_FREE);
	else if (n < count)
		ma_store(ma_chunk(map, head), ma_word(MA_RUN, 0, n));
}

/* What is in use from here on; from is where the last such range ended, and moves on. */
static void own_used(struct ma_image *map, uint64_t *from, uint64_t offset, uint64_t bytes)
{
	if (bytes == 0)
		return;
	ma_privatize_void(map, *from, offset - *from);
	ma_privatize(map, offset, bytes);
	*from = offset + bytes;
}

/*
 * The tables of a huge map are mostly holes of the file, so between what is in use they are left out. So are leaves and
 * spans: recovery computes them again.
 */
static void own_tables(struct ma_image *map)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t from = lay->fixed_end;

	/* A view's recovery computes the trees again without reading them. */
	if (lay->fixed_end != lay->table_end)
		ma_privatize_void(map, from, lay->area_off - from);
	for (uint32_t k = 1; k < ma_segments(map); k++)
		ma_privatize_void(map, lay->seg[k].stream_off + (uint64_t)lay->streams * lay->stream_stride,
				  ma_up(lay->seg[k].own_end, ma_page()) - lay->seg[k].stream_off -
					  (uint64_t)lay->streams * lay->stream_stride);
	from = lay->slab_desc_off;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->slab_desc_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->next_off + ma_range_first(map, s) * 4, ma_range_used(map, s) * 4);
	ma_privatize_void(map, from, ma_up(lay->next_off + lay->units * 4, ma_page()) - from);
}

/*
 * The file may have grown between the looks at its length and at what is in use: what is beyond came too late. A snapshot is as long
 * as its map was before anything was copied, whatever the copied header says.
 */
static void cut_at_end(struct ma_image *map, uint32_t stream)
{
	uint64_t length = map->source ? ma_load(&map->sealed.length) : ma_image_length(map);
	uint64_t chunks = ma_segment_user(&map->lay, length) / MA_CHUNK;
	uint64_t first = ma_range_first(map, stream);
	uint64_t most = chunks > first ? chunks - first : 0;

	if (ma_range_backed(map, stream) > most)
		ma_store(&ma_stream(map, stream)->backed, most);
}

static void own_words(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		ma_privatize(map, map->lay.unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
}

/*
 * Others may be changing the file meanwhile. Each word is copied whole, and any mixture of words can be settled: a block
 * whose head was copied before it was made is free here, and the rest of it is freed. Roots go first: the blocks that they lead
 * to were there before, and so are among those that are copied then.
 */
void ma_heap_privatize_metadata(struct ma_image *map)
{
	const struct ma_layout *lay = &map->lay;

	ma_privatize(map, 0, lay->fixed_end);
	if (map->privatize_errno)
		return;
	if (map->source) { /* A view finds the tables of roots by the file's words. */
		ma_privatize_streams(map);
		own_words(map);
	}
	ma_root_own(map);
	ma_privatize_streams(map);
	if (map->privatize_errno)
		return;
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		cut_at_end(map, s);
	own_tables(map);
	own_words(map);
	for (uint32_t s = 0; s < ma_lanes(map) && !map->privatize_errno; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		ma_privatize(map, lay->slab_desc_off + first * 8, used * 8);
		ma_privatize(map, lay->next_off + first * 4, used * 4);
		ma_alloc_bytes_own(map, s);
		if (map->privatize_errno)
			return;
		for (uint64_t chunk = first; chunk < first + used; chunk++) {
			settle_slab(map, chunk);
			settle_claims(map, chunk);
		}
	}
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++)
			settle(map, chunk);
		/* And let recovery compute all that is derived from the words. */
		ma_intent_set(ma_stream(map, s), first, ma_range_whole(map, s));
	}
}

static bool holds_blocks(struct ma_image *map, uint64_t chunk)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(map, chunk));

	return kind == MA_SLAB || kind == MA_RUN || kind == MA_CONT || kind == MA_CELLS;
}

int ma_heap_used(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t end = ma_range_first(map, s) + ma_range_used(map, s);
		uint64_t at = ma_range_first(map, s);

		while (at < end) {
			uint64_t from = at;
			int result = 0;

			while (at < end && holds_blocks(map, at))
				at++;
			if (at > from)
				result = fn(map->lay.user_off + from * MA_CHUNK, (at - from) * MA_CHUNK, arg);
			if (result)
				return result;
			at += at == from;
		}
	}
	return 0;
}

static int tables_of_kind(struct ma_image *map, enum ma_chunk_kind kind,
			  int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	int result = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), end = first + ma_range_used(map, s);

		for (uint64_t chunk = first; result == 0 && chunk < end; chunk++)
			if (ma_word_kind(ma_chunk_load(map, chunk)) == kind)
				result = fn(map->lay.user_off + chunk * MA_CHUNK, MA_CHUNK, arg);
	}
	return result;
}

int ma_heap_tables(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	int result = tables_of_kind(map, MA_ROOTS, fn, arg);

	return result ? result : tables_of_kind(map, MA_ALLOC_BYTES, fn, arg);
}
