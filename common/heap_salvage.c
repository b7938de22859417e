/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A heap that does not pass the check, because its machine's death left some pages old and others new, or something wrote into them. What
 * can be proved stays:
 *
 *   - A slab is proved by three that agree: its chunk's word, its slab descriptor, and the head of the area that the descriptor leads to.
 *     When two of them agree and the third is zero, as in a page that never reached the disk, that one is made again.
 *   - A run is proved as far as the chunks that follow its head say so.
 *   - Any other chunk in use becomes one allocated block. So malloc never reuses memory that may be in use.
 *
 * Each thing that is not as it was is told. All that is derived recovery computes again, after this. Killed at any moment, the file does
 * not pass the check, or it does; the header says that nothing is certain.
 */
#include <inttypes.h>

#include "common/heap_internal.h"
#include "common/roots.h"

struct salvage {
	struct ma_image *map;
	struct ma_findings *to;
};

static uint64_t offset_of(const struct salvage *s, uint64_t chunk)
{
	return s->map->lay.user_off + chunk * MA_CHUNK;
}

#define tell(s, rule, chunk, format, ...) \
	ma_found((s)->to, rule, offset_of(s, chunk), "offset %" PRIu64 ": " format, offset_of(s, chunk), ##__VA_ARGS__)

/* ---- chunks whose words are lost ---- */

/* One block from here on, of whose contents nothing is known. Its end first: killed in between, the next salvage tells of it again. */
static void keep(const struct salvage *s, uint64_t chunk, uint64_t count)
{
	for (uint64_t i = count; --i > 0;)
		ma_store(ma_chunk(s->map, chunk + i), ma_word(MA_CONT, 0, chunk));
	ma_store(ma_chunk(s->map, chunk), ma_word(MA_RUN, 0, count));
	if (ma_load(&s->map->slab_desc[chunk]))
		ma_store(&s->map->slab_desc[chunk], 0);
}

/* Chunks from this one on whose words are the same. */
static uint64_t count_same(const struct salvage *s, uint64_t chunk, uint64_t end)
{
	uint64_t word = ma_chunk_load(s->map, chunk), n = 1;

	while (chunk + n < end && ma_chunk_load(s->map, chunk + n) == word)
		n++;
	return n;
}

/* ---- slabs ---- */

static bool owns(const struct salvage *s, uint64_t chunk, uint64_t word)
{
	uint32_t units = ma_word_units(s->map, word);

	return units && ma_chunk_owns_alloc_bytes(s->map, chunk, units);
}

static uint32_t recip_of(const struct salvage *s, uint64_t word)
{
	return ma_word_kind(word) == MA_CELLS ? MA_GRANULE_RECIP : ma_slab_recip(s->map, ma_word_class(word));
}

/* The area of allocation bytes that slabs and their descriptors speak of has lost its chunk's word. */
static void regain_area(const struct salvage *s, uint64_t chunk)
{
	uint64_t area = ma_alloc_bytes_regain(s->map, chunk, ma_word_units(s->map, ma_chunk_load(s->map, chunk)));

	if (area != MA_NO_CHUNK)
		tell(s, "salvage/regained", area, "allocation bytes again, as the slab at chunk %" PRIu64 " says",
		     chunk);
}

static bool has_blocks(const struct salvage *s, uint64_t chunk, uint32_t units)
{
	uint64_t line = ma_load(&s->map->slab_desc[chunk]) >> 32;
	const _Atomic uint8_t *byte = (const _Atomic uint8_t *)(s->map->base + line * MA_UNIT);

	for (uint32_t i = 0; i < units * MA_UNIT; i++)
		if (ma_load(&byte[i]))
			return true;
	return false;
}

/* Its blocks cannot be told apart any more. */
static void keep_slab(const struct salvage *s, uint64_t chunk, uint64_t count, uint64_t word)
{
	tell(s, "salvage/kept", chunk,
	     "which blocks of up to %" PRIu64 " bytes are allocated here is lost: %" PRIu64 " bytes are one block now",
	     ma_word_kind(word) == MA_CELLS ? (uint64_t)MA_SMALL_MAX : ma_class_bytes(ma_word_class(word)),
	     count * MA_CHUNK);
	keep(s, chunk, count);
}

/* A slab of several chunks, which its descriptor says nothing else of. All such slabs have so many. */
static bool keep_big(const struct salvage *s, uint64_t chunk, uint64_t end)
{
	uint64_t most = ma_min(s->map->lay.big_span, end - chunk);

	if ((uint32_t)ma_load(&s->map->slab_desc[chunk]) || !ma_chunk_owns_alloc_bytes(s->map, chunk, 1) ||
	    !has_blocks(s, chunk, 1))
		return false;
	keep_slab(s, chunk, count_same(s, chunk, chunk + most), ma_word(MA_SLAB, MA_CLASSES - 1, 0));
	return true;
}

/* What the descriptor of a chunk says whose word is zero; 0: nothing that its area agrees with. A slab in use has blocks. */
static uint64_t word_by_descriptor(const struct salvage *s, uint64_t chunk)
{
	uint32_t recip = (uint32_t)ma_load(&s->map->slab_desc[chunk]);
	uint64_t word = ma_word(MA_CELLS, 0, 0);

	if (recip == MA_GRANULE_RECIP && owns(s, chunk, word) && chunk < MA_SMALL_CHUNKS)
		return has_blocks(s, chunk, MA_UNITS_MOST) ? word : 0;
	for (uint32_t class = 0; recip && class < MA_CLASSES; class ++) {
		word = ma_word(MA_SLAB, class, 0);
		if (ma_slab_recip(s->map, class) == recip && owns(s, chunk, word))
			return has_blocks(s, chunk, ma_word_units(s->map, word)) ? word : 0;
	}
	return 0;
}

static void mend_slab(const struct salvage *s, uint64_t chunk, uint64_t word)
{
	uint64_t desc = ma_load(&s->map->slab_desc[chunk]), count = ma_word_chunks(s->map, chunk, word);
	uint64_t there = ma_chunk_followers(s->map, chunk, count);
	bool is_cells = ma_word_kind(word) == MA_CELLS;

	if (there < count || !owns(s, chunk, word) || (is_cells && chunk >= MA_SMALL_CHUNKS)) {
		keep_slab(s, chunk, there, word);
		return;
	}
	if ((uint32_t)desc != recip_of(s, word)) {
		tell(s, "salvage/regained", chunk, "the slab descriptor is made again, as the chunk's word says");
		ma_store(&s->map->slab_desc[chunk], desc >> 32 << 32 | recip_of(s, word));
	}
	if (is_cells)
		ma_cells_settle(s->map, chunk, s->to);
	else
		ma_slab_settle(s->map, chunk, ma_word_class(word), s->to);
}

static void mend_free(const struct salvage *s, uint64_t chunk, uint64_t end)
{
	uint64_t word;

	if (!ma_load(&s->map->slab_desc[chunk]) || keep_big(s, chunk, end))
		return;
	word = word_by_descriptor(s, chunk);
	if (!word)
		return;
	ma_store(ma_chunk(s->map, chunk), word);
	tell(s, "salvage/regained", chunk, "blocks again, as their slab descriptor and allocation bytes say");
	mend_slab(s, chunk, word);
}

/* ---- other chunks ---- */

static void mend_run(const struct salvage *s, uint64_t chunk, uint64_t word)
{
	uint64_t count = ma_word_argument(word), most = ma_max(1, ma_min(count, ma_units(s->map) - chunk));
	uint64_t there = ma_chunk_followers(s->map, chunk, most);

	if (there == count)
		return;
	tell(s, "salvage/kept", chunk, "a block has lost its end: %" PRIu64 " bytes of it are here", there * MA_CHUNK);
	keep(s, chunk, there);
}

/* It was free. If its end was in use at another moment, that becomes a block when the loop comes to it. */
static void mend_cached(const struct salvage *s, uint64_t chunk, uint64_t word)
{
	uint64_t count = ma_word_chunks(s->map, chunk, word);

	if (count && ma_chunk_followers(s->map, chunk, count) == count)
		return;
	tell(s, "salvage/regained", chunk, "a free chunk again: it belonged to a free run whose end is lost");
	ma_store(ma_chunk(s->map, chunk), MA_FREE);
}

static void mend_other(const struct salvage *s, uint64_t chunk, uint64_t end)
{
	uint64_t count = count_same(s, chunk, end);

	tell(s, "salvage/kept", chunk, "what it was is lost: %" PRIu64 " bytes are one block now", count * MA_CHUNK);
	keep(s, chunk, count);
}

/* Where no slab is: a slab was here before, or is lost. */
static void forget_descriptor(const struct salvage *s, uint64_t chunk)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(s->map, chunk));

	if (kind == MA_SLAB || kind == MA_CELLS || !ma_load(&s->map->slab_desc[chunk]))
		return;
	tell(s, "salvage/lost", chunk, "a slab descriptor of which neither word nor allocation bytes are left");
	ma_store(&s->map->slab_desc[chunk], 0);
}

static void mend_chunk(const struct salvage *s, uint64_t chunk, uint64_t end)
{
	uint64_t word = ma_chunk_load(s->map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);
	bool has_slabs = kind == MA_SLAB || word == ma_word(MA_CELLS, 0, 0);

	if (has_slabs && ma_word_chunks(s->map, chunk, word))
		mend_slab(s, chunk, word);
	else if (kind == MA_RUN)
		mend_run(s, chunk, word);
	else if (word == MA_FREE)
		mend_free(s, chunk, end);
	else if (kind == MA_CACHED)
		mend_cached(s, chunk, word);
	else if (has_slabs || kind > MA_ALLOC_BYTES || kind == MA_FREE || ma_chunk_head(s->map, chunk) == MA_NO_CHUNK ||
		 (kind == MA_ROOTS && !ma_root_is_linked(s->map, chunk)))
		mend_other(s, chunk, end);
	forget_descriptor(s, chunk);
}

/* ---- streams ---- */

/* Chunks of the stream that the file has. */
static uint64_t chunks_there(struct ma_image *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream), there = ma_chunks_there(map);

	return ma_min(ma_range_count(map, stream), there > first ? there - first : 0);
}

/* The stream's count of chunks that have been in use is older than their words. */
static void mend_backed(const struct salvage *s, uint32_t stream)
{
	uint64_t first = ma_range_first(s->map, stream), used = ma_range_used(s->map, stream);
	uint64_t end = chunks_there(s->map, stream);

	while (end > used && ma_chunk_load(s->map, first + end - 1) == MA_FREE)
		end--;
	if (end <= used)
		return;
	tell(s, "salvage/regained", first + used,
	     "%" PRIu64 " bytes from here on have been in use, and were not counted", (end - used) * MA_CHUNK);
	ma_store(&ma_stream(s->map, stream)->backed, end);
}

static void mend_stream(const struct salvage *s, uint32_t stream)
{
	struct ma_stream *st = ma_stream(s->map, stream);

	if (ma_load(&st->top) > ma_leaves(s->map, stream)) {
		tell(s, "salvage/regained", ma_range_first(s->map, stream),
		     "the stream's count of chunks is made again");
		ma_store(&st->top, ma_leaves(s->map, stream));
	}
	mend_backed(s, stream);
}

/* ---- roots ---- */

static int tell_root(const char *name, size_t bytes, uint64_t offset, void *arg)
{
	const struct salvage *s = arg;
	uint64_t chunk = (offset - s->map->lay.user_off) / MA_CHUNK;

	if (offset < s->map->lay.user_off || chunk >= ma_units(s->map) || !ma_chunk_is_backed(s->map, chunk) ||
	    ma_chunk_head(s->map, chunk) == MA_NO_CHUNK)
		ma_found(s->to, "salvage/lost", offset,
			 "offset %" PRIu64 ": root %.*s leads here, where no block is any more", offset, (int)bytes,
			 name);
	return 0;
}

/* Areas first: whether a slab is one depends on them. */
void ma_heap_salvage(struct ma_image *map, struct ma_findings *to)
{
	const struct salvage s = { map, to };

	for (uint32_t lane = 0; lane < ma_lanes(map); lane++)
		mend_stream(&s, lane);
	for (uint32_t lane = 0; lane < ma_lanes(map); lane++) {
		uint64_t first = ma_range_first(map, lane), end = first + ma_range_used(map, lane);

		for (uint64_t chunk = first; chunk < end; chunk++)
			regain_area(&s, chunk);
		for (uint64_t chunk = first; chunk < end; chunk++)
			mend_chunk(&s, chunk, end);
	}
	ma_root_salvage(map, to);
	ma_root_walk(map, tell_root, &(struct salvage){ map, to });
}
