/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a kill may leave, and nothing else finds: a split leaf above a closed word, an OPEN word without a block that was not merged, room
 * that is not listed. A malloc that finds nothing looks through the words for it, before it fails: at most so many at a time,
 * and only one malloc in so many milliseconds in the whole region, so that being out of memory stays cheap.
 *
 * When the process that splits is alive after all, it begins again. That is so rare that it succeeds.
 */
#include <errno.h>

#include "index.h"
#include "tree.h"

#include "common/stamp.h"

#define MOST_WORDS ((uint64_t)1 << 19)  /* At a time: all of the default region. */
#define PAUSE_NS   UINT64_C(10000000)   /* At least... */
#define PAUSE_MOST UINT64_C(1000000000) /* A process that is stopped in between must not stop the others. */
#define PAUSE_FOR  16                   /* ... and as many times the time it took. */
#define LATER_NS   (2 * PAUSE_MOST)

static void mend_word(struct shmbuddy *h, unsigned level, uint64_t i)
{
	const struct level *l = region_level(h, level);
	uint64_t w = region_view(l, ma_load(region_word(h, l, i)));
	int room;

	if (!word_is_open(w, l->leaves)) {
		shmbuddy__tree_mend(h, level, i);
		return;
	}
	if (!l->top && word_is_empty(w, l->leaves)) {
		shmbuddy__tree_merge(h, level, i);
		return;
	}
	room = word_room(w | region_fence(h, l, i), l->leaves, l->cap);
	if (room >= 0)
		shmbuddy__index_list(h, l, i, (unsigned)room);
}

/* Words [i, end) of a level, less what lies in parts without space. How many words were read. */
static uint64_t mend_level(struct shmbuddy *h, unsigned level, uint64_t i, uint64_t end)
{
	const struct level *l = region_level(h, level);
	uint64_t scanned = 0;

	while (i < end) {
		if (l->local && !region_is_backed(h, i >> l->fan_shift)) {
			i = ((i >> l->fan_shift) + 1) << l->fan_shift;
		} else {
			mend_word(h, level, i);
			i++;
		}
		scanned++;
	}
	return scanned;
}

void shmbuddy__region_list_at(struct shmbuddy *h, uint64_t at)
{
	for (unsigned k = 0; k <= h->lay.top; k++) {
		const struct level *l = region_level(h, k);
		uint64_t first = at >> l->cover_shift, end = ma_min(first + 2, layout_words(l, region_area(h)));

		mend_level(h, k, first, end);
	}
}

/* From word `from` of all on; where to go on, 0 after the last one. */
static uint64_t mend_from(struct shmbuddy *h, uint64_t from, uint64_t most)
{
	uint64_t first = 0, scanned = 0;

	for (unsigned k = 0; k <= h->lay.top; k++) {
		uint64_t words = layout_words(region_level(h, k), region_area(h)), i = from > first ? from - first : 0;

		while (i < words) {
			uint64_t end = ma_min(words, i + 4096);

			if (scanned >= most)
				return first + i;
			scanned += mend_level(h, k, i, end);
			i = end;
		}
		first += words;
	}
	return 0;
}

/* Ours to do now? The clock begins at 0 in each run of the machine: a time far ahead is an old one. */
static bool is_time(struct shmbuddy *h, uint64_t now)
{
	uint64_t at = ma_load(&h->control->mend_at);

	if (now < at && at - now < LATER_NS)
		return false;
	return ma_cas_relaxed(&h->control->mend_at, &at, now + PAUSE_NS);
}

bool shmbuddy__region_mend_some(struct shmbuddy *h)
{
	uint64_t begin = ma_now_ns(CLOCK_MONOTONIC), end, all = 0, from;

	if (!is_time(h, begin))
		return false;
	for (unsigned k = 0; k <= h->lay.top; k++)
		all += layout_words(region_level(h, k), region_area(h));
	from = ma_load(&h->control->mend_word);
	from = all <= MOST_WORDS ? 0 : from % all;
	ma_store(&h->control->mend_word, mend_from(h, from, MOST_WORDS));
	end = ma_now_ns(CLOCK_MONOTONIC);
	ma_store(&h->control->mend_at, end + ma_max(PAUSE_NS, ma_min((end - begin) * PAUSE_FOR, PAUSE_MOST)));
	return true;
}

void shmbuddy__region_mend_all(struct shmbuddy *h)
{
	mend_from(h, 0, UINT64_MAX);
}

int shmbuddy_mend(shmbuddy_t *h)
{
	if (!shmbuddy__region_may_write(h))
		return -1;
	shmbuddy__region_mend_all(h);
	return 0;
}
