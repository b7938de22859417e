/* SPDX-License-Identifier: BSD-3-Clause */
/* See layout.h. Nothing but arithmetic: an opener computes anew what the creator did, and compares. */
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

/* As many parts as there may be, none of less than 2 MiB; a small region is one part. */
static unsigned part_shift_for(uint64_t area, unsigned small_shift)
{
	unsigned whole = log2_up(area), shift = LAYOUT_PART_SHIFT, word = small_shift + 5;

	if (whole > shift + log2_up(LAYOUT_PARTS))
		shift = whole - log2_up(LAYOUT_PARTS);
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
	l->words = (lay->area + ((uint64_t)1 << l->cover_shift) - 1) >> l->cover_shift;
	l->local = l->cover_shift <= lay->part_shift;
	if (l->local) {
		l->fan_shift = (uint8_t)(lay->part_shift - l->cover_shift);
		lay_local(lay, l);
		l->fan = ((uint64_t)1 << l->fan_shift) - 1;
		l->cap_at = l->line_at[0] + l->cap * 8;
	}
	l->crown_items = l->local ? lay->parts : l->words;
	l->crown_at = *crown;
	*crown += lines_for(l->crown_items) * MA_LINE;
	if (!l->local) {
		l->words_at = *crown;
		*crown = ma_up(*crown + l->words * 8, MA_LINE);
	}
}

bool shmbuddy__layout_make(struct layout *lay, uint64_t area, unsigned small_shift, unsigned large_shift, bool sparse)
{
	uint64_t crown = LAYOUT_CROWN, align;

	memset(lay, 0, sizeof(*lay));
	if (small_shift < 4 || small_shift > 20 || large_shift < small_shift || large_shift > LAYOUT_MOST_SHIFT)
		return false;
	if (area == 0 || area > (uint64_t)1 << LAYOUT_MOST_SHIFT || area % ((uint64_t)1 << small_shift) ||
	    (uint64_t)1 << large_shift > area)
		return false;
	lay->area = area;
	lay->small_shift = (uint8_t)small_shift;
	lay->large_shift = (uint8_t)large_shift;
	lay->part_shift = (uint8_t)part_shift_for(area, small_shift);
	lay->parts = (area + ((uint64_t)1 << lay->part_shift) - 1) >> lay->part_shift;
	lay->sparse = sparse;
	while (small_shift + 5 + 3u * lay->top < large_shift)
		lay->top++;
	for (unsigned k = 0; k <= lay->top; k++)
		lay_level(lay, k, &crown);
	if (sparse || lay->parts > 1)
		lay->meta_bytes = ma_up(lay->meta_bytes, MA_PAGE);
	lay->meta_at = sparse ? ma_up(crown, MA_PAGE) : crown;
	align = (uint64_t)1 << (large_shift < LAYOUT_ALIGN_SHIFT ? large_shift : LAYOUT_ALIGN_SHIFT);
	lay->area_at = ma_up(lay->meta_at + lay->parts * lay->meta_bytes, ma_max(align, sparse ? MA_PAGE : MA_LINE));
	lay->total = lay->area_at + ma_up(area, sparse ? MA_PAGE : 1);
	return true;
}

bool shmbuddy__layout_fit(struct layout *lay, uint64_t total, unsigned small_shift, unsigned large_shift)
{
	uint64_t low = 0, high = total >> small_shift;

	/* More area never takes less room, so the largest one that fits is found by halving. */
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;
		unsigned large = large_shift;

		while (large > small_shift && (uint64_t)1 << large > middle << small_shift)
			large--;
		if (shmbuddy__layout_make(lay, middle << small_shift, small_shift, large, false) && lay->total <= total)
			low = middle;
		else
			high = middle - 1;
	}
	return low && shmbuddy__layout_make(lay, low << small_shift, small_shift, large_shift, false) &&
	       lay->total <= total;
}

void shmbuddy__layout_params(const struct layout *lay, uint64_t param[MA_PARAMS])
{
	memset(param, 0, MA_PARAMS * sizeof(*param));
	param[0] = lay->area;
	param[1] = lay->small_shift | (uint64_t)lay->large_shift << 8 | (uint64_t)lay->part_shift << 16;
	param[2] = lay->sparse ? LAYOUT_SPARSE : 0;
}

bool shmbuddy__layout_from(struct layout *lay, const struct ma_header *h)
{
	uint64_t param[MA_PARAMS];

	if (!shmbuddy__layout_make(lay, h->param[0], h->param[1] & 0xff, h->param[1] >> 8 & 0xff,
				   h->param[2] & LAYOUT_SPARSE))
		return false;
	shmbuddy__layout_params(lay, param);
	return memcmp(param, h->param, sizeof(param)) == 0 && lay->total == ma_load(&h->length) &&
	       lay->total == h->reserved;
}
