/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of libshmbuddy: words of blocks, and words above words (libshmbuddy/src/tree.h). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libshmbuddy/src/handle.h"
#include "tools/progress.h"
#include "tools/view.h"

#define WINDOW 65536 /* Words between two looks at the clock. */

static bool lay_out(struct view *view)
{
	struct shmbuddy *h = calloc(1, sizeof(*h));

	if (!h || !shmbuddy__layout_from(&h->lay, &view->header)) {
		free(h);
		return false;
	}
	/* Of this moment, also when it grows meanwhile. */
	ma_store(&h->seen, ma_load(&view->header.length));
	ma_store(&h->area, shmbuddy__layout_area(&h->lay, ma_load(&h->seen)));
	h->most = h->own = ma_load(&h->area);
	h->fd = view->fd;
	h->device = (uint64_t)view->st.st_dev;
	h->inode = (uint64_t)view->st.st_ino;
	view->region = h;
	view->user_off = h->lay.area_at;
	view->user_bytes = ma_load(&h->area);
	view->mapped = view->user_off + view->user_bytes;
	return true;
}

static void furnish(struct view *view)
{
	struct shmbuddy *h = view->region;

	h->base = view->base;
	shmbuddy__handle_point(h);
	ma_store(&h->id, 1);
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
	uint64_t offset = ma_load(&view->region->control->root);

	if (offset)
		fn(view, "", 0, -1, offset, arg);
	for (unsigned i = 0; i < LAYOUT_ROOTS; i++)
		if (shmbuddy__root_at(view->region, i, name, &offset))
			fn(view, name, strlen(name), -1, offset, arg);
}

/* ---- check ---- */

static void report(const char *text, void *arg)
{
	view_find(arg, SEVERITY_DAMAGE, "body/word", NOWHERE, "%s", text);
}

static void check_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	(void)key, (void)arg;
	if (!view_is_inside(view, offset))
		view_find(view, SEVERITY_DAMAGE, "body/root", NOWHERE,
			  "root \"%.*s\" points out of the region: %#" PRIx64, (int)bytes, name, offset);
}

static uint64_t words_of(const struct shmbuddy *h, unsigned k)
{
	return layout_words(region_level(h, k), region_area(h));
}

static uint64_t count_words(const struct shmbuddy *h)
{
	uint64_t count = 0;

	for (unsigned k = 0; k <= h->lay.top; k++)
		count += shmbuddy__check_end(h, k);
	return count;
}

static void check_words(struct view *view)
{
	struct shmbuddy *h = view->region;
	struct progress progress;

	progress_begin(&progress, view->tool, view->name, count_words(h));
	for (unsigned k = 0; k <= h->lay.top; k++) {
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
		view_find(view, SEVERITY_DAMAGE, "body/part", view->region->lay.backed_at,
			  "a part that has no disk space yet is in use");
	roots(view, check_root, NULL);
}

static bool is_readable(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return i < layout_words(l, region_area(h)) && (!l->local || region_is_backed(h, i >> l->fan_shift));
}

/* Splits of this word whose lower word is not open: a splitter or a merger was killed. */
static uint64_t unfinished_in(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	uint64_t w = region_view(l, ma_load(region_word(h, l, i))), count = 0;

	for (unsigned leaf = 0; leaf < WORD_UPPER && word_is_open(w, WORD_UPPER); leaf++) {
		uint64_t below = i * WORD_UPPER + leaf;

		if (word_is_split(w, WORD_UPPER, leaf) && is_readable(h, l - 1, below))
			count += !word_is_open(ma_load(region_word(h, l - 1, below)), l[-1].leaves);
	}
	return count;
}

static uint64_t count_unfinished(const struct shmbuddy *h)
{
	uint64_t count = 0;

	for (unsigned k = 1; k <= h->lay.top; k++) {
		const struct level *l = region_level(h, k);

		for (uint64_t i = 0, end = words_of(h, k); i < end; i++) {
			if (is_readable(h, l, i))
				count += unfinished_in(h, l, i);
			else /* On to the next part. */
				i |= ((uint64_t)1 << l->fan_shift) - 1;
		}
	}
	return count;
}

static enum severity rehearse(struct view *view)
{
	struct shmbuddy *h = view->region;
	uint64_t unfinished = count_unfinished(h);
	bool is_sound;

	if (unfinished)
		view_find(view, SEVERITY_UNCLOSED, "state/split", NOWHERE, "%" PRIu64 " %s not finished", unfinished,
			  unfinished == 1 ? "split or merge was" : "splits or merges were");
	h->writable = true;
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

static int tally_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	struct figures *figures = arg;
	unsigned order = (unsigned)__builtin_ctzll(size) - view->region->lay.small_shift;
	struct bucket *bucket = &figures->bucket[order];

	(void)offset;
	if (order >= BUCKETS)
		return 0;
	bucket->used++;
	bucket->taken += size;
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
	squeeze(figures, view->region->lay.small_shift);
}

static uint64_t span(struct view *view, uint64_t *unit)
{
	*unit = (uint64_t)32 << view->region->lay.small_shift;
	return view->user_bytes;
}

static int draw_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	enum cell_kind kind = size < (uint64_t)1 << 17 ? picture_class(size) : CELL_RUN;

	picture_add(arg, offset - view->user_off, size, kind, size, 1, size);
	return 0;
}

static void draw(struct view *view, struct picture *picture)
{
	const struct layout *lay = &view->region->lay;
	uint64_t area = view->user_bytes;

	walk(view, draw_block, picture);
	for (uint64_t part = 0; part < layout_parts(lay, area); part++) {
		uint64_t size = (uint64_t)1 << lay->part_shift;

		if (!region_is_backed(view->region, part))
			picture_add(picture, part * size, ma_min(size, area - part * size), CELL_UNTOUCHED, 0, 0, 0);
	}
}

uint64_t view_tag(const struct view *view)
{
	return view->region ? ma_load(&view->region->control->tag) : ma_load(&view->header.tag);
}

const struct kind kind_buddy = {
	.number = MA_KIND_SHMBUDDY,
	.name = "shmbuddy",
	.lay_out = lay_out,
	.furnish = furnish,
	.check = check,
	.rehearse = rehearse,
	.walk = walk,
	.roots = roots,
	.measure = measure,
	.span = span,
	.draw = draw,
};
