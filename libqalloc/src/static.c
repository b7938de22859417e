/* SPDX-License-Identifier: BSD-3-Clause */
/* See static.h: the calls, and what the engine promises to common/engine.h. */
#include "static.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/annotate.h"
#include "common/body.h"
#include "common/error.h"
#include "common/heap.h"
#include "common/owner.h"
#include "common/privatize.h"
#include "common/reclaim.h"
#include "common/regain.h"
#include "common/roots.h"
#include "common/scan.h"
#include "common/space.h"

#define GROUP_BYTES_MAX (256 << 10) /* What a group of one thread may keep from the others, and from the disk. */
#define STEP_MIN        4          /* Groups that get their disk space at once. */
#define STEP_MAX        65536
#define BYTES_A_ROOT    65536       /* A place in the fixed table for so much of the file, 8 to 64 in all. */

uint64_t qalloc__static_items(const struct ma_image *map)
{
	return ma_capacity(map) / map->lay.item_bytes;
}

/* ---- calls ---- */

/* errno says why there is none. */
static void *no_room(const struct ma_image *map)
{
	if (errno == ENOMEM)
		return ma_fail_null(ENOMEM,
				    "%s: map is full: no item of %" PRIu64 " bytes is free among %" PRIu64
				    "; free items, or use a larger map",
				    map->name, map->item_bytes, qalloc__static_items(map));
	if (errno == EUSERS || errno == ETIMEDOUT || errno == EUCLEAN)
		return NULL; /* It was said. */
	return ma_fail_null(errno,
			    "%s: no disk space for an item of %" PRIu64
			    " bytes: fallocate(2) failed; free space on its file system",
			    map->name, map->item_bytes);
}

/* The thread's cache, which it has only for a map that is open, that it may change and that is not watched. Else as ma_tcache_get(). */
static struct ma_tcache *tcache_for(struct ma_image *map)
{
	struct ma_tcache *tc = ma_tcache_of(map);

	if (MA_LIKELY(tc->id == ma_load(&map->id)))
		return tc;
	if (!ma_image_is_open(map))
		return NULL;
	if (!ma_image_writable(map))
		return ma_fail_null(EROFS, "%s: cannot change it: it is open read-only; open it for writing",
				    map->name);
	return ma_tcache_get(map);
}

void *qalloc__static_malloc_slow(struct ma_image *map, size_t size)
{
	int saved = errno;
	struct ma_tcache *tc = tcache_for(map);
	void *item;

	if (!tc)
		return NULL;
	if (tc->items.mask != 0 || ma_cursor_go_back(&tc->items))
		item = ma_cursor_pop(&tc->items);
	else if (ma_regain_now_and_then(map) < 0)
		item = NULL;
	else if (qalloc__static_refill(tc, &tc->items))
		item = ma_cursor_pop(&tc->items);
	else
		item = qalloc__static_search(tc);
	if (!item)
		return no_room(map);
	errno = saved;
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_malloc(item, ma_min(size, map->item_bytes), map->item_bytes, false);
	return item;
}

bool qalloc__static_holds(struct ma_image *map, const void *block)
{
	uint64_t offset = (uint64_t)((const char *)block - map->user);
	uint64_t index, group;

	if ((const char *)block < map->user || offset >= ma_capacity(map) || offset % map->item_bytes)
		return false;
	index = offset / map->item_bytes;
	/* The allocation bytes of groups never used are not even read: see common/roots.h on holes. */
	group = index / map->lay.group_items;
	if (!qalloc__is_used(map, group))
		return false;
	return ma_load(&map->alloc_bytes[index]) == 1;
}

void qalloc__static_free_slow(struct ma_image *map, void *block)
{
	if (!block || !ma_image_is_open(map))
		return;
	if (!ma_image_writable(map)) {
		ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name);
		return;
	}
	if (!qalloc__static_holds(map, block)) {
		ma_fail(EINVAL,
			"%s: address %p is invalid: no allocated item starts there; look for a double free, or an item "
			"of another map",
			map->name, block);
		return;
	}
	ma_image_measure(map); /* It may be the file's growth that kept it from the fast path. */
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_free(block, map->item_bytes);
	ma_store_release(&map->alloc_bytes[(uint64_t)((char *)block - map->user) / map->item_bytes],
			 0); /* Pairs with common/scan.h:ma_scan64. */
	ma_search_note_free(map);
}

int qalloc__static_walk(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg)
{
	int result = 0;

	for (uint32_t s = 0; s < ma_lanes(map) && result == 0; s++) {
		uint64_t first = ma_range_first(map, s) * map->lay.group_items;
		uint64_t end =
			ma_min(first + qalloc__range_used(map, s) * map->lay.group_items, qalloc__static_items(map));

		for (uint64_t item = first; item < end && result == 0; item++)
			if (ma_load(&map->alloc_bytes[item]) == 1)
				result = fn(map->user + item * map->item_bytes, map->item_bytes, arg);
	}
	return result;
}

/* ---- the engine ---- */

/* What lies in front: no unit has anything there. */
static uint64_t place_front(struct ma_layout *lay, const struct ma_segment_plan *plan)
{
	lay->fixed_end = ma_body_layout(lay, plan->first);
	return lay->fixed_end;
}

static bool layout(struct ma_layout *lay, const struct ma_header *sealed)
{
	uint64_t streams = sealed->param[STATIC_PARAM_STREAMS];
	uint64_t item = sealed->param[STATIC_PARAM_ITEM];
	struct ma_segment_plan plan = {
		.base = sealed->base,
		.reserved = sealed->reserved,
		.align = MA_PAGE,
		.tables = 2,
		.front = place_front,
	};

	*lay = (struct ma_layout){ .stream_stride = MA_STREAM_HEAD };
	if (streams < 1 || streams > MA_STREAMS_MAX || item < 8 || item % 8 || item >> 40 ||
	    !ma_body_numbers(lay, sealed, &plan) || lay->grows)
		return false;
	lay->streams = (uint32_t)streams;
	lay->item_bytes = item;
	for (lay->group_items = 64; lay->group_items > 1 && lay->group_items * lay->item_bytes > GROUP_BYTES_MAX;)
		lay->group_items /= 2;
	lay->roots = (uint32_t)ma_max(8, ma_min(64, plan.first / BYTES_A_ROOT));
	plan.unit_bytes = lay->group_items * lay->item_bytes;
	plan.table[0].bytes = 8;
	plan.table[0].off = &lay->unit_off;
	plan.table[1].bytes = (uint32_t)lay->group_items;
	plan.table[1].slack = STATIC_SCAN_SLACK;
	plan.table[1].off = &lay->alloc_bytes_off;
	return ma_segment_layout(lay, &plan, item, ma_load(&sealed->length));
}

static void recover_stream(struct ma_image *map, uint32_t stream)
{
	(void)map, (void)stream; /* Under the lock only single words change. */
}

/* Groups never used: those that have their space keep it. */
static int renew(struct ma_image *map)
{
	const struct ma_layout *lay = &map->lay;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t end = first + ma_range_whole(map, s);
		uint64_t used = first + qalloc__range_used(map, s);
		uint64_t backed = first + ma_min(ma_load(&ma_stream(map, s)->backed), ma_range_count(map, s));

		backed = ma_max(backed, used);
		memset(map->base + lay->unit_off + used * 8, 0, (backed - used) * 8);
		memset(map->base + lay->alloc_bytes_off + used * lay->group_items, 0,
		       (backed - used) * lay->group_items);
		ma_space_blank(map, lay->unit_off + backed * 8, (end - backed) * 8);
		ma_space_blank(map, lay->alloc_bytes_off + backed * lay->group_items,
			       (end - backed) * lay->group_items);
	}
	return 0;
}

/* Of groups [had, want) of the range; those before had have theirs. */
static int reserve_groups(struct ma_image *map, uint32_t stream, uint64_t had, uint64_t want)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t start = ma_range_first(map, stream);
	uint64_t items = lay->group_items;
	uint64_t bytes = items * lay->item_bytes;

	if (ma_space_extend(map, lay->unit_off + start * 8, had * 8, want * 8) < 0 ||
	    ma_space_extend(map, lay->alloc_bytes_off + start * items, had * items, want * items + STATIC_SCAN_SLACK) <
		    0)
		return -1;
	ma_privatize_fresh(map, lay->unit_off + (start + had) * 8, (want - had) * 8);
	ma_privatize_fresh(map, lay->alloc_bytes_off + (start + had) * items, (want - had) * items);
	return ma_space_extend(map, lay->user_off + start * bytes, had * bytes, want * bytes);
}

int qalloc__static_reserve_next(struct ma_image *map, uint32_t stream, uint64_t used)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t have = ma_min(ma_load(&st->backed), ma_range_count(map, stream));
	uint64_t more = ma_max(STEP_MIN, ma_min(STEP_MAX, have / 64));

	if (used < have)
		return 0;
	more = ma_min(more, ma_range_count(map, stream) - have);
	if (reserve_groups(map, stream, have, have + more) < 0) {
		more = 1;
		if (reserve_groups(map, stream, have, have + more) < 0)
			return -1;
	}
	ma_store_kill(&st->backed, have + more); /* Pairs with common/heap_internal.h:ma_range_backed. */
	return 0;
}

static int reserve_space(struct ma_image *map)
{
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return -1;
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t have = ma_min(ma_load(&ma_stream(map, s)->backed), ma_range_count(map, s));

		if (have && reserve_groups(map, s, 0, have) < 0)
			return -1;
	}
	return 0;
}

uint64_t qalloc__static_check_some(struct ma_image *map, uint64_t from, uint64_t end, ma_finding_fn *fn, void *arg)
{
	struct ma_findings to = { .fn = fn, .arg = arg };

	for (uint64_t item = from; item < end; item++) {
		uint8_t byte = ma_load(&map->alloc_bytes[item]);

		if (byte > 1 || (byte == 1 && item >= qalloc__static_items(map)))
			ma_found(&to, "body/item", map->lay.alloc_bytes_off + item,
				 "item %" PRIu64 " has allocation byte %u", item, byte);
	}
	return to.count;
}

uint64_t qalloc__static_used(struct ma_image *map, uint32_t lane)
{
	return qalloc__range_used(map, lane);
}

void qalloc__static_cut(struct ma_image *map, uint32_t lane, uint64_t groups)
{
	ma_store(&ma_stream(map, lane)->top, groups);
}

struct qalloc__group qalloc__static_group(struct ma_image *map, uint64_t index)
{
	uint64_t first = index * map->lay.group_items;
	struct qalloc__group group = { .items = ma_min(map->lay.group_items, qalloc__static_items(map) - first) };

	group.is_table = ma_load(qalloc__group_word(map, index)) & STATIC_ROOTS;
	for (uint64_t i = 0; i < group.items; i++) {
		uint8_t byte = ma_load(&map->alloc_bytes[first + i]);

		group.used += byte == 1;
		group.is_bad |= byte > 1;
	}
	return group;
}

static uint64_t check(struct ma_image *map, ma_finding_fn *fn, void *arg)
{
	uint64_t violations = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s) * map->lay.group_items;
		uint64_t end = first + qalloc__range_used(map, s) * map->lay.group_items;

		violations += qalloc__static_check_some(map, first, end, fn, arg);
	}
	return violations + ma_root_check(map, fn, arg);
}

/* Of items no more is to be proved than that a byte is 0 or 1. */
static void salvage(struct ma_image *map, struct ma_findings *to)
{
	const struct ma_layout *lay = &map->lay;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s) * lay->group_items;
		uint64_t end = first + qalloc__range_used(map, s) * lay->group_items;

		for (uint64_t item = first; item < end; item++) {
			uint8_t byte = ma_load(&map->alloc_bytes[item]);
			bool is_item = item < qalloc__static_items(map);
			uint64_t at = lay->user_off + item * lay->item_bytes;

			if (byte == 0 || (byte == 1 && is_item))
				continue;
			if (is_item)
				ma_found(to, "salvage/kept", at,
					 "offset %" PRIu64 ": whether this item is allocated is unknown: it stays", at);
			ma_store(&map->alloc_bytes[item], is_item);
		}
	}
	ma_root_salvage(map, to);
}

static uint64_t backed_groups(struct ma_image *map, uint32_t stream)
{
	uint64_t backed = ma_min(ma_load(&ma_stream(map, stream)->backed), ma_range_count(map, stream));

	return ma_max(backed, qalloc__range_used(map, stream));
}

/*
 * Any mixture of allocation bytes and tags is consistent; but groups that came into use between the copy of top and the copy of their
 * bytes must look untouched. Roots go first: the items that they lead to were there before.
 */
static void privatize_metadata(struct ma_image *map)
{
	ma_privatize(map, 0, map->lay.fixed_end);
	if (map->privatize_errno)
		return;
	if (map->source)
		ma_privatize_streams(map);
	if (map->source) /* A view finds the tables of roots by the file's words. */
		for (uint32_t s = 0; s < ma_lanes(map); s++)
			ma_privatize(map, map->lay.unit_off + ma_range_first(map, s) * 8, backed_groups(map, s) * 8);
	ma_root_own(map);
	ma_privatize_streams(map);
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t count =
			backed_groups(map, s); /* The others are made zero when they get space (ma_privatize_fresh). */

		ma_privatize(map, map->lay.unit_off + first * 8, count * 8);
		ma_privatize(map, map->lay.alloc_bytes_off + first * map->lay.group_items,
			     count * map->lay.group_items);
		if (map->privatize_errno)
			return;
		ma_privatize_fresh(map, map->lay.unit_off + (first + qalloc__range_used(map, s)) * 8,
				   (count - qalloc__range_used(map, s)) * 8);
		ma_privatize_fresh(
			map, map->lay.alloc_bytes_off + (first + qalloc__range_used(map, s)) * map->lay.group_items,
			(count - qalloc__range_used(map, s)) * map->lay.group_items);
	}
}

static bool is_table(struct ma_image *map, uint64_t group)
{
	return ma_load(qalloc__group_word(map, group)) & STATIC_ROOTS;
}

/* All that has its disk space: what comes into use later must not have to ask for it. */
static int used(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	uint64_t group_bytes = map->lay.group_items * map->lay.item_bytes;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t at = ma_range_first(map, s);
		uint64_t end = at + backed_groups(map, s);

		while (at < end) {
			uint64_t from = at * group_bytes;
			uint64_t first = at;
			int result = 0;

			while (at < end && !is_table(map, at))
				at++;
			if (at > first)
				result = fn(map->lay.user_off + from,
					    ma_min(at * group_bytes, ma_capacity(map)) - from, arg);
			if (result)
				return result;
			at += at == first;
		}
	}
	return 0;
}

static int tables(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	uint64_t bytes = map->lay.group_items * map->lay.item_bytes;
	int result = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), end = first + backed_groups(map, s);

		for (uint64_t group = first; result == 0 && group < end; group++)
			if (is_table(map, group))
				result = fn(map->lay.user_off + group * bytes, bytes, arg);
	}
	return result;
}

const struct ma_engine qalloc__static_engine = {
	.kind = MA_KIND_STATIC,
	.layout = layout,
	.recover_stream = recover_stream,
	.renew = renew,
	.reserve_space = reserve_space,
	.check = check,
	.salvage = salvage,
	.walk = qalloc__static_walk,
	.thread_attach = qalloc__static_thread_attach,
	.thread_detach = qalloc__static_thread_detach,
	.table_at = qalloc__static_table_at,
	.table_take = qalloc__static_table_take,
	.privatize_metadata = privatize_metadata,
	.used = used,
	.tables = tables,
};
