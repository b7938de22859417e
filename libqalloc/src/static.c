/* SPDX-License-Identifier: BSD-3-Clause */
/* See static.h. A thread's cursor and ring are those of common/thread.h, with groups for units and one class. */
#include "static.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/annotate.h"
#include "common/error.h"
#include "common/heap.h"
#include "common/owner.h"
#include "common/roots.h"
#include "common/scan.h"
#include "common/space.h"

#define RING_LOOKS      16
#define RING_MAX        (MA_CLASSES * MA_RING)
#define STEP_MIN        4
#define STEP_MAX        65536
#define GROUP_BYTES_MAX (256 << 10) /* What a group of one thread may keep from the others, and from the disk. */
#define TRUTH_SLACK     64          /* A look reads 64 bytes even of a smaller group. */
#define TABLE_BYTES_MAX (64 << 10)
#define BYTES_A_ROOT    65536 /* A place in the fixed table for so much of the file, 8 to 64 in all. */

uint64_t qalloc__static_items(const struct ma_map *map)
{
	return map->lay.user_bytes / map->lay.item_bytes;
}

static _Atomic uint64_t *group_word(struct ma_map *map, uint64_t group)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.unit_off) + group;
}

static uint64_t range_count(const struct ma_map *map, uint32_t stream)
{
	uint64_t first = (uint64_t)stream * map->lay.per_stream;

	return first >= map->lay.units ? 0 : ma_min(map->lay.per_stream, map->lay.units - first);
}

/* Groups of the range that were ever in use. */
static uint64_t range_used(struct ma_map *map, uint32_t stream)
{
	return ma_min(ma_load_acquire(&ma_stream(map, stream)->top), range_count(map, stream));
}

/* ---- groups ---- */

static bool adopt(struct ma_tcache *tc, uint64_t group)
{
	uint64_t tag = ma_load_acquire(group_word(tc->map, group));

	if (tag & STATIC_ROOTS || (tag != 0 && ma_owner_alive(tc->map, tag)))
		return false;
	return ma_cas(group_word(tc->map, group), &tag, tc->tag);
}

static void disown(struct ma_map *map, uint64_t group)
{
	ma_store_kill(group_word(map, group), 0);
}

/* Point the cursor at the group's free items, if there are so many. */
static bool look(struct ma_map *map, struct ma_cursor *cursor, uint64_t group, uint32_t least)
{
	uint64_t first = group * map->lay.group_items;
	struct ma_look next = {
		.truth = map->truth + first,
		.base = map->user + first * map->item_bytes,
		.valid = ma_low_bits(ma_min(map->lay.group_items, qalloc__static_items(map) - first)),
		.unit = (uint32_t)group,
	};

	return ma_cursor_look(cursor, next, least);
}

/* In a map whose every call must be seen, the cursor that the fast path looks at stays empty. */
static struct ma_cursor *cursor_of(struct ma_tcache *tc)
{
	return tc->map->watched ? &tc->cursor[0] : &tc->items;
}

static uint32_t *ring(struct ma_tcache *tc)
{
	return &tc->ring[0][0];
}

static uint32_t may_own(const struct ma_map *map)
{
	return (uint32_t)ma_max(1, ma_min(RING_MAX, map->lay.units / 16));
}

/* A new group goes into the ring; when it is full, the one that was looked into longest ago is let go for it. */
static void add_to_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint64_t group)
{
	if (cursor->count < may_own(tc->map)) {
		cursor->at = cursor->count++;
	} else {
		cursor->at = (cursor->at + 1) % cursor->count;
		ma_cursor_forget(cursor, ring(tc)[cursor->at]);
		disown(tc->map, ring(tc)[cursor->at]);
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

static void leave(struct ma_tcache *tc)
{
	struct ma_cursor *cursor = cursor_of(tc);

	while (cursor->count > 0) {
		uint64_t group = ring(tc)[--cursor->count];

		ma_cursor_forget(cursor, group);
		disown(tc->map, group);
	}
	cursor->at = 0;
}

/* ---- bringing groups into use ---- */

/* Disk space for groups [had, want) of the range; those before had have theirs. */
static int back_groups(struct ma_map *map, uint32_t stream, uint64_t had, uint64_t want)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t start = (uint64_t)stream * lay->per_stream;
	uint64_t items = lay->group_items;
	uint64_t bytes = items * lay->item_bytes;

	if (ma_space_extend(map, lay->unit_off + start * 8, had * 8, want * 8) < 0 ||
	    ma_space_extend(map, lay->truth_off + start * items, had * items, want * items + TRUTH_SLACK) < 0)
		return -1;
	ma_body_fresh(map, lay->unit_off + (start + had) * 8, (want - had) * 8);
	ma_body_fresh(map, lay->truth_off + (start + had) * items, (want - had) * items);
	return ma_space_extend(map, lay->user_off + start * bytes, had * bytes, want * bytes);
}

/* Disk space for one group more, in steps that grow with the map. */
static int back_next(struct ma_map *map, uint32_t stream, uint64_t used)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t have = ma_min(ma_load(&st->backed), range_count(map, stream));
	uint64_t more = ma_max(STEP_MIN, ma_min(STEP_MAX, have / 8));

	if (used < have)
		return 0;
	more = ma_min(more, range_count(map, stream) - have);
	if (back_groups(map, stream, have, have + more) < 0) {
		more = 1;
		if (back_groups(map, stream, have, have + more) < 0)
			return -1;
	}
	ma_store_kill(&st->backed, have + more);
	return 0;
}

/* MA_NO_CHUNK and errno when the stream has none left. Killed before the store of top: a dead tag on an unused group. */
static uint64_t new_group(struct ma_tcache *tc, uint32_t stream)
{
	struct ma_map *map = tc->map;
	uint64_t group = MA_NO_CHUNK;
	uint64_t used;

	errno = ENOMEM;
	if (range_used(map, stream) >= range_count(map, stream) || !ma_stream_lock(map, stream))
		return MA_NO_CHUNK;
	for (used = range_used(map, stream); used < range_count(map, stream) && group == MA_NO_CHUNK; used++) {
		if (back_next(map, stream, used) < 0)
			break;
		if (adopt(tc, (uint64_t)stream * map->lay.per_stream + used))
			group = (uint64_t)stream * map->lay.per_stream + used;
		ma_store_kill(&ma_stream(map, stream)->top, used + 1);
	}
	ma_stream_unlock(map, stream);
	return group;
}

static uint64_t new_group_from_any(struct ma_tcache *tc)
{
	int err = ENOMEM;

	for (uint32_t i = 0; i < tc->map->lay.streams; i++) {
		uint64_t group = new_group(tc, (tc->stream + i) % tc->map->lay.streams);

		if (group != MA_NO_CHUNK)
			return group;
		if (errno != ENOMEM)
			err = errno;
	}
	errno = err;
	return MA_NO_CHUNK;
}

/* A group with room that nobody owns, among those in use; the search goes on where the last one ended. */
static uint64_t search_stream(struct ma_tcache *tc, uint32_t stream)
{
	struct ma_map *map = tc->map;
	struct ma_cursor probe = { .slot_bytes = map->item_bytes };
	uint64_t used = range_used(map, stream);
	uint64_t start = ma_load(&ma_stream(map, stream)->rover);

	for (uint64_t i = 0; i < used; i++) {
		uint64_t at = (start + i) % used;
		uint64_t group = (uint64_t)stream * map->lay.per_stream + at;

		if (!look(map, &probe, group, 1) || !adopt(tc, group))
			continue;
		if (look(map, &probe, group, 1)) {
			ma_store(&ma_stream(map, stream)->rover, at + 1);
			return group;
		}
		disown(map, group);
	}
	return MA_NO_CHUNK;
}

static uint64_t search(struct ma_tcache *tc)
{
	for (uint32_t i = 0; i < tc->map->lay.streams; i++) {
		uint64_t group = search_stream(tc, (tc->stream + i) % tc->map->lay.streams);

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

	if (!now.truth || ma_bits(ma_scan64(now.truth) & now.valid) * 2 < cursor->seen)
		return false;
	if (go_round(tc, cursor, RING_LOOKS, MA_BACK_MIN) && cursor->now.unit != now.unit)
		return true;
	group = new_group(tc, tc->stream);
	if (group == MA_NO_CHUNK)
		return false;
	add_to_ring(tc, cursor, group);
	return look(tc->map, cursor, group, 1);
}

/* Groups with fewer free items are passed by while there are new ones: see common/heap_slab.c. */
static uint32_t rich(const struct ma_map *map)
{
	return (uint32_t)(map->lay.group_items + 7) / 8;
}

static bool refill(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	uint64_t group;
	int err;

	if (ma_cursor_go_back(cursor) || find_second(tc, cursor) || go_round(tc, cursor, RING_LOOKS, rich(tc->map)))
		return true;
	group = new_group_from_any(tc);
	err = errno;
	if (group == MA_NO_CHUNK && go_round(tc, cursor, cursor->count, 1))
		return true;
	if (group == MA_NO_CHUNK)
		group = search(tc);
	errno = err;
	if (group == MA_NO_CHUNK)
		return false;
	add_to_ring(tc, cursor, group);
	return look(tc->map, cursor, group, 1);
}

/* ---- tables of roots ---- */

/* The last group may have fewer items; a table of large ones need not be as large. */
static uint64_t table_bytes(const struct ma_map *map, uint64_t group)
{
	uint64_t first = group * map->lay.group_items;
	uint64_t items = ma_min(map->lay.group_items, qalloc__static_items(map) - first);

	return ma_min(TABLE_BYTES_MAX, items * map->lay.item_bytes);
}

static char *group_address(struct ma_map *map, uint64_t group)
{
	return map->user + group * map->lay.group_items * map->lay.item_bytes;
}

static bool table_at(struct ma_map *map, uint64_t group, struct ma_table *table)
{
	uint64_t word;

	if (group >= map->lay.units || group % map->lay.per_stream >= range_used(map, ma_stream_of(map, group)))
		return false;
	word = ma_load_acquire(group_word(map, group));
	*table = (struct ma_table){
		.id = word & ~STATIC_ROOTS,
		.offset = (uint64_t)(group_address(map, group) - map->base),
		.bytes = table_bytes(map, group),
	};
	return word & STATIC_ROOTS && table->bytes >= MA_TABLE_MIN;
}

/* The group is ours, and empty. Killed before the last store: it is a dead thread's, as any other. */
static bool make_table(struct ma_map *map, uint64_t group, _Atomic uint64_t *link, uint64_t id)
{
	if (table_bytes(map, group) < MA_TABLE_MIN) {
		disown(map, group);
		return false;
	}
	ma_root_clear(map, group_address(map, group), table_bytes(map, group));
	ma_store_kill(link, group + 1);
	ma_store_kill(group_word(map, group), STATIC_ROOTS | id);
	return true;
}

static bool is_empty(struct ma_map *map, uint64_t group)
{
	_Atomic uint8_t *truth = map->truth + group * map->lay.group_items;

	for (uint64_t i = 0; i < map->lay.group_items; i++)
		if (ma_load_acquire(&truth[i]))
			return false;
	return true;
}

/* Make an empty group ours, among those of a stream that are in use. */
static uint64_t adopt_empty(struct ma_tcache *tc, uint32_t stream, uint64_t from)
{
	struct ma_map *map = tc->map;
	uint64_t first = (uint64_t)stream * map->lay.per_stream;
	uint64_t used = range_used(map, stream);

	for (uint64_t group = first + from; group < first + used; group++) {
		if (!is_empty(map, group) || !adopt(tc, group))
			continue;
		if (is_empty(map, group))
			return group;
		disown(map, group);
	}
	return MA_NO_CHUNK;
}

/* An untouched group, else one that has become empty: what this thread owns is put among those first. */
static bool table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id)
{
	struct ma_map *map = tc->map;
	uint64_t group = new_group_from_any(tc);
	int err = errno;

	if (group != MA_NO_CHUNK && make_table(map, group, link, id))
		return true;
	leave(tc);
	for (uint32_t s = 0; s < map->lay.streams; s++)
		for (uint64_t from = 0;; from = group % map->lay.per_stream + 1) {
			group = adopt_empty(tc, s, from);
			if (group == MA_NO_CHUNK)
				break;
			if (make_table(map, group, link, id))
				return true;
		}
	errno = err;
	return false;
}

/* ---- calls ---- */

void *qalloc__static_malloc_slow(struct ma_map *map, size_t size)
{
	struct ma_tcache *tc;
	struct ma_cursor *cursor;
	int saved;
	void *item;

	tc = ma_tls[map->tls_index];
	if (tc->id == ma_load(&map->id) && ma_cursor_go_back(&tc->items))
		return ma_cursor_pop(&tc->items);
	if (!ma_map_is_open(map))
		return NULL;
	saved = errno;
	if (!ma_map_writable(map))
		return ma_fail_null(EROFS, "%s: is open read-only", map->name);
	tc = ma_tcache_get(map);
	if (!tc)
		return NULL;
	cursor = cursor_of(tc);
	if (cursor->mask == 0 && !refill(tc, cursor))
		return ma_fail_null(errno, "%s: full: no item is left", map->name);
	item = ma_cursor_pop(cursor);
	errno = saved;
	if (MA_UNLIKELY(map->watched))
		ma_annotate_malloc(item, ma_min(size, map->item_bytes), map->item_bytes, false);
	return item;
}

bool qalloc__static_holds(struct ma_map *map, const void *block)
{
	uint64_t offset = (uint64_t)((const char *)block - map->user);
	uint64_t index, group;

	if ((const char *)block < map->user || offset >= map->lay.user_bytes || offset % map->item_bytes)
		return false;
	index = offset / map->item_bytes;
	/* The truth of groups never used is not even read: see common/roots.h on holes. */
	group = index / map->lay.group_items;
	if (group % map->lay.per_stream >= range_used(map, ma_stream_of(map, group)))
		return false;
	return ma_load_acquire(&map->truth[index]) == 1;
}

void qalloc__static_free_slow(struct ma_map *map, void *block)
{
	if (!block || !ma_map_is_open(map))
		return;
	if (!ma_map_writable(map)) {
		ma_fail(EROFS, "%s: is open read-only", map->name);
		return;
	}
	if (!qalloc__static_holds(map, block)) {
		ma_fail(EINVAL, "%s: %p is not an allocated item (freed twice, or not from here?)", map->name, block);
		return;
	}
	if (MA_UNLIKELY(map->watched))
		ma_annotate_free(block, map->item_bytes);
	ma_store_release(&map->truth[(uint64_t)((char *)block - map->user) / map->item_bytes], 0);
}

int qalloc__static_walk(struct ma_map *map, int (*fn)(void *block, size_t size, void *arg), void *arg)
{
	int result = 0;

	for (uint32_t s = 0; s < map->lay.streams && result == 0; s++) {
		uint64_t first = (uint64_t)s * map->lay.per_stream * map->lay.group_items;
		uint64_t end = ma_min(first + range_used(map, s) * map->lay.group_items, qalloc__static_items(map));

		for (uint64_t item = first; item < end && result == 0; item++)
			if (ma_load_acquire(&map->truth[item]) == 1)
				result = fn(map->user + item * map->item_bytes, map->item_bytes, arg);
	}
	return result;
}

/* ---- the engine ---- */

static uint64_t place(struct ma_map *map, struct ma_layout *lay, uint64_t items)
{
	uint64_t at = ma_body_layout(lay, ma_load(&map->sealed.length));

	for (lay->group_items = 64; lay->group_items > 1 && lay->group_items * lay->item_bytes > GROUP_BYTES_MAX;)
		lay->group_items /= 2;
	lay->units = (items + lay->group_items - 1) / lay->group_items;
	lay->per_stream = (lay->units + lay->streams - 1) / lay->streams;
	lay->fixed_end = at;
	lay->unit_off = ma_up(at, MA_LINE);
	lay->truth_off = ma_up(lay->unit_off + lay->units * 8, MA_LINE);
	lay->user_off = ma_up(lay->truth_off + lay->units * lay->group_items + TRUTH_SLACK, MA_LINE);
	lay->user_bytes = items * lay->item_bytes;
	return lay->user_off + lay->user_bytes;
}

static bool layout(struct ma_map *map)
{
	struct ma_layout *lay = &map->lay;
	uint64_t streams = map->sealed.param[STATIC_PARAM_STREAMS];
	uint64_t item = map->sealed.param[STATIC_PARAM_ITEM];
	uint64_t bytes = ma_load(&map->sealed.length);
	uint64_t items;

	*lay = (struct ma_layout){ .stream_stride = MA_STREAM_HEAD };
	if (streams < 1 || streams > MA_STREAMS_MAX || item < 8 || item % 8 || item >> 40 || bytes >> 46 ||
	    bytes != map->sealed.reserved)
		return false;
	lay->streams = (uint32_t)streams;
	lay->item_bytes = item;
	lay->roots = (uint32_t)ma_max(8, ma_min(64, bytes / BYTES_A_ROOT));
	map->smallest = place(map, lay, 1);
	if (map->smallest > bytes)
		return false;
	items = 1 + (bytes - map->smallest) / item;
	while (place(map, lay, items) > bytes)
		items -= ma_max(1, (place(map, lay, items) - bytes) / (2 * item));
	return items > 0 && lay->units < UINT32_MAX;
}

static void recover_stream(struct ma_map *map, uint32_t stream)
{
	(void)map, (void)stream; /* Under the lock only single words change. */
}

/* Groups never used: those that have their space keep it. */
static int renew(struct ma_map *map)
{
	const struct ma_layout *lay = &map->lay;

	for (uint32_t s = 0; s < lay->streams; s++) {
		uint64_t first = (uint64_t)s * lay->per_stream;
		uint64_t end = first + range_count(map, s);
		uint64_t used = first + range_used(map, s);
		uint64_t backed = first + ma_min(ma_load(&ma_stream(map, s)->backed), range_count(map, s));

		backed = ma_max(backed, used);
		memset(map->base + lay->unit_off + used * 8, 0, (backed - used) * 8);
		memset(map->base + lay->truth_off + used * lay->group_items, 0, (backed - used) * lay->group_items);
		ma_space_blank(map, lay->unit_off + backed * 8, (end - backed) * 8);
		ma_space_blank(map, lay->truth_off + backed * lay->group_items, (end - backed) * lay->group_items);
	}
	return 0;
}

static int back(struct ma_map *map)
{
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return -1;
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t have = ma_min(ma_load(&ma_stream(map, s)->backed), range_count(map, s));

		if (have && back_groups(map, s, 0, have) < 0)
			return -1;
	}
	return 0;
}

static uint64_t check_range(struct ma_map *map, uint32_t stream, void (*report)(const char *text, void *arg), void *arg)
{
	uint64_t first = (uint64_t)stream * map->lay.per_stream * map->lay.group_items;
	uint64_t end = first + range_used(map, stream) * map->lay.group_items;
	uint64_t violations = 0;
	char text[120];

	for (uint64_t item = first; item < end; item++) {
		uint8_t truth = ma_load(&map->truth[item]);

		if (truth == 0 || (truth == 1 && item < qalloc__static_items(map)))
			continue;
		violations++;
		snprintf(text, sizeof(text), "item %" PRIu64 " has truth byte %u", item, truth);
		if (report)
			report(text, arg);
	}
	return violations;
}

static uint64_t check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg)
{
	uint64_t violations = 0;

	for (uint32_t s = 0; s < map->lay.streams; s++)
		violations += check_range(map, s, report, arg);
	return violations + ma_root_check(map, report, arg);
}

static void equip(struct ma_tcache *tc)
{
	cursor_of(tc)->slot_bytes = tc->map->item_bytes;
}

/*
 * Any mixture of truth bytes and tags is sound, so the order of copying does not matter; but groups that came into use
 * between the copy of top and the copy of their bytes must look untouched.
 */
static void own_metadata(struct ma_map *map)
{
	ma_body_own(map, 0, map->lay.fixed_end);
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = (uint64_t)s * map->lay.per_stream;
		/* All that has its space: what gets it later is made zero then (ma_body_fresh). */
		uint64_t count =
			ma_max(range_used(map, s), ma_min(ma_load(&ma_stream(map, s)->backed), range_count(map, s)));

		ma_body_own(map, map->lay.unit_off + first * 8, count * 8);
		ma_body_own(map, map->lay.truth_off + first * map->lay.group_items, count * map->lay.group_items);
		ma_body_fresh(map, map->lay.unit_off + (first + range_used(map, s)) * 8,
			      (count - range_used(map, s)) * 8);
		ma_body_fresh(map, map->lay.truth_off + (first + range_used(map, s)) * map->lay.group_items,
			      (count - range_used(map, s)) * map->lay.group_items);
	}
	ma_root_own(map);
}

const struct ma_engine qalloc__static_engine = {
	.kind = MA_KIND_STATIC,
	.layout = layout,
	.recover_stream = recover_stream,
	.renew = renew,
	.back = back,
	.check = check,
	.walk = qalloc__static_walk,
	.equip = equip,
	.leave = leave,
	.table_at = table_at,
	.table_take = table_take,
	.own_metadata = own_metadata,
};
