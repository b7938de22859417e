/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs: blocks of whole chunks, and tables of roots, which are chunks too. A thread asks its own stream first, then the neighbours, then for
 * room over their bounds.
 */
#include <errno.h>

#include "common/error.h"
#include "common/heap_cache.h"
#include "common/heap_internal.h"
#include "common/space.h"

#define AGE_CHUNKS  16 /* From 1 MiB on a look at the clock is nothing. */
#define NOTE_CHUNKS 64 /* The same for frees of runs, together. */

/* In rising order, which is the lock order. */
static bool lock_streams(struct ma_image *map, uint32_t from, uint32_t to)
{
	for (uint32_t s = from; s <= to; s++) {
		if (ma_stream_lock(map, s))
			continue;
		while (s-- > from)
			ma_stream_unlock(map, s);
		return false;
	}
	return true;
}

static void unlock_streams(struct ma_image *map, uint32_t from, uint32_t to)
{
	for (uint32_t s = to + 1; s-- > from;)
		ma_stream_unlock(map, s);
}

/* MA_NO_CHUNK: errno. False: so for every stream, because it has no lock for this process. */
MA_INLINE bool take_from(struct ma_image *map, uint32_t stream, uint64_t count, uint64_t align, uint64_t *head)
{
	*head = MA_NO_CHUNK;
	if (MA_UNLIKELY(!ma_stream_lock(map, stream)))
		return false;
	*head = ma_chunk_take(map, stream, count, align, ma_word(MA_RUN, 0, count));
	ma_stream_unlock(map, stream);
	return true;
}

/*
 * With likely, only of streams that seem to have so many free chunks. In a map of one segment the own stream is not asked: ma_run_malloc()
 * did that already.
 * The counts are not right for ever: a death may be in between.
 */
static uint64_t take_in_one(struct ma_image *map, uint32_t own, uint64_t count, uint64_t align, bool likely)
{
	uint32_t segments = ma_segments(map), lanes = segments * map->lay.streams;
	uint64_t head;
	int err = ENOMEM;

	for (uint32_t i = 0; i < lanes; i++) {
		uint32_t s = ma_lane_at(map, segments, own, i);

		if (likely && ((i == 0 && segments == 1) || ma_chunk_free_count(map, s) < count))
			continue;
		if (!take_from(map, s, count, align, &head) || head != MA_NO_CHUNK)
			return head;
		if (errno != ENOMEM)
			err = errno;
	}
	errno = err;
	return MA_NO_CHUNK;
}

static uint64_t take_across(struct ma_image *map, uint64_t count, uint64_t align)
{
	uint32_t lanes = ma_lanes(map);
	uint64_t head;
	int err;

	if (lanes == 1 || (count == 1 && align == 1) || !lock_streams(map, 0, lanes - 1))
		return MA_NO_CHUNK;
	head = ma_chunk_take_across(map, lanes, count, align, ma_word(MA_RUN, 0, count));
	err = errno;
	unlock_streams(map, 0, lanes - 1);
	errno = err;
	return head;
}

static uint64_t take_here(struct ma_image *map, struct ma_tcache *tc, uint64_t count, uint64_t align)
{
	uint64_t head = take_in_one(map, tc->stream, count, align, true);
	int err;

	if (head == MA_NO_CHUNK)
		head = take_in_one(map, tc->stream, count, align, false);
	if (head != MA_NO_CHUNK)
		return head;
	err = errno;
	errno = ENOMEM;
	head = take_across(map, count, align);
	if (err != ENOMEM || errno == ENOMEM) /* Else there is room over the bounds, and no disk space for it. */
		errno = err;
	return head;
}

/* A file that grows by itself gets its next segment when nothing else helps. */
static uint64_t take(struct ma_image *map, struct ma_tcache *tc, uint64_t count, uint64_t align)
{
	uint64_t head;

	do
		head = take_here(map, tc, count, align);
	while (head == MA_NO_CHUNK && errno == ENOMEM && ma_space_add(map));
	return head;
}

static void *malloc_cached(struct ma_image *map, struct ma_tcache *tc, uint64_t chunks, uint64_t align_chunks)
{
	uint64_t head = MA_NO_CHUNK;

	if (chunks <= MA_CACHED_RUN && align_chunks == 1)
		head = ma_cache_take(tc, chunks);
	return head == MA_NO_CHUNK ? NULL : ma_chunk_address(map, head);
}

void *ma_run_malloc(struct ma_image *map, struct ma_tcache *tc, uint64_t chunks, uint64_t align_chunks)
{
	void *block = malloc_cached(map, tc, chunks, align_chunks);
	uint64_t head;

	if (block)
		return block;
	if (chunks >= AGE_CHUNKS)
		ma_heap_age(map, tc);
	errno = ENOMEM;
	if (chunks > (map->lay.grows ? map->lay.units : ma_units(map)))
		return NULL;
	if (ma_segments(map) > 1 || (take_from(map, tc->stream, chunks, align_chunks, &head) && head == MA_NO_CHUNK))
		head = take(map, tc, chunks, align_chunks);
	if (head == MA_NO_CHUNK && ma_slab_scavenge(tc))
		head = take(map, tc, chunks, align_chunks);
	if (head == MA_NO_CHUNK && ma_heap_help_full_disk(map))
		head = take(map, tc, chunks, align_chunks);
	return head == MA_NO_CHUNK ? NULL : ma_chunk_address(map, head);
}

/* The chunks of a run that begins here and lies in the file whole; 0. */
static uint64_t run_chunks(const struct ma_image *map, uint64_t head, uint64_t word)
{
	uint64_t there = ma_chunks_there(map), count = ma_word_argument(word);

	return ma_word_kind(word) == MA_RUN && head < there && count <= there - head ? count : 0;
}

/* Lock all streams that the run of this head lies in. Its length may change before the lock is taken: read it again then. */
static bool lock_run(struct ma_image *map, uint64_t head, uint32_t *from, uint32_t *to, uint64_t *count)
{
	for (;;) {
		uint64_t word = ma_chunk_load(map, head);

		*count = run_chunks(map, head, word);
		if (*count == 0)
			return false;
		*from = ma_stream_of(map, head);
		*to = ma_stream_from(map, *from, head + *count - 1);
		if (!lock_streams(map, *from, *to))
			return false;
		if (ma_chunk_load(map, head) == word)
			return true;
		unlock_streams(map, *from, *to);
	}
}

/*
 * A run is about to be freed, of as many chunks as its word says. Threads that come at the same time may lose counts of each other:
 * these only say when to look at the clock.
 */
MA_INLINE bool note_run(struct ma_image *map, uint64_t chunks)
{
	uint64_t was = ma_load(&map->freed_chunks), is = was + chunks;

	ma_store(&map->freed_chunks, is);
	return MA_UNLIKELY(is / NOTE_CHUNKS != was / NOTE_CHUNKS) && ma_heap_age_at_free(map, is);
}

static bool free_cached(struct ma_image *map, uint64_t head, uint64_t word)
{
	struct ma_tcache *tc = ma_tcache_of(map);
	uint64_t count = run_chunks(map, head, word);

	return count > 0 && count <= MA_CACHED_RUN && head <= UINT32_MAX && tc->id == ma_load(&map->id) &&
	       ma_cache_put(tc, head, word);
}

static bool free_locked(struct ma_image *map, uint64_t head)
{
	uint64_t count;
	uint32_t from, to;
	bool done;

	if (!lock_run(map, head, &from, &to, &count))
		return false;
	done = ma_chunk_give_in(map, from, to, head, count, ma_word(MA_RUN, 0, count));
	unlock_streams(map, from, to);
	return done;
}

int ma_run_free(struct ma_image *map, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head);
	bool many = note_run(map, ma_word_argument(word));

	errno = EINVAL;
	if (!free_cached(map, head, word) && !free_locked(map, head))
		return -1;
	if (MA_UNLIKELY(many))
		ma_heap_limit_kept(map);
	return 0;
}

bool ma_run_resize(struct ma_image *map, uint64_t head, uint64_t count)
{
	uint64_t old;
	uint32_t from, to;
	bool done;

	if (!lock_run(map, head, &from, &to, &old))
		return false;
	done = count == old || (from == to && ma_chunk_resize(map, head, old, count));
	unlock_streams(map, from, to);
	return done;
}

/* ---- tables of roots ---- */

bool ma_heap_table_at(struct ma_image *map, uint64_t chunk, struct ma_table *table)
{
	uint64_t word;

	if (chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return false;
	word = ma_chunk_load(map, chunk);
	*table = (struct ma_table){
		.id = ma_word_argument(word),
		.offset = map->lay.user_off + chunk * MA_CHUNK,
		.bytes = MA_CHUNK,
	};
	return ma_word_kind(word) == MA_ROOTS;
}

static bool take_table(struct ma_image *map, uint32_t own, _Atomic uint64_t *link, uint64_t id)
{
	uint32_t segments = ma_segments(map), lanes = segments * map->lay.streams;
	uint64_t chunk = MA_NO_CHUNK;

	for (uint32_t i = 0; i < lanes && chunk == MA_NO_CHUNK; i++) {
		uint32_t s = ma_lane_at(map, segments, own, i);

		if (!ma_stream_lock(map, s))
			return false;
		chunk = ma_chunk_take_table(map, s, link, id);
		ma_stream_unlock(map, s);
	}
	return chunk != MA_NO_CHUNK;
}

bool ma_heap_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id)
{
	do
		if (take_table(tc->map, tc->stream, link, id))
			return true;
	while (errno == ENOMEM && ma_space_add(tc->map));
	return ma_slab_scavenge(tc) && take_table(tc->map, tc->stream, link, id);
}
