/* SPDX-License-Identifier: BSD-3-Clause */
/* See search.h. */
#include "search.h"

#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "index.h"

#define MOST_TRIES 65536u /* Listings that turn out wrong, in one call: more are not the work of threads. */
#define MOST_LOST  128u   /* Words that have room and do not give it: there are so many threads, or they are damaged. */
#define SAME_LOST  16u    /* The same word twice counts as so many. */
#define MOST_HINTS 16u    /* Hints that turn out wrong. */
#define GROUP      8u     /* Words in one line of the cache: a thread that takes from one may as well have them all. */

__thread size_t shmbuddy__location_at;

/* ---- cached locations ---- */

/* Another place, anywhere in the part of `near`. */
static uint64_t elsewhere(const struct shmbuddy *h, struct location *location, uint64_t near)
{
	uint64_t size = (uint64_t)1 << h->lay.part_shift, first = near & ~(size - 1);
	uint64_t seed = ma_load(&location->seed) + 0x9e3779b97f4a7c15u;

	ma_store(&location->seed, seed);
	return first + ma_mix(seed) % ma_min(size, region_own(h) - first);
}

/*
 * Threads that run on different processors begin in parts that are far from each other: each next processor in the middle of the widest
 * gap. It is the processors that count and not the threads, for the more first parts there are, the more disk space is taken.
 */
static uint32_t first_part(const struct shmbuddy *h)
{
	unsigned cpu = (unsigned)sched_getcpu(), turned = 0;

	for (unsigned k = 0; k < 6; k++)
		turned = turned << 1 | (cpu >> k & 1);
	return (uint32_t)(layout_parts(&h->lay, region_own(h)) * turned >> 6);
}

static void clear(struct location *location)
{
	for (unsigned class = 0; class < LOCATION_CLASSES; class ++) {
		ma_store(&location->now[class], 0);
		for (unsigned k = 0; k < LOCATION_HINTS; k++)
			ma_store(&location->hint[class][k], 0);
	}
	for (unsigned k = 0; k < LOCATION_VACANT; k++)
		ma_store(&location->vacant[k], 0);
}

struct location *shmbuddy__location_settle(struct shmbuddy *h)
{
	static _Atomic unsigned threads;
	uint64_t id = ma_load(&h->id), at;
	struct location *location;

	if (shmbuddy__location_at == 0) {
		unsigned number = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) % (LOCATIONS - 1);

		shmbuddy__location_at = number * sizeof(*location);
	}
	location = location_of(h);
	if (ma_load(&location->id) == id)
		return location;
	if (ma_load(&location->id) != 0)
		clear(location);
	ma_store(&location->seed,
		 ma_mix((uint64_t)gettid() << 32 ^ (uint64_t)getpid() ^ (uint64_t)(uintptr_t)location) + id);
	ma_store(&location->part, first_part(h));
	at = elsewhere(h, location, (uint64_t)ma_load(&location->part) << h->lay.part_shift);
	for (unsigned class = 0; class < LOCATION_CLASSES; class ++)
		ma_store(&location->at[class], at);
	ma_store(&location->id, id);
	return location;
}

static unsigned class_of(const struct search *s)
{
	return s->want.shift - s->h->lay.small_shift;
}

static _Atomic uint64_t *rover_of(const struct search *s)
{
	unsigned class = class_of(s);

	return &s->location->at[class < LOCATION_CLASSES ? class : LOCATION_CLASSES - 1];
}

static bool is_usable(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return i < layout_words(l, region_area(h)) && region_is_backed(h, i >> l->fan_shift);
}

/* ---- hints ---- */

static uint64_t take_from_hints(struct search *s)
{
	const struct level *l = region_level(s->h, s->want.level);
	unsigned class = class_of(s);

	if (class >= s->h->classes)
		return TREE_NONE;
	for (unsigned turn = 0; turn < MOST_HINTS; turn++) {
		uint64_t hint = ma_load(&s->location->now[class]), found = TREE_NONE;

		if (!hint)
			break;
		if (is_usable(s->h, l, hint >> 32))
			found = shmbuddy__tree_take(s, hint >> 32);
		if (found != TREE_NONE)
			return found;
		location_pop(s->location, class, hint, true);
	}
	return TREE_NONE;
}

/* The word that was found, and then its neighbours. */
static void remember(const struct search *s, uint64_t i)
{
	struct shmbuddy *h = s->h;
	const struct level *l = region_level(h, s->want.level);
	const char *at;
	uint64_t first = i - i % GROUP, words = layout_words(l, region_own(h));

	if (class_of(s) >= h->classes)
		return;
	for (unsigned k = GROUP; k-- > 0;) {
		uint64_t next = first + (i + k) % GROUP, w;

		if (next >= words || next >> l->fan_shift != i >> l->fan_shift)
			continue;
		w = ma_load(region_word(h, l, next)) | l->always;
		at = (const char *)region_local_word(h, l, next);
		if ((w & l->open) && word_ends(w, l->beyond, word_highest(s->want.order)))
			location_push(s->location, class_of(s), location_hint(next, (uint64_t)(at - h->meta)));
	}
}

void shmbuddy__search_vacate(struct shmbuddy *h, struct location *location, unsigned level, uint64_t i)
{
	uint64_t vacant = location_vacant(level, i), old;
	_Atomic uint64_t *entry = location_vacant_entry(location, vacant);

	old = ma_load(entry);
	ma_store(entry, vacant);
	if (old == 0 || old == vacant)
		return;
	level = (unsigned)(old >> 56);
	i = (old & (UINT64_MAX >> 8)) - 1;
	if (level < h->lay.top && region_level(h, level)->local && is_usable(h, region_level(h, level), i))
		shmbuddy__tree_merge(h, level, i);
}

/* ---- the index ---- */

static uint64_t take_from(struct search *s, unsigned level, uint64_t i)
{
	return level == s->want.level ? shmbuddy__tree_take(s, i) : shmbuddy__tree_split(s, level, i);
}

static unsigned order_at(const struct search *s, unsigned level)
{
	return level == s->want.level ? s->want.order : 0;
}

/* In the part of word from. */
static uint64_t search_part(struct search *s, unsigned level, uint64_t from)
{
	struct shmbuddy *h = s->h;
	const struct level *l = region_level(h, level);
	unsigned order = order_at(s, level), lost = 0;
	uint64_t found, i, last = INDEX_NONE;

	for (unsigned turn = 0; turn < MOST_TRIES && lost < MOST_LOST; turn++) {
		from = shmbuddy__index_find(h, l, order, from);
		if (from == INDEX_NONE)
			break;
		i = shmbuddy__index_room(h, l, order, from);
		found = i == INDEX_NONE ? TREE_NONE : take_from(s, level, i);
		if (found != TREE_NONE)
			return found;
		shmbuddy__index_correct_line(h, l, from);
		if (i != INDEX_NONE)
			lost += i == last ? SAME_LOST : 1;
		last = i;
		if (lost && (from + 1) >> l->fan_shift == from >> l->fan_shift &&
		    from + 1 < layout_words(l, region_area(h)))
			from++;
	}
	return TREE_NONE;
}

/* Where we were last; then in all parts from our first one on, with their space or without. On a full disk: in those that have it. */
static uint64_t search_local(struct search *s, unsigned level)
{
	struct shmbuddy *h = s->h;
	const struct level *l = region_level(h, level);
	uint64_t at = ma_load(rover_of(s)), first = ma_load(&s->location->part), part, found;
	uint64_t own = region_own(h), parts = layout_parts(&h->lay, own);

	if (at < own && region_is_backed(h, region_part_of(h, at))) {
		found = search_part(s, level, at >> l->cover_shift);
		if (found != TREE_NONE)
			return found;
	}
	for (unsigned turn = 0; turn < 2; turn++) {
		uint64_t end = turn ? ma_min(first, parts) : parts;

		part = turn ? 0 : first;
		while ((part = shmbuddy__index_find_part(h, l, order_at(s, level), part, end, s->only_backed)) != INDEX_NONE) {
			if (shmbuddy__region_reserve_space(h, part << h->lay.part_shift, 1) < 0) {
				s->error = errno;
				s->only_backed = true;
				continue;
			}
			found = search_part(s, level, part << l->fan_shift);
			if (found != TREE_NONE)
				return found;
			shmbuddy__index_correct_part(h, l, part, order_at(s, level));
			part++;
		}
	}
	return TREE_NONE;
}

/* First what has its space, then anything. */
static uint64_t search_crown(struct search *s, unsigned level)
{
	const struct level *l = region_level(s->h, level);
	uint64_t found;

	for (int pass = 0; pass < 2; pass++) {
		s->only_backed = pass == 0;
		for (uint64_t i = 0; (i = shmbuddy__index_find_crown(s->h, l, order_at(s, level), i)) != INDEX_NONE; i++) {
			found = take_from(s, level, i);
			if (found != TREE_NONE)
				return found;
			shmbuddy__index_correct(s->h, l, i);
		}
	}
	return TREE_NONE;
}

static uint64_t search_levels(struct search *s)
{
	uint64_t found = TREE_NONE;

	for (unsigned level = s->want.level; level <= s->h->lay.top && found == TREE_NONE; level++) {
		s->only_backed = false;
		found = region_level(s->h, level)->local ? search_local(s, level) : search_crown(s, level);
	}
	if (found == TREE_NONE)
		return found;
	ma_store(rover_of(s), found);
	remember(s, found >> region_level(s->h, s->want.level)->cover_shift);
	return found;
}

/* ---- words that were left empty ---- */

/* In one part: all that are listed as having no block. */
static void merge_in_part(struct shmbuddy *h, unsigned level, uint64_t part)
{
	const struct level *l = region_level(h, level);
	uint64_t from = part << l->fan_shift, i;

	for (unsigned turn = 0; turn < MOST_TRIES; turn++) {
		from = shmbuddy__index_find(h, l, l->cap, from);
		if (from == INDEX_NONE)
			return;
		i = shmbuddy__index_room(h, l, l->cap, from);
		if (i != INDEX_NONE)
			shmbuddy__tree_merge(h, level, i);
		else
			shmbuddy__index_correct_line(h, l, from);
	}
}

/* Of the levels below the one that we want: what is merged makes room there. */
static void merge_below(struct shmbuddy *h, unsigned above)
{
	uint64_t parts = layout_parts(&h->lay, region_area(h));

	for (unsigned level = 0; level < above; level++) {
		const struct level *l = region_level(h, level);
		uint64_t i = 0;

		if (l->local) {
			while ((i = shmbuddy__index_find_part(h, l, l->cap, i, parts, true)) != INDEX_NONE) {
				merge_in_part(h, level, i);
				shmbuddy__index_correct_part(h, l, i, l->cap);
				i++;
			}
			continue;
		}
		for (; (i = shmbuddy__index_find_crown(h, l, l->cap, i)) != INDEX_NONE; i++) {
			shmbuddy__tree_merge(h, level, i);
			shmbuddy__index_correct(h, l, i);
		}
	}
}

uint64_t shmbuddy__search(struct shmbuddy *h, struct location *location, const struct want *want)
{
	struct search s = { .h = h, .location = location, .want = *want, .error = ENOMEM };
	int saved = errno;
	uint64_t found = take_from_hints(&s);

	if (found == TREE_NONE)
		found = search_levels(&s);
	if (found == TREE_NONE && want->level) {
		merge_below(h, want->level);
		found = search_levels(&s);
	}
	if (found == TREE_NONE && shmbuddy__region_mend_some(h))
		found = search_levels(&s);
	errno = found == TREE_NONE ? s.error : saved;
	return found;
}
