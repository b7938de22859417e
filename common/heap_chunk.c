/* SPDX-License-Identifier: BSD-3-Clause */
/* Allocates and frees chunks. heap_tree.c knows which chunks are free, heap_space.c which have disk space. */
#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/heap_internal.h"
#include "common/roots.h"
#include "common/space.h"

/* ---- taking ---- */

/* Let more untouched leaves into the tree. top goes first: no search goes beyond it. */
static bool widen(struct ma_image *map, uint32_t stream, uint64_t chunks)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t range = ma_range_count(map, stream);
	uint64_t leaves = (range + MA_LEAF - 1) / MA_LEAF;
	uint64_t top = ma_load(&st->top);
	uint64_t more, from, to;

	if (top >= leaves)
		return false;
	more = ma_min(leaves - top, (chunks + MA_LEAF - 1) / MA_LEAF);
	from = ma_range_first(map, stream) + top * MA_LEAF;
	to = ma_range_first(map, stream) + ma_min(ma_range_whole(map, stream), (top + more) * MA_LEAF);
	if (ma_chunk_back_leaves(map, stream, top, more) < 0)
		return false;
	for (uint64_t leaf = top; leaf < top + more; leaf++) { /* Zero already, but not in a forged file. */
		ma_store(ma_tree_leaf(map, stream, leaf), 0);
		ma_chunk_clear_holes(map, stream, leaf);
	}
	ma_intent_set(st, from, to - from);
	ma_store_kill(&st->top, top + more); /* Pairs with common/heap_recover.c:ma_heap_recover_stream. */
	ma_tree_mend(map, stream, from, to - from);
	ma_intent_clear(st);
	return true;
}

/* Where count chunks at a multiple of align (in chunks, by address) would go, relative to the range, which begins at start. */
static uint64_t find_place(struct ma_image *map, uint32_t stream, uint64_t start, uint64_t count, uint64_t align)
{
	uint64_t number = (uint64_t)(uintptr_t)ma_chunk_address(map, start) >> MA_CHUNK_SHIFT;
	uint64_t range = ma_range_count(map, stream);
	uint64_t room = count + align - 1;
	uint64_t at;

	if (room > range || room < count)
		return MA_NO_CHUNK;
	do
		at = ma_tree_find(map, stream, room);
	while (at == MA_NO_CHUNK && widen(map, stream, room));
	/* A damaged tree may say anything. */
	if (at == MA_NO_CHUNK || at > range - room)
		return MA_NO_CHUNK;
	return ma_up(number + at, align) - number;
}

/* The words decide: are these chunks really free? If not, the file was damaged: compute the leaves again. */
static bool really_free(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	for (uint64_t chunk = first; chunk < first + count; chunk++)
		if (ma_chunk_load(map, chunk) != MA_FREE) {
			ma_tree_mend(map, stream, first, count);
			return false;
		}
	return true;
}

static void write_words(struct ma_image *map, uint64_t first, uint64_t count, uint64_t word)
{
	for (uint64_t chunk = first + 1; chunk < first + count; chunk++)
		ma_store(ma_chunk(map, chunk), ma_word(MA_CONT, 0, first));
	ma_store_kill(ma_chunk(map, first), word); /* The commit. Pairs with common/heap_internal.h:ma_chunk_load. */
}

uint64_t ma_chunk_ready(struct ma_image *map, uint32_t stream, uint64_t count, uint64_t align)
{
	uint64_t start = ma_range_first(map, stream);

	errno = ENOMEM;
	for (int tries = 0; tries < 8; tries++) {
		uint64_t at = find_place(map, stream, start, count, align);

		if (at == MA_NO_CHUNK || ma_chunk_back_to(map, stream, at, count) < 0)
			return MA_NO_CHUNK;
		if (really_free(map, stream, start + at, count))
			return start + at;
	}
	return MA_NO_CHUNK;
}

static void deal(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count, uint64_t word)
{
	ma_intent_set(ma_stream(map, stream), first, count);
	write_words(map, first, count, word);
	ma_tree_mark(map, stream, first, count, false);
	ma_intent_clear(ma_stream(map, stream));
}

uint64_t ma_chunk_take(struct ma_image *map, uint32_t stream, uint64_t count, uint64_t align, uint64_t word)
{
	uint64_t first = ma_chunk_ready(map, stream, count, align);

	if (first != MA_NO_CHUNK)
		deal(map, stream, first, count, word);
	return first;
}

bool ma_chunk_is_full(struct ma_image *map, uint32_t stream, uint64_t count)
{
	uint64_t range = ma_range_count(map, stream);
	uint64_t at;

	if (ma_load(&ma_stream(map, stream)->top) < (range + MA_LEAF - 1) / MA_LEAF)
		return false;
	at = ma_tree_find(map, stream, count);
	return at == MA_NO_CHUNK || at + count > range;
}

/* The slab descriptor is there before the word is; recovery takes it away from a chunk that is still free. */
void ma_chunk_deal_slab(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count, uint64_t slab_desc,
			uint64_t word)
{
	ma_intent_set(ma_stream(map, stream), first, count);
	ma_store_kill(&map->slab_desc[first], slab_desc); /* Pairs with common/heap_internal.h:ma_chunk_alloc_bytes. */
	write_words(map, first, count, word);
	ma_tree_mark(map, stream, first, count, false);
	ma_intent_clear(ma_stream(map, stream));
}

uint64_t ma_chunk_take_area(struct ma_image *map, uint32_t stream)
{
	uint64_t chunk = ma_chunk_ready(map, stream, 1, 1);

	/* A slab descriptor has 32 bits for a line: areas lie in the first TiB. */
	if (chunk == MA_NO_CHUNK || map->lay.user_off + (chunk + 1) * MA_CHUNK > UINT32_MAX * MA_UNIT)
		return MA_NO_CHUNK;
	if (map->annotated)
		ma_annotate_open(ma_chunk_address(map, chunk), MA_CHUNK);
	memset(ma_chunk_address(map, chunk), 0, MA_AREA_HEAD * MA_UNIT);
	deal(map, stream, chunk, 1, ma_word(MA_ALLOC_BYTES, 0, 0));
	return chunk;
}

/* The chunk is free until its word says ROOTS, and until then the link means nothing. */
uint64_t ma_chunk_take_table(struct ma_image *map, uint32_t stream, _Atomic uint64_t *link, uint64_t id)
{
	uint64_t chunk = ma_chunk_ready(map, stream, 1, 1);

	if (chunk == MA_NO_CHUNK)
		return MA_NO_CHUNK;
	ma_root_clear(map, ma_chunk_address(map, chunk), MA_CHUNK);
	ma_store_kill(link, chunk + 1); /* Pairs with common/roots.c:go_down. */
	deal(map, stream, chunk, 1, ma_word(MA_ROOTS, 0, id));
	return chunk;
}

/* ---- over the bounds of streams ---- */

static uint64_t find_across(struct ma_image *map, uint32_t lanes, uint64_t count, uint64_t align)
{
	uint64_t units = ma_min(ma_units(map), ma_range_first(map, lanes - 1) + ma_range_whole(map, lanes - 1));
	uint64_t number = (uint64_t)(uintptr_t)map->user >> MA_CHUNK_SHIFT;
	uint64_t first = ma_up(number, align) - number;
	uint64_t chunk = first;

	while (count <= units && first <= units - count) {
		if (chunk == first + count)
			return first;
		if (!ma_chunk_is_free(map, chunk))
			first = ma_up(number + chunk + 1, align) - number, chunk = first;
		else
			chunk++;
	}
	return MA_NO_CHUNK;
}

/* What of [first, first + count) lies in this stream. */
static uint64_t part(const struct ma_image *map, uint32_t stream, uint64_t *first, uint64_t count)
{
	uint64_t lo = ma_max(*first, ma_range_first(map, stream));
	uint64_t hi = ma_min(*first + count, ma_range_first(map, stream) + ma_range_count(map, stream));

	*first = lo;
	return hi > lo ? hi - lo : 0;
}

static int prepare_part(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	uint64_t at = first - ma_range_first(map, stream);

	while (ma_load(&ma_stream(map, stream)->top) * MA_LEAF < at + count)
		if (!widen(map, stream, at + count - ma_load(&ma_stream(map, stream)->top) * MA_LEAF))
			return -1;
	return ma_chunk_back_to(map, stream, at, count);
}

uint64_t ma_chunk_take_across(struct ma_image *map, uint32_t lanes, uint64_t count, uint64_t align, uint64_t word)
{
	uint64_t first = find_across(map, lanes, count, align);
	uint32_t from, to;

	errno = ENOMEM;
	if (first == MA_NO_CHUNK)
		return MA_NO_CHUNK;
	from = ma_stream_of(map, first);
	to = ma_stream_from(map, from, first + count - 1);
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		if (n && prepare_part(map, s, lo, n) < 0)
			return MA_NO_CHUNK;
	}
	for (uint32_t s = from; s <= to; s++)
		ma_intent_set(ma_stream(map, s), first, count);
	write_words(map, first, count, word);
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		ma_tree_mark(map, s, lo, n, false);
		ma_intent_clear(ma_stream(map, s));
	}
	return first;
}

/* ---- giving ---- */

/* Chunks of one stream. They keep their disk space until heap_reclaim.c takes it. */
static void give_part(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	ma_tree_mark(map, stream, first, count, true);
	ma_intent_clear(ma_stream(map, stream));
}

static void give_parts(struct ma_image *map, uint32_t from, uint32_t to, uint64_t first, uint64_t count)
{
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		give_part(map, s, lo, n);
	}
}

bool ma_chunk_give_in(struct ma_image *map, uint32_t from, uint32_t to, uint64_t first, uint64_t count, uint64_t word)
{
	for (uint32_t s = from; s <= to; s++)
		ma_intent_set(ma_stream(map, s), first, count);
	/* The commit. Pairs with common/heap_recover.c:mend_chunk, and with others that change the word of a run without the lock. */
	if (!ma_cas(ma_chunk(map, first), &word, (uint64_t)MA_FREE)) {
		for (uint32_t s = from; s <= to; s++)
			ma_intent_clear(ma_stream(map, s));
		return false;
	}
	ma_stream_count_return(map, from);
	/* Pairs with common/heap_recover.c:mend_chunk. */
	ma_store_kill(&map->slab_desc[first], 0); /* Not before: recovery clears what is left, but sets nothing. */
	for (uint64_t chunk = first + 1; chunk < first + count; chunk++)
		ma_store(ma_chunk(map, chunk), MA_FREE);
	if (MA_LIKELY(from == to))
		give_part(map, from, first, count);
	else
		give_parts(map, from, to, first, count);
	return true;
}

void ma_chunk_give(struct ma_image *map, uint64_t first, uint64_t count)
{
	uint32_t from = ma_stream_of(map, first);

	ma_chunk_give_in(map, from, ma_stream_from(map, from, first + count - 1), first, count,
			 ma_chunk_load(map, first));
}

bool ma_chunk_give_cached(struct ma_image *map, uint32_t stream, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head), count = ma_block_chunks(map, head, word);

	return ma_word_kind(word) == MA_CACHED && count && ma_stream_from(map, stream, head + count - 1) == stream &&
	       ma_chunk_give_in(map, stream, stream, head, count, word);
}

static bool grow_run(struct ma_image *map, uint32_t stream, uint64_t head, uint64_t old, uint64_t count)
{
	uint64_t behind = head + old;
	uint64_t at = behind - ma_range_first(map, stream);
	uint64_t more = count - old;

	if (at + more > ma_range_count(map, stream))
		return false;
	for (uint64_t chunk = behind; chunk < head + count; chunk++)
		if (!ma_chunk_is_free(map, chunk) && !ma_chunk_give_cached(map, stream, chunk))
			return false;
	if (prepare_part(map, stream, behind, more) < 0)
		return false;
	ma_intent_set(ma_stream(map, stream), behind, more);
	for (uint64_t chunk = behind; chunk < head + count; chunk++)
		ma_store(ma_chunk(map, chunk), ma_word(MA_CONT, 0, head));
	/* Pairs with common/heap_internal.h:ma_chunk_load. */
	ma_store_kill(ma_chunk(map, head), ma_word(MA_RUN, 0, count)); /* The commit. */
	ma_tree_mark(map, stream, behind, more, false);
	ma_intent_clear(ma_stream(map, stream));
	return true;
}

bool ma_chunk_resize(struct ma_image *map, uint64_t head, uint64_t old, uint64_t count)
{
	uint32_t stream = ma_stream_of(map, head);

	if (count > old)
		return grow_run(map, stream, head, old, count);
	ma_intent_set(ma_stream(map, stream), head + count, old - count);
	/* Pairs with common/heap_recover.c:mend_chunk. */
	ma_store_kill(ma_chunk(map, head), ma_word(MA_RUN, 0, count)); /* The commit. */
	for (uint64_t chunk = head + count; chunk < head + old; chunk++)
		ma_store(ma_chunk(map, chunk), MA_FREE);
	ma_stream_count_return(map, stream);
	ma_tree_mark(map, stream, head + count, old - count, true);
	ma_intent_clear(ma_stream(map, stream));
	return true;
}
