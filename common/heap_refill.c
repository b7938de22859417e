/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a thread's next slab comes from.
 *
 * The first slabs of a class are small ones: a few cells (heap_cell.c). A thread gets a slab of whole chunks when it holds
 * enough small ones to fill a quarter of it, when it has one already, or, in a large map with room, when it looks at its small
 * ones again and again.
 *
 * A stream is short when an eighth of its chunks, or less, is free. Then a thread that would get a small slab gets single
 * blocks, of slabs that stay the stream's (ma_slab_take_one): so a map is not full because each of many threads holds a
 * little of everything.
 */
#include <errno.h>

#include "common/heap_internal.h"
#include "common/heap_sweep.h"
#include "common/reclaim.h"
#include "common/space.h"

#define QUEUE_LOOKS   4
#define QUEUES_MOST   16 /* Where no stream has a chunk. */
#define SHORT_PART    8
#define USE_PART      4
#define LARGE_AT_ONCE 8192 /* Chunks: in such a map a slab of several, whose slots are large, is little. */

/* A file that grows by itself never is, before it has all of its range. */
static bool is_short(struct ma_image *map, uint32_t stream)
{
	if (map->lay.grows && ma_segments(map) < map->reach)
		return false;
	return ma_chunk_free_count(map, stream) * SHORT_PART <= ma_range_count(map, stream);
}

/* A slab of the queue that has room, made ours. Those that have none go to its end. */
static uint32_t adopt_queued(struct ma_tcache *tc, struct ma_queue *queue, uint32_t class, enum ma_want want)
{
	struct ma_image *map = tc->map;
	struct ma_slab slab;

	for (int i = 0; i < QUEUE_LOOKS; i++) {
		uint32_t id = ma_queue_pop(map, queue);

		if (id == MA_NO_SLAB)
			return MA_NO_SLAB;
		if (!ma_slab_at(map, id, &slab) || slab.class != class || !ma_slab_adopt(tc, &slab))
			continue;
		if (ma_slab_has_room(&slab, want))
			return id;
		ma_slab_disown(&slab);
		ma_queue_push(map, queue, id);
	}
	return MA_NO_SLAB;
}

/* ---- a slab of one's own ---- */

enum size { SMALL, LARGE_IF_ROOMY, LARGE };

static enum size wanted(const struct ma_tcache *tc, struct ma_cursor *cursor)
{
	const struct ma_image *map = tc->map;
	uint32_t cells = ma_slab_chunks(map, cursor->class) * MA_CHUNK_CELLS;
	uint32_t small = cursor->small_cells / map->lay.small_span[cursor->class];
	bool churns = ma_cursor_churns(map, cursor, 0);

	cursor->churn = 0;
	if (cells > MA_CHUNK_CELLS && ma_units_in_time(map) >= LARGE_AT_ONCE)
		return LARGE;
	if (cursor->small_cells * USE_PART >= cells || cursor->count > small)
		return LARGE;
	return churns ? LARGE_IF_ROOMY : SMALL;
}

static bool is_roomy(struct ma_image *map, uint32_t stream)
{
	return (map->lay.grows && ma_segments(map) < map->reach) ||
	       ma_chunk_free_count(map, stream) * 2 > ma_range_count(map, stream);
}

static uint32_t large_from(struct ma_tcache *tc, uint32_t stream, uint32_t class, enum ma_want want)
{
	uint32_t id = adopt_queued(tc, &ma_stream(tc->map, stream)->queue[class], class, want);
	uint64_t chunk;

	if (id != MA_NO_SLAB || want == MA_ANY_ROOM)
		return id;
	chunk = ma_slab_chunks_take(tc->map, stream, class, tc->tag);
	return chunk != MA_NO_CHUNK ? (uint32_t)chunk : MA_NO_SLAB;
}

static uint32_t small_from(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	uint32_t id;

	errno = ENOMEM;
	if (is_short(tc->map, stream))
		return MA_NO_SLAB;
	id = adopt_queued(tc, &ma_stream(tc->map, stream)->small_queue[class], class, MA_RICH_ROOM);
	return id != MA_NO_SLAB ? id : ma_cell_take(tc->map, stream, class, tc->tag);
}

static uint32_t slab_from(struct ma_tcache *tc, uint32_t stream, uint32_t class, enum size size, enum ma_want want)
{
	struct ma_image *map = tc->map;
	uint32_t id = MA_NO_SLAB;

	if (!ma_stream_lock(map, stream))
		return MA_NO_SLAB;
	ma_queues_freshen(map, stream);
	if (size == LARGE || (size == LARGE_IF_ROOMY && is_roomy(map, stream)))
		id = large_from(tc, stream, class, want);
	if (id == MA_NO_SLAB && want == MA_RICH_ROOM)
		id = small_from(tc, stream, class);
	ma_stream_unlock(map, stream);
	return id;
}

static uint32_t queued_from(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	uint32_t id;

	if (!ma_stream_lock(tc->map, stream))
		return MA_NO_SLAB;
	ma_queues_freshen(tc->map, stream);
	id = adopt_queued(tc, &ma_stream(tc->map, stream)->queue[class], class, MA_RICH_ROOM);
	ma_stream_unlock(tc->map, stream);
	return id;
}

/* Of the streams without a chunk one has its turn each time, so that what is freed there is found again. */
static uint32_t rich_in_turn(struct ma_tcache *tc, uint32_t class, uint32_t lanes)
{
	uint32_t lane = tc->turn++ % lanes;

	return ma_chunk_free_count(tc->map, lane) == 0 ? queued_from(tc, lane, class) : MA_NO_SLAB;
}

/* The thread's own stream first, then its neighbours; those that have chunks. The first error counts: it is the own stream's. */
static uint32_t rich_where_chunks_are(struct ma_tcache *tc, uint32_t class, enum size size, uint32_t segments,
				      uint32_t lanes)
{
	uint32_t id = MA_NO_SLAB;
	int first_error = ENOMEM;

	for (uint32_t i = 0; i < lanes && id == MA_NO_SLAB; i++) {
		uint32_t lane = ma_lane_at(tc->map, segments, tc->stream, i);

		if (ma_chunk_free_count(tc->map, lane) == 0)
			continue;
		id = slab_from(tc, lane, class, size, MA_RICH_ROOM);
		if (id == MA_NO_SLAB && first_error == ENOMEM)
			first_error = errno;
	}
	errno = first_error;
	return id;
}

/* A slab with room for many blocks. */
static uint32_t rich_slab(struct ma_tcache *tc, uint32_t class, enum size size)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;
	uint32_t id = size == SMALL ? MA_NO_SLAB : rich_in_turn(tc, class, lanes);
	int err;

	if (id == MA_NO_SLAB)
		id = rich_where_chunks_are(tc, class, size, segments, lanes);
	err = errno;
	for (uint32_t i = 0; i < lanes && i < QUEUES_MOST && id == MA_NO_SLAB; i++)
		id = slab_from(tc, ma_lane_at(tc->map, segments, tc->stream, i), class, size, MA_RICH_ROOM);
	errno = err;
	return id;
}

static uint32_t poor_slab(struct ma_tcache *tc, uint32_t class, enum size size)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;
	uint32_t id = MA_NO_SLAB;
	int saved = errno;

	for (uint32_t i = 0; i < lanes && id == MA_NO_SLAB; i++)
		id = slab_from(tc, ma_lane_at(tc->map, segments, tc->stream, i), class, size, MA_ANY_ROOM);
	errno = saved;
	return id;
}

/*
 * Order: a slab with many free slots; then, in a file that grows by itself, the next segment; then any slab with a free slot.
 * A slab with one free slot comes last because the thread must search again for the next block.
 */
static uint32_t slab_from_any(struct ma_tcache *tc, uint32_t class, enum size size)
{
	uint32_t id;

	do
		id = rich_slab(tc, class, size);
	while (id == MA_NO_SLAB && errno == ENOMEM && ma_space_add(tc->map));
	return id != MA_NO_SLAB ? id : poor_slab(tc, class, size);
}

bool ma_slab_refill(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	enum size size = wanted(tc, cursor);
	uint32_t id;
	int err;

	ma_heap_age(tc->map, tc);
	ma_image_measure(tc->map); /* Another process may have made the file longer. */
	if (size == LARGE_IF_ROOMY && !is_roomy(tc->map, tc->stream) && ma_ring_search(tc, cursor))
		return true;
	id = slab_from_any(tc, cursor->class, size);
	err = errno;
	if (id != MA_NO_SLAB ? ma_ring_add(tc, cursor, id) : ma_ring_search(tc, cursor)) {
		ma_sweep_step(tc);
		tc->barren_ns = 0;
		return true;
	}
	errno = err;
	return false;
}

/* ---- single blocks, of slabs that stay the stream's ---- */

/* The slab is ours for the moment: a kill here leaves a slab of a dead owner. The store into the allocation byte is the commit. */
static void *take_slot(const struct ma_slab *slab)
{
	for (uint32_t slot = 0; slot < slab->slots; slot++) {
		if (ma_load_acquire(&slab->alloc_bytes[slot * slab->stride]) !=
		    0) /* Pairs with common/heap.h:ma_slot_free. */
			continue;
		ma_store(&slab->alloc_bytes[slot * slab->stride], 1);
		return slab->base + slot * ma_class_bytes(slab->class);
	}
	return NULL;
}

static void *take_from_slab(struct ma_tcache *tc, uint32_t id, uint32_t class)
{
	struct ma_slab slab;
	void *block;

	if (!ma_slab_at(tc->map, id, &slab) || slab.class != class || !ma_slab_has_room(&slab, MA_ANY_ROOM) ||
	    !ma_slab_adopt(tc, &slab))
		return NULL;
	block = take_slot(&slab);
	ma_slab_disown(&slab);
	return block;
}

/*
 * A block of a slab among the first ones, which stays in the queue: the lock is held all the time. The queue begins then with that slab, for
 * it may have more; or behind those that have none. Most are full, so they are only read.
 */
static void *one_queued(struct ma_tcache *tc, struct ma_queue *queue, uint32_t class, uint32_t looks)
{
	uint32_t first = ma_queue_first(queue), before = MA_NO_SLAB, id = first;
	_Atomic uint64_t *count = &tc->map->sweep.looks;
	void *block = NULL;

	for (uint32_t i = 0; i < looks && id != MA_NO_SLAB; i++) {
		ma_store(count, ma_load(count) + 1);
		block = take_from_slab(tc, id, class);
		if (block)
			break;
		before = id;
		id = ma_queue_after(tc->map, id);
		if (id == first)
			break;
	}
	if (before != MA_NO_SLAB && id != MA_NO_SLAB)
		ma_queue_turn(tc->map, queue, before, id);
	return block;
}

static void *one_of_a_new_slab(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	uint32_t id = ma_cell_take(tc->map, stream, class, tc->tag);
	struct ma_slab slab;
	void *block;

	if (id == MA_NO_SLAB || !ma_slab_at(tc->map, id, &slab))
		return NULL;
	block = take_slot(&slab);
	ma_slab_disown(&slab);
	ma_queue_push_front(tc->map, &ma_stream(tc->map, stream)->small_queue[class], id);
	ma_sweep_note_room(tc->map, id);
	return block;
}

/* All of the queues, which may be long. */
static void *one_of_many(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	struct ma_stream *st = ma_stream(tc->map, stream);
	uint32_t most = (uint32_t)ma_min(UINT32_MAX, ma_queue_most(tc->map, stream));
	void *block;

	ma_search_see_frees(tc->map);
	block = one_queued(tc, &st->small_queue[class], class, most);
	return block ? block : one_queued(tc, &st->queue[class], class, most);
}

/* The short searches first. The long one is skipped when a sweep claims that it would find nothing. */
static void *one_from(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	struct ma_stream *st = ma_stream(tc->map, stream);
	void *block;

	if (!ma_stream_lock(tc->map, stream))
		return NULL;
	ma_queues_freshen(tc->map, stream);
	block = one_queued(tc, &st->small_queue[class], class, QUEUE_LOOKS);
	if (!block)
		block = one_queued(tc, &st->queue[class], class, QUEUE_LOOKS);
	if (!block)
		block = one_of_a_new_slab(tc, stream, class);
	if (!block && !ma_sweep_claims(tc->map, class))
		block = one_of_many(tc, stream, class);
	ma_stream_unlock(tc->map, stream);
	return block;
}

static void *one_from_any(struct ma_tcache *tc, uint32_t class)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;
	void *block = NULL;

	for (uint32_t i = 0; i < lanes && !block; i++)
		block = one_from(tc, ma_lane_at(tc->map, segments, tc->stream, i), class);
	return block;
}

/* Nothing came back since the sweep began: what the thread owns, and chunks, were tried already. */
static bool is_known_full(struct ma_image *map, uint32_t class)
{
	return ma_sweep_claims(map, class) && ma_sweep_claims(map, MA_SWEEP_EMPTY);
}

void *ma_slab_take_one(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	struct ma_search search = ma_search_begin(tc->map);
	int err = errno;
	void *block;

	ma_sweep_finish(tc->map);
	block = one_from_any(tc, cursor->class);
	if (!block && ma_slab_scavenge(tc) && !is_known_full(tc->map, cursor->class))
		block = ma_slab_refill(tc, cursor) ? ma_cursor_pop(cursor) : one_from_any(tc, cursor->class);
	errno = err;
	if (!block && ma_heap_help_full_disk(tc->map))
		block = ma_slab_refill(tc, cursor) ? ma_cursor_pop(cursor) : one_from_any(tc, cursor->class);
	if (block) {
		tc->barren_ns = 0;
		return block;
	}
	if (err == ENOMEM && ma_sweep_claims(tc->map, cursor->class))
		ma_sweep_failed(tc->map, cursor->class);
	else if (err == ENOMEM)
		ma_search_failed(tc->map, cursor->class, &search);
	errno = err;
	return NULL;
}
