/* SPDX-License-Identifier: BSD-3-Clause */
/* See heap_cache.h. */
#include "common/heap_cache.h"

#define CACHED_MOST  64 /* Chunks that a thread caches. */
#define CACHED_SHARE 16 /* And at most this part of the map. */

static uint64_t most_chunks(const struct ma_image *map)
{
	return ma_min(CACHED_MOST, ma_units_in_time(map) / CACHED_SHARE);
}

/*
 * In a map that is nearly full, or in which a malloc of this process failed, the run becomes free chunks. Threads and processes that found
 * no room search again after that, but not after a run was cached (reclaim.h).
 */
static bool is_roomy(struct ma_image *map, uint32_t stream)
{
	if (MA_UNLIKELY(ma_load(&map->frees_are_seen)))
		return false;
	return (map->lay.grows && ma_image_length(map) < map->lay.file_end) ||
	       ma_chunk_free_count(map, stream) > ma_range_count(map, stream) / CACHED_SHARE;
}

/* There may be a cached run. Pairs with common/heap_cache.c:ma_cache_collect. */
static void say_cached(struct ma_stream *st)
{
	if (MA_UNLIKELY(!ma_load(&st->cached)))
		ma_store_kill(&st->cached, 1);
}

uint64_t ma_cache_take(struct ma_tcache *tc, uint64_t count)
{
	struct ma_cached *cached = &tc->cached[count];

	while (cached->count > 0) {
		uint64_t head = cached->head[--cached->count], seen = ma_word(MA_CACHED, 0, count);

		tc->cached_chunks -= (uint32_t)count;
		/* Pairs with common/heap_cache.c:ma_cache_put. */
		if (ma_cas(ma_chunk(tc->map, head), &seen, ma_word(MA_RUN, 0, count)))
			return head;
	}
	return MA_NO_CHUNK;
}

bool ma_cache_put(struct ma_tcache *tc, uint64_t head, uint64_t word)
{
	uint64_t count = ma_word_argument(word);
	struct ma_image *map = tc->map;
	struct ma_cached *cached = &tc->cached[count];
	uint32_t stream = ma_stream_of(map, head);

	if (cached->count == MA_COUNT(cached->head) || tc->cached_chunks + count > most_chunks(map) ||
	    ma_stream_from(map, stream, head + count - 1) != stream || !is_roomy(map, stream))
		return false;
	say_cached(ma_stream(map, stream));
	/* The commit. Pairs with common/heap_cache.c:ma_cache_take. */
	if (!ma_cas(ma_chunk(map, head), &word, ma_word(MA_CACHED, 0, count)))
		return false;
	ma_fence();
	say_cached(ma_stream(map, stream));
	cached->head[cached->count++] = (uint32_t)head;
	tc->cached_chunks += (uint32_t)count;
	return true;
}

bool ma_cache_collect(struct ma_image *map, uint32_t stream)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t first = ma_range_first(map, stream), end = first + ma_range_used(map, stream);
	bool any = false;

	if (!ma_load(&st->cached))
		return false;
	ma_store(&st->cached, 0);
	ma_fence(); /* Pairs with common/heap_cache.c:ma_cache_put. */
	for (uint64_t chunk = first; chunk < end; chunk++)
		any |= ma_chunk_give_cached(map, stream, chunk);
	return any;
}

static void give(struct ma_image *map, uint64_t head, uint64_t count)
{
	uint32_t stream = ma_stream_of(map, head);

	/* Without a lock it stays as it is: others find it. */
	if (!ma_stream_lock(map, stream))
		return;
	ma_chunk_give_in(map, stream, stream, head, count, ma_word(MA_CACHED, 0, count));
	ma_stream_unlock(map, stream);
}

void ma_cache_empty(struct ma_tcache *tc)
{
	for (uint64_t count = 1; tc->cached_chunks && count <= MA_CACHED_RUN; count++) {
		struct ma_cached *cached = &tc->cached[count];

		tc->cached_chunks -= cached->count * (uint32_t)count;
		while (cached->count > 0)
			give(tc->map, cached->head[--cached->count], count);
	}
}
