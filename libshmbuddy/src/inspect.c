/* SPDX-License-Identifier: BSD-3-Clause */
/* Check, walk and figures of a whole region, while others change it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "handle.h"
#include "inspect.h"

#include "common/cancel.h"

#define MOST_AGAIN 1000
#define TRIES      4 /* So often is a violation checked again: another process may be changing the words. */

static bool readable(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return !l->local || region_is_backed(h, i >> l->fan_shift);
}

/* The next word that has its space, from i on; end or more: none before that has. */
static uint64_t next_readable(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t end)
{
	while (i < end && !readable(h, l, i))
		i = ((i >> l->fan_shift) + 1) << l->fan_shift;
	return i;
}

/* ---- check ---- */

/* The end of the area, as the region says it is: a view of an earlier moment does not see blocks there, but they are no damage. */
static uint64_t end_of(const struct shmbuddy *h)
{
	/* Pairs with libshmbuddy/src/grow.c:publish. */
	return ma_max(region_area(h), shmbuddy__layout_area(&h->lay, ma_load_acquire(&region_header(h)->length)));
}

/* Nothing beyond the end of the area is in use; a leaf across it may be split, but is no block. */
static bool ends_well(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t view)
{
	uint64_t area = end_of(h);
	uint32_t beyond = region_beyond(l, i, area), across;

	across = word_leaves(l->leaves) & ~region_fits(l, i, (uint64_t)1 << l->leaf_shift, area) & ~beyond;
	return (word_busy(view, l->leaves) & (beyond | (across & ~word_split(view, l->leaves)))) == 0;
}

const char *shmbuddy__word_fault(const struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *l = region_level(h, k);
	/* Pairs with libshmbuddy/src/tree.c:open_down. */
	uint64_t w = ma_load_acquire(region_word(h, l, i)), view = region_view(l, w), up;

	if (!word_is_open(view, l->leaves))
		return l->top ? "a top word is closed" : NULL;
	if (!word_is_sound(view, l->leaves))
		return "a word's bits are no tree of blocks";
	if (!ends_well(h, l, i, view))
		return "a block lies beyond the end of the area";
	if (l->top)
		return NULL;
	up = region_view(l + 1, ma_load_acquire(region_word(h, l + 1, i / WORD_UPPER)));
	if (word_is_open(up, WORD_UPPER) && word_is_split(up, WORD_UPPER, (unsigned)(i % WORD_UPPER)))
		return NULL;
	return "a word is open whose upper leaf is not split";
}

static const char *lasting_fault(const struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *l = region_level(h, k);
	const char *fault = NULL;

	for (unsigned tries = 0, again = 0; tries < TRIES && again < MOST_AGAIN; tries++, again++) {
		/* Pairs with libshmbuddy/src/tree.c:open_down. */
		uint64_t before = ma_load_acquire(region_word(h, l, i));

		fault = shmbuddy__word_fault(h, k, i);
		if (!fault)
			break;
		if (ma_load_acquire(region_word(h, l, i)) != before)
			tries = 0;
	}
	return fault;
}

/* Those of the part that the area ends in, too, for if its length is wrong it is there that blocks lie beyond it. */
uint64_t shmbuddy__check_end(const struct shmbuddy *h, unsigned k)
{
	const struct level *l = region_level(h, k);
	uint64_t all = layout_words(l, h->lay.range);

	return l->local ? ma_min(all, layout_parts(&h->lay, region_area(h)) << l->fan_shift) : all;
}

uint64_t shmbuddy__check_words(const struct shmbuddy *h, unsigned k, uint64_t first, uint64_t end,
			       shmbuddy_report_fn *report, void *arg)
{
	const struct level *l = region_level(h, k);
	uint64_t faults = 0;

	for (uint64_t i = next_readable(h, l, first, end); i < end; i = next_readable(h, l, i + 1, end)) {
		const char *fault = lasting_fault(h, k, i);

		if (fault && report)
			report(fault, arg);
		faults += fault != NULL;
	}
	return faults;
}

/* A part gets its space when a block is to lie in it, so none beyond the area has it; but where all had theirs from the start. */
uint64_t shmbuddy__check_parts(const struct shmbuddy *h, shmbuddy_report_fn *report, void *arg)
{
	for (uint64_t part = h->lay.parts; h->lay.sparse && part-- > layout_parts(&h->lay, end_of(h));) {
		/* The area is larger now than it was, or it is damage. */
		if (!region_is_backed(h, part) || part < layout_parts(&h->lay, end_of(h)))
			continue;
		if (report)
			report("a part beyond the end of the area is in use", arg);
		return 1;
	}
	return 0;
}

int shmbuddy_check(shmbuddy_t *h, shmbuddy_report_fn *report, void *arg)
{
	MA_UNCANCELLED;
	uint64_t faults = 0;
	int saved = errno;

	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	for (unsigned k = 0; k <= h->lay.top; k++)
		faults += shmbuddy__check_words(h, k, 0, shmbuddy__check_end(h, k), report, arg);
	faults += shmbuddy__check_parts(h, report, arg);
	errno = saved;
	return faults ? shmbuddy__fail(h, EUCLEAN,
				       "region is damaged: violations found: %" PRIu64
				       "; restore a copy, or keep what can be proved: mapalloc repair --salvage",
				       faults)
		      : 0;
}

/* ---- walk ---- */

/* What is at this offset of the area: a live block, or bytes to pass by. */
struct at {
	uint64_t bytes;
	bool block;
};

static struct at scan_at(const struct shmbuddy *h, uint64_t at, uint64_t area)
{
	for (unsigned k = h->lay.top;; k--) {
		const struct level *l = region_level(h, k);
		uint64_t i = at >> l->cover_shift, leaf_bytes = (uint64_t)1 << l->leaf_shift, w;
		unsigned leaf = (unsigned)(at >> l->leaf_shift) & (l->leaves - 1u);
		int order;

		if (!readable(h, l, i)) {
			uint64_t part = (uint64_t)1 << h->lay.part_shift;

			return (struct at){ part - at % part, false };
		}
		/* From the top down: pairs with libshmbuddy/src/tree.c:shmbuddy__tree_split. */
		w = region_view(l, ma_load_acquire(region_word(h, l, i)));
		order = word_is_open(w, l->leaves) ? word_order(w, l->leaves, leaf) : -1;
		if (order < 0)
			return (struct at){ leaf_bytes - at % leaf_bytes, false };
		if (k && word_is_split(w, l->leaves, leaf))
			continue;
		/* In the middle of one that came about since: pass it by. */
		if (at % leaf_bytes)
			return (struct at){ leaf_bytes - at % leaf_bytes, false };
		return (struct at){ leaf_bytes << order, at + (leaf_bytes << order) <= area };
	}
}

int shmbuddy_walk(shmbuddy_t *h, shmbuddy_walk_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	uint64_t area;

	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	if (!fn)
		return shmbuddy__fail(h, EINVAL, "cannot walk: the function to call for each block is NULL; pass one");
	area = region_area(h);
	for (uint64_t at = 0; at < area;) {
		struct at what = scan_at(h, at, area);
		int result = what.block ? fn((shm_offt)(h->lay.area_at + at), (size_t)what.bytes, arg) : 0;

		if (result)
			return result;
		at += what.bytes;
	}
	return 0;
}

/* ---- figures ---- */

static int count(shm_offt offset, size_t size, void *arg)
{
	struct shmbuddy_stats *stats = arg;

	(void)offset;
	stats->used_blocks++;
	stats->used_bytes += size;
	return 0;
}

/* What a word says when all below it that has no block is merged, as malloc does when it wants the space. */
static uint64_t merged(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	/* From the top down: pairs with libshmbuddy/src/tree.c:shmbuddy__tree_split. */
	uint64_t w = region_view(l, ma_load_acquire(region_word(h, l, i)));

	if (l == h->lay.level || !word_is_open(w, WORD_UPPER))
		return w;
	for (unsigned leaf = 0; leaf < WORD_UPPER; leaf++) {
		uint64_t lower = i * WORD_UPPER + leaf;

		if (word_is_split(w, WORD_UPPER, leaf) && readable(h, l - 1, lower) &&
		    word_is_empty(merged(h, l - 1, lower), l[-1].leaves))
			w = word_give(w, WORD_UPPER, leaf, 0);
	}
	return w;
}

/* The largest block that a word has room for, within the area. A free leaf that the area ends in has room at its start. */
static uint64_t largest_in_word(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t area)
{
	uint64_t w = merged(h, l, i), leaf_bytes = (uint64_t)1 << l->leaf_shift, at, best = 0;
	uint32_t beyond = region_beyond(l, i, area), fits = region_fits(l, i, leaf_bytes, area), across;
	int room;

	if (!word_is_open(w, l->leaves))
		return 0;
	room = word_room(w | (word_leaves(l->leaves) & ~fits), l->leaves, l->cap);
	if (room >= 0)
		best = leaf_bytes << room;
	across = word_leaves(l->leaves) & ~fits & ~beyond & ~word_busy(w, l->leaves);
	at = (i << l->cover_shift) + ((uint64_t)(across ? __builtin_ctz(across) : 0) << l->leaf_shift);
	if (across && l != h->lay.level)
		best = ma_max(best, (uint64_t)1 << (63 - __builtin_clzll(area - at)));
	return best;
}

/* The same of a word without a block: the largest power of two at its start. */
static uint64_t largest_in_unused(const struct level *l, uint64_t i, uint64_t area)
{
	uint64_t bytes = area - (i << l->cover_shift), most = (uint64_t)1 << (l->leaf_shift + l->cap);

	return ma_min(most, (uint64_t)1 << (63 - __builtin_clzll(bytes)));
}

/* Room in the words of one level, and in parts without space, which are all free. */
static uint64_t largest_in(const struct shmbuddy *h, const struct level *l, uint64_t area)
{
	uint64_t most = (uint64_t)1 << (l->leaf_shift + l->cap), words = layout_words(l, area), best = 0;

	for (uint64_t i = 0; i < words && best < most;) {
		uint64_t end = ma_min(next_readable(h, l, i, words), words);

		/* Of words that have no block, the first has the most room: the last may reach beyond the area. */
		if (l->top && end > i)
			best = ma_max(best, largest_in_unused(l, i, area));
		if (end < words)
			best = ma_max(best, largest_in_word(h, l, end, area));
		i = end + 1;
	}
	return best;
}

static void count_parts(const struct shmbuddy *h, struct shmbuddy_stats *stats)
{
	uint64_t size = (uint64_t)1 << h->lay.part_shift;

	for (uint64_t part = 0; part < stats->parts; part++)
		if (region_is_backed(h, part))
			stats->backed_bytes += ma_min(size, stats->capacity - part * size);
}

int shmbuddy_stats(shmbuddy_t *h, struct shmbuddy_stats *stats)
{
	const struct layout *lay;
	int saved = errno;
	struct stat st;
	uint64_t area;
	int fd;

	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	if (!stats)
		return shmbuddy__fail(h, EINVAL, "cannot return statistics: the pointer to them is NULL; pass one");
	lay = &h->lay;
	area = region_area(h);
	*stats = (struct shmbuddy_stats){
		.region_bytes = lay->area_at + area,
		.capacity = area,
		.range = lay->range,
		.smallest = (uint64_t)1 << lay->small_shift,
		.largest = (uint64_t)1 << lay->large_shift,
		.levels = lay->top + 1u,
		.parts = (uint32_t)layout_parts(lay, area),
	};
	shmbuddy_walk(h, count, stats);
	for (unsigned k = 0; k <= lay->top; k++)
		stats->largest_free = ma_max(stats->largest_free, largest_in(h, region_level(h, k), area));
	count_parts(h, stats);
	fd = shmbuddy__region_fd(h);
	if (fd >= 0 && fstat(fd, &st) == 0)
		stats->disk_bytes = (uint64_t)st.st_blocks * 512;
	errno = saved;
	return 0;
}

int shmbuddy_sync(shmbuddy_t *h)
{
	MA_UNCANCELLED;
	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	if (!h->writable || !h->mapped)
		return 0;
	if (shmbuddy__checkpoint_is_on(h))
		return shmbuddy__checkpoint_sync(h);
	if (msync(h->base, (size_t)ma_min(h->mapped, h->lay.area_at + region_area(h)), MS_SYNC) == 0)
		return 0;
	return shmbuddy__fail(h, errno, "cannot write to disk: msync(2) failed; check the disk, then call it again");
}
