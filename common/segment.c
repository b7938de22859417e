/* SPDX-License-Identifier: BSD-3-Clause */
/* See segment.h. */
#include "common/segment.h"

#include <sys/mman.h>

#include "common/page.h"
#include "common/plan.h"

#define LEAF_UNITS 64
#define SPAN_BYTES 12

uint64_t ma_segment_place_tree(struct ma_segment *seg, uint32_t streams, uint64_t at)
{
	seg->leaves = (seg->per_stream + LEAF_UNITS - 1) / LEAF_UNITS;
	for (seg->span_base = 1; seg->span_base < seg->leaves; seg->span_base *= 2)
		;
	seg->leaf_off = ma_up(at, MA_LINE);
	seg->hole_off = seg->leaf_off + streams * seg->leaves * 8;
	seg->span_off = seg->hole_off + streams * seg->leaves * 16;
	return seg->span_off + streams * 2 * seg->span_base * SPAN_BYTES;
}

/* ---- building a layout ---- */

/* Bytes of the table for the first so many units, from the page that it begins in. */
static uint64_t table_bytes(const struct ma_segment_plan *plan, unsigned i, uint64_t lead, uint64_t units)
{
	return ma_up((i == 0 ? lead : 0) + units * plan->table[i].bytes + plan->table[i].slack, ma_page());
}

static void set_units(struct ma_segment *seg, uint64_t first, uint64_t count, uint32_t streams)
{
	seg->first = first;
	seg->count = count;
	seg->per_stream = (count + streams - 1) / streams;
	seg->reciprocal = UINT64_MAX / ma_max(seg->per_stream, 1);
}

/* The first segment with tables for so many units. Returns where its part of the user area begins in the file. */
static uint64_t place_first(struct ma_layout *lay, const struct ma_segment_plan *plan, uint64_t units)
{
	uint64_t at, lead;

	set_units(&lay->seg[0], 0, units, lay->streams);
	lay->front_end = ma_up(plan->front(lay, plan), MA_LINE);
	lead = lay->front_end % ma_page();
	at = ma_down(lay->front_end, ma_page());
	for (unsigned i = 0; i < plan->tables; i++)
		at += table_bytes(plan, i, lead, units);
	lay->seg[0].user_file = at;
	return at;
}

static uint64_t units_behind(const struct ma_segment_plan *plan, uint64_t user_file)
{
	uint64_t end = ma_up(plan->first, ma_page());

	return end > user_file ? (end - user_file + plan->unit_bytes - 1) / plan->unit_bytes : 0;
}

/* As many units as there is room for behind their tables: the fewest whose tables leave no room for more. */
static void fit_first(struct ma_layout *lay, const struct ma_segment_plan *plan)
{
	uint64_t low = 1, high = plan->first / plan->unit_bytes + 1;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (units_behind(plan, place_first(lay, plan, middle)) > middle)
			low = middle + 1;
		else
			high = middle;
	}
	place_first(lay, plan, low);
}

static void add_slice(struct ma_layout *lay, uint64_t at, uint64_t file, uint64_t bytes)
{
	if (bytes)
		lay->slice[lay->slices++] = (struct ma_slice){ at, file, bytes };
}

/* What a later segment has of its own. Returns where that ends in the file. */
static uint64_t place_own(struct ma_layout *lay, const struct ma_segment_plan *plan, struct ma_segment *seg,
			  uint64_t file)
{
	uint64_t at = lay->own_end;
	uint64_t end = at + (uint64_t)lay->streams * lay->stream_stride;

	seg->stream_off = at;
	if (plan->has_tree)
		end = ma_segment_place_tree(seg, lay->streams, end);
	seg->own_end = end;
	lay->own_end = ma_up(end, ma_page());
	add_slice(lay, at, file, lay->own_end - at);
	return file + lay->own_end - at;
}

/* Tables and user area of segment k, which begin here in the file. Returns its end there. */
static uint64_t place_rest(struct ma_layout *lay, const struct ma_segment_plan *plan, uint32_t k, uint64_t file)
{
	struct ma_segment *seg = &lay->seg[k];
	uint64_t lead = lay->front_end % ma_page();

	for (unsigned i = 0; i < plan->tables; i++) {
		uint64_t region = ma_down(*plan->table[i].off, ma_page());
		uint64_t from = k ? table_bytes(plan, i, lead, seg->first) : 0;
		uint64_t to = table_bytes(plan, i, lead, seg->first + seg->count);

		add_slice(lay, region + from, file, to - from);
		file += to - from;
	}
	seg->user_file = file;
	add_slice(lay, lay->user_off + seg->user_at, file, seg->user_bytes);
	seg->slices = lay->slices;
	return file + seg->user_bytes;
}

/* All segments, for so many units in all, at least those of the first one. Returns the end of the range that they need. */
static uint64_t place_all(struct ma_layout *lay, const struct ma_segment_plan *plan, uint64_t units)
{
	uint64_t bytes = ma_max(ma_down(units * plan->unit_bytes, ma_page()), lay->seg[0].user_bytes);
	uint64_t at = ma_up(lay->user_off + bytes, ma_page());
	uint64_t file;

	lay->units = units;
	lay->user_bytes = bytes;
	for (unsigned i = 0; i < plan->tables; i++) {
		*plan->table[i].off = at + (i == 0 ? lay->front_end % ma_page() : 0);
		at += table_bytes(plan, i, lay->front_end % ma_page(), units);
	}
	lay->own_end = at;
	lay->slices = 0;
	add_slice(lay, 0, 0, ma_up(lay->front_end, ma_page()));
	file = place_rest(lay, plan, 0, ma_down(lay->front_end, ma_page()));
	for (lay->segments = 1; lay->segments < MA_SEGMENTS; lay->segments++) {
		struct ma_segment *before = &lay->seg[lay->segments - 1], *seg = before + 1;
		uint64_t had = before->user_at + before->user_bytes, end;

		if (had >= bytes || before->first + before->count >= units)
			break;
		end = ma_min(bytes, ma_down(had * MA_SEGMENT_GROW, ma_page()));
		if (lay->segments == MA_SEGMENTS - 1)
			end = bytes;
		*seg = (struct ma_segment){ .user_at = had, .user_bytes = end - had };
		end = ma_min(units, (end + plan->unit_bytes - 1) / plan->unit_bytes);
		set_units(seg, before->first + before->count, end - before->first - before->count, lay->streams);
		file = place_own(lay, plan, seg, file);
		file = place_rest(lay, plan, lay->segments, file);
	}
	lay->file_end = file;
	return lay->own_end;
}

/* As many units as the file may come to hold. */
static void fit_all(struct ma_layout *lay, const struct ma_segment_plan *plan)
{
	uint64_t low = lay->seg[0].count, high = ma_max(low, ma_min(UINT32_MAX - 1, plan->range / plan->unit_bytes));

	while (low < high) {
		uint64_t middle = (low + high + 1) / 2;

		place_all(lay, plan, middle);
		if (lay->file_end <= plan->range)
			low = middle;
		else
			high = middle - 1;
	}
	place_all(lay, plan, low);
}

bool ma_segment_layout(struct ma_layout *lay, const struct ma_segment_plan *plan, uint64_t least, uint64_t length)
{
	struct ma_segment *first = &lay->seg[0];

	if (plan->first < place_first(lay, plan, 1) + least || plan->range >> 46 || plan->first > plan->range)
		return false;
	fit_first(lay, plan);
	if (first->count >= UINT32_MAX)
		return false;
	first->user_bytes = ma_up(plan->first, ma_page()) - first->user_file;
	lay->user_off = ma_up(plan->base + ma_up(lay->front_end, ma_page()), plan->align) - plan->base;
	fit_all(lay, plan);
	if (plan->has_tree) { /* A last chunk that the range does not have whole is none. */
		const struct ma_segment *last = &lay->seg[lay->segments - 1];

		lay->units = ma_min(lay->units, (last->user_at + last->user_bytes) / plan->unit_bytes);
		lay->user_bytes = lay->units * plan->unit_bytes;
	}
	lay->unit_bytes = plan->unit_bytes;
	/* Never shorter than it was made, if it is to grow only when asked to. */
	return lay->own_end <= plan->reserved && length <= lay->file_end &&
	       length >= (lay->grows ? first->user_file : plan->first);
}

/* ---- places ---- */

uint64_t ma_segment_run(const struct ma_layout *lay, uint64_t at, uint64_t most, uint64_t *file)
{
	for (uint32_t i = 0; i < lay->slices; i++) {
		const struct ma_slice *slice = &lay->slice[i];

		if (at < slice->at || at - slice->at >= slice->bytes)
			continue;
		*file = slice->file + (at - slice->at);
		return ma_min(most, slice->bytes - (at - slice->at));
	}
	return 0;
}

uint64_t ma_segment_length(const struct ma_layout *lay, uint64_t user_bytes)
{
	const struct ma_segment *seg = &lay->seg[lay->segments - 1];

	while (seg > lay->seg && user_bytes <= seg->user_at)
		seg--;
	return seg->user_file + ma_min(user_bytes - seg->user_at, seg->user_bytes);
}

uint64_t ma_segment_user(const struct ma_layout *lay, uint64_t length)
{
	const struct ma_segment *seg = &lay->seg[lay->segments - 1];

	while (seg > lay->seg && length < seg->user_file)
		seg--;
	return seg->user_at + (length > seg->user_file ? ma_min(length - seg->user_file, seg->user_bytes) : 0);
}

/* Slice *i, and those behind it that follow it in the range and in the file, as small tables do. Then *i is the next one. */
static struct ma_slice join_slices(const struct ma_layout *lay, uint32_t slices, uint32_t *i)
{
	struct ma_slice all = lay->slice[(*i)++];

	for (; *i < slices; (*i)++) {
		const struct ma_slice *next = &lay->slice[*i];

		if (next->at != all.at + all.bytes || next->file != all.file + all.bytes)
			break;
		all.bytes += next->bytes;
	}
	return all;
}

int ma_segment_map(const struct ma_layout *lay, char *base, uint32_t segments, int prot, int flags, int fd,
		   uint64_t bytes)
{
	uint32_t slices = lay->seg[segments - 1].slices;
	uint64_t gap = ma_up(lay->front_end, ma_page());

	/* Words of a hostile file may lead into the gap: then there is memory, which no other process sees. */
	if (gap < lay->user_off && mprotect(base + gap, ma_down(lay->user_off, ma_page()) - gap, prot) < 0)
		return -1;
	for (uint32_t i = 0; i < slices;) {
		struct ma_slice all = join_slices(lay, slices, &i);
		uint64_t most = bytes > all.file ? ma_min(all.bytes, bytes - all.file) : 0;

		if (most && ma_plan_map_over(base + all.at, most, prot, flags, fd, all.file) == MAP_FAILED)
			return -1;
	}
	return 0;
}
