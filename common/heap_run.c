/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs: blocks of whole chunks, and tables of roots, which are chunks too. A thread asks its own stream first, then the neighbours, then for room over their bounds. */
#include <errno.h>

#include "common/error.h"
#include "common/heap_internal.h"

/* In rising order, which is the lock order. */
static bool lock_streams(struct ma_map *map, uint32_t from, uint32_t to)
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

static void unlock_streams(struct ma_map *map, uint32_t from, uint32_t to)
{
	for (uint32_t s = to + 1; s-- > from;)
		ma_stream_unlock(map, s);
}

static uint64_t take_in_one(struct ma_map *map, uint32_t own, uint64_t count, uint64_t align)
{
	uint32_t streams = map->lay.streams;
	uint64_t head = MA_NO_CHUNK;
	int err = ENOMEM;

	for (uint32_t i = 0; i < streams && head == MA_NO_CHUNK; i++) {
		uint32_t s = (own + i) % streams;

		if (!ma_stream_lock(map, s))
			return MA_NO_CHUNK;
		head = ma_chunk_take(map, s, count, align, ma_word(MA_RUN, 0, count));
		ma_stream_unlock(map, s);
		if (head == MA_NO_CHUNK && errno != ENOMEM)
			err = errno;
	}
	errno = err;
	return head;
}

static uint64_t take_across(struct ma_map *map, uint64_t count, uint64_t align)
{
	uint64_t head;
	int err;

	if (map->lay.streams == 1 || (count == 1 && align == 1) || !lock_streams(map, 0, map->lay.streams - 1))
		return MA_NO_CHUNK;
	head = ma_chunk_take_across(map, count, align, ma_word(MA_RUN, 0, count));
	err = errno;
	unlock_streams(map, 0, map->lay.streams - 1);
	errno = err;
	return head;
}

static uint64_t take(struct ma_map *map, struct ma_tcache *tc, uint64_t count, uint64_t align)
{
	uint64_t head = take_in_one(map, tc->stream, count, align);
	int err = errno;

	if (head != MA_NO_CHUNK)
		return head;
	head = take_across(map, count, align);
	errno = err;
	return head;
}

void *ma_run_malloc(struct ma_map *map, struct ma_tcache *tc, uint64_t chunks, uint64_t align_chunks)
{
	uint64_t head;

	errno = ENOMEM;
	if (chunks > map->lay.units)
		return NULL;
	head = take(map, tc, chunks, align_chunks);
	if (head == MA_NO_CHUNK && ma_slab_scavenge(tc))
		head = take(map, tc, chunks, align_chunks);
	return head == MA_NO_CHUNK ? NULL : ma_chunk_address(map, head);
}

/* Lock all streams that the run of this head lies in. Its length may change until the lock is had: look again then. */
static bool lock_run(struct ma_map *map, uint64_t head, uint32_t *from, uint32_t *to, uint64_t *count)
{
	for (;;) {
		uint64_t word = ma_chunk_load(map, head);

		*count = ma_word_chunks(map, head, word);
		if (ma_word_kind(word) != MA_RUN || *count == 0)
			return false;
		*from = ma_stream_of(map, head);
		*to = ma_stream_of(map, head + *count - 1);
		if (!lock_streams(map, *from, *to))
			return false;
		if (ma_chunk_load(map, head) == word)
			return true;
		unlock_streams(map, *from, *to);
	}
}

int ma_run_free(struct ma_map *map, uint64_t head)
{
	uint64_t count;
	uint32_t from, to;

	errno = EINVAL;
	if (!lock_run(map, head, &from, &to, &count))
		return -1;
	ma_chunk_give(map, head, count);
	unlock_streams(map, from, to);
	return 0;
}

bool ma_run_resize(struct ma_map *map, uint64_t head, uint64_t count)
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

/* The lock is held. Returns bytes. */
static uint64_t punch_free(struct ma_map *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);
	uint64_t run = 0;
	uint64_t bytes = 0;

	for (uint64_t at = 0; at <= used; at++) {
		if (at < used && ma_chunk_load(map, first + at) == MA_FREE && ma_chunk_has_space(map, stream, at)) {
			run++;
			continue;
		}
		if (run)
			ma_chunk_punch(map, stream, at - run, run);
		bytes += run * MA_CHUNK;
		run = 0;
	}
	return bytes;
}

int64_t ma_heap_trim(struct ma_map *map)
{
	struct ma_tcache *tc;
	uint64_t bytes = 0;

	if (!ma_map_writable(map))
		return ma_fail(EROFS, "%s: is open read-only", map->name);
	tc = ma_tcache_get(map);
	if (!tc)
		return -1;
	ma_slab_scavenge(tc);
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		if (!ma_stream_lock(map, s))
			return -1;
		bytes += punch_free(map, s);
		ma_stream_unlock(map, s);
	}
	return (int64_t)bytes;
}

void ma_heap_hollow(struct ma_map *map)
{
	for (uint32_t s = 0; s < map->lay.streams; s++)
		punch_free(map, s);
}

/* ---- tables of roots ---- */

bool ma_heap_table_at(struct ma_map *map, uint64_t chunk, struct ma_table *table)
{
	uint64_t word;

	if (chunk >= map->lay.units || !ma_chunk_is_backed(map, chunk))
		return false;
	word = ma_chunk_load(map, chunk);
	*table = (struct ma_table){
		.id = ma_word_argument(word),
		.offset = map->lay.user_off + chunk * MA_CHUNK,
		.bytes = MA_CHUNK,
	};
	return ma_word_kind(word) == MA_ROOTS;
}

static bool take_table(struct ma_map *map, uint32_t own, _Atomic uint64_t *link, uint64_t id)
{
	uint32_t streams = map->lay.streams;
	uint64_t chunk = MA_NO_CHUNK;

	for (uint32_t i = 0; i < streams && chunk == MA_NO_CHUNK; i++) {
		uint32_t s = (own + i) % streams;

		if (!ma_stream_lock(map, s))
			return false;
		chunk = ma_chunk_take_table(map, s, link, id);
		ma_stream_unlock(map, s);
	}
	return chunk != MA_NO_CHUNK;
}

bool ma_heap_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id)
{
	return take_table(tc->map, tc->stream, link, id) ||
	       (ma_slab_scavenge(tc) && take_table(tc->map, tc->stream, link, id));
}
