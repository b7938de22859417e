/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Blocks in words, and words above words. A change of two words is made in two steps. A process that is killed, or sleeps, between
 * them leaves a state that every other one can undo:
 *
 *   split   read lower CLOSED(x) (of MERGING(y) make that first) - upper leaf: free -> split - lower: CLOSED(x) -> OPEN, with its
 *           first block in it
 *   merge   lower: OPEN, empty -> MERGING(y) - again and again: read upper, read lower, done if it is not MERGING(y) any
 *           more, upper leaf: split -> free - and then the upper word, if that is empty now
 *   mend    of a split leaf above a word that is not OPEN, left by a dead splitter or merger: lower -> MERGING(y), so that
 *           a splitter that was only slow fails; then as merge
 *
 * The invariant: a lower word is OPEN only while its upper leaf is split. For: only a splitter opens it, with an x from before its
 * split, and no leaf is freed for an x of CLOSED. Only the process that wrote y frees the leaf for MERGING(y), while the word is
 * unchanged since; it reads the word after the upper word, whose stamp shows any change since. A splitter makes sure that no such y is
 * in the word: a mender may find the leaf freed by another process, and its own y left in a word below a leaf that is free.
 * tests/model/buddy.pml is this, checked for three processes of which one may stop anywhere.
 */
#ifndef SHMBUDDY_TREE_H
#define SHMBUDDY_TREE_H

#include "region.h"

#define TREE_NONE UINT64_MAX

/* A block of 2^shift bytes: what level `level` deals out as order `order`. */
struct want {
	unsigned shift, level, order;
};

/* One search for room, by one thread. */
struct search {
	struct shmbuddy *h;
	struct location *location;
	struct want want;
	bool only_backed; /* Only what has its disk space. */
	int error;        /* An errno: why there is no room. */
};

/* Allocate such a block from this word of its level, with disk space. Returns its offset in the area; TREE_NONE: the word has no room. */
uint64_t shmbuddy__tree_take(struct search *s, uint64_t i);
/* The same out of a leaf of a word of a higher level, which is split for it, and so on downwards. */
uint64_t shmbuddy__tree_split(struct search *s, unsigned level, uint64_t i);

/* Where the block at this offset of the area is. */
struct block {
	const struct level *l;
	_Atomic uint64_t *at;
	uint64_t i;
	uint64_t w; /* What the word said. */
	unsigned level, leaf, order;
};

/* False: none begins there. */
bool shmbuddy__tree_find(const struct shmbuddy *h, uint64_t at, struct block *block);
/* Free it; the word is block->w then, and is not merged when that is empty. False: another thread did. */
bool shmbuddy__tree_give(struct shmbuddy *h, struct block *block);
/* Make it another order of the same word. False: there is no room. */
bool shmbuddy__tree_resize(struct shmbuddy *h, struct block *block, unsigned order);

/* An OPEN word without a block: merge it. A split leaf above a word that is not OPEN: mend it. Else nothing. */
void shmbuddy__tree_merge(struct shmbuddy *h, unsigned level, uint64_t i);
void shmbuddy__tree_mend(struct shmbuddy *h, unsigned level, uint64_t i);

#endif /* SHMBUDDY_TREE_H */
