/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Where a thread works in a region: words that it freed into or took from last. All of this is hints in private memory: nothing is
 * owned, what it says is held against the layout and the words each time, and it may be lost at any instruction.
 *
 * A handle has SPOTS of them; a thread's number says which is its own, and threads whose numbers are too far apart share one. So
 * all is read and written one word at a time, and whatever mixture comes of that, or of a signal handler in between, is a hint as well.
 *
 * For each size class there is a stack of words, the top of which lies apart, one load away. The rest is a ring: what is pushed onto
 * a full one takes the place of the oldest, and an entry that was popped is 0. Words that a free left OPEN and empty stand in the table `vacant` until another one comes to
 * the same place; then they are merged, if they still are empty.
 */
#ifndef SHMBUDDY_SPOT_H
#define SHMBUDDY_SPOT_H

#include "common/base.h"

#define SPOTS        32u
#define SPOT_CLASSES 16u
#define SPOT_HINTS   128u
#define SPOT_VACANT  32u

/* Blocks of one size: what this level deals out as blocks of `leaves` leaves, and all that malloc needs to know of that. */
struct class
{
	uint64_t open, stamp;     /* As in struct level. */
	uint64_t take;            /* What a block at leaf 0 sets: its leaves, and the bit of its head. */
	uint64_t cover, leaf;     /* Bytes of the area that a word has, and a leaf. */
	uint64_t end;             /* Such a block begins below it, or reaches beyond the area; ma_load_either(). */
	uint32_t highest, beyond; /* For word_ends(). */
	uint32_t rest;            /* Its leaves but one. */
};

_Static_assert(sizeof(struct class) <= 64, "a line of the cache");

struct spot {
	_Atomic uint64_t id;   /* Of the region; 0: of none. */
	_Atomic uint32_t part; /* Where this thread looks first. */
	_Atomic uint64_t seed;
	_Atomic uint64_t at[SPOT_CLASSES];    /* Offset in the area: a search begins there. */
	_Atomic uint64_t now[SPOT_CLASSES];   /* spot_hint(); 0: none. */
	_Atomic uint32_t top[SPOT_CLASSES];   /* Of the others, in `hint`. */
	_Atomic uint64_t vacant[SPOT_VACANT]; /* spot_vacant(); 0: none. */
	_Atomic uint64_t hint[SPOT_CLASSES][SPOT_HINTS];
};

/* A word by its number in its level, and by where it is in all parts' metadata; both fit, or there are no hints (handle.c). */
MA_INLINE uint64_t spot_hint(uint64_t i, uint64_t at)
{
	return i << 32 | (at / 8 + 1);
}

/* Without a branch: which word comes next is anybody's guess, and a wrong one costs more than a few stores. */
MA_INLINE uint64_t spot_either(bool which, uint64_t yes, uint64_t no)
{
	uint64_t mask = ~(uint64_t)which + 1;

	__asm__("" : "+r"(mask)); /* Or the compiler finds out what it is, and branches. */
	return no ^ ((yes ^ no) & mask);
}

MA_INLINE void spot_push(struct spot *spot, unsigned class, uint64_t hint)
{
	uint64_t was = ma_load(&spot->now[class]);
	bool differs = was != hint;
	uint32_t top = (ma_load(&spot->top[class]) + differs) % SPOT_HINTS;
	_Atomic uint64_t *place = &spot->hint[class][top];

	ma_store(place, spot_either(differs, was, ma_load(place)));
	ma_store(&spot->top[class], top);
	ma_store(&spot->now[class], hint);
}

/* The hint that lies on top goes, if it is exhausted. */
MA_INLINE void spot_pop(struct spot *spot, unsigned class, uint64_t hint, bool exhausted)
{
	uint32_t top = ma_load(&spot->top[class]) % SPOT_HINTS;
	_Atomic uint64_t *place = &spot->hint[class][top];
	uint64_t next = ma_load(place);

	ma_store(&spot->now[class], spot_either(exhausted, next, hint));
	ma_store(place, spot_either(exhausted, 0, next));
	ma_store(&spot->top[class], top - exhausted);
}

MA_INLINE uint64_t spot_vacant(unsigned level, uint64_t word)
{
	return (uint64_t)level << 56 | (word + 1);
}

MA_INLINE _Atomic uint64_t *spot_vacant_place(struct spot *spot, uint64_t vacant)
{
	return &spot->vacant[(vacant ^ vacant >> 5 ^ vacant >> 56) % SPOT_VACANT];
}

#endif /* SHMBUDDY_SPOT_H */
