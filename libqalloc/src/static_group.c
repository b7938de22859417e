/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups of items: owned by threads, looked into, brought into use, and now and then made a table of roots. A thread's
 * cursor and ring are those of common/thread.h, with groups for units and one class.
 */
#include <errno.h>

#include "static.h"

#include "common/body.h"
#include "common/heap.h"
#include "common/owner.h"
#include "common/privatize.h"
#include "common/reclaim.h"
#include "common/roots.h"
#include "common/scan.h"
#include "common/space.h"

#define RING_LOOKS      16
#define SEARCH_LOOKS    8
#define DENSE           32 /* Free items of a group that serves a thread which frees what it takes. */
#define SHARED_PART     8
#define SHARED_MIN      4 /* The last one may have few items. */
#define SHARED_MAX      16
#define RING_MAX        (MA_CLASSES * MA_RING)
#define TABLE_BYTES_MAX (64 << 10)

/* The searches that reclaim.h notes: for a group to own, with room; for a free item in any group. */
enum { SEARCH_GROUPS = 0, SEARCH_ITEMS = 1 };

/* ---- groups ---- */

/* Only memory is asked about the owner: what a death left there ma_body_reap() takes away. */
static bool adopt(struct ma_tcache *tc, uint64_t group)
{
	/* Pairs with libqalloc/src/static_group.c:disown. */
	uint64_t tag = ma_load_acquire(qalloc__group_word(tc->map, group));

	if (tag & STATIC_ROOTS || (tag != 0 && ma_owner_is_held(tc->map, tag)))
		return false;
	return ma_cas(qalloc__group_word(tc->map, group), &tag, tc->tag);
}

/*
 * The last groups of each range stay without an owner: of them threads get single items when there is no group to own. So a small
 * map is not full because each of a few threads owns a group.
 */
static uint64_t ownable(struct ma_image *map, uint32_t stream)
{
	uint64_t count = ma_range_count(map, stream);

	return count - ma_min(count, ma_max(SHARED_MIN, ma_min(SHARED_MAX, count / SHARED_PART)));
}

static void disown(struct ma_image *map, uint64_t group)
{
	ma_store_kill(qalloc__group_word(map, group), 0); /* Pairs with libqalloc/src/static_group.c:adopt. */
}

/* Let go of a group that may have free items. No lock is held, as ma_stream_count_return() has it. */
static void let_go(struct ma_image *map, uint64_t group)
{
	disown(map, group);
	/* Pairs with common/reclaim.c:ma_search_news. */
	atomic_fetch_add_explicit(&ma_stream(map, ma_stream_of(map, group))->returns, 1, memory_order_release);
}

/* Point the cursor at the group's free items, if there are so many. */
static bool look(struct ma_image *map, struct ma_cursor *cursor, uint64_t group, uint32_t least)
{
	uint64_t first = group * map->lay.group_items;
	struct ma_look next = {
		.alloc_bytes = map->alloc_bytes + first,
		.base = map->user + first * map->item_bytes,
		.step = map->item_bytes,
		.valid = ma_low_bits(ma_min(map->lay.group_items, qalloc__static_items(map) - first)),
		.unit = (uint32_t)group,
	};

	return ma_cursor_look(cursor, next, least);
}

static uint32_t *ring(struct ma_tcache *tc)
{
	return &tc->ring[0][0];
}

static uint32_t may_own(const struct ma_image *map)
{
	return (uint32_t)ma_max(1, ma_min(RING_MAX, ma_units(map) / 16));
}

/* A new group goes into the ring; when it is full, the one that was looked into longest ago is let go for it. */
static void add_to_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint64_t group)
{
	if (cursor->count < may_own(tc->map)) {
		cursor->at = cursor->count++;
	} else {
		cursor->at = (cursor->at + 1) % cursor->count;
		ma_cursor_forget(cursor, ring(tc)[cursor->at]);
		let_go(tc->map, ring(tc)[cursor->at]);
	}
	ring(tc)[cursor->at] = (uint32_t)group;
}

static bool go_round(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t looks, uint32_t least)
{
	for (uint32_t i = 0; i < looks && i < cursor->count; i++) {
		cursor->at = (cursor->at + 1) % cursor->count;
		if (look(tc->map, cursor, ring(tc)[cursor->at], least))
			return true;
	}
	return false;
}

void qalloc__static_thread_detach(struct ma_tcache *tc)
{
	struct ma_cursor *cursor = &tc->items;

	while (cursor->count > 0) {
		uint64_t group = ring(tc)[--cursor->count];

		ma_cursor_forget(cursor, group);
		let_go(tc->map, group);
	}
	cursor->at = 0;
}

/* ---- bringing groups into use ---- */

/*
 * The next group of the range that was never in use, if it is among the first end. The lock is held. MA_NO_CHUNK and errno.
 * Killed before the store of top: a dead tag on an unused group.
 */
static uint64_t next_group(struct ma_tcache *tc, uint32_t stream, uint64_t end)
{
	struct ma_image *map = tc->map;
	uint64_t group = MA_NO_CHUNK;

	errno = ENOMEM;
	for (uint64_t used = qalloc__range_used(map, stream); used < end && group == MA_NO_CHUNK; used++) {
		if (qalloc__static_reserve_next(map, stream, used) < 0)
			break;
		if (adopt(tc, ma_range_first(map, stream) + used))
			group = ma_range_first(map, stream) + used;
		/* Pairs with libqalloc/src/static.h:qalloc__range_used. */
		ma_store_kill(&ma_stream(map, stream)->top, used + 1);
	}
	return group;
}

/* One of those that threads may own. MA_NO_CHUNK and errno when the stream has none left. */
static uint64_t new_group(struct ma_tcache *tc, uint32_t stream)
{
	uint64_t end = ownable(tc->map, stream);
	uint64_t group;

	errno = ENOMEM;
	if (qalloc__range_used(tc->map, stream) >= end || !ma_stream_lock(tc->map, stream))
		return MA_NO_CHUNK;
	group = next_group(tc, stream, end);
	ma_stream_unlock(tc->map, stream);
	return group;
}

static uint64_t new_group_from_any(struct ma_tcache *tc)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;
	int err = ENOMEM;

	for (uint32_t i = 0; i < lanes; i++) {
		uint64_t group = new_group(tc, ma_lane_at(tc->map, segments, tc->stream, i));

		if (group != MA_NO_CHUNK)
			return group;
		if (errno != ENOMEM)
			err = errno;
	}
	errno = err;
	return MA_NO_CHUNK;
}

/* A group with so much room and without an owner, among the next ones in use: the search goes on where the last one ended. */
static uint64_t search_stream(struct ma_tcache *tc, uint32_t stream, uint64_t looks, uint32_t least)
{
	struct ma_image *map = tc->map;
	struct ma_cursor probe = { 0 };
	uint64_t used = ma_min(qalloc__range_used(map, stream), ownable(map, stream));
	uint64_t start = ma_load(&ma_stream(map, stream)->rover);

	for (uint64_t i = 0; i < used && i < looks; i++) {
		uint64_t at = (start + i) % used;
		uint64_t group = ma_range_first(map, stream) + at;

		ma_store(&ma_stream(map, stream)->rover, at + 1);
		if (!look(map, &probe, group, least) || !adopt(tc, group))
			continue;
		if (look(map, &probe, group, least))
			return group;
		disown(map, group);
	}
	return MA_NO_CHUNK;
}

static uint64_t search(struct ma_tcache *tc)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;

	for (uint32_t i = 0; i < lanes; i++) {
		uint64_t group = search_stream(tc, ma_lane_at(tc->map, segments, tc->stream, i), UINT64_MAX, 1);

		if (group != MA_NO_CHUNK)
			return group;
	}
	return MA_NO_CHUNK;
}

/*
 * A thread that frees what it takes, and so finds most of its last look free again, gets a second group with room to take
 * turns with, and stays with the two. Others make do with what there is.
 */
static bool find_second(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	struct ma_look now = cursor->now;
	uint64_t group;

	if (!now.alloc_bytes || ma_bits(ma_scan64(now.alloc_bytes) & now.valid) * 2 < ma_bits(cursor->seen))
		return false;
	if (go_round(tc, cursor, RING_LOOKS, DENSE) && cursor->now.unit != now.unit)
		return true;
	group = new_group(tc, tc->stream);
	if (group == MA_NO_CHUNK)
		return false;
	add_to_ring(tc, cursor, group);
	return look(tc->map, cursor, group, 1);
}

/* Groups with fewer free items are passed by while there are new ones: see common/heap_slab.c. */
static uint32_t rich(const struct ma_image *map)
{
	return (uint32_t)(map->lay.group_items + 7) / 8;
}

static bool own(struct ma_tcache *tc, uint64_t group)
{
	add_to_ring(tc, &tc->items, group);
	return look(tc->map, &tc->items, group, 1);
}

/* Any group that has an item and no owner; also what dead processes owned, whether this thread or another retires them. */
static bool own_any(struct ma_tcache *tc, bool barren)
{
	uint64_t group = search(tc);

	if (group == MA_NO_CHUNK && (ma_body_reap(tc->map, !barren) || !barren))
		group = search(tc);
	return group != MA_NO_CHUNK && own(tc, group);
}

bool qalloc__static_refill(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	uint64_t group;

	if (find_second(tc, cursor) || go_round(tc, cursor, RING_LOOKS, rich(tc->map)))
		return true;
	group = search_stream(tc, tc->stream, SEARCH_LOOKS, rich(tc->map));
	if (group == MA_NO_CHUNK)
		group = new_group_from_any(tc);
	return group != MA_NO_CHUNK && own(tc, group);
}

/* ---- single items, of groups that no thread owns for long ---- */

/* The group is ours for the moment: a kill here leaves a group of a dead owner. */
static void *take_adopted(struct ma_image *map, uint64_t group)
{
	struct ma_cursor probe = { 0 };
	void *item = look(map, &probe, group, 1) ? ma_cursor_pop(&probe) : NULL;

	disown(map, group);
	return item;
}

/* Among the shared groups in use from this one on, which is the stream's ownable() or behind it. */
static void *one_shared(struct ma_tcache *tc, uint32_t stream, uint64_t from)
{
	struct ma_cursor probe = { 0 };
	void *item = NULL;

	for (uint64_t at = from; at < qalloc__range_used(tc->map, stream) && !item; at++) {
		uint64_t group = ma_range_first(tc->map, stream) + at;

		if (look(tc->map, &probe, group, 1) && adopt(tc, group))
			item = take_adopted(tc->map, group);
	}
	return item;
}

/* Under the lock, or a thread might find all groups taken by others, for the moment, and no item. */
static void *one_from(struct ma_tcache *tc, uint32_t stream)
{
	uint64_t group;
	void *item;

	errno = ENOMEM;
	if (!ma_stream_lock(tc->map, stream))
		return NULL;
	item = one_shared(tc, stream, ownable(tc->map, stream));
	if (!item) {
		group = next_group(tc, stream, ma_range_count(tc->map, stream));
		item = group != MA_NO_CHUNK ? take_adopted(tc->map, group) : NULL;
	}
	ma_stream_unlock(tc->map, stream);
	return item;
}

/* The first error other than ENOMEM counts. */
static void *one_from_any(struct ma_tcache *tc)
{
	uint32_t segments = ma_segments(tc->map), lanes = segments * tc->map->lay.streams;
	int err = ENOMEM;

	for (uint32_t i = 0; i < lanes; i++) {
		void *item = one_from(tc, ma_lane_at(tc->map, segments, tc->stream, i));

		if (item)
			return item;
		if (err == ENOMEM)
			err = errno;
	}
	errno = err;
	return NULL;
}

static bool search_ring(struct ma_tcache *tc)
{
	return go_round(tc, &tc->items, tc->items.count, 1);
}

/* A group with room to own. */
static bool own_with_room(struct ma_tcache *tc, const struct ma_search *search)
{
	struct ma_cursor *cursor = &tc->items;

	if (ma_search_would_fail(tc->map, SEARCH_GROUPS)) {
		if (!ma_search_ring_would_fail(tc->map, cursor) && search_ring(tc))
			return true;
		ma_search_ring_failed(tc->map, cursor);
		return false;
	}
	if (search_ring(tc) || ma_reclaim(tc, own_any))
		return true;
	ma_search_failed(tc->map, SEARCH_GROUPS, search);
	return false;
}

void *qalloc__static_search(struct ma_tcache *tc)
{
	int err = errno;
	struct ma_search search = ma_search_begin(tc->map);
	void *item;

	ma_search_see_frees(tc->map);
	if (own_with_room(tc, &search))
		return ma_cursor_pop(&tc->items);
	errno = err;
	if (err == ENOMEM && ma_search_would_fail(tc->map, SEARCH_ITEMS))
		return NULL;
	item = one_from_any(tc);
	if (!item && err != ENOMEM)
		errno = err;
	else if (!item && errno == ENOMEM)
		ma_search_failed(tc->map, SEARCH_ITEMS, &search);
	return item;
}

/* ---- tables of roots ---- */

/* The last group may have fewer items; a table of large ones need not be as large. */
static uint64_t table_bytes(const struct ma_image *map, uint64_t group)
{
	uint64_t first = group * map->lay.group_items;
	uint64_t items = ma_min(map->lay.group_items, qalloc__static_items(map) - first);

	return ma_min(TABLE_BYTES_MAX, items * map->lay.item_bytes);
}

static char *group_address(struct ma_image *map, uint64_t group)
{
	return map->user + group * map->lay.group_items * map->lay.item_bytes;
}

bool qalloc__static_table_at(struct ma_image *map, uint64_t group, struct ma_table *table)
{
	uint64_t word;

	if (!qalloc__is_used(map, group))
		return false;
	/* Pairs with libqalloc/src/static_group.c:make_table. */
	word = ma_load_acquire(qalloc__group_word(map, group));
	*table = (struct ma_table){
		.id = word & ~STATIC_ROOTS,
		.offset = (uint64_t)(group_address(map, group) - map->base),
		.bytes = table_bytes(map, group),
	};
	return word & STATIC_ROOTS && table->bytes >= MA_TABLE_MIN;
}

/* The group is ours, and empty. Killed before the last store: it is a dead thread's, as any other. */
static bool make_table(struct ma_image *map, uint64_t group, _Atomic uint64_t *link, uint64_t id)
{
	if (table_bytes(map, group) < MA_TABLE_MIN) {
		disown(map, group);
		return false;
	}
	ma_root_clear(map, group_address(map, group), table_bytes(map, group));
	ma_store_kill(link, group + 1); /* Pairs with common/roots.c:go_down. */
	/* Pairs with libqalloc/src/static_group.c:qalloc__static_table_at. */
	ma_store_kill(qalloc__group_word(map, group), STATIC_ROOTS | id);
	return true;
}

static bool is_empty(struct ma_image *map, uint64_t group)
{
	_Atomic uint8_t *byte = map->alloc_bytes + group * map->lay.group_items;

	for (uint64_t i = 0; i < map->lay.group_items; i++)
		if (ma_load_acquire(&byte[i])) /* Pairs with libqalloc/src/static.h:qalloc__static_free_fast. */
			return false;
	return true;
}

/* Make an empty group ours, among those of a stream that are in use. */
static uint64_t adopt_empty(struct ma_tcache *tc, uint32_t stream, uint64_t from)
{
	struct ma_image *map = tc->map;
	uint64_t first = ma_range_first(map, stream);
	uint64_t used = qalloc__range_used(map, stream);

	for (uint64_t group = first + from; group < first + used; group++) {
		if (!is_empty(map, group) || !adopt(tc, group))
			continue;
		if (is_empty(map, group))
			return group;
		disown(map, group);
	}
	return MA_NO_CHUNK;
}

/* It may be a shared one. */
static uint64_t group_for_table(struct ma_tcache *tc)
{
	uint64_t group = new_group_from_any(tc);
	int err = errno;

	for (uint32_t s = 0; s < ma_lanes(tc->map) && group == MA_NO_CHUNK; s++) {
		if (!ma_stream_lock(tc->map, s))
			break;
		group = next_group(tc, s, ma_range_count(tc->map, s));
		ma_stream_unlock(tc->map, s);
	}
	errno = err;
	return group;
}

/* An untouched group, else one that has become empty: what this thread owns is put among those first. */
bool qalloc__static_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id)
{
	struct ma_image *map = tc->map;
	uint64_t group = group_for_table(tc);
	int err = errno;

	if (group != MA_NO_CHUNK && make_table(map, group, link, id))
		return true;
	qalloc__static_thread_detach(tc);
	ma_body_reap_all(map);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		for (uint64_t from = 0;; from = group - ma_range_first(map, s) + 1) {
			group = adopt_empty(tc, s, from);
			if (group == MA_NO_CHUNK)
				break;
			if (make_table(map, group, link, id))
				return true;
		}
	errno = err;
	return false;
}

/* ---- a thread's cache comes and goes ---- */

void qalloc__static_thread_attach(struct ma_tcache *tc)
{
	tc->items.slot_bytes = tc->map->item_bytes;
}
