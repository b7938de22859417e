/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which chunks are free. Each stream has a bit a chunk (leaf words, 1 free) and over the leaves a binary tree of spans: how
 * many chunks are free at the left end, at the right end, and in the longest run. So the lowest fit is found, and neighbours
 * merge, in O(log). All zeros means "nothing free", and leaves enter the tree only when they are first needed: a new map
 * needs no initialising, and the tree covers only what is in use.
 *
 * All of it is derived from the chunk words. What a search finds is believed only after a look at the words.
 */
#include <string.h>

#include "common/heap_internal.h"
#include "common/space.h"

struct span {
	uint32_t left, right, longest;
};

_Static_assert(sizeof(struct span) == 12, "format 1");

MA_INLINE uint64_t spans_at(struct ma_image *map, uint32_t stream)
{
	const struct ma_segment *seg = ma_lane_segment(map, stream);

	return seg->span_off + (uint64_t)ma_lane_stream(map, stream) * 2 * seg->span_base * sizeof(struct span);
}

MA_INLINE struct span *spans(struct ma_image *map, uint32_t stream)
{
	return (struct span *)(void *)(map->base + spans_at(map, stream));
}

MA_INLINE _Atomic uint64_t *leaf_at(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	return (_Atomic uint64_t *)(void *)(map->base + ma_leaf_off(map, stream)) + leaf;
}

_Atomic uint64_t *ma_tree_leaf(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	return leaf_at(map, stream, leaf);
}

/* ---- words ---- */

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

/*
 * Of a word that is not all ones. In a heap in use the longest run is mostly below eight; up to there no branch depends on its length:
 * 4, 2 and 1 are added in turn, each if so many more ones follow somewhere.
 */
static uint32_t longest_ones(uint64_t word)
{
	uint64_t two = word & word >> 1, four = two & two >> 2, eight = four & four >> 4, at;
	uint32_t n = 0;

	if (eight) {
		for (n = 7; eight; eight &= eight >> 1)
			n++;
		return n;
	}
	n = four ? 4 : 0;
	at = four ? four : ~(uint64_t)0;
	two = at & two >> n;
	n += two ? 2 : 0;
	at = two ? two : at;
	return n + ((at & word >> n) != 0);
}

MA_INLINE struct span span_of_word(uint64_t word)
{
	if (word == ~(uint64_t)0)
		return (struct span){ 64, 64, 64 };
	return (struct span){ (uint32_t)__builtin_ctzll(~word), (uint32_t)__builtin_clzll(~word), longest_ones(word) };
}

/* The length of the run of ones in word that contains all of bits. */
static uint32_t ones_around(uint64_t word, uint64_t bits)
{
	uint32_t from = (uint32_t)__builtin_ctzll(bits);
	uint64_t up = ~(word >> from);
	uint32_t low = from ? (uint32_t)__builtin_clzll(~(word << (64 - from))) : 0;

	return low + (up ? (uint32_t)__builtin_ctzll(up) : 64);
}

/* The span of a leaf that had this one until bits, which are contiguous, were freed: they join the runs beside them. */
static struct span span_freed(struct span had, uint64_t word, uint64_t bits)
{
	if (word == ~(uint64_t)0)
		return (struct span){ 64, 64, 64 };
	had.left = (uint32_t)__builtin_ctzll(~word);
	had.right = (uint32_t)__builtin_clzll(~word);
	had.longest = (uint32_t)ma_max(had.longest, ones_around(word, bits));
	return had;
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

/* ---- the tree ---- */

/*
 * The root of what is in use: over the leaves below top, which a huge range has few of. No search goes above it. When top
 * rises, the spans over the new leaves are computed up to the new root, and among them is the old root's parent.
 */
MA_INLINE uint64_t root_of(struct ma_image *map, uint32_t stream)
{
	uint64_t base = ma_lane_segment(map, stream)->span_base;
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), base);

	return top <= 1 ? base : base >> (64 - __builtin_clzll(top - 1));
}

/* Compute the spans over the leaves [lo, hi] of the tree, whose own are right, up to the root. */
static void climb(struct span *tree, uint64_t root, uint64_t lo, uint64_t hi)
{
	/*
	 * The loop does not stop at an unchanged span: that branch is unpredictable, and its mispredictions cost more than the
	 * remaining levels.
	 */
	for (uint32_t half = MA_LEAF; lo > root; half *= 2) {
		lo /= 2;
		hi /= 2;
		for (uint64_t i = lo; i <= hi; i++)
			tree[i] = join(tree[2 * i], tree[2 * i + 1], half);
	}
}

/* The spans of these leaves, from their words, and all over them. */
static void respan(struct ma_image *map, uint32_t stream, uint64_t first_leaf, uint64_t last_leaf)
{
	struct span *tree = spans(map, stream);
	uint64_t base = ma_lane_segment(map, stream)->span_base;
	_Atomic uint64_t *leaf = leaf_at(map, stream, first_leaf);

	for (uint64_t i = first_leaf; i <= last_leaf; i++)
		tree[base + i] = span_of_word(ma_load(leaf++));
	climb(tree, root_of(map, stream), base + first_leaf, base + last_leaf);
}

/* What changes in leaves, the stream's count of free chunks follows: it is as derived as they are. */
MA_INLINE void add_spare(struct ma_image *map, uint32_t stream, uint64_t more)
{
	_Atomic uint64_t *spare = &ma_stream(map, stream)->spare;

	ma_store(spare, ma_load(spare) + more);
}

/* Set these n bits of a leaf, or clear them, and compute its span. Returns how many of them changed. */
MA_INLINE uint64_t mark_leaf(_Atomic uint64_t *leaf, struct span *span, uint64_t bits, uint64_t n, bool free)
{
	uint64_t word = ma_load(leaf);
	uint64_t change = bits & (free ? ~word : word);

	word ^= change;
	ma_store(leaf, word);
	if (MA_UNLIKELY(change != bits)) { /* The tree was damaged. */
		*span = span_of_word(word);
		return ma_bits(change);
	}
	*span = free ? span_freed(*span, word, bits) : span_of_word(word);
	return n;
}

/* Killed anywhere here, the intent is still set, and recovery mends the same leaves from the words. */
void ma_tree_mark(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count, bool free)
{
	uint64_t at = first - ma_range_first(map, stream), end = at + count, more = 0;
	struct span *tree = spans(map, stream);
	uint64_t lo = ma_lane_segment(map, stream)->span_base + at / MA_LEAF, node = lo;
	_Atomic uint64_t *leaf = leaf_at(map, stream, at / MA_LEAF);

	if (count == 0)
		return;
	for (uint64_t next; at < end; at = next) {
		next = ma_min(end, (at / MA_LEAF + 1) * MA_LEAF);
		more += mark_leaf(leaf++, &tree[node++], ma_low_bits(next - at) << at % MA_LEAF, next - at, free);
	}
	add_spare(map, stream, free ? more : -more);
	climb(tree, root_of(map, stream), lo, node - 1);
}

/* Bits of a damaged leaf that stand for no chunk: no chunk's word corrects them. */
static void clear_behind(struct ma_image *map, uint32_t stream, uint64_t leaf)
{
	uint64_t whole = ma_range_whole(map, stream), first = leaf * MA_LEAF;
	uint64_t word = ma_load(leaf_at(map, stream, leaf)), chunks;

	if (first >= whole || whole - first >= MA_LEAF)
		return;
	chunks = word & (((uint64_t)1 << (whole - first)) - 1);
	if (chunks == word)
		return;
	add_spare(map, stream, -(uint64_t)ma_bits(word ^ chunks));
	ma_store(leaf_at(map, stream, leaf), chunks);
}

void ma_tree_mend(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	uint64_t from = first - ma_range_first(map, stream);

	if (count == 0)
		return;
	for (uint64_t at = from; at < from + count; at++) {
		_Atomic uint64_t *leaf = leaf_at(map, stream, at / MA_LEAF);
		uint64_t word = ma_load(leaf), bit = (uint64_t)1 << at % MA_LEAF;

		if (ma_chunk_is_free(map, first + at - from) == ((word & bit) != 0))
			continue;
		add_spare(map, stream, word & bit ? -(uint64_t)1 : 1);
		ma_store(leaf, word ^ bit);
	}
	clear_behind(map, stream, (from + count - 1) / MA_LEAF);
	respan(map, stream, from / MA_LEAF, (from + count - 1) / MA_LEAF);
}

void ma_tree_recount(struct ma_image *map, uint32_t stream)
{
	uint64_t top = ma_min(ma_load(&ma_stream(map, stream)->top), ma_leaves(map, stream));
	uint64_t spare = 0;

	for (uint64_t leaf = 0; leaf < top; leaf++)
		spare += ma_bits(ma_load(leaf_at(map, stream, leaf)));
	ma_store(&ma_stream(map, stream)->spare, spare);
}

uint64_t ma_tree_find(struct ma_image *map, uint32_t stream, uint64_t count)
{
	struct span *tree = spans(map, stream);
	const struct ma_segment *seg = ma_lane_segment(map, stream);
	uint64_t base = seg->span_base;
	uint64_t node = root_of(map, stream);
	uint64_t half = MA_LEAF * (base / node) / 2;
	uint64_t at = 0;
	uint32_t bit;

	if (ma_load(&ma_stream(map, stream)->top) == 0 || tree[node].longest < count)
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
	if (node - base >= seg->leaves)
		return MA_NO_CHUNK;
	bit = find_ones(ma_load(leaf_at(map, stream, node - base)), count);
	if (bit < 64)
		return at + bit;
	respan(map, stream, node - base, node - base); /* The spans on the way here were damaged: the next search is not misled again. */
	return MA_NO_CHUNK;
}

/* ---- its space ---- */

int ma_tree_back(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count)
{
	uint64_t lo = ma_lane_segment(map, stream)->span_base + first;
	uint64_t hi = lo + count - 1;

	if (ma_space_take(map, ma_leaf_off(map, stream) + first * 8, count * 8) < 0)
		return -1;
	for (; lo > 0; lo /= 2, hi /= 2) /* A parent looks at both its children. */
		if (ma_space_take(map, spans_at(map, stream) + (lo & ~(uint64_t)1) * sizeof(struct span),
				  ((hi | 1) - (lo & ~(uint64_t)1) + 1) * sizeof(struct span)) < 0)
			return -1;
	return 0;
}

void ma_tree_blank(struct ma_image *map, uint32_t stream)
{
	uint64_t bytes = 2 * ma_lane_segment(map, stream)->span_base * sizeof(struct span);

	if (!ma_tree_is_fixed(map, stream))
		ma_space_blank(map, spans_at(map, stream), bytes);
	else
		memset(map->base + spans_at(map, stream), 0, bytes);
}
