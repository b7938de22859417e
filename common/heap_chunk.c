/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Free chunks. Each stream has a bit a chunk (leaf words, 1 free) and over the leaves a binary tree of spans: how many
 * chunks are free at the left end, at the right end, and in the longest run. So the lowest fit is found, and neighbours
 * merge, in O(log). All zeros means "nothing free", and leaves enter the tree only when they are first needed: a new map
 * needs no initialising, and the tree covers only what is in use.
 *
 * All of it is derived from the chunk words. What a search finds is believed only after a look at the words.
 */
#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/heap_internal.h"
#include "common/roots.h"
#include "common/space.h"

struct span {
	uint32_t left, right, longest;
};

_Static_assert(sizeof(struct span) == 12, "format 1");

#define STEP_MIN 4
#define STEP_MAX 1024

/* ---- the tree ---- */

static struct span *spans(struct ma_map *map, uint32_t stream)
{
	return (struct span *)(void *)(map->base + map->lay.span_off) + (uint64_t)stream * 2 * map->lay.span_base;
}

static _Atomic uint64_t *leaf_word(struct ma_map *map, uint32_t stream, uint64_t leaf)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.leaf_off) + stream * map->lay.leaves + leaf;
}

static _Atomic uint64_t *hole_word(struct ma_map *map, uint32_t stream, uint64_t leaf)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.hole_off) + stream * map->lay.leaves + leaf;
}

/* Start of the first run of at least count ones; 64 when there is none. Each step halves what must still be joined. */
static uint32_t find_ones(uint64_t word, uint64_t count)
{
	if (count > 64) /* A damaged tree may send us here for them. */
		return 64;
	for (uint64_t have = 1; have < count && word;) {
		uint64_t more = ma_min(have, count - have);

		word &= word >> more;
		have += more;
	}
	return word ? (uint32_t)__builtin_ctzll(word) : 64;
}

static uint32_t longest_ones(uint64_t word)
{
	uint32_t n = 0;

	for (; word; word &= word >> 1)
		n++;
	return n;
}

static struct span span_of_word(uint64_t word)
{
	if (word == ~(uint64_t)0)
		return (struct span){ 64, 64, 64 };
	return (struct span){ (uint32_t)__builtin_ctzll(~word), (uint32_t)__builtin_clzll(~word), longest_ones(word) };
}

/* Two neighbours of half chunks each. */
static struct span join(struct span l, struct span r, uint32_t half)
{
	struct span both;

	both.left = l.left == half ? half + r.left : l.left;
	both.right = r.right == half ? half + l.right : r.right;
	both.longest = (uint32_t)ma_max(ma_max(l.longest, r.longest), l.right + r.left);
	return both;
}

static void update_tree(struct ma_map *map, uint32_t stream, uint64_t first_leaf, uint64_t last_leaf)
{
	struct span *tree = spans(map, stream);
	uint64_t lo = map->lay.span_base + first_leaf;
	uint64_t hi = map->lay.span_base + last_leaf;

	for (uint64_t i = lo; i <= hi; i++)
		tree[i] = span_of_word(ma_load(leaf_word(map, stream, i - map->lay.span_base)));
	for (uint32_t half = MA_LEAF; lo > 1; half *= 2) {
		lo /= 2;
		hi /= 2;
		for (uint64_t i = lo; i <= hi; i++)
			tree[i] = join(tree[2 * i], tree[2 * i + 1], half);
	}
}

/* The lowest run of count free chunks, relative to the range; MA_NO_CHUNK. Ends after as many steps as the tree has levels. */
static uint64_t find_run(struct ma_map *map, uint32_t stream, uint64_t count)
{
	struct span *tree = spans(map, stream);
	uint64_t base = map->lay.span_base;
	uint64_t half = MA_LEAF * base / 2;
	uint64_t node = 1;
	uint64_t at = 0;
	uint32_t bit;

	if (ma_load(&ma_stream(map, stream)->top) == 0 || tree[1].longest < count)
		return MA_NO_CHUNK;
	for (; node < base; half /= 2) {
		struct span *left = &tree[2 * node];

		if (left->longest >= count) {
			node = 2 * node;
		} else if ((uint64_t)left->right + tree[2 * node + 1].left >= count) {
			return at + half - left->right;
		} else {
			node = 2 * node + 1;
			at += half;
		}
	}
	if (node - base >= map->lay.leaves)
		return MA_NO_CHUNK;
	bit = find_ones(ma_load(leaf_word(map, stream, node - base)), count);
	return bit < 64 ? at + bit : MA_NO_CHUNK;
}

void ma_chunk_refresh(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count)
{
	uint64_t start = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);
	uint64_t last_leaf;

	if (count == 0)
		return;
	for (uint64_t chunk = first; chunk < first + count; chunk++) {
		_Atomic uint64_t *word = leaf_word(map, stream, (chunk - start) / MA_LEAF);
		uint64_t bit = (uint64_t)1 << (chunk - start) % MA_LEAF;

		if (chunk - start >= used || ma_chunk_load(map, chunk) == MA_FREE)
			ma_store(word, ma_load(word) | bit);
		else
			ma_store(word, ma_load(word) & ~bit);
	}
	last_leaf = (first + count - 1 - start) / MA_LEAF;
	update_tree(map, stream, (first - start) / MA_LEAF, last_leaf);
}

/* ---- space ---- */

/* Disk space for what the tree and its kin keep about so many leaves: one stretch a level. */
static int back_tables(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t at = (uint64_t)stream * lay->leaves + first;
	uint64_t tree = lay->span_off + (uint64_t)stream * 2 * lay->span_base * sizeof(struct span);
	uint64_t lo = lay->span_base + first;
	uint64_t hi = lo + count - 1;

	if (lay->fixed_end == lay->table_end || count == 0)
		return 0;
	if (ma_space_take(map, lay->leaf_off + at * 8, count * 8) < 0 ||
	    ma_space_take(map, lay->hole_off + at * 8, count * 8) < 0)
		return -1;
	for (; lo > 0; lo /= 2, hi /= 2) /* A parent looks at both its children. */
		if (ma_space_take(map, tree + (lo & ~(uint64_t)1) * sizeof(struct span),
				  ((hi | 1) - (lo & ~(uint64_t)1) + 1) * sizeof(struct span)) < 0)
			return -1;
	return 0;
}

/* Disk space for chunks [had, want) of the range, and for all that is kept about them; those before had have theirs. */
static int back_chunks(struct ma_map *map, uint32_t stream, uint64_t had, uint64_t want)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t start = ma_range_first(map, stream);

	if (ma_space_grow(map, lay->user_off + (start + want) * MA_CHUNK) < 0)
		return -1;
	if (ma_space_extend(map, lay->unit_off + start * 8, had * 8, want * 8) < 0 ||
	    ma_space_extend(map, lay->next_off + start * 4, had * 4, want * 4) < 0)
		return -1;
	if (lay->fixed_end != lay->table_end && ma_space_extend(map, lay->spot_off + start * 8, had * 8, want * 8) < 0)
		return -1;
	ma_body_fresh(map, lay->unit_off + (start + had) * 8, (want - had) * 8);
	ma_body_fresh(map, lay->spot_off + (start + had) * 8, (want - had) * 8);
	return ma_space_extend(map, lay->user_off + start * MA_CHUNK, had * MA_CHUNK, want * MA_CHUNK);
}

/* Make sure of the space up to chunk need of the range: in steps that grow with the map, or else just so much. */
static int back_to(struct ma_map *map, uint32_t stream, uint64_t need)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t range = ma_range_count(map, stream);
	uint64_t have = ma_min(ma_load(&st->backed), range);
	uint64_t want;

	if (need <= have)
		return 0;
	want = ma_min(range, need + ma_max(STEP_MIN, ma_min(STEP_MAX, have / 64)));
	if (back_chunks(map, stream, have, want) < 0) {
		want = need;
		if (back_chunks(map, stream, have, want) < 0)
			return -1;
	}
	ma_store_kill(&st->backed, want);
	return 0;
}

/* Chunks whose space was given back get it again. Killed between: the bit is still there, and taking twice does no harm. */
static int fill_holes(struct ma_map *map, uint32_t stream, uint64_t at, uint64_t count)
{
	for (uint64_t leaf = at / MA_LEAF; leaf <= (at + count - 1) / MA_LEAF; leaf++) {
		_Atomic uint64_t *holes = hole_word(map, stream, leaf);
		uint64_t lo = ma_max(at, leaf * MA_LEAF);
		uint64_t hi = ma_min(at + count, (leaf + 1) * MA_LEAF);
		uint64_t bits = ma_low_bits(hi - lo) << lo % MA_LEAF;

		if (!(ma_load(holes) & bits))
			continue;
		if (ma_space_take(map, map->lay.user_off + (ma_range_first(map, stream) + lo) * MA_CHUNK,
				  (hi - lo) * MA_CHUNK) < 0)
			return -1;
		ma_store_kill(holes, ma_load(holes) & ~bits);
	}
	return 0;
}

bool ma_chunk_has_space(struct ma_map *map, uint32_t stream, uint64_t at)
{
	return !(ma_load(hole_word(map, stream, at / MA_LEAF)) >> at % MA_LEAF & 1);
}

/* Mark first, punch then: a kill in between only makes the next user take space that is there. */
void ma_chunk_punch(struct ma_map *map, uint32_t stream, uint64_t at, uint64_t count)
{
	for (uint64_t chunk = at; chunk < at + count; chunk++) {
		_Atomic uint64_t *holes = hole_word(map, stream, chunk / MA_LEAF);

		ma_store_kill(holes, ma_load(holes) | (uint64_t)1 << chunk % MA_LEAF);
	}
	ma_space_punch(map, map->lay.user_off + (ma_range_first(map, stream) + at) * MA_CHUNK, count * MA_CHUNK);
}

int ma_chunk_back(struct ma_map *map)
{
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return -1;
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t have = ma_min(ma_load(&ma_stream(map, s)->backed), ma_range_count(map, s));

		if (back_tables(map, s, 0, ma_min(ma_load(&ma_stream(map, s)->top), map->lay.leaves)) < 0)
			return -1;
		if ((have && back_chunks(map, s, 0, have) < 0) || ma_truth_back(map, s) < 0)
			return -1;
	}
	return 0;
}

/* What is kept about chunks that have no space of their own yet. */
static void blank_chunks(struct ma_map *map, uint32_t stream)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t used = ma_range_used(map, stream);
	uint64_t first = ma_range_first(map, stream) + used;
	uint64_t count = ma_range_count(map, stream) - used;

	ma_space_blank(map, lay->unit_off + first * 8, count * 8);
	ma_space_blank(map, lay->next_off + first * 4, count * 4);
	if (lay->fixed_end != lay->table_end)
		ma_space_blank(map, lay->spot_off + first * 8, count * 8);
	else
		memset(map->base + lay->spot_off + first * 8, 0, count * 8);
}

/* The tree is derived: what of it is in use gets its space again, and is computed anew. */
static int renew_tree(struct ma_map *map, uint32_t stream)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), lay->leaves);
	uint64_t tree = lay->span_off + (uint64_t)stream * 2 * lay->span_base * sizeof(struct span);
	uint64_t chunks = ma_min(top * MA_LEAF, ma_range_count(map, stream));

	ma_store(&ma_stream(map, stream)->top, top);
	if (lay->fixed_end != lay->table_end) {
		ma_space_blank(map, tree, 2 * lay->span_base * sizeof(struct span));
		if (back_tables(map, stream, 0, top) < 0)
			return -1;
	} else {
		memset(map->base + tree, 0, 2 * lay->span_base * sizeof(struct span));
	}
	ma_chunk_refresh(map, stream, ma_range_first(map, stream), chunks);
	return 0;
}

int ma_chunk_renew(struct ma_map *map)
{
	for (uint32_t s = 0; s < map->lay.streams; s++) {
		blank_chunks(map, s);
		if (renew_tree(map, s) < 0)
			return -1;
	}
	return 0;
}

/* ---- taking ---- */

/* Let more untouched leaves into the tree. top goes first: what is beyond it nobody looks through. */
static bool widen(struct ma_map *map, uint32_t stream, uint64_t chunks)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t range = ma_range_count(map, stream);
	uint64_t leaves = (range + MA_LEAF - 1) / MA_LEAF;
	uint64_t top = ma_load(&st->top);
	uint64_t more, from, to;

	if (top >= leaves)
		return false;
	more = ma_min(leaves - top, (chunks + MA_LEAF - 1) / MA_LEAF);
	from = ma_range_first(map, stream) + top * MA_LEAF;
	to = ma_range_first(map, stream) + ma_min(range, (top + more) * MA_LEAF);
	if (back_tables(map, stream, top, more) < 0)
		return false;
	for (uint64_t leaf = top; leaf < top + more; leaf++) { /* Zero already, but in a file that somebody made up. */
		ma_store(leaf_word(map, stream, leaf), 0);
		ma_store(hole_word(map, stream, leaf), 0);
	}
	ma_intent_set(st, from, to - from);
	ma_store_kill(&st->top, top + more);
	ma_chunk_refresh(map, stream, from, to - from);
	ma_intent_clear(st);
	return true;
}

/* Where count chunks at a multiple of align (in chunks, by address) would go, relative to the range. */
static uint64_t find_place(struct ma_map *map, uint32_t stream, uint64_t count, uint64_t align)
{
	uint64_t number = (uint64_t)(uintptr_t)ma_chunk_address(map, ma_range_first(map, stream)) >> MA_CHUNK_SHIFT;
	uint64_t room = count + align - 1;
	uint64_t at;

	if (room > ma_range_count(map, stream) || room < count)
		return MA_NO_CHUNK;
	do
		at = find_run(map, stream, room);
	while (at == MA_NO_CHUNK && widen(map, stream, room));
	/* A damaged tree may say anything. */
	if (at == MA_NO_CHUNK || at > ma_range_count(map, stream) - room)
		return MA_NO_CHUNK;
	return ma_up(number + at, align) - number;
}

/* The words decide: are these chunks really free? If not, the file was damaged: compute the leaves anew. */
static bool really_free(struct ma_map *map, uint32_t stream, uint64_t at, uint64_t count)
{
	uint64_t first = ma_range_first(map, stream) + at;

	if (at + count > ma_range_count(map, stream))
		return false;
	for (uint64_t chunk = first; chunk < first + count; chunk++)
		if (ma_chunk_load(map, chunk) != MA_FREE) {
			ma_chunk_refresh(map, stream, first, count);
			return false;
		}
	return true;
}

static void write_words(struct ma_map *map, uint64_t first, uint64_t count, uint64_t word)
{
	for (uint64_t chunk = first + 1; chunk < first + count; chunk++)
		ma_store(ma_chunk(map, chunk), ma_word(MA_CONT, 0, first));
	ma_store_kill(ma_chunk(map, first), word); /* The commit. */
}

/* Free chunks of one stream that have their disk space; nothing is changed yet. MA_NO_CHUNK: errno. */
static uint64_t ready_chunks(struct ma_map *map, uint32_t stream, uint64_t count, uint64_t align)
{
	errno = ENOMEM;
	for (int tries = 0; tries < 8; tries++) {
		uint64_t at = find_place(map, stream, count, align);

		if (at == MA_NO_CHUNK || back_to(map, stream, at + count) < 0 || fill_holes(map, stream, at, count) < 0)
			return MA_NO_CHUNK;
		if (really_free(map, stream, at, count))
			return ma_range_first(map, stream) + at;
	}
	return MA_NO_CHUNK;
}

static void deal(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count, uint64_t word)
{
	ma_intent_set(ma_stream(map, stream), first, count);
	write_words(map, first, count, word);
	ma_chunk_refresh(map, stream, first, count);
	ma_intent_clear(ma_stream(map, stream));
}

uint64_t ma_chunk_take(struct ma_map *map, uint32_t stream, uint64_t count, uint64_t align, uint64_t word)
{
	uint64_t first = ready_chunks(map, stream, count, align);

	if (first != MA_NO_CHUNK)
		deal(map, stream, first, count, word);
	return first;
}

/* The spot is there before the word says SLAB; recovery takes it away from a chunk that is still free. */
uint64_t ma_chunk_take_slab(struct ma_map *map, uint32_t stream, uint32_t class, uint64_t tag)
{
	uint32_t count = ma_slab_chunks(map, class);
	uint32_t line;
	uint64_t first;

	errno = ENOMEM;
	line = ma_truth_find(map, stream, class);
	if (!line)
		return MA_NO_CHUNK;
	first = ready_chunks(map, stream, count, 1);
	if (first == MA_NO_CHUNK) {
		int err = errno;

		ma_truth_leave(map, stream, line);
		errno = err;
		return MA_NO_CHUNK;
	}
	ma_truth_claim(map, line, first, class);
	ma_intent_set(ma_stream(map, stream), first, count);
	ma_store_kill(&map->spot[first], (uint64_t)line << 32 | ma_slab_recip(map, class));
	write_words(map, first, count, ma_word(MA_SLAB, class, tag));
	ma_chunk_refresh(map, stream, first, count);
	ma_intent_clear(ma_stream(map, stream));
	return first;
}

uint64_t ma_chunk_take_area(struct ma_map *map, uint32_t stream)
{
	uint64_t chunk = ready_chunks(map, stream, 1, 1);

	/* A spot has 32 bits for a line: areas lie in the first TiB. */
	if (chunk == MA_NO_CHUNK || map->lay.user_off + (chunk + 1) * MA_CHUNK > UINT32_MAX * MA_UNIT)
		return MA_NO_CHUNK;
	if (map->annotated)
		ma_annotate_open(ma_chunk_address(map, chunk), MA_CHUNK);
	memset(ma_chunk_address(map, chunk), 0, MA_AREA_HEAD * MA_UNIT);
	deal(map, stream, chunk, 1, ma_word(MA_TRUTH, 0, 0));
	return chunk;
}

/* The chunk is free until its word says ROOTS, and until then the link means nothing. */
uint64_t ma_chunk_take_table(struct ma_map *map, uint32_t stream, _Atomic uint64_t *link, uint64_t id)
{
	uint64_t chunk = ready_chunks(map, stream, 1, 1);

	if (chunk == MA_NO_CHUNK)
		return MA_NO_CHUNK;
	ma_root_clear(map, ma_chunk_address(map, chunk), MA_CHUNK);
	ma_store_kill(link, chunk + 1);
	deal(map, stream, chunk, 1, ma_word(MA_ROOTS, 0, id));
	return chunk;
}

/* ---- over the bounds of streams ---- */

static uint64_t find_across(struct ma_map *map, uint64_t count, uint64_t align)
{
	uint64_t number = (uint64_t)(uintptr_t)map->user >> MA_CHUNK_SHIFT;
	uint64_t first = ma_up(number, align) - number;
	uint64_t chunk = first;

	while (count <= map->lay.units && first <= map->lay.units - count) {
		if (chunk == first + count)
			return first;
		if (!ma_chunk_is_free(map, chunk))
			first = ma_up(number + chunk + 1, align) - number, chunk = first;
		else
			chunk++;
	}
	return MA_NO_CHUNK;
}

/* What of [first, first + count) lies in this stream. */
static uint64_t part(const struct ma_map *map, uint32_t stream, uint64_t *first, uint64_t count)
{
	uint64_t lo = ma_max(*first, ma_range_first(map, stream));
	uint64_t hi = ma_min(*first + count, ma_range_first(map, stream) + ma_range_count(map, stream));

	*first = lo;
	return hi > lo ? hi - lo : 0;
}

static int prepare_part(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count)
{
	uint64_t at = first - ma_range_first(map, stream);

	while (ma_load(&ma_stream(map, stream)->top) * MA_LEAF < at + count)
		if (!widen(map, stream, at + count - ma_load(&ma_stream(map, stream)->top) * MA_LEAF))
			return -1;
	if (back_to(map, stream, at + count) < 0)
		return -1;
	return fill_holes(map, stream, at, count);
}

uint64_t ma_chunk_take_across(struct ma_map *map, uint64_t count, uint64_t align, uint64_t word)
{
	uint64_t first = find_across(map, count, align);
	uint32_t from, to;

	errno = ENOMEM;
	if (first == MA_NO_CHUNK)
		return MA_NO_CHUNK;
	from = ma_stream_of(map, first);
	to = ma_stream_of(map, first + count - 1);
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		if (n && prepare_part(map, s, lo, n) < 0)
			return MA_NO_CHUNK;
	}
	for (uint32_t s = from; s <= to; s++)
		ma_intent_set(ma_stream(map, s), first, count);
	write_words(map, first, count, word);
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		ma_chunk_refresh(map, s, lo, n);
		ma_intent_clear(ma_stream(map, s));
	}
	return first;
}

/* ---- giving ---- */

void ma_chunk_give(struct ma_map *map, uint64_t first, uint64_t count)
{
	uint32_t from = ma_stream_of(map, first);
	uint32_t to = ma_stream_of(map, first + count - 1);

	uint64_t word = ma_chunk_load(map, first);
	uint32_t line = (uint32_t)(ma_load(&map->spot[first]) >> 32);

	for (uint32_t s = from; s <= to; s++)
		ma_intent_set(ma_stream(map, s), first, count);
	ma_store_kill(ma_chunk(map, first), MA_FREE); /* The commit. */
	ma_store_kill(&map->spot[first], 0);          /* Not before: recovery clears what is left, but sets nothing. */
	for (uint64_t chunk = first + 1; chunk < first + count; chunk++)
		ma_store(ma_chunk(map, chunk), MA_FREE);
	for (uint32_t s = from; s <= to; s++) {
		uint64_t lo = first;
		uint64_t n = part(map, s, &lo, count);

		ma_chunk_refresh(map, s, lo, n);
		ma_intent_clear(ma_stream(map, s));
		if (n && map->punch_bytes && count * MA_CHUNK >= map->punch_bytes)
			ma_chunk_punch(map, s, lo - ma_range_first(map, s), n);
	}
	if (ma_word_kind(word) == MA_SLAB)
		ma_truth_give(map, line, first, ma_word_class(word));
}

static bool grow_run(struct ma_map *map, uint32_t stream, uint64_t head, uint64_t old, uint64_t count)
{
	uint64_t behind = head + old;
	uint64_t at = behind - ma_range_first(map, stream);
	uint64_t more = count - old;

	if (at + more > ma_range_count(map, stream))
		return false;
	for (uint64_t chunk = behind; chunk < head + count; chunk++)
		if (!ma_chunk_is_free(map, chunk))
			return false;
	if (prepare_part(map, stream, behind, more) < 0)
		return false;
	ma_intent_set(ma_stream(map, stream), behind, more);
	for (uint64_t chunk = behind; chunk < head + count; chunk++)
		ma_store(ma_chunk(map, chunk), ma_word(MA_CONT, 0, head));
	ma_store_kill(ma_chunk(map, head), ma_word(MA_RUN, 0, count)); /* The commit. */
	ma_chunk_refresh(map, stream, behind, more);
	ma_intent_clear(ma_stream(map, stream));
	return true;
}

bool ma_chunk_resize(struct ma_map *map, uint64_t head, uint64_t old, uint64_t count)
{
	uint32_t stream = ma_stream_of(map, head);

	if (count > old)
		return grow_run(map, stream, head, old, count);
	ma_intent_set(ma_stream(map, stream), head + count, old - count);
	ma_store_kill(ma_chunk(map, head), ma_word(MA_RUN, 0, count)); /* The commit. */
	for (uint64_t chunk = head + count; chunk < head + old; chunk++)
		ma_store(ma_chunk(map, chunk), MA_FREE);
	ma_chunk_refresh(map, stream, head + count, old - count);
	ma_intent_clear(ma_stream(map, stream));
	return true;
}
