/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slabs. A thread owns a ring of slabs a class and looks at 64 slots of one of them at a time. When those are dealt out it
 * goes on: the rest of the slab, its other slabs, slabs that nobody owns, a new slab.
 *
 * The ring is bounded, and so is the part of the map that a thread may own: a slab that does not fit goes to its stream's
 * queue, where every thread may adopt it. So an idle thread holds back little.
 */
#include <errno.h>

#include "common/heap_internal.h"
#include "common/owner.h"

#define RING_LOOKS  8
#define QUEUE_LOOKS 4
#define OWNED_MIN   16
#define RICH        16 /* One free slot in so many makes a slab, or 64 slots of it, worth while. */

/* ---- the slab's words ---- */

/* Make it ours when nobody alive owns it. */
static bool adopt(struct ma_tcache *tc, uint64_t head, uint32_t class)
{
	struct ma_map *map = tc->map;
	uint64_t word = ma_chunk_load(map, head);
	uint64_t tag = ma_word_argument(word);

	if (ma_word_kind(word) != MA_SLAB || ma_word_class(word) != class || !ma_word_chunks(map, head, word))
		return false;
	if (tag != 0 && ma_owner_alive(map, tag))
		return false;
	return ma_cas(ma_chunk(map, head), &word, ma_word(MA_SLAB, class, tc->tag));
}

/* After this store anybody may adopt it; all that we did in it comes before. */
static void disown(struct ma_map *map, uint64_t head, uint32_t class)
{
	ma_store_kill(ma_chunk(map, head), ma_word(MA_SLAB, class, 0));
}

bool ma_slab_is_empty(struct ma_map *map, uint64_t head, uint32_t class)
{
	const _Atomic uint8_t *truth = ma_slab_truth(map, head, class);
	uint32_t slots = ma_slab_slots(map, class);

	for (uint32_t at = 0; truth && at < slots; at += 64)
		if (~ma_scan64(truth + at) & ma_low_bits(slots - at))
			return false;
	return truth != NULL;
}

/* ---- queues of slabs that nobody owns; the stream's lock is held ---- */

static void queue_push(struct ma_map *map, uint64_t head, uint32_t class)
{
	struct ma_queue *queue = &ma_stream(map, ma_stream_of(map, head))->queue[class];
	uint32_t tail = ma_load(&queue->tail);

	ma_store(ma_chunk_next(map, head), 0);
	if (ma_load(&queue->head) == 0 || tail == 0 || tail > map->lay.units)
		ma_store(&queue->head, (uint32_t)head + 1);
	else
		ma_store(ma_chunk_next(map, tail - 1), (uint32_t)head + 1);
	ma_store(&queue->tail, (uint32_t)head + 1);
}

static uint64_t queue_pop(struct ma_map *map, uint32_t stream, uint32_t class)
{
	struct ma_queue *queue = &ma_stream(map, stream)->queue[class];
	uint32_t head = ma_load(&queue->head);

	if (head == 0 || head > map->lay.units) {
		ma_store(&queue->head, 0);
		return MA_NO_CHUNK;
	}
	ma_store(&queue->head, ma_load(ma_chunk_next(map, head - 1)));
	return head - 1;
}

/* Some slabs may have lost their owner without getting into a queue: fill the queues anew from the words. */
static void refill_queues(struct ma_map *map, uint32_t stream)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t first = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);

	ma_store(&st->stale, 0);
	ma_truth_recount(map, stream);
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		ma_store(&st->queue[c].head, 0);
	for (uint64_t chunk = first; chunk < first + used; chunk++) {
		uint64_t word = ma_chunk_load(map, chunk);
		uint64_t tag = ma_word_argument(word);

		if (ma_word_kind(word) == MA_SLAB && ma_word_chunks(map, chunk, word) &&
		    (tag == 0 || !ma_owner_alive(map, tag)))
			queue_push(map, chunk, ma_word_class(word));
	}
}

/* ---- looking ---- */

/*
 * What a search is content with. Blocks that are freed at random leave few free slots in each slab: a thread that took the
 * first one it finds would search for every block. So it first passes by what is poor, and rather takes a new slab; that
 * costs at most a sixteenth of the memory, and something.
 */
enum want { ANY_ROOM, RICH_ROOM };

static uint32_t least(uint32_t slots, enum want want)
{
	return want == RICH_ROOM ? (slots + RICH - 1) / RICH : 1;
}

/* Point the cursor at the first 64 slots of the slab, from group on, that have enough free ones. */
static bool look(struct ma_map *map, struct ma_cursor *cursor, uint64_t head, uint32_t group, enum want want)
{
	uint32_t slots = cursor->slots;
	_Atomic uint8_t *truth = ma_spot_truth(map, head, slots);

	for (; truth && group * 64 < slots; group++) {
		struct ma_look next = {
			.truth = truth + group * 64,
			.base = ma_chunk_address(map, head) + group * 64 * cursor->slot_bytes,
			.valid = ma_low_bits(slots - group * 64),
			.unit = (uint32_t)head,
			.group = group,
		};

		if (ma_cursor_look(cursor, next, least((uint32_t)ma_min(64, slots - group * 64), want)))
			return true;
	}
	return false;
}

/* For slabs that are not (yet) in the ring. */
static bool has_room(struct ma_map *map, uint64_t head, uint32_t class, enum want want)
{
	const _Atomic uint8_t *truth = ma_slab_truth(map, head, class);
	uint32_t slots = ma_slab_slots(map, class);
	uint32_t free = 0;

	for (uint32_t at = 0; truth && at < slots && free < least(slots, want); at += 64)
		free += ma_bits(ma_scan64(truth + at) & ma_low_bits(slots - at));
	return free >= least(slots, want);
}

/* ---- the ring ---- */

/* Chunks. Of a small map a thread may own more than a sixteenth, but never most of it. */
static uint32_t may_own(const struct ma_map *map)
{
	return (uint32_t)ma_max(map->lay.units / 16, ma_min(OWNED_MIN, map->lay.units / 4));
}

static void let_go(struct ma_tcache *tc, uint64_t head, uint32_t class)
{
	struct ma_map *map = tc->map;
	uint32_t stream = ma_stream_of(map, head);
	bool locked = ma_stream_lock(map, stream);

	/* Under the lock, or others might have it in a queue, or make it another thing, before it is pushed. */
	disown(map, head, class);
	tc->owned -= ma_slab_chunks(map, class);
	if (!locked)
		return;
	queue_push(map, head, class);
	ma_stream_unlock(map, stream);
}

/* Make room for one more: the slab that was looked into longest ago goes. */
static void shorten_ring(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	uint32_t *ring = tc->ring[cursor->class];
	uint32_t oldest;

	uint32_t more = ma_slab_chunks(tc->map, cursor->class);

	if (cursor->count == 0 || (cursor->count < MA_RING && tc->owned + more <= may_own(tc->map)))
		return;
	oldest = (cursor->at + 1) % cursor->count;
	ma_cursor_forget(cursor, ring[oldest]);
	let_go(tc, ring[oldest], cursor->class);
	ring[oldest] = ring[--cursor->count];
}

static bool add_to_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint64_t head)
{
	shorten_ring(tc, cursor);
	tc->ring[cursor->class][cursor->count] = (uint32_t)head;
	tc->owned += ma_slab_chunks(tc->map, cursor->class);
	cursor->at = cursor->count++;
	return look(tc->map, cursor, head, 0, ANY_ROOM);
}

static bool go_round(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t looks, enum want want)
{
	for (uint32_t i = 0; i < looks && i < cursor->count; i++) {
		cursor->at = cursor->at + 1 < cursor->count ? cursor->at + 1 : 0;
		if (look(tc->map, cursor, tc->ring[cursor->class][cursor->at], 0, want))
			return true;
	}
	return false;
}

/* ---- getting slabs ---- */

/* A slab of the stream's queue that has room, made ours. The lock is held. */
static uint64_t adopt_queued(struct ma_tcache *tc, uint32_t stream, uint32_t class, enum want want)
{
	struct ma_map *map = tc->map;

	for (int i = 0; i < QUEUE_LOOKS; i++) {
		uint64_t head = queue_pop(map, stream, class);

		if (head == MA_NO_CHUNK)
			return MA_NO_CHUNK;
		if (!adopt(tc, head, class))
			continue;
		if (has_room(map, head, class, want))
			return head;
		disown(map, head, class);
		queue_push(map, head, class);
	}
	return MA_NO_CHUNK;
}

static uint64_t slab_from(struct ma_tcache *tc, uint32_t stream, uint32_t class)
{
	struct ma_map *map = tc->map;
	uint64_t head;

	if (!ma_stream_lock(map, stream))
		return MA_NO_CHUNK;
	if (ma_load(&ma_stream(map, stream)->stale))
		refill_queues(map, stream);
	head = adopt_queued(tc, stream, class, RICH_ROOM);
	if (head == MA_NO_CHUNK)
		head = ma_chunk_take_slab(map, stream, class, tc->tag);
	if (head == MA_NO_CHUNK)
		head = adopt_queued(tc, stream, class, ANY_ROOM);
	ma_stream_unlock(map, stream);
	return head;
}

/* The thread's own stream first, then its neighbours. The first error counts: it is the own stream's. */
static uint64_t slab_from_any(struct ma_tcache *tc, uint32_t class)
{
	int first_error = 0;

	for (uint32_t i = 0; i < tc->map->lay.streams; i++) {
		uint64_t head = slab_from(tc, (tc->stream + i) % tc->map->lay.streams, class);

		if (head != MA_NO_CHUNK)
			return head;
		if (!first_error)
			first_error = errno;
	}
	errno = first_error;
	return MA_NO_CHUNK;
}

/* Nothing is left to be had quickly: any slab of the class, wherever it is, that nobody owns and that has room. */
static uint64_t slab_by_search(struct ma_tcache *tc, uint32_t class)
{
	struct ma_map *map = tc->map;
	bool found;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = ma_range_first(map, s);

		for (uint64_t chunk = first; chunk < first + ma_range_used(map, s); chunk++) {
			if (!adopt(tc, chunk, class))
				continue;
			found = has_room(map, chunk, class, ANY_ROOM);
			if (!found)
				disown(map, chunk, class);
			/* It may stand in a queue, which its next entry would cut: have the queues made anew. */
			ma_store(&ma_stream(map, s)->stale, 1);
			if (found)
				return chunk;
		}
	}
	return MA_NO_CHUNK;
}

bool ma_slab_look_on(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	if (ma_cursor_go_back(cursor))
		return true;
	if (cursor->now.truth && look(tc->map, cursor, cursor->now.unit, cursor->now.group + 1, RICH_ROOM))
		return true;
	return go_round(tc, cursor, RING_LOOKS, RICH_ROOM);
}

bool ma_slab_refill(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	uint64_t head;
	int err;

	head = slab_from_any(tc, cursor->class);
	err = errno;
	if (head == MA_NO_CHUNK && go_round(tc, cursor, MA_RING, ANY_ROOM))
		return true;
	if (head == MA_NO_CHUNK && ma_slab_scavenge(tc))
		head = slab_from_any(tc, cursor->class);
	if (head == MA_NO_CHUNK)
		head = slab_by_search(tc, cursor->class);
	if (head != MA_NO_CHUNK && add_to_ring(tc, cursor, head))
		return true;
	errno = err;
	return false;
}

/* ---- giving back ---- */

static bool free_if_empty(struct ma_map *map, uint64_t head, uint32_t class)
{
	uint32_t stream = ma_stream_of(map, head);

	if (!ma_slab_is_empty(map, head, class) || !ma_stream_lock(map, stream))
		return false;
	ma_chunk_give(map, head, ma_slab_chunks(map, class));
	ma_stream_unlock(map, stream);
	return true;
}

/* Take a slab out of the ring. What its cursor still had in view is free, and is found again by whoever looks next. */
static void drop_from_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at)
{
	uint32_t last = --cursor->count;

	tc->owned -= ma_slab_chunks(tc->map, cursor->class);
	ma_cursor_forget(cursor, tc->ring[cursor->class][at]);
	tc->ring[cursor->class][at] = tc->ring[cursor->class][last];
	if (cursor->at >= cursor->count)
		cursor->at = 0;
}

static bool scavenge_own(struct ma_tcache *tc)
{
	bool any = false;

	for (uint32_t c = 0; c < MA_CLASSES; c++)
		for (uint32_t i = tc->cursor[c].count; i-- > 0;)
			if (free_if_empty(tc->map, tc->ring[c][i], c)) {
				drop_from_ring(tc, &tc->cursor[c], i);
				any = true;
			}
	return any;
}

/* Slabs that nobody owns. */
static bool scavenge_stream(struct ma_tcache *tc, uint32_t stream)
{
	struct ma_map *map = tc->map;
	uint64_t first = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);
	bool any = false;

	for (uint64_t chunk = first; chunk < first + used; chunk++) {
		uint64_t word = ma_chunk_load(map, chunk);
		uint32_t class = ma_word_class(word);

		if (ma_word_kind(word) != MA_SLAB || !ma_word_chunks(map, chunk, word) ||
		    !ma_slab_is_empty(map, chunk, class) || !adopt(tc, chunk, class))
			continue;
		if (free_if_empty(map, chunk, class))
			any = true;
		else
			disown(map, chunk, class);
		/* As in slab_by_search(); and its link may soon be one of another queue, or of the list of areas. */
		ma_store(&ma_stream(map, stream)->stale, 1);
	}
	return any;
}

bool ma_slab_scavenge(struct ma_tcache *tc)
{
	bool any = scavenge_own(tc);

	for (uint32_t s = 0; s < tc->map->lay.streams; s++)
		any |= scavenge_stream(tc, s);
	return any;
}

/* ---- a thread's cache comes and goes ---- */

void ma_heap_equip(struct ma_tcache *tc)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++) {
		tc->cursor[c].slot_bytes = ma_class_bytes(c);
		tc->cursor[c].slots = ma_slab_slots(tc->map, c);
	}
	for (uint32_t i = 0; i < MA_COUNT(tc->by_size); i++)
		tc->by_size[i] = &tc->cursor[ma_class_of(i * 16)];
}

void ma_heap_leave(struct ma_tcache *tc)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		for (uint32_t i = 0; i < tc->cursor[c].count; i++)
			if (!free_if_empty(tc->map, tc->ring[c][i], c))
				let_go(tc, tc->ring[c][i], c);
}
