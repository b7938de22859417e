/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Space that a heap's tables say it has, taken again by the first opener (map_recover.c). Tables first: they say which chunks have blocks.
 * Those get their space now, or the map does not open. Chunks that gave their space back stay without; other free ones may wait.
 */
#include <errno.h>

#include "common/heap_internal.h"
#include "common/space.h"

/* Free chunks can wait for their space until they are used. */
static int take_chunks_again(struct ma_image *map, uint32_t stream, uint64_t at, uint64_t count, bool is_free)
{
	uint64_t first = map->lay.user_off + ma_range_first(map, stream) * MA_CHUNK;

	if (ma_space_take(map, first + at * MA_CHUNK, count * MA_CHUNK) == 0)
		return 0;
	if (!is_free || (errno != ENOSPC && errno != EDQUOT))
		return -1;
	for (uint64_t chunk = at; chunk < at + count; chunk++)
		ma_chunk_mark_hole(map, stream, chunk);
	return 0;
}

enum need { NEED_NONE, NEED_LATER, NEED_NOW };

/* The chunk's word decides. A mark beyond the tree's leaves would not be kept. */
static enum need need_of(struct ma_image *map, uint32_t stream, uint64_t at)
{
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream));

	if (at / MA_LEAF >= top || ma_chunk_load(map, ma_range_first(map, stream) + at) != MA_FREE)
		return NEED_NOW;
	return ma_chunk_has_space(map, stream, at) ? NEED_LATER : NEED_NONE;
}

/* The space of all chunks but those that gave it back, in runs. */
static int back_blocks(struct ma_image *map, uint32_t stream, uint64_t have)
{
	uint64_t at = 0, from;
	enum need need;

	while (at < have) {
		from = at;
		need = need_of(map, stream, at);
		while (at < have && need_of(map, stream, at) == need)
			at++;
		if (need != NEED_NONE && take_chunks_again(map, stream, from, at - from, need == NEED_LATER) < 0)
			return -1;
	}
	return 0;
}

int ma_chunk_back(struct ma_image *map)
{
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return -1;
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t have = ma_min(ma_load(&ma_stream(map, s)->backed), ma_range_count(map, s));

		if (ma_chunk_back_leaves(map, s, 0, ma_min(ma_load(&ma_stream(map, s)->top), ma_leaves(map, s))) < 0)
			return -1;
		if (have && (ma_chunk_back_tables(map, s, 0, have) < 0 || back_blocks(map, s, have) < 0))
			return -1;
		if (ma_alloc_bytes_back(map, s) < 0)
			return -1;
	}
	return 0;
}
