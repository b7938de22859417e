/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at a whole region, while others change it. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "region.h"

#define MOST_AGAIN 1000
#define LOOKS      4 /* So often is a violation looked at again: others may just be at it. */

static bool readable(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return !l->local || region_is_backed(h, i >> l->fan_shift);
}

/* The next word that has its space, from i on. */
static uint64_t next_readable(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	while (i < l->words && !readable(h, l, i))
		i = ((i >> l->fan_shift) + 1) << l->fan_shift;
	return i;
}

/* ---- check ---- */

/* Whatever lies beyond the area is nobody's for ever, leaf by leaf: shmbuddy__handle_furnish() saw to it. */
static bool is_fenced(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t view)
{
	uint64_t at = i << l->cover_shift, size = (uint64_t)1 << l->leaf_shift;

	if (at + ((uint64_t)1 << l->cover_shift) <= h->lay.area)
		return true;
	for (unsigned leaf = 0; leaf < l->leaves; leaf++, at += size) {
		bool is_split = word_is_split(view, l->leaves, leaf);

		if (at >= h->lay.area ? is_split || word_order(view, l->leaves, leaf) != 0
				      : at + size > h->lay.area && !is_split)
			return false;
	}
	return true;
}

static const char *fault_of(const struct shmbuddy *h, unsigned k, uint64_t i)
{
	const struct level *l = region_level(h, k);
	uint64_t w = ma_load_acquire(region_word(h, l, i)), view = region_view(l, w), up;

	if (!word_is_open(view, l->leaves))
		return l->top ? "a top word is closed" : NULL;
	if (!word_is_sound(view, l->leaves))
		return "a word's bits are no tree of blocks";
	if (!is_fenced(h, l, i, view))
		return "what lies beyond the area is not taken";
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

	for (unsigned look = 0, again = 0; look < LOOKS && again < MOST_AGAIN; look++, again++) {
		uint64_t before = ma_load_acquire(region_word(h, l, i));

		fault = fault_of(h, k, i);
		if (!fault)
			break;
		if (ma_load_acquire(region_word(h, l, i)) != before)
			look = 0;
	}
	return fault;
}

uint64_t shmbuddy__check_words(const struct shmbuddy *h, unsigned k, uint64_t first, uint64_t end,
			       shmbuddy_report_fn *report, void *arg)
{
	const struct level *l = region_level(h, k);
	uint64_t faults = 0;

	for (uint64_t i = next_readable(h, l, first); i < end; i = next_readable(h, l, i + 1)) {
		const char *fault = lasting_fault(h, k, i);

		if (fault && report)
			report(fault, arg);
		faults += fault != NULL;
	}
	return faults;
}

int shmbuddy_check(shmbuddy_t *h, shmbuddy_report_fn *report, void *arg)
{
	uint64_t faults = 0;
	int saved = errno;

	if (!region_is_open(h))
		return shmbuddy__fail(NULL, EBADF, "");
	for (unsigned k = 0; k <= h->lay.top; k++)
		faults += shmbuddy__check_words(h, k, 0, region_level(h, k)->words, report, arg);
	errno = saved;
	return faults ? shmbuddy__fail(h, EUCLEAN, "the check found violations") : 0;
}

/* ---- walk ---- */

/* What is at this offset of the area: a live block, or bytes to pass by. */
struct at {
	uint64_t bytes;
	bool block;
};

static struct at look_at(const struct shmbuddy *h, uint64_t at)
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
		w = region_view(l, ma_load_acquire(region_word(h, l, i)));
		order = word_is_open(w, l->leaves) ? word_order(w, l->leaves, leaf) : -1;
		if (order < 0)
			return (struct at){ leaf_bytes - at % leaf_bytes, false };
		if (k && word_is_split(w, l->leaves, leaf))
			continue;
		/* In the middle of one that came about since: pass it by. */
		if (at % leaf_bytes)
			return (struct at){ leaf_bytes - at % leaf_bytes, false };
		return (struct at){ leaf_bytes << order, at + (leaf_bytes << order) <= h->lay.area };
	}
}

int shmbuddy_walk(shmbuddy_t *h, shmbuddy_walk_fn *fn, void *arg)
{
	if (!region_is_open(h))
		return shmbuddy__fail(NULL, EBADF, "");
	if (!fn)
		return shmbuddy__fail(h, EINVAL, "no function to call for each block");
	for (uint64_t at = 0; at < h->lay.area;) {
		struct at what = look_at(h, at);
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

/* Room in the words of one level, and in parts without space, which are all free. */
static uint64_t largest_in(const struct shmbuddy *h, const struct level *l)
{
	int best = -1;

	for (uint64_t i = 0; i < l->words && best < (int)l->cap; i++) {
		uint64_t next = next_readable(h, l, i), w;
		int room;

		if (l->top && next > i)
			best = (int)l->cap;
		if (next >= l->words)
			break;
		i = next;
		w = merged(h, l, i);
		room = word_is_open(w, l->leaves) ? word_room(w, l->leaves, l->cap) : -1;
		best = room > best ? room : best;
	}
	return best < 0 ? 0 : (uint64_t)1 << (l->leaf_shift + best);
}

int shmbuddy_stats(shmbuddy_t *h, struct shmbuddy_stats *stats)
{
	const struct layout *lay;
	int saved = errno;
	struct stat st;

	if (!region_is_open(h))
		return shmbuddy__fail(NULL, EBADF, "");
	if (!stats)
		return shmbuddy__fail(h, EINVAL, "no place for the figures");
	lay = &h->lay;
	*stats = (struct shmbuddy_stats){
		.region_bytes = lay->total,
		.capacity = lay->area,
		.smallest = (uint64_t)1 << lay->small_shift,
		.largest = (uint64_t)1 << lay->large_shift,
		.levels = lay->top + 1u,
		.parts = (uint32_t)lay->parts,
	};
	shmbuddy_walk(h, count, stats);
	for (unsigned k = 0; k <= lay->top; k++)
		stats->largest_free = ma_max(stats->largest_free, largest_in(h, region_level(h, k)));
	for (uint64_t part = 0; part < lay->parts; part++) {
		uint64_t size = (uint64_t)1 << lay->part_shift;

		if (region_is_backed(h, part))
			stats->backed_bytes += ma_min(size, lay->area - part * size);
	}
	if (h->fd >= 0 && fstat(h->fd, &st) == 0)
		stats->disk_bytes = (uint64_t)st.st_blocks * 512;
	errno = saved;
	return 0;
}

int shmbuddy_sync(shmbuddy_t *h)
{
	if (!region_is_open(h))
		return shmbuddy__fail(NULL, EBADF, "");
	if (!h->writable || !h->mapped)
		return 0;
	return msync(h->base, (size_t)h->mapped, MS_SYNC);
}
