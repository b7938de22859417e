/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of libshmbuddy: words of blocks, and words above words (libshmbuddy/src/inspect.h). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/progress.h"
#include "tools/view.h"

#define WINDOW 65536 /* Words between two readings of the clock. */

static bool lay_out(struct view *view)
{
	struct shmbuddy *h = shmbuddy__view_new(&view->header, view->fd, &view->place);

	if (!h)
		return false;
	view->region = h;
	view->shape = shmbuddy__view_shape(h);
	view->user_off = view->shape.area_at;
	view->user_bytes = view->shape.area;
	view->mapped = view->user_off + view->user_bytes;
	return true;
}

static void attach(struct view *view)
{
	shmbuddy__view_attach(view->region, view->base);
}

/* ---- blocks and roots ---- */

struct walk {
	struct view *view;
	block_fn *fn;
	void *arg;
};

static int on_block(shm_offt offset, size_t size, void *arg)
{
	struct walk *walk = arg;

	return walk->fn(walk->view, offset, size, walk->arg);
}

static int walk(struct view *view, block_fn *fn, void *arg)
{
	struct walk blocks = { view, fn, arg };

	return shmbuddy_walk(view->region, on_block, &blocks);
}

static void roots(struct view *view, root_fn *fn, void *arg)
{
	char name[SHMBUDDY_ROOT_MAX + 1];
	uint64_t offset = shmbuddy__root_nameless(view->region);

	if (offset)
		fn(view, "", 0, -1, offset, arg);
	for (unsigned i = 0; i < SHMBUDDY__ROOTS; i++)
		if (shmbuddy__root_at(view->region, i, name, &offset))
			fn(view, name, strlen(name), -1, offset, arg);
}

/* ---- check ---- */

static void report(const char *text, void *arg)
{
	view_add_finding(arg, SEVERITY_DAMAGE, "body/word", NOWHERE, "%s", text);
}

static void check_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	(void)key, (void)arg;
	if (!view_is_inside(view, offset))
		view_add_finding(view, SEVERITY_DAMAGE, "body/root", NOWHERE,
				 "root \"%.*s\" points out of the region: %#" PRIx64, (int)bytes, name, offset);
}

static uint64_t count_words(const struct view *view)
{
	uint64_t count = 0;

	for (unsigned k = 0; k < view->shape.levels; k++)
		count += shmbuddy__check_end(view->region, k);
	return count;
}

static void check_words(struct view *view)
{
	struct shmbuddy *h = view->region;
	struct progress progress;

	progress_begin(&progress, view->tool, view->name, count_words(view));
	for (unsigned k = 0; k < view->shape.levels; k++) {
		uint64_t end = shmbuddy__check_end(h, k);

		for (uint64_t at = 0; at < end; at += WINDOW) {
			shmbuddy__check_words(h, k, at, ma_min(end, at + WINDOW), report, view);
			progress_add(&progress, ma_min(WINDOW, end - at));
		}
	}
	progress_end(&progress);
}

static void check(struct view *view)
{
	check_words(view);
	shmbuddy__check_parts(view->region, report, view);
	if (!shmbuddy__handle_no_part_was_lost(view->region))
		view_add_finding(view, SEVERITY_DAMAGE, "body/part", view->shape.backed_at,
				 "a part that has no disk space yet is in use");
	roots(view, check_root, NULL);
}

static enum severity rehearse(struct view *view)
{
	struct shmbuddy *h = view->region;
	uint64_t unfinished = shmbuddy__view_unfinished(h);
	bool is_sound;

	if (unfinished)
		view_add_finding(view, SEVERITY_UNCLOSED, "state/split", NOWHERE, "%" PRIu64 " %s not finished",
				 unfinished, unfinished == 1 ? "split or merge was" : "splits or merges were");
	shmbuddy__view_allow_writing(h);
	/* Where nothing is certain the open checks all of it, and refuses it before anything can mend it. */
	is_sound = shmbuddy_check(h, NULL, NULL) == 0;
	if (!is_sound && !shmbuddy__handle_is_certain(h, &view->header)) {
		shmbuddy_check(h, report, view);
		return SEVERITY_DAMAGE;
	}
	shmbuddy_mend(h);
	if (shmbuddy_check(h, report, view) != 0)
		return SEVERITY_DAMAGE;
	return is_sound ? SEVERITY_UNCLOSED : SEVERITY_REPAIRABLE;
}

/* ---- figures, picture ---- */

/* Blocks have a power of two of bytes. */
static unsigned shift_of(uint64_t bytes)
{
	return (unsigned)__builtin_ctzll(bytes);
}

static int tally_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	struct figures *figures = arg;
	unsigned order = shift_of(size) - shift_of(view->shape.smallest);
	struct bucket *bucket = &figures->bucket[order];

	(void)offset;
	if (order >= BUCKETS)
		return 0;
	bucket->used++;
	bucket->used_bytes += size;
	return 0;
}

static void squeeze(struct figures *figures, unsigned small_shift)
{
	for (unsigned order = 0; order < BUCKETS; order++) {
		struct bucket bucket = figures->bucket[order];

		if (bucket.used == 0)
			continue;
		bucket.bytes = (uint64_t)1 << (small_shift + order);
		bucket.what = "block";
		figures->bucket[order].used = 0;
		figures->bucket[figures->buckets++] = bucket;
	}
}

static void measure(struct view *view, struct figures *figures)
{
	struct shmbuddy_stats stats;

	if (shmbuddy_stats(view->region, &stats) < 0)
		return;
	figures->capacity = stats.capacity;
	figures->used_bytes = stats.used_bytes;
	figures->used_blocks = stats.used_blocks;
	figures->largest_free = stats.largest_free;
	figures->largest_ever = stats.largest;
	figures->backed = stats.backed_bytes;
	shmbuddy_walk(view->region, on_block, &(struct walk){ view, tally_block, figures });
	squeeze(figures, shift_of(view->shape.smallest));
}

static uint64_t extent(struct view *view, uint64_t *unit)
{
	*unit = 32 * view->shape.smallest;
	return view->user_bytes;
}

static int draw_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	enum tile_kind kind = size < (uint64_t)1 << 17 ? picture_class(size) : TILE_RUN;

	picture_add(arg, offset - view->user_off, size, kind, size, 1, size);
	return 0;
}

static void draw(struct view *view, struct picture *picture)
{
	uint64_t bytes = 0;

	walk(view, draw_block, picture);
	for (uint64_t at = 0; shmbuddy__view_hole(view->region, &at, &bytes); at += bytes)
		picture_add(picture, at, bytes, TILE_UNTOUCHED, 0, 0, 0);
}

uint64_t view_tag(const struct view *view)
{
	return view->region ? shmbuddy_gettag(view->region) : ma_load(&view->header.tag);
}

const struct kind kind_buddy = {
	.number = MA_KIND_SHMBUDDY,
	.name = "shmbuddy",
	.lay_out = lay_out,
	.attach = attach,
	.check = check,
	.rehearse = rehearse,
	.walk = walk,
	.roots = roots,
	.measure = measure,
	.extent = extent,
	.draw = draw,
};
