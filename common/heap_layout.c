/* SPDX-License-Identifier: BSD-3-Clause */
/* Where everything of a heap is: all of it follows from the sealed numbers. See segment.h for what a segment has. */
#include "common/heap_internal.h"

#define FIXED_TREES (1 << 20)
#define FIXED_ROOTS 64

/* Units of allocation bytes that a stream's first area has: per chunk, in a map with one stream and with several; and to spare. */
#define UNITS_ALONE  8
#define UNITS_BESIDE 16
#define UNITS_SPARE  6

/* What lies in front of the user area from here on, with the first segment's streams and trees. */
static uint64_t place_from(struct ma_layout *lay, uint64_t at)
{
	struct ma_segment *first = &lay->seg[0];
	uint64_t units;

	lay->fixed_end = ma_up(at, MA_LINE);
	lay->table_end = ma_segment_place_tree(first, lay->streams, at);
	/* The trees of a map of some GiB cost little; those of a huge one are given space as they come into use. */
	if (lay->table_end - at <= FIXED_TREES)
		lay->fixed_end = lay->table_end;
	/*
	 * In a small map the first areas suffice for all slabs of 32 bytes and more, and for all slabs where each of several
	 * streams would need a chunk of its own for another area; and always for a chunk in cells. See heap_alloc_bytes.c.
	 */
	lay->area_off = ma_up(lay->table_end, lay->fixed_end == lay->table_end ? MA_UNIT : MA_PAGE);
	units = first->per_stream * (lay->streams > 1 ? UNITS_BESIDE : UNITS_ALONE) + UNITS_SPARE;
	lay->area_units = ma_min(MA_AREA_UNITS, MA_AREA_HEAD + ma_max(MA_UNITS_MOST, units));
	return lay->area_off + lay->streams * lay->area_units * MA_UNIT;
}

static uint64_t place_front(struct ma_layout *lay, const struct ma_segment_plan *plan)
{
	return place_from(lay, ma_body_layout(lay, plan->first));
}

static uint64_t place_front_with_keys(struct ma_layout *lay, const struct ma_segment_plan *plan)
{
	lay->key_off = ma_body_layout(lay, plan->first);
	return place_from(lay, lay->key_off + MA_KEYS * sizeof(uint64_t));
}

bool ma_heap_layout(struct ma_layout *lay, const struct ma_header *sealed)
{
	uint64_t streams = sealed->param[MA_HEAP_PARAM_STREAMS];
	struct ma_segment_plan plan = {
		.base = sealed->base,
		.reserved = sealed->reserved,
		.unit_bytes = MA_CHUNK,
		.align = MA_CHUNK,
		.table = { { 8, 0, &lay->slab_desc_off }, { 8, 0, &lay->unit_off }, { 4, 0, &lay->next_off } },
		.tables = 3,
		.has_tree = true,
		.front = sealed->kind == MA_KIND_MMALLOC ? place_front_with_keys : place_front,
	};

	*lay = (struct ma_layout){ .stream_stride = sizeof(struct ma_stream), .roots = FIXED_ROOTS };
	if (streams < 1 || streams > MA_STREAMS_MAX || !ma_body_numbers(lay, sealed, &plan))
		return false;
	lay->streams = (uint32_t)streams;
	if (!ma_segment_layout(lay, &plan, MA_CHUNK, ma_load(&sealed->length)))
		return false;
	lay->big_span = lay->seg[0].count >= 64 ? 8 : 1;
	ma_cell_layout(lay);
	return true;
}
