/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at a whole heap: check, walk, statistics, and taking a private copy of the metadata.
 *
 * The check holds one stream's lock at a time, so chunk words and what is derived from them agree while it compares
 * them; allocation bytes go on changing, but only between 0 and 1.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>

#include "common/heap_internal.h"
#include "common/page.h"
#include "common/roots.h"

#define READER_LOOKS 1000

struct check {
	struct ma_image *map;
	struct ma_findings to;
};

/* Of a chunk, which its sentence begins with. */
#define chunk_found(check, chunk, format, ...) \
	ma_found(&(check)->to, "body/chunk", place_of_chunk((check)->map, chunk), "chunk %" PRIu64 format, chunk, ##__VA_ARGS__)
/* Of the counts of free chunks of a stream. */
#define stream_found(check, stream, format, ...)                                                                    \
	ma_found(&(check)->to, "body/free-chunks", (uint64_t)((char *)ma_stream((check)->map, stream) - (check)->map->base), \
		 "stream %u" format, stream, ##__VA_ARGS__)

static uint64_t place_of_chunk(const struct ma_image *map, uint64_t chunk)
{
	return chunk < map->lay.units ? map->lay.user_off + chunk * MA_CHUNK : MA_NO_PLACE;
}

/* Eight bytes that are all zero: most are. They are part of one line. */
static bool are_clear(const _Atomic uint8_t *alloc_bytes)
{
	return __atomic_load_n((const uint64_t *)(const void *)alloc_bytes, __ATOMIC_RELAXED) == 0;
}

/* Of the bytes only those below slots, and of these one in stride, stand for slots. */
static void check_bytes(struct check *check, uint64_t chunk, const _Atomic uint8_t *alloc_bytes, uint32_t slots,
			uint32_t bytes, uint32_t stride)
{
	for (uint32_t i = 0; i < bytes; i++) {
		uint8_t byte;

		if (i % 8 == 0 && are_clear(alloc_bytes + i)) {
			i += 7;
			continue;
		}
		byte = ma_load(&alloc_bytes[i]);
		if (byte && (i >= slots || i % stride))
			chunk_found(check, chunk, ": slot %u is marked, but there is none", i / stride);
		else if (byte > 1)
			chunk_found(check, chunk, ": slot %u has allocation byte %u", i / stride, byte);
	}
}

static void check_slab(struct check *check, uint64_t head, uint32_t class)
{
	const _Atomic uint8_t *alloc_bytes = ma_slab_alloc_bytes(check->map, head, class);
	uint32_t slots = ma_slab_slots(check->map, class);
	uint32_t bytes = ma_slab_units(check->map, class) * (uint32_t)MA_UNIT;

	if ((uint32_t)ma_load(&check->map->slab_desc[head]) != ma_slab_recip(check->map, class))
		chunk_found(check, head, ": the reciprocal does not fit class %u", class);
	if (!alloc_bytes || !ma_chunk_owns_alloc_bytes(check->map, head, ma_slab_units(check->map, class))) {
		chunk_found(check, head, ": its allocation bytes are not its own");
		return;
	}
	check_bytes(check, head, alloc_bytes, slots, bytes, 1);
}

static int check_small_bytes(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	check_bytes(arg, ma_slab_chunk(slab->id), slab->alloc_bytes, slab->slots * slab->stride,
		    slab->cells * (uint32_t)(MA_CELL / MA_GRANULE), slab->stride);
	(void)map;
	return 0;
}

/* A chunk in cells: each first cell claims cells that no other one claims, and where no slab is no byte is marked. */
static void check_cells(struct check *check, uint64_t chunk)
{
	struct ma_image *map = check->map;
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	uint32_t end = 0;

	if ((uint32_t)ma_load(&map->slab_desc[chunk]) != MA_GRANULE_RECIP)
		chunk_found(check, chunk, ": the reciprocal does not fit its cells");
	if (!cells || chunk >= MA_SMALL_CHUNKS || !ma_chunk_owns_alloc_bytes(map, chunk, MA_UNITS_MOST)) {
		chunk_found(check, chunk, ": its allocation bytes are not its own");
		return;
	}
	for (uint32_t cell = 0; cell < MA_CHUNK_CELLS; cell++) {
		uint64_t word = ma_load_acquire(&cells->word[cell]);
		uint32_t class = ma_cell_class(map, cells, cell);

		if (word && (class == MA_CLASSES || cell < end))
			chunk_found(check, chunk, ": the word of cell %u, %#" PRIx64 ", makes no sense",
				  cell, word);
		else if (word)
			end = cell + map->lay.small_span[class];
		else if (cell >= end)
			check_bytes(check, chunk, (_Atomic uint8_t *)cells - MA_GRANULE_BYTES + cell * 64, 0, 64, 1);
	}
	ma_chunk_slabs(map, chunk, check_small_bytes, check);
}

static void check_chunk(struct check *check, uint64_t chunk)
{
	struct ma_image *map = check->map;
	uint64_t word = ma_chunk_load(map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);

	if (kind == MA_SLAB && ma_word_chunks(map, chunk, word)) {
		check_slab(check, chunk, ma_word_class(word));
		return;
	}
	if (word == ma_word(MA_CELLS, 0, 0)) {
		check_cells(check, chunk);
		return;
	}
	if (kind > MA_ALLOC_BYTES || (kind == MA_FREE && word != 0) ||
	    (kind != MA_FREE && ma_chunk_head(map, chunk) == MA_NO_CHUNK))
		chunk_found(check, chunk, ": word %#" PRIx64 " makes no sense", word);
	if (kind == MA_ROOTS && !ma_root_is_linked(map, chunk))
		chunk_found(check, chunk, ": a table of roots that cannot be reached");
	if (ma_load(&map->slab_desc[chunk]) != 0)
		chunk_found(check, chunk, ": a slab descriptor where no slab is");
}

/*
 * Every chunk that a head claims must say so; one that does not is enough. So each chunk is looked at for one head, and once
 * more at most for every other: a file full of heads that claim all of it is soon read. The last ones claimed may lie in
 * streams whose locks are not held: heads cannot.
 */
static void check_claims(struct check *check, uint64_t head, uint64_t end)
{
	uint64_t count = ma_word_chunks(check->map, head, ma_chunk_load(check->map, head));

	for (uint64_t chunk = head + 1; chunk < head + count && chunk < end; chunk++) {
		if (ma_chunk_load(check->map, chunk) == ma_word(MA_CONT, 0, head))
			continue;
		chunk_found(check, chunk, " does not belong to the block that begins at %" PRIu64, head);
		return;
	}
}

static uint64_t wanted_leaf(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	uint64_t first = ma_range_first(map, stream) + leaf * MA_LEAF;
	uint64_t count = ma_min(MA_LEAF, ma_range_whole(map, stream) - leaf * MA_LEAF);
	uint64_t word = 0;

	for (uint64_t i = 0; i < count; i++)
		word |= (uint64_t)ma_chunk_is_free(map, first + i) << i;
	return word;
}

static void check_leaves(struct check *check, uint32_t stream)
{
	struct ma_image *map = check->map;
	_Atomic uint64_t *leaves = ma_tree_leaf(map, stream, 0);
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream));

	for (uint64_t leaf = 0; leaf < top; leaf++)
		if (ma_load(&leaves[leaf]) != wanted_leaf(map, stream, leaf))
			stream_found(check, stream, ": free chunks from %" PRIu64 " on are counted wrong",
				  ma_range_first(map, stream) + leaf * MA_LEAF);
}

/*
 * One chunk and what it claims. A reader holds no lock, so what it sees may be in motion: it counts only what stays wrong
 * however often it looks. In a map that is known to be damaged once is enough.
 */
static void check_block(struct check *check, uint64_t chunk, uint64_t end)
{
	struct check quiet = { .map = check->map };

	for (int look = 0; look < READER_LOOKS && !ma_image_writable(check->map) && !check->to.count; look++) {
		quiet.to.count = 0;
		check_chunk(&quiet, chunk);
		check_claims(&quiet, chunk, end);
		if (quiet.to.count == 0)
			return;
		sched_yield();
	}
	check_chunk(check, chunk);
	check_claims(check, chunk, end);
}

static void check_chunks(struct check *check, uint32_t stream, uint64_t from, uint64_t end)
{
	uint64_t last = ma_range_first(check->map, stream) + ma_range_count(check->map, stream);

	for (uint64_t chunk = from; chunk < end; chunk++)
		check_block(check, chunk, last);
}

uint64_t ma_heap_check_some(struct ma_image *map, uint32_t stream, uint64_t from, uint64_t end, ma_finding_fn *fn,
			    void *arg)
{
	struct check check = { .map = map, .to = { .fn = fn, .arg = arg } };

	check_chunks(&check, stream, from, end);
	return check.to.count;
}

static void check_stream(struct check *check, uint32_t stream)
{
	struct ma_image *map = check->map;
	uint64_t first = ma_range_first(map, stream);

	check_chunks(check, stream, first, first + ma_range_used(map, stream));
	if (ma_load(&ma_stream(map, stream)->top) > ma_leaves(map, stream))
		stream_found(check, stream, ": more chunks in use than it has");
	if (ma_image_writable(map))
		check_leaves(check, stream);
}

uint64_t ma_heap_check(struct ma_image *map, ma_finding_fn *fn, void *arg)
{
	struct check check = { .map = map, .to = { .fn = fn, .arg = arg } };

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		bool locked = ma_image_writable(map) && ma_stream_lock(map, s);

		check_stream(&check, s);
		if (locked)
			ma_stream_unlock(map, s);
	}
	return check.to.count + ma_root_check(map, fn, arg);
}

/* ---- walk ---- */

typedef int walk_fn(void *block, size_t size, void *arg);

struct walk {
	walk_fn *fn;
	void *arg;
};

static int walk_slab(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	const struct walk *walk = arg;
	uint64_t size = ma_class_bytes(slab->class);
	int result = 0;

	(void)map;
	for (uint32_t i = 0; i < slab->slots && result == 0; i++)
		if (ma_load_acquire(&slab->alloc_bytes[i * slab->stride]) == 1)
			result = walk->fn(slab->base + i * size, size, walk->arg);
	return result;
}

int ma_heap_walk(struct ma_image *map, walk_fn *fn, void *arg)
{
	struct walk walk = { fn, arg };
	int result = 0;

	for (uint32_t s = 0; s < ma_lanes(map) && result == 0; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t end = first + ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < end && result == 0; chunk++) {
			uint64_t word = ma_chunk_load(map, chunk);
			uint64_t count = ma_block_chunks(map, chunk, word);

			if (count && ma_word_kind(word) == MA_RUN)
				result = fn(ma_chunk_address(map, chunk), count * MA_CHUNK, arg);
			else
				result = ma_chunk_slabs(map, chunk, walk_slab, &walk);
		}
	}
	return result;
}

/* ---- a private view ---- */

/* What was copied of a chunk may be of different moments: its word decides, and what does not go with it was just made. */
static void settle(struct ma_image *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);

	if ((kind == MA_CONT && ma_chunk_head(map, chunk) == MA_NO_CHUNK) ||
	    (kind == MA_ROOTS && !ma_root_is_linked(map, chunk)))
		ma_store(ma_chunk(map, chunk), MA_FREE);
	if (kind != MA_SLAB && kind != MA_CELLS)
		ma_store(&map->slab_desc[chunk], 0);
}

/* Bytes that stand for no slot were copied when they served another slab. */
static void settle_bytes(_Atomic uint8_t *alloc_bytes, uint32_t slots, uint32_t bytes, uint32_t stride)
{
	for (uint32_t i = 0; i < bytes; i++)
		if (ma_load(&alloc_bytes[i]) && (i >= slots || i % stride))
			ma_store(&alloc_bytes[i], 0);
}

/* A small slab that overlaps the one before was made when that one had been given up already, or the other way round. */
static void settle_cells(struct ma_image *map, uint64_t chunk)
{
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	uint32_t end = 0;

	for (uint32_t cell = 0; cells && cell < MA_CHUNK_CELLS; cell++) {
		uint32_t class = ma_cell_class(map, cells, cell);
		_Atomic uint8_t *alloc_bytes = (_Atomic uint8_t *)cells - MA_GRANULE_BYTES + cell * 64;

		if (class < MA_CLASSES && cell >= end) {
			end = cell + map->lay.small_span[class];
			settle_bytes(alloc_bytes,
				     ma_small_slots(map, class) * (uint32_t)ma_class_bytes(class) / MA_GRANULE,
				     map->lay.small_span[class] * 64u, (uint32_t)ma_class_bytes(class) / MA_GRANULE);
			continue;
		}
		if (ma_load(&cells->word[cell]))
			ma_store(&cells->word[cell], 0);
		if (cell >= end)
			settle_bytes(alloc_bytes, 0, 64, 1);
	}
}

/* A slab whose allocation bytes are not its own was made, or given up, meanwhile: it is free, and so is then what follows it. */
static void settle_slab(struct ma_image *map, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head);
	uint32_t class = ma_word_class(word);
	bool is_cells = ma_word_kind(word) == MA_CELLS;

	if (ma_word_kind(word) != MA_SLAB && !is_cells)
		return;
	if (!ma_word_chunks(map, head, word) || !ma_chunk_owns_alloc_bytes(map, head, ma_word_units(map, word)) ||
	    (uint32_t)ma_load(&map->slab_desc[head]) != (is_cells ? MA_GRANULE_RECIP : ma_slab_recip(map, class))) {
		ma_store(ma_chunk(map, head), MA_FREE);
		return;
	}
	if (is_cells)
		settle_cells(map, head);
	else
		settle_bytes(ma_slab_alloc_bytes(map, head, class), ma_slab_slots(map, class),
			     ma_slab_units(map, class) * (uint32_t)MA_UNIT, 1);
}

/*
 * A head whose followers were copied when they were something else, or before they had their disk space, gets only what
 * still follows it.
 */
static void settle_claims(struct ma_image *map, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head);
	uint64_t count = ma_word_chunks(map, head, word);
	uint64_t n = 1;

	while (n < count && ma_chunk_is_backed(map, head + n) &&
	       ma_chunk_load(map, head + n) == ma_word(MA_CONT, 0, head))
		n++;
	if (n < count)
		ma_store(ma_chunk(map, head), ma_word(MA_RUN, 0, n));
}

/* What is in use from here on; from is where the last such range ended, and moves on. */
static void own_used(struct ma_image *map, uint64_t *from, uint64_t offset, uint64_t bytes)
{
	if (bytes == 0)
		return;
	ma_privatize_void(map, *from, offset - *from);
	ma_privatize(map, offset, bytes);
	*from = offset + bytes;
}

/*
 * The tables of a huge map are mostly holes of the file, so between what is in use they are left out. So are leaves and
 * spans: recovery computes them anew.
 */
static void own_tables(struct ma_image *map)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t from = lay->fixed_end;

	/* A view's recovery computes the trees again without reading them. */
	if (lay->fixed_end != lay->table_end)
		ma_privatize_void(map, from, lay->area_off - from);
	for (uint32_t k = 1; k < ma_segments(map); k++)
		ma_privatize_void(map, lay->seg[k].stream_off + (uint64_t)lay->streams * lay->stream_stride,
				  ma_up(lay->seg[k].own_end, ma_page()) - lay->seg[k].stream_off -
					  (uint64_t)lay->streams * lay->stream_stride);
	from = lay->slab_desc_off;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->slab_desc_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		own_used(map, &from, lay->next_off + ma_range_first(map, s) * 4, ma_range_used(map, s) * 4);
	ma_privatize_void(map, from, ma_up(lay->next_off + lay->units * 4, ma_page()) - from);
}

/*
 * The file may have grown between the looks at its length and at what is in use: what is beyond came too late. A snapshot is as long
 * as its map was before anything was copied, whatever the copied header says.
 */
static void cut_at_end(struct ma_image *map, uint32_t stream)
{
	uint64_t length = map->source ? ma_load(&map->sealed.length) : ma_image_length(map);
	uint64_t chunks = ma_segment_user(&map->lay, length) / MA_CHUNK;
	uint64_t first = ma_range_first(map, stream);
	uint64_t most = chunks > first ? chunks - first : 0;

	if (ma_range_backed(map, stream) > most)
		ma_store(&ma_stream(map, stream)->backed, most);
}

static void own_words(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		ma_privatize(map, map->lay.unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
}

/*
 * Others may be changing the file meanwhile. Each word is copied whole, and any mixture of words can be settled: a block
 * whose head was copied before it was made is free here, and the rest of it is freed. Roots go first: the blocks that they lead
 * to were there before, and so are among those that are copied then.
 */
void ma_heap_privatize_metadata(struct ma_image *map)
{
	const struct ma_layout *lay = &map->lay;

	ma_privatize(map, 0, lay->fixed_end);
	if (map->privatize_errno)
		return;
	if (map->source) { /* A view finds the tables of roots by the file's words. */
		ma_privatize_streams(map);
		own_words(map);
	}
	ma_root_own(map);
	ma_privatize_streams(map);
	if (map->privatize_errno)
		return;
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		cut_at_end(map, s);
	own_tables(map);
	own_words(map);
	for (uint32_t s = 0; s < ma_lanes(map) && !map->privatize_errno; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		ma_privatize(map, lay->slab_desc_off + first * 8, used * 8);
		ma_privatize(map, lay->next_off + first * 4, used * 4);
		ma_alloc_bytes_own(map, s);
		if (map->privatize_errno)
			return;
		for (uint64_t chunk = first; chunk < first + used; chunk++) {
			settle_slab(map, chunk);
			settle_claims(map, chunk);
		}
	}
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++)
			settle(map, chunk);
		/* And let recovery compute all that is derived from the words. */
		ma_intent_set(ma_stream(map, s), first, ma_range_whole(map, s));
	}
}

static bool holds_blocks(struct ma_image *map, uint64_t chunk)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(map, chunk));

	return kind == MA_SLAB || kind == MA_RUN || kind == MA_CONT || kind == MA_CELLS;
}

int ma_heap_used(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t end = ma_range_first(map, s) + ma_range_used(map, s);
		uint64_t at = ma_range_first(map, s);

		while (at < end) {
			uint64_t from = at;
			int result = 0;

			while (at < end && holds_blocks(map, at))
				at++;
			if (at > from)
				result = fn(map->lay.user_off + from * MA_CHUNK, (at - from) * MA_CHUNK, arg);
			if (result)
				return result;
			at += at == from;
		}
	}
	return 0;
}
