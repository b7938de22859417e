/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * One word: a buddy tree of n leaves, n being 32 in the words of level 0 and 8 in all others. Everything here is a pure function.
 *
 *     bit        n = 32              n = 8
 *     busy       0 .. 31             0 .. 7      the leaf belongs to a block
 *     OPEN       32                  8           the word deals out its leaves
 *     head       33 .. 63            9 .. 15     a block begins at leaf 1 .. n-1 (at leaf 0 whenever that is busy)
 *     split      -                   16 .. 23    the leaf's space is dealt out by its lower word
 *     stamp      -                   24 .. 63    another one after each change
 *
 * A block lasts up to the next head or the next leaf that is not busy; so its size is in the word, and nowhere else.
 *
 *     a leaf     busy head split     its space
 *     free        0    0    0        is this word's to deal out
 *     block       1    1    0        is allocated, up to 2^order leaves in all
 *     (its rest)  1    0    0
 *     split       1    1    1        is the lower word's to deal out, when that is OPEN
 *
 *     the word is    its upper leaf is                      next
 *     CLOSED(x)      free or a block; split for a moment      OPEN, by who made the leaf split, having read x before;
 *                                                             MERGING(y), by a mender that finds the leaf split
 *     MERGING(x)     split, and who wrote x is freeing it;    CLOSED(y), by who is going to split the leaf;
 *                    then free or a block                     MERGING(y), by a mender that finds the leaf split
 *     OPEN           split                                    OPEN, by any malloc, free, split, merge;
 *                                                             MERGING(y), when no leaf is busy, by any thread
 *
 * x is the bits beside OPEN, and no word ever has the same x twice. With n = 8 it is the stamp, which goes on counting while the word is
 * closed and when it is OPEN again; with n = 32 it comes from a counter of the region. Bit 0 is set in MERGING words. A
 * lower word that was never used is 0, and CLOSED. A top word has no upper leaf: it is always OPEN, and 0 means OPEN with all leaves
 * free.
 *
 * All transitions are one compare-exchange of this word. tree.c says in which order two words change.
 */
#ifndef SHMBUDDY_WORD_H
#define SHMBUDDY_WORD_H

#include "common/base.h"

#define WORD_LEAVES      32u /* Of level 0... */
#define WORD_UPPER       8u  /* ... and of all others. */
#define WORD_ORDERS      6u  /* A block has 2^0 to 2^5 leaves. */
#define WORD_SPLIT_SHIFT 16
#define WORD_STAMP_SHIFT 24

/* Bits of leaves at which a block of this order may begin. */
MA_INLINE uint32_t word_aligned(unsigned order)
{
	static const uint32_t aligned[WORD_ORDERS] = { 0xffffffff, 0x55555555, 0x11111111,
						       0x01010101, 0x00010001, 0x00000001 };

	return aligned[order];
}

MA_INLINE uint32_t word_leaves(unsigned n)
{
	return (uint32_t)(((uint64_t)1 << n) - 1);
}

MA_INLINE uint64_t word_open(unsigned n)
{
	return (uint64_t)1 << n;
}

MA_INLINE bool word_is_open(uint64_t w, unsigned n)
{
	return w & word_open(n);
}

MA_INLINE uint32_t word_busy(uint64_t w, unsigned n)
{
	return (uint32_t)w & word_leaves(n);
}

MA_INLINE uint32_t word_heads(uint64_t w, unsigned n)
{
	return ((uint32_t)(w >> n) & word_leaves(n) & ~1u) | (word_busy(w, n) & 1);
}

MA_INLINE uint32_t word_split(uint64_t w, unsigned n)
{
	return n == WORD_UPPER ? (uint32_t)(w >> WORD_SPLIT_SHIFT) & word_leaves(n) : 0;
}

/* The leaves at which a block of this order could begin now. */
MA_INLINE uint32_t word_places(uint64_t w, unsigned n, unsigned order)
{
	uint32_t free = ~word_busy(w, n) & word_leaves(n);

	for (unsigned k = 0; k < order; k++)
		free &= free >> (1u << k);
	return free & word_aligned(order);
}

/* For word_ends(): the last leaves of blocks of this order. */
MA_INLINE uint32_t word_highest(unsigned order)
{
	static const uint32_t highest[WORD_ORDERS] = { 0xffffffff, 0xaaaaaaaa, 0x88888888,
						       0x80808080, 0x80008000, 0x80000000 };

	return highest[order];
}

/*
 * As word_places(), without a branch, each such leaf as the last one of its block, for both kinds of words: beyond is ~word_leaves(n),
 * which stand for busy. In each group of 2^order bits: is it zero? Adding all ones but the highest to a group without its highest
 * bit carries into that when there was any, and never out of the group.
 */
MA_INLINE uint32_t word_ends(uint64_t w, uint32_t beyond, uint32_t highest)
{
	uint32_t busy = (uint32_t)w | beyond, rest = ~highest;

	return ~(((busy & rest) + rest) | busy | rest);
}

/*
 * The leaves, as bits, of the block or split leaf that begins at the leaf of this bit, without a branch; 0: none does. The next head
 * or free leaf ends it: below that bit, down to the first one, all are its own. The head bit of leaf 0 is the OPEN bit, which is set.
 */
MA_INLINE uint64_t word_block(uint64_t w, unsigned n, uint64_t first)
{
	uint64_t heads = w >> n, ends = (heads | ~w | ~(uint64_t)word_leaves(n)) & (~first + 1) << 1;

	return w & heads & first ? (ends & (~ends + 1)) - first : 0;
}

/* The largest order that there is room for, at most cap; -1 when all leaves are busy. */
MA_INLINE int word_room(uint64_t w, unsigned n, unsigned cap)
{
	uint32_t free = ~word_busy(w, n) & word_leaves(n);
	int order = -1;

	while (free && order < (int)cap) {
		order++;
		if (order == (int)WORD_ORDERS - 1)
			break;
		free &= free >> (1u << order) & word_aligned((unsigned)order + 1);
	}
	return order;
}

/* A change of a word with a stamp brings another one. */
MA_INLINE uint64_t word_stamp(uint64_t w, unsigned n)
{
	return n == WORD_UPPER ? w + ((uint64_t)1 << WORD_STAMP_SHIFT) : w;
}

/* CLOSED or MERGING. A word with a stamp is unique by that; for others x, below 2^62 and never used before, makes it so. */
MA_INLINE uint64_t word_close(uint64_t w, unsigned n, uint64_t x, bool merging)
{
	uint64_t low = word_open(n) - 1;

	if (n == WORD_UPPER)
		return word_stamp(w >> WORD_STAMP_SHIFT << WORD_STAMP_SHIFT, n) | merging;
	x = x << 1 | merging;
	return (x & low) | (x & ~low) << 1;
}

/* Of a word that is not OPEN. */
MA_INLINE bool word_is_merging(uint64_t w)
{
	return w & 1;
}

/* OPEN, all leaves free, after CLOSED. */
MA_INLINE uint64_t word_reopen(uint64_t w, unsigned n)
{
	if (n == WORD_UPPER)
		return word_stamp(w >> WORD_STAMP_SHIFT << WORD_STAMP_SHIFT, n) | word_open(n);
	return word_open(n);
}

MA_INLINE uint64_t word_run(unsigned leaf, unsigned order)
{
	return (((uint64_t)1 << (1u << order)) - 1) << leaf;
}

/* The head bit of a block at this leaf; leaf 0 needs none, its bit says OPEN. */
MA_INLINE uint64_t word_head(unsigned leaf, unsigned n)
{
	return leaf ? (uint64_t)1 << (n + leaf) : 0;
}

/* A block at one of word_places(). */
MA_INLINE uint64_t word_take(uint64_t w, unsigned n, unsigned leaf, unsigned order)
{
	return word_stamp(w | word_run(leaf, order) | word_head(leaf, n), n);
}

/* The order of the block or split leaf that begins at this leaf; -1: none does. */
MA_INLINE int word_order(uint64_t w, unsigned n, unsigned leaf)
{
	uint32_t busy = word_busy(w, n), heads = word_heads(w, n);
	uint64_t stops;
	unsigned length;

	if (!(busy & heads & 1u << leaf))
		return -1;
	stops = ((uint64_t)(heads | (~busy & word_leaves(n))) | word_open(n)) >> (leaf + 1);
	length = (unsigned)__builtin_ctzll(stops) + 1;
	if ((length & (length - 1)) || (leaf & (length - 1)))
		return -1;
	return __builtin_ctz(length);
}

MA_INLINE bool word_is_split(uint64_t w, unsigned n, unsigned leaf)
{
	return word_split(w, n) & 1u << leaf;
}

/* The block at this leaf, of word_order(), is free. Of a split leaf: it is no longer split. */
MA_INLINE uint64_t word_give(uint64_t w, unsigned n, unsigned leaf, unsigned order)
{
	uint64_t gone = word_run(leaf, order) | word_head(leaf, n);

	if (n == WORD_UPPER)
		gone |= (uint64_t)1 << (WORD_SPLIT_SHIFT + leaf);
	return word_stamp(w & ~gone, n);
}

/* A free leaf of an upper word becomes split. */
MA_INLINE uint64_t word_divide(uint64_t w, unsigned leaf)
{
	return word_take(w, WORD_UPPER, leaf, 0) | (uint64_t)1 << (WORD_SPLIT_SHIFT + leaf);
}

/* The order of the free block that the one at this leaf becomes part of when it is given: its buddies that are free join it. */
MA_INLINE unsigned word_joined(uint64_t w, unsigned n, unsigned leaf, unsigned order)
{
	uint32_t busy = word_busy(w, n) & ~(uint32_t)word_run(leaf, order);

	while (2u << order <= n) {
		unsigned first = leaf & ~((2u << order) - 1);

		if (busy & (uint32_t)word_run(first, order + 1))
			break;
		order++;
	}
	return order;
}

/* An OPEN word none of whose leaves is busy: it may be merged. */
MA_INLINE bool word_is_empty(uint64_t w, unsigned n)
{
	return word_is_open(w, n) && word_busy(w, n) == 0;
}

/* Can these bits have come about by the functions above? Of an OPEN word. */
MA_INLINE bool word_is_sound(uint64_t w, unsigned n)
{
	uint32_t heads = word_heads(w, n), split = word_split(w, n), covered = 0;

	for (unsigned leaf = 0; leaf < n; leaf++) {
		int order;

		if (!(heads & 1u << leaf))
			continue;
		order = word_order(w, n, leaf);
		if (order < 0 || (order > 0 && (split & 1u << leaf)))
			return false;
		covered |= (uint32_t)word_run(leaf, (unsigned)order);
	}
	return covered == word_busy(w, n) && (split & ~heads) == 0;
}

#endif /* SHMBUDDY_WORD_H */
