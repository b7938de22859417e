/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread owns a ring of slabs per class and looks at 64 allocation bytes of one of them at a time. When those are used up it goes
 * on: the rest of the slab, its other slabs; what comes then is in heap_refill.c.
 *
 * The ring is bounded, and so is the part of the map that a thread may own: a slab that does not fit goes to its stream's
 * queue, where every thread may adopt it. So an idle thread holds back little.
 */
#include "common/heap_cache.h"
#include "common/heap_internal.h"

#define RING_LOOKS 8
#define OWNED_MIN  (16 * MA_CHUNK_CELLS)
/* Allocation bytes of the slabs in a ring: the call that finds no room reads all of them. */
#define RING_BYTES (64 << 10)

/* ---- looking ---- */

/* The first group from this one on that has a free slot, or the number of groups. A search comes to many slabs, most of them full. */
static uint32_t pass_full(const _Atomic uint8_t *alloc_bytes, uint32_t group, uint32_t groups)
{
	const _Atomic uint8_t *at = alloc_bytes + (size_t)group * 64;

	for (; group < groups && !ma_scan64_any(at); at += 64)
		group++;
	return group;
}

/* The first 64 slots of a slab of whole chunks, from group on, that have enough free ones. */
static bool look_at_large(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group,
			  enum ma_want want)
{
	uint32_t slots = cursor->slots, groups = (slots + 63) / 64;
	_Atomic uint8_t *alloc_bytes = ma_chunk_alloc_bytes(map, id, slots);

	if (!alloc_bytes)
		return false;
	for (group = pass_full(alloc_bytes, group, groups); group < groups;
	     group = pass_full(alloc_bytes, group + 1, groups)) {
		struct ma_look next = {
			.alloc_bytes = alloc_bytes + group * 64,
			.base = ma_chunk_address(map, id) + group * 64 * cursor->slot_bytes,
			.step = cursor->slot_bytes,
			.valid = ma_low_bits(slots - group * 64),
			.unit = id,
			.group = group,
		};

		if (ma_cursor_look(cursor, next, ma_want_least((uint32_t)ma_min(64, slots - group * 64), want)))
			return true;
	}
	return false;
}

/* Where slots begin among 64 granules of a small slab. */
static uint64_t small_valid(uint32_t slots, uint32_t stride, uint32_t group)
{
	uint32_t from = group * 64;

	return ma_multiples(stride, from) & ma_low_bits(slots * stride - from);
}

static bool look_at_small(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group,
			  enum ma_want want)
{
	uint64_t chunk = ma_slab_chunk(id);
	uint32_t stride = (uint32_t)cursor->slot_bytes / MA_GRANULE;
	_Atomic uint8_t *alloc_bytes = ma_chunk_alloc_bytes(map, chunk, MA_GRANULE_BYTES);
	uint32_t cell = ma_slab_cell(id);

	for (; alloc_bytes && group * 64 < cursor->small_slots * stride; group++) {
		struct ma_look next = {
			.alloc_bytes = alloc_bytes + cell * (MA_CELL / MA_GRANULE) + group * 64,
			.base = ma_chunk_address(map, chunk) + (cell + group) * MA_CELL,
			.step = MA_GRANULE,
			.valid = small_valid(cursor->small_slots, stride, group),
			.unit = id,
			.group = group,
		};

		if (ma_cursor_look(cursor, next, ma_want_least(ma_bits(next.valid), want)))
			return true;
	}
	return false;
}

_Static_assert(64 * MA_GRANULE == MA_CELL, "a look is a cell");

static bool look(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group, enum ma_want want)
{
	return id & MA_SMALL ? look_at_small(map, cursor, id, group, want)
			     : look_at_large(map, cursor, id, group, want);
}

static bool go_round(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t looks, enum ma_want want)
{
	for (uint32_t i = 0; i < looks && i < cursor->count; i++) {
		cursor->at = cursor->at + 1 < cursor->count ? cursor->at + 1 : 0;
		if (look(tc->map, cursor, tc->ring[cursor->class][cursor->at], 0, want))
			return true;
	}
	return false;
}

bool ma_slab_look_on(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	if (cursor->now.alloc_bytes && cursor->now.unit & MA_SMALL && ma_cursor_churns(tc->map, cursor, 1))
		return false;
	if (ma_cursor_go_back(cursor))
		return true;
	if (cursor->now.alloc_bytes && look(tc->map, cursor, cursor->now.unit, cursor->now.group + 1, MA_RICH_ROOM))
		return true;
	return go_round(tc, cursor, RING_LOOKS, MA_RICH_ROOM);
}

bool ma_ring_search(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	return go_round(tc, cursor, MA_RING, MA_ANY_ROOM);
}

/* ---- the ring ---- */

/* Cells. Of a small map a thread may own more than a sixteenth, but never most of it. */
static uint64_t may_own(const struct ma_image *map)
{
	uint64_t cells = ma_units_in_time(map) * MA_CHUNK_CELLS;

	return ma_max(cells / 16, ma_min(OWNED_MIN, cells / 4));
}

static uint32_t cells_of(const struct ma_image *map, uint32_t id, uint32_t class)
{
	return id & MA_SMALL ? map->lay.small_span[class] : ma_slab_chunks(map, class) * MA_CHUNK_CELLS;
}

/* Take a slab out of the ring. What its cursor still had in view is free, and is found again by the thread that looks next. */
void ma_ring_drop(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at)
{
	uint32_t *ring = tc->ring[cursor->class];
	uint32_t id = ring[at];
	uint32_t cells = cells_of(tc->map, id, cursor->class);

	tc->owned -= cells;
	if (id & MA_SMALL)
		cursor->small_cells -= cells;
	ma_cursor_forget(cursor, id);
	ring[at] = ring[--cursor->count];
	if (cursor->at >= cursor->count)
		cursor->at = 0;
}

static void let_go(struct ma_image *map, uint32_t id, uint32_t class)
{
	uint32_t stream = ma_stream_of(map, ma_slab_chunk(id));
	bool locked = ma_stream_lock(map, stream), has_room = false;
	struct ma_slab slab;

	/* Under the lock, or others might have it in a queue, or make it another thing, before it is pushed. */
	if (ma_slab_at(map, id, &slab)) {
		has_room = ma_slab_has_room(&slab, MA_ANY_ROOM);
		ma_slab_disown(&slab);
	}
	if (!locked)
		return;
	ma_queue_push(map, ma_slab_queue(map, stream, id, class), id);
	if (has_room) /* A full slab is no reason to search again, and a thread that fills the map disowns many of them. */
		ma_stream_count_return(map, stream);
	ma_stream_unlock(map, stream);
}

static void release(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at)
{
	uint32_t id = tc->ring[cursor->class][at];

	ma_ring_drop(tc, cursor, at);
	if (!ma_slab_give_if_empty(tc->map, id))
		let_go(tc->map, id, cursor->class);
}

static uint32_t ring_most(const struct ma_cursor *cursor)
{
	return (uint32_t)ma_min(MA_RING, RING_BYTES / cursor->slots);
}

/*
 * Make room for one more: the slab that was looked into longest ago goes. With a large slab no small one is needed. Returns the place of the
 * new one.
 */
static uint32_t shorten_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t id)
{
	uint32_t more = cells_of(tc->map, id, cursor->class), at;

	if (!(id & MA_SMALL)) {
		cursor->churn = 0;
		for (uint32_t i = cursor->count; cursor->small_cells && i-- > 0;)
			if (tc->ring[cursor->class][i] & MA_SMALL)
				release(tc, cursor, i);
	}
	if (cursor->count == 0 || (cursor->count < ring_most(cursor) && tc->owned + more <= may_own(tc->map)))
		return cursor->count;
	at = (cursor->at + 1) % cursor->count;
	release(tc, cursor, at);
	return at;
}

bool ma_ring_add(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t id)
{
	uint32_t cells = cells_of(tc->map, id, cursor->class), at = shorten_ring(tc, cursor, id);
	uint32_t *ring = tc->ring[cursor->class];

	ring[cursor->count++] =
		ring[at]; /* Back from there, where ma_ring_drop() moved it: the order is that of the looks. */
	ring[at] = id;
	tc->owned += cells;
	if (id & MA_SMALL)
		cursor->small_cells += cells;
	cursor->at = at;
	return look(tc->map, cursor, id, 0, MA_ANY_ROOM);
}

/* ---- a thread's cache comes and goes ---- */

void ma_heap_thread_attach(struct ma_tcache *tc)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++) {
		tc->cursor[c].slot_bytes = ma_class_bytes(c);
		tc->cursor[c].slots = ma_slab_slots(tc->map, c);
		tc->cursor[c].small_slots = ma_small_slots(tc->map, c);
	}
	for (uint32_t i = 1; i < MA_COUNT(tc->by_size); i++)
		tc->by_size[i] = &tc->cursor[ma_class_of(i * 16)];
}

void ma_heap_thread_detach(struct ma_tcache *tc)
{
	ma_cache_empty(tc);
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		for (uint32_t i = 0; i < tc->cursor[c].count; i++)
			if (!ma_slab_give_if_empty(tc->map, tc->ring[c][i]))
				let_go(tc->map, tc->ring[c][i], c);
}
