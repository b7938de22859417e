/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Intents, and what is made of one whose holder died. The same few rules serve every change (heap.h): they look at the
 * chunk words alone, and change nothing that is in order, so dying while recovering leaves the same work to the next.
 *
 * For a range that spans several streams each stream mends its own part. The head's word decides, and only its dead
 * writer would have changed it: its stream's lock is still to be inherited, or has been, with the same verdict.
 */
#include "common/heap_internal.h"

void ma_intent_set(struct ma_stream *st, uint64_t first, uint64_t count)
{
	ma_store(&st->intent_first, first);
	ma_store(&st->intent_count, count);
	ma_store_kill(&st->intent_valid, 1); /* Pairs with common/heap_recover.c:ma_heap_recover_stream. */
	/* The compiler must not move a store that it announces before it; see base.h for the machine. */
	atomic_signal_fence(memory_order_seq_cst);
}

void ma_intent_clear(struct ma_stream *st)
{
	atomic_signal_fence(memory_order_seq_cst);
	ma_store_kill(&st->intent_valid, 0); /* Pairs with common/heap_recover.c:ma_heap_recover_stream. */
}

uint64_t ma_word_chunks(const struct ma_image *map, uint64_t chunk, uint64_t word)
{
	uint64_t units = ma_units(map), count = 0;

	if (ma_word_kind(word) == MA_RUN || ma_word_kind(word) == MA_CACHED)
		count = ma_word_argument(word);
	else if (ma_word_kind(word) == MA_ROOTS || ma_word_kind(word) == MA_ALLOC_BYTES ||
		 ma_word_kind(word) == MA_CELLS)
		count = 1;
	else if (ma_word_kind(word) == MA_SLAB && ma_word_class(word) < MA_CLASSES)
		count = ma_slab_chunks(map, ma_word_class(word));
	return chunk < units && count <= units - chunk ? count : 0;
}

uint64_t ma_block_chunks(const struct ma_image *map, uint64_t chunk, uint64_t word)
{
	uint64_t count = ma_word_chunks(map, chunk, word);

	return !map->lay.grows || chunk + count <= ma_chunks_there(map) ? count : 0;
}

uint64_t ma_chunk_head(struct ma_image *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk);
	uint64_t head = chunk;

	if (ma_word_kind(word) == MA_CONT) {
		head = ma_word_argument(word);
		if (head >= chunk)
			return MA_NO_CHUNK;
		word = ma_chunk_load(map, head);
	}
	return ma_word_chunks(map, head, word) > chunk - head ? head : MA_NO_CHUNK;
}

bool ma_chunk_is_cached(struct ma_image *map, uint64_t chunk)
{
	uint64_t head = ma_chunk_head(map, chunk);

	return head != MA_NO_CHUNK && ma_word_kind(ma_chunk_load(map, head)) == MA_CACHED;
}

uint64_t ma_chunk_followers(struct ma_image *map, uint64_t head, uint64_t most)
{
	uint64_t n = 1;

	while (n < most && ma_chunk_is_backed(map, head + n) &&
	       ma_chunk_load(map, head + n) == ma_word(MA_CONT, 0, head))
		n++;
	return n;
}

static void mend_chunk(struct ma_image *map, uint64_t chunk)
{
	if (ma_word_kind(ma_chunk_load(map, chunk)) == MA_CONT && ma_chunk_head(map, chunk) == MA_NO_CHUNK)
		ma_store(ma_chunk(map, chunk), MA_FREE);
	/* Only where there is something: the space of an untouched chunk's words may not be there yet. */
	if (ma_chunk_load(map, chunk) == MA_FREE && ma_load(&map->slab_desc[chunk]))
		ma_store(&map->slab_desc[chunk], 0);
}

void ma_heap_recover_stream(struct ma_image *map, uint32_t stream)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t first = ma_load(&st->intent_first);
	uint64_t count = ma_load(&st->intent_count);
	uint64_t start = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);
	uint64_t top = ma_min(ma_load(&st->top), ma_leaves(map, stream)) * MA_LEAF;

	/* Pairs with common/heap_recover.c:ma_intent_set. */
	if (ma_load_acquire(&st->intent_valid) && first < map->lay.units && count <= map->lay.units - first) {
		uint64_t lo = ma_max(first, start);
		uint64_t hi = ma_min(first + count, start + ma_min(top, ma_range_whole(map, stream)));

		for (uint64_t chunk = lo; chunk < hi && chunk < start + used; chunk++)
			mend_chunk(map, chunk);
		if (hi > lo)
			ma_tree_mend(map, stream, lo, hi - lo);
	}
	ma_tree_recount(map, stream);
	ma_intent_clear(st);
	ma_store(&st->stale, 1);
}
