/* SPDX-License-Identifier: BSD-3-Clause */
/* A region as the command mapalloc sees it: see inspect.h. */
#include <stdlib.h>

#include "handle.h"
#include "inspect.h"

struct shmbuddy *shmbuddy__view_new(const struct ma_header *header, int fd, const struct ma_place *place)
{
	struct shmbuddy *h = calloc(1, sizeof(*h));

	if (!h || !shmbuddy__layout_from(&h->lay, header)) {
		free(h);
		return NULL;
	}
	/* Of this moment, also when it grows meanwhile. */
	ma_store(&h->seen, ma_load(&header->length));
	ma_store(&h->area, shmbuddy__layout_area(&h->lay, ma_load(&h->seen)));
	h->most = h->own = ma_load(&h->area);
	h->fd = fd;
	h->place = *place;
	return h;
}

void shmbuddy__view_free(struct shmbuddy *h)
{
	free(h);
}

void shmbuddy__view_attach(struct shmbuddy *h, void *base)
{
	h->base = base;
	shmbuddy__handle_point(h);
	ma_store(&h->id, 1);
}

void shmbuddy__view_allow_writing(struct shmbuddy *h)
{
	h->writable = true;
}

struct shmbuddy__shape shmbuddy__view_shape(const struct shmbuddy *h)
{
	const struct layout *lay = &h->lay;

	return (struct shmbuddy__shape){
		.area_at = lay->area_at,
		.area = ma_load(&h->area),
		.range = lay->range,
		.smallest = (uint64_t)1 << lay->small_shift,
		.largest = (uint64_t)1 << lay->large_shift,
		.backed_at = lay->backed_at,
		.levels = lay->top + 1u,
	};
}

bool shmbuddy__view_hole(const struct shmbuddy *h, uint64_t *at, uint64_t *bytes)
{
	const struct layout *lay = &h->lay;
	uint64_t area = ma_load(&h->area), size = (uint64_t)1 << lay->part_shift;

	for (uint64_t part = layout_parts(lay, *at); part < layout_parts(lay, area); part++) {
		if (region_is_backed(h, part))
			continue;
		*at = part * size;
		*bytes = ma_min(size, area - *at);
		return true;
	}
	return false;
}

/* ---- what killed processes left ---- */

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

uint64_t shmbuddy__view_unfinished(const struct shmbuddy *h)
{
	uint64_t count = 0;

	for (unsigned k = 1; k <= h->lay.top; k++) {
		const struct level *l = region_level(h, k);

		for (uint64_t i = 0, end = layout_words(l, region_area(h)); i < end; i++) {
			if (is_readable(h, l, i))
				count += unfinished_in(h, l, i);
			else /* On to the next part. */
				i |= ((uint64_t)1 << l->fan_shift) - 1;
		}
	}
	return count;
}
