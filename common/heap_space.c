/* SPDX-License-Identifier: BSD-3-Clause */
/* The disk space of chunks and of what is kept about them: allocated before use, given back when free. */
#include <errno.h>

#include "common/heap_internal.h"
#include "common/space.h"

#define STEP_MIN 4
#define STEP_MAX 1024

/* Per leaf two words with a bit per chunk: it has no disk space; it was free when its stream was last looked through. */
struct holes {
	_Atomic uint64_t hole;
	_Atomic uint64_t idle;
};

_Static_assert(sizeof(struct holes) == 16, "format 1");

static struct holes *holes_at(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	const struct ma_segment *seg = ma_lane_segment(map, stream);

	return (struct holes *)(void *)(map->base + seg->hole_off) + ma_lane_stream(map, stream) * seg->leaves + leaf;
}

/* Disk space for what is kept about so many leaves. */
int ma_chunk_back_leaves(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	const struct ma_segment *seg = ma_lane_segment(map, stream);

	if (ma_tree_is_fixed(map, stream) || count == 0)
		return 0;
	if (ma_space_take(map,
			  seg->hole_off + (ma_lane_stream(map, stream) * seg->leaves + first) * sizeof(struct holes),
			  count * sizeof(struct holes)) < 0)
		return -1;
	return ma_tree_back(map, stream, first, count);
}

/* Disk space for what is kept about chunks [had, want) of the range; those before had have theirs. */
int ma_chunk_back_tables(struct ma_image *map, uint32_t stream, uint64_t had, uint64_t want)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t start = ma_range_first(map, stream);

	if (ma_space_extend(map, lay->unit_off + start * 8, had * 8, want * 8) < 0 ||
	    ma_space_extend(map, lay->next_off + start * 4, had * 4, want * 4) < 0)
		return -1;
	return ma_space_extend(map, lay->slab_desc_off + start * 8, had * 8, want * 8);
}

/* And for the chunks themselves. */
static int back_chunks(struct ma_image *map, uint32_t stream, uint64_t had, uint64_t want)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t start = ma_range_first(map, stream);

	if (ma_space_grow(map, ma_segment_length(lay, (start + want) * MA_CHUNK)) < 0)
		return -1;
	if (ma_chunk_back_tables(map, stream, had, want) < 0)
		return -1;
	ma_privatize_fresh(map, lay->unit_off + (start + had) * 8, (want - had) * 8);
	ma_privatize_fresh(map, lay->slab_desc_off + (start + had) * 8, (want - had) * 8);
	return ma_space_extend(map, lay->user_off + start * MA_CHUNK, had * MA_CHUNK, want * MA_CHUNK);
}

/* Take space from chunk have of the range, which is the first without any, up to need: in steps that grow with the map, or else just so much. */
static int back_more(struct ma_image *map, uint32_t stream, uint64_t have, uint64_t need)
{
	uint64_t range = ma_range_count(map, stream);
	uint64_t want = ma_min(range, need + ma_max(STEP_MIN, ma_min(STEP_MAX, have / 64)));

	if (back_chunks(map, stream, have, want) < 0) {
		want = need;
		if (back_chunks(map, stream, have, want) < 0)
			return -1;
	}
	ma_store_kill(&ma_stream(map, stream)->backed, want); /* Pairs with common/heap_internal.h:ma_range_backed. */
	return 0;
}

/* Chunks of a leaf whose space was given back get it again. Killed between: the bit is still there, and taking twice does no harm. */
static int fill_holes(struct ma_image *map, uint32_t stream, uint64_t chunk, uint64_t count, struct holes *holes,
		      uint64_t bits)
{
	if (ma_space_take(map, map->lay.user_off + (ma_range_first(map, stream) + chunk) * MA_CHUNK, count * MA_CHUNK) < 0)
		return -1;
	/* Pairs with common/heap_space.c:ma_chunk_back_to. */
	ma_store_kill(&holes->hole, ma_load(&holes->hole) & ~bits);
	return 0;
}

/* Do the chunks up to this one of the range have their space? The caller knows that the range has them. */
static bool is_backed_to(struct ma_image *map, uint32_t stream, uint64_t end)
{
	/* Pairs with common/heap_space.c:back_more. */
	return end <= ma_load_acquire(&ma_stream(map, stream)->backed) &&
	       ma_range_first(map, stream) + end <= ma_chunks_there(map);
}

int ma_chunk_back_to(struct ma_image *map, uint32_t stream, uint64_t at, uint64_t count)
{
	uint64_t end = at + count;
	struct holes *holes = holes_at(map, stream, at / MA_LEAF);

	if (!is_backed_to(map, stream, end) && back_more(map, stream, ma_range_used(map, stream), end) < 0)
		return -1;
	for (uint64_t next; at < end; at = next, holes++) {
		uint64_t bits;

		next = ma_min(end, (at / MA_LEAF + 1) * MA_LEAF);
		bits = ma_low_bits(next - at) << at % MA_LEAF;
		if (ma_load(&holes->idle) & bits) /* They are in use now. */
			ma_store(&holes->idle, ma_load(&holes->idle) & ~bits);
		if ((ma_load(&holes->hole) & bits) && fill_holes(map, stream, at, next - at, holes, bits) < 0)
			return -1;
	}
	return 0;
}

void ma_chunk_clear_holes(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	ma_store(&holes_at(map, stream, leaf)->hole, 0);
	ma_store(&holes_at(map, stream, leaf)->idle, 0);
}

bool ma_chunk_has_space(struct ma_image *map, uint32_t stream, uint64_t at)
{
	return !(ma_load(&holes_at(map, stream, at / MA_LEAF)->hole) >> at % MA_LEAF & 1);
}

void ma_chunk_mark_hole(struct ma_image *map, uint32_t stream, uint64_t chunk)
{
	_Atomic uint64_t *hole = &holes_at(map, stream, chunk / MA_LEAF)->hole;

	/* Pairs with common/heap_space.c:ma_chunk_back_to. */
	ma_store_kill(hole, ma_load(hole) | (uint64_t)1 << chunk % MA_LEAF);
}

/* Mark first, punch then: a kill in between only makes the next user take space that is there. */
void ma_chunk_punch(struct ma_image *map, uint32_t stream, uint64_t at, uint64_t count)
{
	for (uint64_t chunk = at; chunk < at + count; chunk++)
		ma_chunk_mark_hole(map, stream, chunk);
	ma_space_punch(map, map->lay.user_off + (ma_range_first(map, stream) + at) * MA_CHUNK, count * MA_CHUNK);
}

/* Chunks of the leaf that are free and have disk space. */
static uint64_t spare_chunks(struct ma_image *map, uint32_t stream, uint64_t leaf, uint64_t used)
{
	uint64_t first = ma_range_first(map, stream) + leaf * MA_LEAF;
	uint64_t spare = ma_load(ma_tree_leaf(map, stream, leaf)) & ma_low_bits(used - leaf * MA_LEAF) &
			 ~ma_load(&holes_at(map, stream, leaf)->hole);

	/* The words decide. */
	for (uint64_t left = spare; left; left &= left - 1)
		if (ma_chunk_load(map, first + ma_lowest(left)) != MA_FREE)
			spare &= ~(left & -left);
	return spare;
}

uint64_t ma_chunk_punch_free(struct ma_image *map, uint32_t stream, bool idle_only)
{
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream)) * MA_LEAF;
	uint64_t used = ma_min(ma_range_used(map, stream), top);
	uint64_t run = 0, bytes = 0, spare = 0;

	for (uint64_t at = 0; at <= used; at++) {
		if (at % MA_LEAF == 0 && at < used) {
			struct holes *holes = holes_at(map, stream, at / MA_LEAF);
			uint64_t free = spare_chunks(map, stream, at / MA_LEAF, used);

			spare = idle_only ? free & ma_load(&holes->idle) : free;
			ma_store(&holes->idle, free & ~spare);
			if (!spare && !run) {
				at += MA_LEAF - 1;
				continue;
			}
		}
		if (at < used && spare >> at % MA_LEAF & 1) {
			run++;
			continue;
		}
		if (run)
			ma_chunk_punch(map, stream, at - run, run);
		bytes += run * MA_CHUNK;
		run = 0;
	}
	return bytes;
}

uint64_t ma_chunk_kept(struct ma_image *map, uint32_t stream, uint64_t *live)
{
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream)) * MA_LEAF;
	uint64_t used = ma_min(ma_range_used(map, stream), top);
	uint64_t free = 0, kept = 0;

	for (uint64_t leaf = 0; leaf * MA_LEAF < used; leaf++) {
		uint64_t bits = ma_load(ma_tree_leaf(map, stream, leaf)) & ma_low_bits(used - leaf * MA_LEAF);

		free += ma_bits(bits);
		kept += ma_bits(bits & ~ma_load(&holes_at(map, stream, leaf)->hole));
	}
	*live += used - free;
	return kept;
}

/* A tree covers chunks too that the file does not have yet; those are free in it. */
uint64_t ma_chunk_free_count(struct ma_image *map, uint32_t stream)
{
	uint64_t range = ma_range_count(map, stream);
	uint64_t below = ma_load(&ma_stream(map, stream)->top) * MA_LEAF;
	uint64_t top = ma_min(range, below);
	uint64_t beyond = ma_min(ma_range_whole(map, stream), below) - top;
	uint64_t spare = ma_load(&ma_stream(map, stream)->spare);

	return range - top + ma_min(top, spare - ma_min(spare, beyond));
}

/* What is kept about chunks that have no space of their own yet. */
static void blank_chunks(struct ma_image *map, uint32_t stream)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t used = ma_range_used(map, stream);
	uint64_t first = ma_range_first(map, stream) + used;
	uint64_t count = ma_range_whole(map, stream) - used;

	ma_space_blank(map, lay->unit_off + first * 8, count * 8);
	ma_space_blank(map, lay->next_off + first * 4, count * 4);
	ma_space_blank(map, lay->slab_desc_off + first * 8, count * 8);
}

/* The tree is derived data: take disk space for its used part, then compute that part again. */
static int renew_tree(struct ma_image *map, uint32_t stream)
{
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream));

	ma_store(&ma_stream(map, stream)->top, top);
	ma_tree_blank(map, stream);
	if (ma_chunk_back_leaves(map, stream, 0, top) < 0)
		return -1;
	ma_tree_mend(map, stream, ma_range_first(map, stream), ma_min(top * MA_LEAF, ma_range_whole(map, stream)));
	ma_tree_recount(map, stream);
	return 0;
}

int ma_chunk_renew(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		blank_chunks(map, s);
		if (renew_tree(map, s) < 0)
			return -1;
	}
	return 0;
}
