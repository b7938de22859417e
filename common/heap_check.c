/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at a whole heap: check, walk, statistics, and taking a private copy of the metadata.
 *
 * The check holds one stream's lock at a time, so chunk words and what is derived from them agree while it compares
 * them; truth bytes go on changing, but only between 0 and 1.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/heap_internal.h"
#include "common/roots.h"

#define READER_LOOKS 1000

struct check {
	struct ma_map *map;
	void (*report)(const char *text, void *arg);
	void *arg;
	uint64_t violations;
};

static void violation(struct check *check, const char *format, ...) MA_PRINTF(2, 3);

static void violation(struct check *check, const char *format, ...)
{
	char text[160];
	va_list args;

	check->violations++;
	if (!check->report)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check->report(text, check->arg);
}

static void check_slab(struct check *check, uint64_t head, uint32_t class)
{
	const _Atomic uint8_t *truth = ma_slab_truth(check->map, head, class);
	uint32_t slots = ma_slab_slots(check->map, class);
	uint32_t bytes = ma_slab_units(check->map, class) * (uint32_t)MA_UNIT;

	if ((uint32_t)ma_load(&check->map->spot[head]) != ma_slab_recip(check->map, class))
		violation(check, "chunk %" PRIu64 ": the reciprocal does not fit class %u", head, class);
	if (!truth || !ma_slab_owns_truth(check->map, head, class)) {
		violation(check, "chunk %" PRIu64 ": its truth is not its own", head);
		return;
	}
	for (uint32_t i = 0; i < slots; i++)
		if (ma_load(&truth[i]) > 1)
			violation(check, "chunk %" PRIu64 ": slot %u has truth byte %u", head, i, ma_load(&truth[i]));
	for (uint32_t i = slots; i < bytes; i++)
		if (ma_load(&truth[i]))
			violation(check, "chunk %" PRIu64 ": slot %u is marked, but there is none", head, i);
}

static void check_chunk(struct check *check, uint64_t chunk)
{
	struct ma_map *map = check->map;
	uint64_t word = ma_chunk_load(map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);

	if (kind == MA_SLAB && ma_word_chunks(map, chunk, word)) {
		check_slab(check, chunk, ma_word_class(word));
		return;
	}
	if (kind > MA_TRUTH || (kind == MA_FREE && word != 0) ||
	    (kind != MA_FREE && ma_chunk_head(map, chunk) == MA_NO_CHUNK))
		violation(check, "chunk %" PRIu64 ": word %#" PRIx64 " makes no sense", chunk, word);
	if (kind == MA_ROOTS && !ma_root_is_linked(map, chunk))
		violation(check, "chunk %" PRIu64 ": a table of roots that cannot be reached", chunk);
	if (ma_load(&map->spot[chunk]) != 0)
		violation(check, "chunk %" PRIu64 ": a spot where no slab is", chunk);
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
		violation(check, "chunk %" PRIu64 " does not belong to the block that begins at %" PRIu64, chunk, head);
		return;
	}
}

static uint64_t wanted_leaf(struct ma_map *map, uint32_t stream, uint64_t leaf)
{
	uint64_t first = ma_range_first(map, stream) + leaf * MA_LEAF;
	uint64_t count = ma_min(MA_LEAF, ma_range_count(map, stream) - leaf * MA_LEAF);
	uint64_t word = 0;

	for (uint64_t i = 0; i < count; i++)
		word |= (uint64_t)ma_chunk_is_free(map, first + i) << i;
	return word;
}

static void check_leaves(struct check *check, uint32_t stream)
{
	struct ma_map *map = check->map;
	_Atomic uint64_t *leaves =
		(_Atomic uint64_t *)(void *)(map->base + map->lay.leaf_off) + stream * map->lay.leaves;

	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), map->lay.leaves);

	for (uint64_t leaf = 0; leaf < top; leaf++)
		if (ma_load(&leaves[leaf]) != wanted_leaf(map, stream, leaf))
			violation(check, "stream %u: free chunks from %" PRIu64 " on are counted wrong", stream,
				  ma_range_first(map, stream) + leaf * MA_LEAF);
}

/*
 * One chunk and what it claims. A reader holds no lock, so what it sees may be in motion: it counts only what stays wrong
 * however often it looks. In a map that is known to be damaged once is enough.
 */
static void check_block(struct check *check, uint64_t chunk, uint64_t end)
{
	struct check quiet = { .map = check->map };

	for (int look = 0; look < READER_LOOKS && !ma_map_writable(check->map) && !check->violations; look++) {
		quiet.violations = 0;
		check_chunk(&quiet, chunk);
		check_claims(&quiet, chunk, end);
		if (quiet.violations == 0)
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

uint64_t ma_heap_check_some(struct ma_map *map, uint32_t stream, uint64_t from, uint64_t end,
			    void (*report)(const char *text, void *arg), void *arg)
{
	struct check check = { .map = map, .report = report, .arg = arg };

	check_chunks(&check, stream, from, end);
	return check.violations;
}

static void check_stream(struct check *check, uint32_t stream)
{
	struct ma_map *map = check->map;
	uint64_t first = ma_range_first(map, stream);

	check_chunks(check, stream, first, first + ma_range_used(map, stream));
	if (ma_load(&ma_stream(map, stream)->top) > map->lay.leaves)
		violation(check, "stream %u: more chunks in use than it has", stream);
	if (ma_map_writable(map))
		check_leaves(check, stream);
}

uint64_t ma_heap_check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg)
{
	struct check check = { .map = map, .report = report, .arg = arg };

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		bool locked = ma_map_writable(map) && ma_stream_lock(map, s);

		check_stream(&check, s);
		if (locked)
			ma_stream_unlock(map, s);
	}
	return check.violations + ma_root_check(map, report, arg);
}

/* ---- walk ---- */

typedef int walk_fn(void *block, size_t size, void *arg);

static int walk_slab(struct ma_map *map, uint64_t head, uint32_t class, walk_fn *fn, void *arg)
{
	const _Atomic uint8_t *truth = ma_slab_truth(map, head, class);
	uint32_t slots = ma_slab_slots(map, class);
	uint64_t size = ma_class_bytes(class);
	int result = 0;

	for (uint32_t i = 0; truth && i < slots && result == 0; i++)
		if (ma_load_acquire(&truth[i]) == 1)
			result = fn(ma_chunk_address(map, head) + i * size, size, arg);
	return result;
}

int ma_heap_walk(struct ma_map *map, walk_fn *fn, void *arg)
{
	int result = 0;

	for (uint32_t s = 0; s < map->lay.streams && result == 0; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t end = first + ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < end && result == 0; chunk++) {
			uint64_t word = ma_chunk_load(map, chunk);
			uint64_t count = ma_word_chunks(map, chunk, word);

			if (count && ma_word_kind(word) == MA_SLAB)
				result = walk_slab(map, chunk, ma_word_class(word), fn, arg);
			else if (count && ma_word_kind(word) == MA_RUN)
				result = fn(ma_chunk_address(map, chunk), count * MA_CHUNK, arg);
		}
	}
	return result;
}

static int count_block(void *block, size_t size, void *arg)
{
	struct ma_heap_stats *stats = arg;

	(void)block;
	stats->used_blocks++;
	stats->used_bytes += size;
	return 0;
}

/* In chunks; over the bounds of streams, for a block may lie over them too. */
static uint64_t longest_free(struct ma_map *map)
{
	uint64_t longest = 0;
	uint64_t run = 0;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++) {
			run = ma_chunk_load(map, chunk) == MA_FREE ? run + 1 : 0;
			longest = ma_max(longest, run);
		}
		run += ma_range_count(map, s) - used;
		longest = ma_max(longest, run);
	}
	return longest;
}

void ma_heap_stats(struct ma_map *map, struct ma_heap_stats *stats)
{
	*stats = (struct ma_heap_stats){ 0 };
	ma_heap_walk(map, count_block, stats);
	stats->largest_free = longest_free(map) * MA_CHUNK;
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		stats->backed_bytes += used * MA_CHUNK;
		for (uint64_t chunk = first; chunk < first + used; chunk++)
			stats->free_chunks += ma_chunk_load(map, chunk) == MA_FREE;
	}
}

/* ---- a private view ---- */

/* What was copied of a chunk may be of different moments: its word decides, and what does not go with it was just made. */
static void settle(struct ma_map *map, uint64_t chunk)
{
	uint64_t word = ma_chunk_load(map, chunk);
	enum ma_chunk_kind kind = ma_word_kind(word);

	if ((kind == MA_CONT && ma_chunk_head(map, chunk) == MA_NO_CHUNK) ||
	    (kind == MA_ROOTS && !ma_root_is_linked(map, chunk)))
		ma_store(ma_chunk(map, chunk), MA_FREE);
	if (kind != MA_SLAB)
		ma_store(&map->spot[chunk], 0);
}

/* A slab whose truth is not its own was made, or given up, meanwhile: it is free, and so is then what follows it. */
static void settle_slab(struct ma_map *map, uint64_t head)
{
	uint64_t word = ma_chunk_load(map, head);
	uint32_t class = ma_word_class(word);
	uint32_t slots;
	_Atomic uint8_t *truth;

	if (ma_word_kind(word) != MA_SLAB)
		return;
	if (!ma_word_chunks(map, head, word) || !ma_slab_owns_truth(map, head, class) ||
	    (uint32_t)ma_load(&map->spot[head]) != ma_slab_recip(map, class)) {
		ma_store(ma_chunk(map, head), MA_FREE);
		return;
	}
	/* The units may have been copied when they served another slab already, with more slots. */
	slots = ma_slab_slots(map, class);
	truth = ma_slab_truth(map, head, class);
	for (uint32_t i = slots; i < ma_slab_units(map, class) * MA_UNIT; i++)
		if (ma_load(&truth[i]))
			ma_store(&truth[i], 0);
}

/*
 * A head whose followers were copied when they were something else, or before they had their disk space, gets only what
 * still follows it.
 */
static void settle_claims(struct ma_map *map, uint64_t head)
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
static void own_used(struct ma_map *map, uint64_t *from, uint64_t offset, uint64_t bytes)
{
	if (bytes == 0)
		return;
	ma_body_void(map, *from, offset - *from);
	ma_body_own(map, offset, bytes);
	*from = offset + bytes;
}

/*
 * The tables of a huge map are mostly holes of the file, so between what is in use they are left out. So are leaves and
 * spans: recovery computes them anew.
 */
static void own_tables(struct ma_map *map)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t from = lay->fixed_end;
	uint64_t end = ma_down(lay->area_off, MA_PAGE); /* What is left of links nobody reads before writing it. */

	for (uint32_t s = 0; s < lay->streams; s++)
		own_used(map, &from, lay->spot_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < lay->streams; s++)
		own_used(map, &from, lay->unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
	for (uint32_t s = 0; s < lay->streams; s++)
		own_used(map, &from, lay->next_off + ma_range_first(map, s) * 4, ma_range_used(map, s) * 4);
	if (from < end)
		ma_body_void(map, from, end - from);
}

/*
 * The file may have grown between the looks at its length and at what is in use: what is beyond came too late. A snapshot is as long
 * as its map was before anything was copied, whatever the copied header says.
 */
static void cut_at_end(struct ma_map *map, uint32_t stream)
{
	uint64_t length = ma_load(map->source ? &map->sealed.length : &map->header->length);
	uint64_t chunks = length > map->lay.user_off ? (length - map->lay.user_off) / MA_CHUNK : 0;
	uint64_t first = ma_range_first(map, stream);
	uint64_t most = chunks > first ? chunks - first : 0;

	if (ma_range_used(map, stream) > most)
		ma_store(&ma_stream(map, stream)->backed, most);
}

static void own_words(struct ma_map *map)
{
	for (uint32_t s = 0; s < map->lay.streams; s++)
		ma_body_own(map, map->lay.unit_off + ma_range_first(map, s) * 8, ma_range_used(map, s) * 8);
}

/*
 * Others may be changing the file meanwhile. Each word is copied whole, and any mixture of words can be settled: a block
 * whose head was copied before it was made is free here, and the rest of it is freed. Roots go first: the blocks that they lead
 * to were there before, and so are among those that are copied then.
 */
void ma_heap_own_metadata(struct ma_map *map)
{
	const struct ma_layout *lay = &map->lay;

	ma_body_own(map, 0, lay->fixed_end);
	if (map->source) /* A view finds the tables of roots by the file's words. */
		own_words(map);
	ma_root_own(map);
	ma_body_own_again(map);
	for (uint32_t s = 0; s < lay->streams; s++)
		cut_at_end(map, s);
	if (lay->fixed_end != lay->table_end)
		own_tables(map);
	own_words(map);
	for (uint32_t s = 0; s < lay->streams; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		ma_body_own(map, lay->spot_off + first * 8, used * 8);
		ma_body_own(map, lay->next_off + first * 4, used * 4);
		ma_truth_own(map, s);
		for (uint64_t chunk = first; chunk < first + used; chunk++) {
			settle_slab(map, chunk);
			settle_claims(map, chunk);
		}
	}
	for (uint32_t s = 0; s < lay->streams; s++) {
		uint64_t first = ma_range_first(map, s);
		uint64_t used = ma_range_used(map, s);

		for (uint64_t chunk = first; chunk < first + used; chunk++)
			settle(map, chunk);
		/* And let recovery compute all that is derived from the words. */
		ma_intent_set(ma_stream(map, s), first, ma_range_count(map, s));
	}
}

static bool holds_blocks(struct ma_map *map, uint64_t chunk)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(map, chunk));

	return kind == MA_SLAB || kind == MA_RUN || kind == MA_CONT;
}

int ma_heap_used(struct ma_map *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg)
{
	for (uint32_t s = 0; s < map->lay.streams; s++) {
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
