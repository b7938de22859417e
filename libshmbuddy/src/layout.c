/* SPDX-License-Identifier: BSD-3-Clause */
/* See layout.h. Nothing but arithmetic: an opener computes again what the creator did, and compares. */
#include "layout.h"

#include <string.h>

static uint64_t lines_for(uint64_t items)
{
	return (items + 63) / 64;
}

static unsigned log2_up(uint64_t n)
{
	return n <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(n - 1);
}

/*
 * As many parts as there may be, none of less than 2 MiB; a small range is one part. Growth must not make parts of a large region larger
 * than they would be without it: they are disk space that is taken at once.
 */
static unsigned part_shift_for(const struct numbers *n)
{
	unsigned whole = log2_up(n->range), first = log2_up(n->first), word = n->small_shift + 5;
	unsigned shift = LAYOUT_PART_SHIFT;

	if (first > shift + LAYOUT_FIRST_SHIFT)
		shift = first - LAYOUT_FIRST_SHIFT;
	if (whole > shift + LAYOUT_PARTS_SHIFT)
		shift = whole - LAYOUT_PARTS_SHIFT;
	if (shift > whole)
		shift = whole;
	return shift < word ? word : shift;
}

static void lay_local(struct layout *lay, struct level *l)
{
	uint64_t items = (uint64_t)1 << l->fan_shift;

	l->words_at = lay->meta_bytes;
	lay->meta_bytes = ma_up(lay->meta_bytes + items * 8, MA_LINE);
	do {
		items = lines_for(items);
		l->line_at[l->heights++] = lay->meta_bytes;
		lay->meta_bytes += items * MA_LINE;
	} while (items > 1);
}

static void lay_level(struct layout *lay, unsigned k, uint64_t *crown)
{
	struct level *l = &lay->level[k];

	l->leaves = k ? WORD_UPPER : WORD_LEAVES;
	l->cover_shift = (uint8_t)(lay->small_shift + 5 + 3 * k);
	l->leaf_shift = (uint8_t)(k ? l->cover_shift - 3 : lay->small_shift);
	l->leaf_rest = ((uint64_t)1 << l->leaf_shift) - 1;
	l->top = k == lay->top;
	l->open = word_open(l->leaves);
	l->always = l->top ? l->open : 0;
	l->stamp = k ? (uint64_t)1 << WORD_STAMP_SHIFT : 0;
	l->first = (uint32_t)l->leaf_shift - lay->small_shift;
	l->beyond = ~word_leaves(l->leaves);
	l->cap = (uint8_t)(l->cover_shift - l->leaf_shift);
	if (l->top)
		l->cap = (uint8_t)(lay->large_shift - l->leaf_shift);
	l->local = l->cover_shift <= lay->part_shift;
	if (l->local) {
		l->fan_shift = (uint8_t)(lay->part_shift - l->cover_shift);
		lay_local(lay, l);
		l->fan = ((uint64_t)1 << l->fan_shift) - 1;
		l->cap_at = l->line_at[0] + l->cap * 8;
	}
	l->crown_at = *crown;
	*crown += lines_for(l->local ? lay->parts : layout_words(l, lay->range)) * MA_LINE;
	if (!l->local) {
		l->words_at = *crown;
		*crown = ma_up(*crown + layout_words(l, lay->range) * 8, MA_LINE);
	}
}

static bool is_possible(const struct numbers *n)
{
	uint64_t rest = ((uint64_t)1 << (n->small_shift & 63)) - 1;

	if (n->small_shift < 4 || n->small_shift > 20 || n->large_shift < n->small_shift ||
	    n->large_shift > LAYOUT_MOST_SHIFT)
		return false;
	if (n->first == 0 || n->range < n->first || n->range > (uint64_t)1 << LAYOUT_MOST_SHIFT)
		return false;
	return ((n->first | n->range) & rest) == 0 && (uint64_t)1 << n->large_shift <= n->range &&
	       !(n->sparse && n->memory);
}

bool shmbuddy__layout_make(struct layout *lay, const struct numbers *n)
{
	uint64_t crown = LAYOUT_CROWN, align;

	memset(lay, 0, sizeof(*lay));
	if (!is_possible(n))
		return false;
	lay->first = n->first;
	lay->range = n->range;
	lay->small_shift = (uint8_t)n->small_shift;
	lay->large_shift = (uint8_t)n->large_shift;
	lay->part_shift = (uint8_t)part_shift_for(n);
	lay->parts = layout_parts(lay, lay->range);
	lay->sparse = n->sparse;
	lay->memory = n->memory;
	while (lay->small_shift + 5 + 3u * lay->top < lay->large_shift)
		lay->top++;
	lay->backed_at = crown;
	crown += ma_up(lines_for(lay->parts) * 8, MA_LINE);
	for (unsigned k = 0; k <= lay->top; k++)
		lay_level(lay, k, &crown);
	if (lay->sparse || lay->parts > 1)
		lay->meta_bytes = ma_up(lay->meta_bytes, MA_PAGE);
	lay->meta_at = lay->sparse ? ma_up(crown, MA_PAGE) : crown;
	align = (uint64_t)1 << ma_min(lay->large_shift, LAYOUT_ALIGN_SHIFT);
	lay->area_at = ma_up(lay->meta_at + lay->parts * lay->meta_bytes, ma_max(align, n->sparse ? MA_PAGE : MA_LINE));
	lay->reserved = lay->area_at + lay->range;
	return true;
}

static bool make_fixed(struct layout *lay, struct numbers n, uint64_t area, uint64_t total)
{
	n.first = n.range = area;
	return shmbuddy__layout_make(lay, &n) && lay->reserved <= total;
}

bool shmbuddy__layout_fit(struct layout *lay, uint64_t total, const struct numbers *numbers)
{
	unsigned small = numbers->small_shift;
	uint64_t low = 0, high = total >> small;

	/* More area never takes less room, so the largest one that fits is found by halving. */
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;
		struct numbers n = *numbers;

		while (n.large_shift > small && (uint64_t)1 << n.large_shift > middle << small)
			n.large_shift--;
		if (make_fixed(lay, n, middle << small, total))
			low = middle;
		else
			high = middle - 1;
	}
	return low && make_fixed(lay, *numbers, low << small, total);
}

void shmbuddy__layout_params(const struct layout *lay, uint64_t param[MA_PARAMS])
{
	memset(param, 0, MA_PARAMS * sizeof(*param));
	param[0] = lay->first;
	param[1] = lay->small_shift | (uint64_t)lay->large_shift << 8 | (uint64_t)lay->part_shift << 16;
	param[2] = (lay->sparse ? LAYOUT_SPARSE : 0) | (lay->memory ? LAYOUT_MEMORY : 0);
	param[3] = lay->range;
}

bool shmbuddy__layout_from(struct layout *lay, const struct ma_header *h)
{
	const struct numbers n = {
		.first = h->param[0],
		.range = h->param[3],
		.small_shift = h->param[1] & 0xff,
		.large_shift = h->param[1] >> 8 & 0xff,
		.sparse = h->param[2] & LAYOUT_SPARSE,
		.memory = h->param[2] & LAYOUT_MEMORY,
	};
	uint64_t param[MA_PARAMS];

	if (!shmbuddy__layout_make(lay, &n))
		return false;
	shmbuddy__layout_params(lay, param);
	return memcmp(param, h->param, sizeof(param)) == 0 && lay->reserved == h->reserved &&
	       shmbuddy__layout_area(lay, ma_load(&h->length));
}

uint64_t shmbuddy__layout_area(const struct layout *lay, uint64_t length)
{
	uint64_t area = length - lay->area_at, rest = ((uint64_t)1 << lay->small_shift) - 1;

	return length >= lay->area_at + lay->first && area <= lay->range && (area & rest) == 0 ? area : 0;
}
