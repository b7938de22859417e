/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a whole heap: check and walk.
 *
 * The check holds one stream's lock at a time, so chunk words and what is derived from them agree while it compares
 * them; allocation bytes go on changing, but only between 0 and 1.
 */
#include <inttypes.h>
#include <sched.h>

#include "common/heap_internal.h"
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
		uint64_t word = ma_load_acquire(&cells->word[cell]); /* Pairs with common/heap_cell.c:take_listed. */
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
	if ((kind > MA_ALLOC_BYTES && kind != MA_CACHED) || (kind == MA_FREE && word != 0) ||
	    (kind != MA_FREE && ma_chunk_head(map, chunk) == MA_NO_CHUNK))
		chunk_found(check, chunk, ": word %#" PRIx64 " makes no sense", word);
	if (kind == MA_ROOTS && !ma_root_is_linked(map, chunk))
		chunk_found(check, chunk, ": a table of roots that cannot be reached");
	if (ma_load(&map->slab_desc[chunk]) != 0)
		chunk_found(check, chunk, ": a slab descriptor where no slab is");
}

/*
 * Every chunk that a head claims must have disk space and name the head; one that does not is enough. So each chunk is read for one
 * head, and at most once more for every other: a file full of heads that claim all of it is soon read. The last chunks of a block may
 * lie in other streams. Such a block changes only while the locks of all its streams are held, and the head's is held here.
 */
static void check_claims(struct check *check, uint64_t head)
{
	uint64_t count = ma_word_chunks(check->map, head, ma_chunk_load(check->map, head));
	uint64_t there = count ? ma_chunk_followers(check->map, head, count) : 0;

	if (there < count)
		chunk_found(check, head + there, " does not belong to the block that begins at %" PRIu64, head);
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
static void check_block(struct check *check, uint64_t chunk)
{
	struct check quiet = { .map = check->map };

	for (int look = 0; look < READER_LOOKS && !ma_image_writable(check->map) && !check->to.count; look++) {
		quiet.to.count = 0;
		check_chunk(&quiet, chunk);
		check_claims(&quiet, chunk);
		if (quiet.to.count == 0)
			return;
		sched_yield();
	}
	check_chunk(check, chunk);
	check_claims(check, chunk);
}

static void check_chunks(struct check *check, uint64_t from, uint64_t end)
{
	for (uint64_t chunk = from; chunk < end; chunk++)
		check_block(check, chunk);
}

uint64_t ma_heap_check_some(struct ma_image *map, uint64_t from, uint64_t end, ma_finding_fn *fn, void *arg)
{
	struct check check = { .map = map, .to = { .fn = fn, .arg = arg } };

	check_chunks(&check, from, end);
	return check.to.count;
}

static void check_stream(struct check *check, uint32_t stream)
{
	struct ma_image *map = check->map;
	uint64_t first = ma_range_first(map, stream);

	check_chunks(check, first, first + ma_range_used(map, stream));
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
		if (ma_load(&slab->alloc_bytes[i * slab->stride]) == 1)
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
