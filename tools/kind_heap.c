/* SPDX-License-Identifier: BSD-3-Clause */
/* Kinds whose body is the heap engine's: dynamic maps of libqalloc, and libmmalloc's heaps. Chunk words say what is allocated (common/heap.h). */
#include <inttypes.h>
#include <string.h>

#include "common/heap_internal.h"
#include "common/recover.h"
#include "common/roots.h"
#include "libmmalloc/src/inspect.h"
#include "tools/kind_map.h"
#include "tools/progress.h"

#define WINDOW 1024 /* Chunks between two readings of the clock. */

static bool lay_out_dynamic(struct view *view)
{
	return kind_map_lay_out(view, &ma_heap_engine);
}

static bool lay_out_mmalloc(struct view *view)
{
	return kind_map_lay_out(view, &ma_heap_engine_keys);
}

/* What lies beyond the file cannot have been in use: else a made-up number would have us read for hours. */
static void cut_stream(struct view *view, uint32_t stream)
{
	struct ma_image *map = &view->map;
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t first = ma_range_first(map, stream), used = ma_range_backed(map, stream);
	uint64_t end = ma_segment_length(&map->lay, (first + used) * MA_CHUNK), most;
	/* Loaded last, as growth stores it first: pairs with common/space.c:grow. */
	uint64_t length = ma_load_acquire(&map->header->length), size = (uint64_t)view->st.st_size;

	if (used == 0 || end <= length)
		return;
	if (view->processes.is_attached) { /* It may have grown since the view was made. */
		struct stat now;

		if (fstat(view->fd, &now) == 0)
			size = (uint64_t)now.st_size;
		if (end <= size)
			return;
	}
	view_add_finding(view, SEVERITY_DAMAGE, "body/end", (uint64_t)((char *)st - view->base),
			 "stream %u uses %" PRIu64 " chunks, up to %#" PRIx64 ": the file ends at %#" PRIx64, stream,
			 used, end, ma_min(length, size));
	most = ma_segment_user(&map->lay, size) / MA_CHUNK;
	ma_store(&st->backed, most > first ? ma_min(used, most - first) : 0);
}

static void attach(struct view *view)
{
	kind_map_attach(view);
	for (uint32_t s = 0; s < ma_lanes(&view->map); s++)
		cut_stream(view, s);
}

/* ---- check ---- */

static uint64_t chunks_in_use(struct ma_image *map)
{
	uint64_t count = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		count += ma_range_used(map, s);
	return count;
}

/* Does a stream's intent, whose holder was killed, cover this chunk? */
static bool is_interrupted(struct view *view, uint64_t chunk)
{
	struct ma_image *map = &view->map;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = ma_load(&ma_stream(map, s)->intent_first);

		if (kind_map_is_interrupted(view, s) && chunk >= first &&
		    chunk - first < ma_load(&ma_stream(map, s)->intent_count))
			return true;
	}
	return false;
}

/* In a map in use nothing is rehearsed: the next process that takes the lock cleans up what its dead holder was changing. */
static void excuse_interrupted(struct view *view)
{
	for (size_t i = 0; i < view->findings; i++) {
		struct finding *f = &view->finding[i];

		if (f->severity == SEVERITY_DAMAGE && strcmp(f->rule, "body/chunk") == 0 && f->at != NOWHERE &&
		    f->at >= view->user_off && is_interrupted(view, (f->at - view->user_off) / MA_CHUNK))
			f->severity = SEVERITY_UNCLOSED;
	}
}

static void check(struct view *view)
{
	struct ma_image *map = &view->map;
	struct progress progress;

	kind_map_check_state(view);
	progress_begin(&progress, view->tool, view->name, chunks_in_use(map));
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t at = ma_range_first(map, s), end = at + ma_range_used(map, s);

		for (; at < end; at += WINDOW) {
			ma_heap_check_some(map, at, ma_min(end, at + WINDOW), kind_map_report, view);
			progress_add(&progress, ma_min(WINDOW, end - at));
		}
		if (ma_load(&ma_stream(map, s)->top) > ma_leaves(map, s))
			view_add_finding(view, SEVERITY_DAMAGE, "body/stream",
					 (uint64_t)((char *)ma_stream(map, s) - view->base),
					 "stream %u: more chunks in use than it has", s);
	}
	ma_root_check(map, kind_map_report, view);
	if (kind_map_has_guards(view))
		mmalloc__guarded_check(map, kind_map_report, view);
	if (view->processes.is_attached)
		excuse_interrupted(view);
	progress_end(&progress);
}

/*
 * Leaves and spans follow from the chunk words, whatever they say: they can be computed again. After a kill here, the intent makes the next
 * opener do it. That also frees chunks without a head, of which there are none: the map would have been called damaged.
 */
static void rebuild(struct view *view)
{
	struct ma_image *map = &view->map;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), count = ma_range_whole(map, s);
		uint64_t top = ma_min(ma_load(&ma_stream(map, s)->top), ma_leaves(map, s));

		ma_intent_set(ma_stream(map, s), first, count);
		for (uint64_t leaf = 0; leaf < top; leaf++)
			ma_store(ma_tree_leaf(map, s, leaf), 0);
		ma_tree_mend(map, s, first, ma_min(top * MA_LEAF, count));
		ma_intent_clear(ma_stream(map, s));
	}
}

/* As repair does it, where an open does less: nothing derived is believed. */
static enum severity rehearse(struct view *view)
{
	if (kind_map_open(view) == SEVERITY_UNCLOSED)
		return SEVERITY_UNCLOSED;
	if (ma_image_recover(&view->map, MA_RECOVER_RENEW) < 0)
		return SEVERITY_DAMAGE;
	rebuild(view);
	return ma_heap_check(&view->map, NULL, NULL) == 0 ? SEVERITY_REPAIRABLE : SEVERITY_DAMAGE;
}

/* ---- figures ---- */

struct tally {
	struct figures *figures;
	struct bucket class[MA_CLASSES];
	struct bucket runs;
	uint64_t free_run; /* Chunks. */
};

static int tally_slab(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	struct tally *tally = arg;
	struct bucket *bucket = &tally->class[slab->class];
	uint64_t size = ma_class_bytes(slab->class), used = ma_slab_used(slab);

	(void)map;
	bucket->units++;
	bucket->used += used;
	bucket->free += slab->slots - used;
	bucket->used_bytes += used * size;
	tally->figures->reserved += (slab->slots - used) * size;
	return 0;
}

static void tally_chunk(struct tally *tally, struct ma_image *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk), count = ma_word_chunks(map, chunk, word);
	enum ma_chunk_kind kind = ma_word_kind(word);

	tally->free_run = kind == MA_FREE || ma_chunk_is_cached(map, chunk) ? tally->free_run + 1 : 0;
	tally->figures->largest_free = ma_max(tally->figures->largest_free, tally->free_run);
	ma_chunk_slabs(map, chunk, tally_slab, tally);
	if (kind == MA_RUN && count) {
		tally->runs.units += count;
		tally->runs.used++;
		tally->runs.used_bytes += count * MA_CHUNK;
	} else if (kind == MA_ROOTS || kind == MA_ALLOC_BYTES)
		tally->figures->tables += MA_CHUNK;
}

static void tally_finish(struct tally *tally)
{
	struct figures *figures = tally->figures;

	tally->runs.what = "run";
	for (uint32_t class = 0; class <= MA_CLASSES; class ++) {
		struct bucket *bucket = class < MA_CLASSES ? &tally->class[class] : &tally->runs;

		if (bucket->units == 0)
			continue;
		if (class < MA_CLASSES) {
			bucket->bytes = ma_class_bytes(class);
			bucket->what = "slab";
		}
		figures->used_blocks += bucket->used;
		figures->used_bytes += bucket->used_bytes;
		figures->bucket[figures->buckets++] = *bucket;
	}
	figures->largest_free *= MA_CHUNK;
}

static void measure(struct view *view, struct figures *figures)
{
	struct ma_image *map = &view->map;
	struct tally tally = { .figures = figures };

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++)
			tally_chunk(&tally, map, chunk);
		tally.free_run += ma_range_count(map, s) - used;
		figures->largest_free = ma_max(figures->largest_free, tally.free_run);
	}
	figures->capacity = map->lay.grows ? map->lay.user_bytes : ma_capacity(map);
	figures->backed = chunks_in_use(map) * MA_CHUNK;
	tally_finish(&tally);
}

/* ---- picture ---- */

static uint64_t extent(struct view *view, uint64_t *unit)
{
	struct ma_image *map = &view->map;
	uint64_t end = 0;

	*unit = MA_CHUNK;
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		if (ma_range_used(map, s))
			end = ma_range_first(map, s) + ma_range_used(map, s);
	/* A heap that grows has a range that is mostly never reached. */
	return (map->lay.grows ? ma_max(end, 1) : ma_units(map)) * MA_CHUNK;
}

/* Small slabs, and the free cells between them. */
static void draw_cells(struct ma_image *map, struct picture *picture, uint64_t chunk)
{
	for (uint32_t cell = 0; cell < MA_CHUNK_CELLS;) {
		uint64_t at = chunk * MA_CHUNK + cell * MA_CELL;
		struct ma_slab slab;

		if (!ma_slab_at(map, MA_SMALL | (uint32_t)chunk * MA_CHUNK_CELLS | cell, &slab)) {
			picture_add(picture, at, MA_CELL, TILE_FREE, 0, 0, 0);
			cell++;
			continue;
		}
		picture_add(picture, at, slab.cells * MA_CELL, picture_class(ma_class_bytes(slab.class)),
			    ma_slab_used(&slab) * ma_class_bytes(slab.class), ma_slab_used(&slab),
			    ma_class_bytes(slab.class));
		cell += slab.cells;
	}
}

static void draw_chunk(struct view *view, struct picture *picture, uint64_t chunk)
{
	struct ma_image *map = &view->map;
	uint64_t word = ma_chunk_load(map, chunk), at = chunk * MA_CHUNK, count = ma_word_chunks(map, chunk, word),
		 used;
	enum ma_chunk_kind kind = ma_word_kind(word);
	uint32_t class = ma_word_class(word);
	struct ma_slab slab;

	if (kind == MA_CONT && ma_chunk_head(map, chunk) != MA_NO_CHUNK)
		return; /* With its head. */
	if ((kind == MA_FREE && word == 0) || (kind == MA_CACHED && count)) {
		picture_add(picture, at, ma_max(count, 1) * MA_CHUNK, TILE_FREE, 0, 0, 0);
	} else if (kind == MA_SLAB && ma_slab_at(map, (uint32_t)chunk, &slab)) {
		used = ma_slab_used(&slab);
		picture_add(picture, at, count * MA_CHUNK,
			    ma_chunk_owns_alloc_bytes(map, chunk, ma_slab_units(map, class))
				    ? picture_class(ma_class_bytes(class))
				    : TILE_BAD,
			    used * ma_class_bytes(class), used, ma_class_bytes(class));
	} else if (word == ma_word(MA_CELLS, 0, 0) && ma_chunk_owns_alloc_bytes(map, chunk, MA_UNITS_MOST)) {
		draw_cells(map, picture, chunk);
	} else if (kind == MA_RUN && count) {
		picture_add(picture, at, count * MA_CHUNK, TILE_RUN, count * MA_CHUNK, 1, 0);
	} else {
		picture_add(picture, at, MA_CHUNK, kind == MA_ROOTS || kind == MA_ALLOC_BYTES ? TILE_TABLE : TILE_BAD,
			    0, 0, 0);
	}
}

static void draw(struct view *view, struct picture *picture)
{
	struct ma_image *map = &view->map;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s), used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++)
			draw_chunk(view, picture, chunk);
		picture_add(picture, (first + used) * MA_CHUNK, (ma_range_count(map, s) - used) * MA_CHUNK,
			    TILE_UNTOUCHED, 0, 0, 0);
	}
}

/* The two kinds with this engine differ in what lies in front of it. */
#define HEAP_KIND(kind_number, kind_name, kind_lay_out)                                                    \
	{                                                                                                  \
		.number = (kind_number), .name = (kind_name), .lay_out = (kind_lay_out), .attach = attach, \
		.check = check, .rehearse = rehearse, .rebuild = rebuild, .walk = kind_map_walk,           \
		.roots = kind_map_roots, .measure = measure, .extent = extent, .draw = draw,               \
	}

const struct kind kind_dynamic = HEAP_KIND(MA_KIND_DYNAMIC, "qalloc-dynamic", lay_out_dynamic);
const struct kind kind_mmalloc = HEAP_KIND(MA_KIND_MMALLOC, "mmalloc", lay_out_mmalloc);
