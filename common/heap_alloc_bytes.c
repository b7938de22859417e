/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the allocation bytes of slabs are: in areas, apart from the blocks, so that no overrun reaches them, and close together,
 * so that they cost little memory and few cache lines. Each stream has one area from the start, before the user area;
 * chunks become further ones (ma_chunk_kind ALLOC_BYTES) and are free again when no slab uses them.
 *
 *     an area: units of 256 bytes      0..3   the head, which says of each unit which chunk's slab it belongs to, plus 1
 *                                      4..    allocation bytes
 *
 * A unit belongs to a slab if the head says so, and the chunk's word is SLAB, and its slab descriptor leads to the unit: whatever
 * else a head says was left by a kill. So taking and giving units needs no intent: a slab's word is the commit of both.
 * How many units are in use, and the list of a stream's areas, are derived; they are computed again when a stream is stale.
 */
#include <errno.h>
#include <string.h>

#include "common/heap_internal.h"
#include "common/space.h"

struct area {
	_Atomic uint32_t owner[MA_AREA_UNITS]; /* Chunk + 1. The first one: units in use, a hint. */
};

_Static_assert(sizeof(struct area) == MA_AREA_HEAD * MA_UNIT, "format 1");

/* An area that is being looked at. */
struct place {
	struct area *area;
	uint32_t line; /* Of its first unit. */
	uint32_t units;
};

static uint32_t line_of(const struct ma_image *map, const void *at)
{
	return (uint32_t)((uint64_t)((const char *)at - map->base) / MA_UNIT);
}

static struct place fixed_area(struct ma_image *map, uint32_t stream)
{
	char *at = map->base + map->lay.area_off + stream * map->lay.area_units * MA_UNIT;

	return (struct place){ (struct area *)(void *)at, line_of(map, at), (uint32_t)map->lay.area_units };
}

/* Lanes of later segments have no area but chunks. */
static bool has_fixed_area(struct ma_image *map, uint32_t stream)
{
	return stream < map->lay.streams && ma_load(&ma_stream(map, stream)->area_ready);
}

static struct place chunk_area(struct ma_image *map, uint64_t chunk)
{
	char *at = ma_chunk_address(map, chunk);

	return (struct place){ (struct area *)(void *)at, line_of(map, at), MA_AREA_UNITS };
}

/* The chunk of the area that this line lies in; MA_NO_CHUNK for a stream's fixed one. */
static uint64_t area_chunk(const struct ma_image *map, uint32_t line)
{
	uint64_t offset = (uint64_t)line * MA_UNIT;

	return offset < map->lay.user_off ? MA_NO_CHUNK : (offset - map->lay.user_off) / MA_CHUNK;
}

/* The area that this line lies in. False: in none of this stream's. */
static bool find_area(struct ma_image *map, uint32_t stream, uint32_t line, struct place *place)
{
	uint64_t chunk = area_chunk(map, line);

	if (chunk == MA_NO_CHUNK) {
		*place = fixed_area(map, stream);
		return has_fixed_area(map, stream) && line >= place->line + MA_AREA_HEAD &&
		       line - place->line < place->units;
	}
	if (chunk >= ma_units(map) || ma_stream_of(map, chunk) != stream || !ma_chunk_is_backed(map, chunk) ||
	    ma_word_kind(ma_chunk_load(map, chunk)) != MA_ALLOC_BYTES)
		return false;
	*place = chunk_area(map, chunk);
	return line - place->line >= MA_AREA_HEAD;
}

uint32_t ma_slab_units(const struct ma_image *map, uint32_t class)
{
	return (uint32_t)((ma_slab_slots(map, class) + MA_UNIT - 1) / MA_UNIT);
}

uint32_t ma_word_units(const struct ma_image *map, uint64_t word)
{
	if (ma_word_kind(word) == MA_CELLS)
		return MA_UNITS_MOST;
	return ma_word_kind(word) == MA_SLAB && ma_word_class(word) < MA_CLASSES
		       ? ma_slab_units(map, ma_word_class(word))
		       : 0;
}

bool ma_chunk_owns_alloc_bytes(struct ma_image *map, uint64_t head, uint32_t units)
{
	uint32_t line = (uint32_t)(ma_load_acquire(&map->slab_desc[head]) >>
				   32); /* Pairs with common/heap_chunk.c:ma_chunk_deal_slab. */
	struct place place;

	if (!find_area(map, ma_stream_of(map, head), line, &place) || line - place.line + units > place.units)
		return false;
	for (uint32_t i = 0; i < units; i++)
		if (ma_load_acquire(&place.area->owner[line - place.line + i]) != head + 1)
			return false;
	return true;
}

uint64_t ma_alloc_bytes_regain(struct ma_image *map, uint64_t chunk, uint32_t units)
{
	uint32_t line = (uint32_t)(ma_load(&map->slab_desc[chunk]) >> 32);
	uint64_t area = area_chunk(map, line);

	if (units == 0 || area >= ma_units(map) || !ma_chunk_is_backed(map, area) ||
	    ma_chunk_load(map, area) != MA_FREE)
		return MA_NO_CHUNK;
	ma_store(ma_chunk(map, area), ma_word(MA_ALLOC_BYTES, 0, 0));
	if (ma_chunk_owns_alloc_bytes(map, chunk, units))
		return area;
	ma_store(ma_chunk(map, area), MA_FREE);
	return MA_NO_CHUNK;
}

/* ---- taking; the stream's lock is held ---- */

/* The chunk that the unit belongs to; MA_NO_CHUNK. */
static uint64_t holder_of(struct ma_image *map, const struct place *place, uint32_t unit)
{
	uint64_t chunk = (uint64_t)ma_load(&place->area->owner[unit]) - 1;
	uint32_t line;

	if (chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return MA_NO_CHUNK;
	line = (uint32_t)(ma_load(&map->slab_desc[chunk]) >> 32);
	if (place->line + unit < line || place->line + unit - line >= ma_word_units(map, ma_chunk_load(map, chunk)))
		return MA_NO_CHUNK;
	return chunk;
}

static bool is_taken(struct ma_image *map, const struct place *place, uint32_t unit)
{
	return holder_of(map, place, unit) != MA_NO_CHUNK;
}

static uint32_t count_taken(struct ma_image *map, const struct place *place)
{
	uint32_t count = 0;

	for (uint32_t unit = MA_AREA_HEAD; unit < place->units; unit++)
		count += is_taken(map, place, unit);
	return count;
}

/* The line of so many free units in a row; 0: there are none. */
static uint32_t find_units(struct ma_image *map, const struct place *place, uint32_t count)
{
	uint32_t run = 0;

	if (ma_load(&place->area->owner[0]) + count + MA_AREA_HEAD > place->units)
		return 0;
	for (uint32_t unit = MA_AREA_HEAD; unit < place->units; unit++) {
		run = is_taken(map, place, unit) ? 0 : run + 1;
		if (run == count)
			return place->line + unit + 1 - count;
	}
	return 0;
}

/* The stream's own area gets its space when it is first needed. Killed before the last store: once more. */
static bool make_ready(struct ma_image *map, uint32_t stream)
{
	struct place place = fixed_area(map, stream);
	uint64_t bytes = (uint64_t)place.units * MA_UNIT;

	if (ma_load(&ma_stream(map, stream)->area_ready))
		return true;
	if (ma_space_take(map, (uint64_t)place.line * MA_UNIT, bytes) < 0)
		return false;
	memset(place.area, 0, sizeof(*place.area));
	/* Pairs with common/heap_alloc_bytes.c:has_fixed_area. */
	ma_store_kill(&ma_stream(map, stream)->area_ready, 1);
	return true;
}

/* Each area of the list, the one with room to its front. The list is derived: it may lead anywhere. */
static uint32_t find_in_list(struct ma_image *map, uint32_t stream, uint32_t count)
{
	_Atomic uint32_t *first = &ma_stream(map, stream)->areas;
	_Atomic uint32_t *link = first;
	struct place place;

	for (uint64_t i = ma_range_used(map, stream); i > 0; i--) { /* The list may lead round. */
		uint64_t chunk = (uint64_t)ma_load(link) - 1;
		uint32_t line;

		if (chunk >= ma_units(map) ||
		    !find_area(map, stream, chunk_area(map, chunk).line + MA_AREA_HEAD, &place))
			return 0;
		line = find_units(map, &place, count);
		if (line) {
			ma_store(link, ma_load(ma_chunk_next(map, chunk)));
			ma_store(ma_chunk_next(map, chunk), ma_load(first));
			ma_store(first, (uint32_t)chunk + 1);
			return line;
		}
		link = ma_chunk_next(map, chunk);
	}
	return 0;
}

static void list_area(struct ma_image *map, uint32_t stream, uint64_t chunk)
{
	ma_store(ma_chunk_next(map, chunk), ma_load(&ma_stream(map, stream)->areas));
	ma_store(&ma_stream(map, stream)->areas, (uint32_t)chunk + 1);
}

static uint32_t new_area(struct ma_image *map, uint32_t stream)
{
	uint64_t chunk = ma_chunk_take_area(map, stream);

	if (chunk == MA_NO_CHUNK)
		return 0;
	list_area(map, stream, chunk);
	return chunk_area(map, chunk).line + MA_AREA_HEAD;
}

/* The line of so many free units, which may need a new area first; 0: errno. */
static uint32_t find_anywhere(struct ma_image *map, uint32_t stream, uint32_t units)
{
	uint32_t line = 0;

	if (stream < map->lay.streams) {
		struct place place = fixed_area(map, stream);

		if (!make_ready(map, stream))
			return 0;
		line = find_units(map, &place, units);
	}
	if (!line)
		line = find_in_list(map, stream, units);
	return line ? line : new_area(map, stream);
}

/* They are zero, for a slab is given up when it is empty; but not in a forged file. Other processes may read them meanwhile. */
static void clear_units(struct ma_image *map, uint32_t line, uint32_t units)
{
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(map->base + (uint64_t)line * MA_UNIT);

	for (uint64_t i = 0; i < units * MA_UNIT / 8; i++)
		if (ma_load(&word[i]))
			ma_store(&word[i], 0);
}

/* They are head's from now on, if its word comes to say so; and all zero. */
static void claim(struct ma_image *map, uint32_t line, uint64_t head, uint32_t units)
{
	struct place place;

	if (!find_area(map, ma_stream_of(map, head), line, &place))
		return;
	clear_units(map, line, units);
	for (uint32_t i = 0; i < units; i++)
		ma_store(&place.area->owner[line - place.line + i], (uint32_t)head + 1);
	ma_store(&place.area->owner[0], ma_load(&place.area->owner[0]) + units);
}

/* ---- giving; the stream's lock is held ---- */

static void unlist_area(struct ma_image *map, uint32_t stream, uint64_t chunk)
{
	_Atomic uint32_t *link = &ma_stream(map, stream)->areas;

	for (uint64_t i = ma_range_used(map, stream); i > 0; i--) { /* The list may lead round. */
		uint64_t next = (uint64_t)ma_load(link) - 1;

		if (next == chunk)
			ma_store(link, ma_load(ma_chunk_next(map, chunk)));
		if (next == chunk || next >= ma_units(map))
			return;
		link = ma_chunk_next(map, next);
	}
}

/* An area that serves no slab is a free chunk again. */
static void give_area(struct ma_image *map, uint32_t stream, uint32_t line, const struct place *place)
{
	uint64_t chunk = area_chunk(map, line);

	if (chunk == MA_NO_CHUNK || ma_load(&place->area->owner[0]) > 0 || count_taken(map, place) > 0)
		return;
	unlist_area(map, stream, chunk);
	ma_chunk_give(map, chunk, 1);
}

/*
 * No slab came of what was found: an area that was taken for it alone is a free chunk again, as it was before. That is no return, or each
 * call that fails in a map with one free chunk would be a reason for the next one to search all of the map.
 */
static void leave(struct ma_image *map, uint32_t stream, uint32_t line)
{
	_Atomic uint32_t *returns = &ma_stream(map, stream)->returns;
	uint32_t was = ma_load(returns);
	struct place place;

	if (find_area(map, stream, line, &place))
		give_area(map, stream, line, &place);
	ma_store(returns, was);
}

/* The slab, or the chunk in cells, is gone. */
static void give_units(struct ma_image *map, uint32_t line, uint64_t head, uint32_t units)
{
	uint32_t stream = ma_stream_of(map, head);
	struct place place;
	uint32_t used;

	if (!find_area(map, stream, line, &place) || line - place.line + units > place.units)
		return;
	for (uint32_t i = 0; i < units; i++)
		if (ma_load(&place.area->owner[line - place.line + i]) == head + 1)
			ma_store(&place.area->owner[line - place.line + i], 0);
	used = ma_load(&place.area->owner[0]);
	used -= (uint32_t)ma_min(units, used);
	ma_store(&place.area->owner[0], used);
	give_area(map, stream, line, &place);
}

/* ---- the chunks of slabs; the stream's lock is held ---- */

/* Chunks whose blocks have so many units of allocation bytes. */
static uint64_t take_with_units(struct ma_image *map, uint32_t stream, uint64_t count, uint32_t units, uint32_t recip,
				uint64_t word)
{
	uint32_t line;
	uint64_t first;

	errno = ENOMEM;
	if (ma_chunk_is_full(map, stream, count))
		return MA_NO_CHUNK;
	line = find_anywhere(map, stream, units);
	if (!line)
		return MA_NO_CHUNK;
	first = ma_chunk_ready(map, stream, count, 1);
	if (first == MA_NO_CHUNK || (ma_word_kind(word) == MA_CELLS && first >= MA_SMALL_CHUNKS)) {
		int err = errno;

		leave(map, stream, line);
		errno = err;
		return MA_NO_CHUNK;
	}
	claim(map, line, first, units);
	ma_chunk_deal_slab(map, stream, first, count, (uint64_t)line << 32 | recip, word);
	return first;
}

uint64_t ma_slab_chunks_take(struct ma_image *map, uint32_t stream, uint32_t class, uint64_t tag)
{
	return take_with_units(map, stream, ma_slab_chunks(map, class), ma_slab_units(map, class),
			       ma_slab_recip(map, class), ma_word(MA_SLAB, class, tag));
}

uint64_t ma_cell_chunk_take(struct ma_image *map, uint32_t stream)
{
	return take_with_units(map, stream, 1, MA_UNITS_MOST, MA_GRANULE_RECIP, ma_word(MA_CELLS, 0, 0));
}

void ma_slab_chunks_give(struct ma_image *map, uint64_t first, uint64_t count)
{
	uint32_t units = ma_word_units(map, ma_chunk_load(map, first));
	uint32_t line = (uint32_t)(ma_load(&map->slab_desc[first]) >> 32);

	ma_chunk_give(map, first, count);
	if (units)
		give_units(map, line, first, units);
}

bool ma_alloc_bytes_would_go(struct ma_image *map, uint64_t chunk, bool (*gone)(struct ma_image *map, uint64_t chunk))
{
	struct place place = chunk_area(map, chunk);

	for (uint32_t unit = MA_AREA_HEAD; unit < place.units; unit++) {
		uint64_t holder = holder_of(map, &place, unit);

		if (holder != MA_NO_CHUNK && !gone(map, holder))
			return false;
	}
	return true;
}

void ma_alloc_bytes_recount(struct ma_image *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream);
	struct place place = fixed_area(map, stream);

	if (has_fixed_area(map, stream))
		ma_store(&place.area->owner[0], count_taken(map, &place));
	ma_store(&ma_stream(map, stream)->areas, 0);
	for (uint64_t chunk = first; chunk < first + ma_range_used(map, stream); chunk++) {
		if (ma_word_kind(ma_chunk_load(map, chunk)) != MA_ALLOC_BYTES)
			continue;
		place = chunk_area(map, chunk);
		ma_store(&place.area->owner[0], count_taken(map, &place));
		if (ma_load(&place.area->owner[0]) == 0)
			ma_chunk_give(map, chunk, 1);
		else
			list_area(map, stream, chunk);
	}
}

/* ---- a file that was copied, a private view ---- */

int ma_alloc_bytes_back(struct ma_image *map, uint32_t stream)
{
	struct place place = fixed_area(map, stream);

	if (!has_fixed_area(map, stream))
		return 0;
	return ma_space_take(map, (uint64_t)place.line * MA_UNIT, (uint64_t)place.units * MA_UNIT);
}

void ma_alloc_bytes_own(struct ma_image *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream);
	struct place place = fixed_area(map, stream);

	if (has_fixed_area(map, stream))
		ma_privatize(map, (uint64_t)place.line * MA_UNIT, (uint64_t)place.units * MA_UNIT);
	for (uint64_t chunk = first; chunk < first + ma_range_used(map, stream); chunk++)
		if (ma_word_kind(ma_chunk_load(map, chunk)) == MA_ALLOC_BYTES)
			ma_privatize(map, map->lay.user_off + chunk * MA_CHUNK, MA_CHUNK);
}
