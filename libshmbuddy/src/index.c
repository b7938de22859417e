/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See index.h. Setting a bit and looking at the bits above, and clearing a bit there and looking at those below again, must not pass each
 * other: both are sequentially consistent.
 */
#include "index.h"

#include "common/scan.h"

#define MOST_STEPS 512u /* A walk over lines that another process wrote nonsense into ends. */

struct line {
	_Atomic uint64_t mask[8];
};

/* One height: which line a bit is in, and how many bits there are in all. */
struct rung {
	struct line *lines;
	uint64_t items;
};

/* As many as the area has now: of what lies beyond it nothing is looked at, nor changed. */
static uint64_t words_in_part(const struct shmbuddy *h, const struct level *l, uint64_t part)
{
	uint64_t fan = (uint64_t)1 << l->fan_shift, first = part << l->fan_shift, words;

	if (MA_LIKELY((part + 1) << h->lay.part_shift <= ma_load(&h->area)))
		return fan;
	words = layout_words(l, region_area(h));
	return first < words ? ma_min(fan, words - first) : 0;
}

static struct line *inner_lines(const struct shmbuddy *h, const struct level *l, uint64_t part, unsigned height)
{
	return (struct line *)(void *)(region_meta(h, part) + l->line_at[height]);
}

static struct line *crown_lines(const struct shmbuddy *h, const struct level *l)
{
	return (struct line *)(void *)(h->base + l->crown_at);
}

static struct rung inner_rung(const struct shmbuddy *h, const struct level *l, uint64_t part, unsigned height)
{
	uint64_t items = words_in_part(h, l, part);

	for (unsigned k = 0; k < height; k++)
		items = (items + 63) / 64;
	return (struct rung){ inner_lines(h, l, part, height), items };
}

static struct rung crown_rung(const struct shmbuddy *h, const struct level *l)
{
	uint64_t area = region_area(h);

	return (struct rung){ crown_lines(h, l), l->local ? layout_parts(&h->lay, area) : layout_words(l, area) };
}

static uint64_t inverted(const struct level *l, unsigned order)
{
	return l->top && order == l->cap ? UINT64_MAX : 0;
}

/* The bits of one mask that are listed. */
static uint64_t listed(const struct level *l, const struct rung *r, uint64_t line, unsigned order)
{
	uint64_t bits;

	if (line * 64 >= r->items)
		return 0;
	/* Pairs with libshmbuddy/src/index.c:put. */
	bits = atomic_load(&r->lines[line].mask[order]) ^ inverted(l, order);
	return bits & ma_low_bits(r->items - line * 64);
}

/* Those of this mask and all above. */
static uint64_t listed_from(const struct level *l, const struct rung *r, uint64_t line, unsigned order)
{
	uint64_t bits = 0;

	for (unsigned k = order; k <= l->cap; k++)
		bits |= listed(l, r, line, k);
	return bits;
}

static void put(const struct level *l, struct line *lines, uint64_t item, unsigned order, bool on)
{
	_Atomic uint64_t *mask = &lines[item / 64].mask[order];
	uint64_t bit = (uint64_t)1 << item % 64, inv = inverted(l, order);

	/* Pairs with libshmbuddy/src/index.c:listed. */
	if (((atomic_load(mask) ^ inv) & bit) == (on ? bit : 0))
		return;
	if (on == !inv)
		atomic_fetch_or(mask, bit);
	else
		atomic_fetch_and(mask, ~bit);
}

/* Item of height list, and all above: a process that was killed on the way up left a gap, which is closed now. */
static void list_upward(struct shmbuddy *h, const struct level *l, uint64_t part, unsigned height, uint64_t item,
			unsigned order)
{
	for (; l->local && height < l->heights; height++, item /= 64)
		put(l, inner_lines(h, l, part, height), item, order, true);
	put(l, crown_lines(h, l), l->local ? part : item, order, true);
}

/*
 * The same for taking off: an upper bit goes when the line below is empty, and comes back when that was untrue a moment later. How much
 * there is of that line is asked after the bit went, for the area may have grown.
 */
static void unlist_upward(struct shmbuddy *h, const struct level *l, uint64_t part, unsigned height, uint64_t item,
			  unsigned order)
{
	struct rung r, below;

	for (; l->local && height <= l->heights; height++, item /= 64) {
		if (height < l->heights)
			put(l, inner_lines(h, l, part, height), item, order, false);
		else
			put(l, crown_lines(h, l), part, order, false);
		if (height > 0) {
			below = inner_rung(h, l, part, height - 1);
			if (listed(l, &below, item, order)) {
				list_upward(h, l, part, height, item, order);
				return;
			}
		}
		if (height == l->heights)
			return;
		r = inner_rung(h, l, part, height);
		if (listed(l, &r, item / 64, order))
			return;
	}
	put(l, crown_lines(h, l), item, order, false);
}

static void locate(const struct level *l, uint64_t i, uint64_t *part, uint64_t *item)
{
	*part = l->local ? i >> l->fan_shift : 0;
	*item = i - (*part << l->fan_shift);
}

void shmbuddy__index_list(struct shmbuddy *h, const struct level *l, uint64_t i, unsigned order)
{
	uint64_t part, item;

	locate(l, i, &part, &item);
	list_upward(h, l, part, 0, item, order < l->cap ? order : l->cap);
}

/* The fence is the leaves beyond the end of the area. A leaf that the area ends in counts: it can be split. */
static int room_of_fenced(const struct shmbuddy *h, const struct level *l, uint64_t i, uint32_t fence)
{
	/* Pairs with libshmbuddy/src/alloc.c:give, and with update_word() of update.h. */
	uint64_t w = region_view(l, atomic_load(region_word(h, l, i)));

	return word_is_open(w, l->leaves) ? word_room(w | fence, l->leaves, l->cap) : -1;
}

static int room_of(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return room_of_fenced(h, l, i, region_fence(h, l, i));
}

/* Of a line from word `first` on: no word needs a fence. */
static bool is_whole(const struct shmbuddy *h, const struct level *l, uint64_t first)
{
	return region_is_within(h, l, first + 63);
}

void shmbuddy__index_correct(struct shmbuddy *h, const struct level *l, uint64_t i)
{
	int room = room_of(h, l, i), again;
	uint64_t part, item;
	struct rung r;

	locate(l, i, &part, &item);
	r = l->local ? inner_rung(h, l, part, 0) : crown_rung(h, l);
	if (room >= 0)
		shmbuddy__index_list(h, l, i, (unsigned)room);
	for (unsigned order = (unsigned)(room + 1); order <= l->cap; order++) {
		if (listed(l, &r, item / 64, order) >> item % 64 & 1)
			unlist_upward(h, l, part, 0, item, order);
	}
	again = room_of(h, l, i);
	if (again > room)
		shmbuddy__index_list(h, l, i, (unsigned)again);
}

/* Of the words of a line: which have room of which order, all[0] being those that have none. */
struct rooms {
	uint64_t all[WORD_ORDERS + 1];
};

static struct rooms rooms_of(const struct shmbuddy *h, const struct level *l, uint64_t first, uint64_t words)
{
	struct rooms rooms = { { 0 } };
	bool whole = is_whole(h, l, first);

	for (; words; words &= words - 1) {
		uint64_t i = first + ma_lowest(words);

		rooms.all[room_of_fenced(h, l, i, whole ? 0 : region_fence(h, l, i)) + 1] |= words & -words;
	}
	return rooms;
}

static void unlist_many(struct shmbuddy *h, const struct level *l, const struct rung *r, uint64_t part, uint64_t line,
			unsigned order, uint64_t bits)
{
	/* Pairs with libshmbuddy/src/index.h:index_is_listed. */
	if (inverted(l, order))
		atomic_fetch_or(&r->lines[line].mask[order], bits);
	else
		atomic_fetch_and(&r->lines[line].mask[order], ~bits);
	if (!listed(l, r, line, order))
		unlist_upward(h, l, part, 1, line, order);
}

/* As for one word, in one step each for all of them. */
void shmbuddy__index_correct_line(struct shmbuddy *h, const struct level *l, uint64_t i)
{
	uint64_t part, item, line, first, words = 0, less, gone = 0;
	struct rooms rooms;
	struct rung r;

	locate(l, i, &part, &item);
	r = inner_rung(h, l, part, 0);
	line = item / 64;
	first = i - item % 64;
	for (unsigned k = 0; k <= l->cap; k++)
		words |= listed(l, &r, line, k);
	rooms = rooms_of(h, l, first, words);
	less = rooms.all[0];
	for (unsigned k = 0; k <= l->cap; less |= rooms.all[++k]) {
		uint64_t more = rooms.all[k + 1] & ~listed(l, &r, line, k);

		for (; more; more &= more - 1)
			list_upward(h, l, part, 0, line * 64 + ma_lowest(more), k);
	}
	less = rooms.all[0];
	for (unsigned k = 0; k <= l->cap; less |= rooms.all[++k]) {
		uint64_t wrong = listed(l, &r, line, k) & less;

		if (wrong)
			unlist_many(h, l, &r, part, line, k, wrong);
		gone |= wrong;
	}
	for (; gone; gone &= gone - 1) {
		int room = room_of(h, l, first + ma_lowest(gone));

		if (room >= 0 && !(rooms.all[room + 1] & gone & -gone))
			shmbuddy__index_list(h, l, first + ma_lowest(gone), (unsigned)room);
	}
}

uint64_t shmbuddy__index_room(const struct shmbuddy *h, const struct level *l, unsigned order, uint64_t i)
{
	uint64_t part, item, first, seen = 0;
	unsigned from;
	struct rung r;
	bool whole;

	locate(l, i, &part, &item);
	r = inner_rung(h, l, part, 0);
	from = (unsigned)(item % 64);
	first = i - from;
	whole = is_whole(h, l, first);
	for (unsigned k = order; k <= l->cap; k++) {
		uint64_t words = listed(l, &r, item / 64, k) & ~seen, turned;

		seen |= words;
		turned = words >> from | words << (-from & 63);
		for (; turned; turned &= turned - 1) {
			uint64_t w;

			i = first + ((ma_lowest(turned) + from) & 63);
			w = ma_load(region_local_word(h, l, i)) | l->always | (whole ? 0 : region_fence(h, l, i));
			if ((w & l->open) && word_ends(w, l->beyond, word_highest(order)))
				return i;
		}
	}
	return INDEX_NONE;
}

/* A bit of the line from `from` on; in the lowest line of the smallest order that has one, for what is large should stay whole. */
static uint64_t pick(const struct level *l, const struct rung *r, uint64_t line, uint64_t from, unsigned order,
		     bool best)
{
	uint64_t bits = 0;

	for (unsigned k = order; k <= l->cap && (!best || !bits); k++)
		bits |= listed(l, r, line, k) & UINT64_MAX << from % 64;
	return bits ? line * 64 + ma_lowest(bits) : INDEX_NONE;
}

/* A bit above says that something is listed in this line, and it is not so. */
static void correct_above(struct shmbuddy *h, const struct level *l, uint64_t part, unsigned height, uint64_t line,
			  unsigned order)
{
	struct rung r = inner_rung(h, l, part, height);

	for (unsigned k = order; k <= l->cap; k++)
		if (!listed(l, &r, line, k))
			unlist_upward(h, l, part, height + 1, line, k);
}

/* In one part: the first listed item from `item` on. Up where a line has no more, down where one has. */
static uint64_t find_in_part(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t part, uint64_t item)
{
	unsigned height = 0;
	bool descends = false;

	for (unsigned step = 0; step < MOST_STEPS; step++) {
		struct rung r = inner_rung(h, l, part, height);
		uint64_t line = item / 64, found = INDEX_NONE;

		if (item < r.items)
			found = pick(l, &r, line, item, order, height == 0);
		if (found != INDEX_NONE && height == 0)
			return found;
		if (found != INDEX_NONE) {
			item = found * 64;
			height--;
			descends = true;
			continue;
		}
		if (descends)
			correct_above(h, l, part, height, line, order);
		descends = false;
		if (++height == l->heights)
			return INDEX_NONE;
		item = line + 1;
	}
	return INDEX_NONE;
}

uint64_t shmbuddy__index_find(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t from)
{
	uint64_t part, item, found;

	locate(l, from, &part, &item);
	found = find_in_part(h, l, order, part, item);
	if (found == INDEX_NONE && item)
		found = find_in_part(h, l, order, part, 0);
	return found == INDEX_NONE ? found : (part << l->fan_shift) + found;
}

uint64_t shmbuddy__index_find_part(const struct shmbuddy *h, const struct level *l, unsigned order, uint64_t from,
				   uint64_t end, bool only_backed)
{
	struct rung r = crown_rung(h, l);

	for (uint64_t line = from / 64; line * 64 < end; line++, from = line * 64) {
		uint64_t bits = listed_from(l, &r, line, order) & UINT64_MAX << from % 64;

		bits &= ma_low_bits(end - line * 64);
		if (only_backed)
			/* Pairs with libshmbuddy/src/space.c:shmbuddy__region_reserve_part. */
			bits &= ma_load_acquire(&h->backed[line]);
		if (bits)
			return line * 64 + ma_lowest(bits);
	}
	return INDEX_NONE;
}

void shmbuddy__index_correct_part(struct shmbuddy *h, const struct level *l, uint64_t part, unsigned order)
{
	correct_above(h, l, part, l->heights - 1u, 0, order);
}

uint64_t shmbuddy__index_find_crown(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t at)
{
	struct rung r = crown_rung(h, l);

	for (uint64_t line = at / 64; line * 64 < r.items; line++, at = line * 64) {
		uint64_t found = pick(l, &r, line, at, order, false);

		if (found != INDEX_NONE)
			return found;
	}
	return INDEX_NONE;
}
