/* SPDX-License-Identifier: BSD-3-Clause */
/* Static maps: groups of items (libqalloc/src/inspect.h). */
#include <inttypes.h>

#include "common/roots.h"
#include "libqalloc/src/inspect.h"
#include "tools/kind_map.h"
#include "tools/progress.h"

#define WINDOW 65536 /* Items between two readings of the clock. */

static bool lay_out(struct view *view)
{
	return kind_map_lay_out(view, &qalloc__static_engine);
}

/* Groups whose allocation bytes the file has, of the first so many of a lane. */
static uint64_t groups_there(const struct view *view, uint64_t first, uint64_t used)
{
	const struct ma_layout *lay = &view->map.lay;
	uint64_t from = lay->alloc_bytes_off + first * lay->group_items, end = from + used * lay->group_items;
	uint64_t size = ma_up((uint64_t)view->st.st_size, MA_PAGE), file, run;

	for (uint64_t at = from; at < end; at += run) {
		run = ma_segment_run(lay, at, end - at, &file);
		if (run == 0 || file + run > size)
			return (at + (size > file ? ma_min(run, size - file) : 0) - from) / lay->group_items;
	}
	return used;
}

/* What lies beyond the file cannot have been in use. */
static void cut_stream(struct view *view, uint32_t stream)
{
	struct ma_image *map = &view->map;
	uint64_t used = qalloc__static_used(map, stream);
	uint64_t most = groups_there(view, ma_range_first(map, stream), used);

	if (most == used)
		return;
	view_add_finding(view, SEVERITY_DAMAGE, "body/end", (uint64_t)((char *)ma_stream(map, stream) - view->base),
			 "stream %u uses %" PRIu64 " groups: the file ends before what says which items are live",
			 stream, used);
	qalloc__static_cut(map, stream, most);
}

static void attach(struct view *view)
{
	kind_map_attach(view);
	for (uint32_t s = 0; s < ma_lanes(&view->map); s++)
		cut_stream(view, s);
}

static uint64_t groups_in_use(struct ma_image *map)
{
	uint64_t count = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		count += qalloc__static_used(map, s);
	return count;
}

static void check(struct view *view)
{
	struct ma_image *map = &view->map;
	struct progress progress;

	kind_map_check_state(view);
	progress_begin(&progress, view->tool, view->name, groups_in_use(map) * map->lay.group_items);
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t at = ma_range_first(map, s) * map->lay.group_items;
		uint64_t end = at + qalloc__static_used(map, s) * map->lay.group_items;

		for (; at < end; at += WINDOW) {
			qalloc__static_check_some(map, at, ma_min(end, at + WINDOW), kind_map_report, view);
			progress_add(&progress, ma_min(WINDOW, end - at));
		}
	}
	ma_root_check(map, kind_map_report, view);
	progress_end(&progress);
}

static enum severity rehearse(struct view *view)
{
	return kind_map_open(view);
}

/* ---- figures, picture ---- */

static void measure(struct view *view, struct figures *figures)
{
	struct ma_image *map = &view->map;
	struct bucket *bucket = &figures->bucket[0];

	figures->buckets = 1;
	*bucket = (struct bucket){ .bytes = map->item_bytes, .what = "items", .units = groups_in_use(map) };
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);

		for (uint64_t i = 0; i < qalloc__static_used(map, s); i++) {
			struct qalloc__group group = qalloc__static_group(map, first + i);

			bucket->used += group.used;
			if (group.is_table)
				figures->tables += group.items * map->item_bytes;
			else
				bucket->free += group.items - group.used;
		}
	}
	bucket->used_bytes = bucket->used * map->item_bytes;
	figures->capacity = ma_capacity(map);
	figures->used_blocks = bucket->used;
	figures->used_bytes = bucket->used_bytes;
	figures->backed = ma_min(bucket->units * map->lay.group_items * map->item_bytes, figures->capacity);
	/* Any item is as good as any other: nothing is reserved. */
	figures->largest_free = figures->used_bytes + figures->tables < figures->capacity ? map->item_bytes : 0;
}

static uint64_t extent(struct view *view, uint64_t *unit)
{
	*unit = view->map.lay.group_items * view->map.item_bytes;
	return ma_capacity(&view->map);
}

static void draw(struct view *view, struct picture *picture)
{
	struct ma_image *map = &view->map;
	uint64_t bytes = map->lay.group_items * map->item_bytes;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), used = qalloc__static_used(map, s),
			 all = ma_range_count(map, s);

		for (uint64_t i = first; i < first + used; i++) {
			struct qalloc__group group = qalloc__static_group(map, i);
			enum tile_kind kind = group.is_bad     ? TILE_BAD
					      : group.is_table ? TILE_TABLE
					      : group.used     ? picture_class(map->item_bytes)
							       : TILE_FREE;

			picture_add(picture, i * bytes, group.items * map->item_bytes, kind,
				    group.used * map->item_bytes, group.used, map->item_bytes);
		}
		picture_add(picture, (first + used) * bytes, (all - used) * bytes, TILE_UNTOUCHED, 0, 0, 0);
	}
}

const struct kind kind_static = {
	.number = MA_KIND_STATIC,
	.name = "qalloc-static",
	.lay_out = lay_out,
	.attach = attach,
	.check = check,
	.rehearse = rehearse,
	.walk = kind_map_walk,
	.roots = kind_map_roots,
	.measure = measure,
	.extent = extent,
	.draw = draw,
};
