/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A cached location: where a thread works in a region, in words that it freed into or took from last. All of this is hints in private
 * memory: nothing is owned, what it says is checked against the layout and the words each time, and it may be lost at any instruction.
 *
 * A handle has LOCATIONS of them; a thread's number says which is its own, and threads whose numbers are too far apart share one. So
 * all is read and written one word at a time, and whatever mixture comes of that, or of a signal handler in between, is a hint as well.
 *
 * For each size class there is a stack of words, the top of which lies apart, one load away. The rest is a ring: what is pushed onto
 * a full one replaces the oldest, and an entry that was popped is 0. Words that a free left OPEN and empty stand in the table `vacant`
 * until another one comes to the same entry; then they are merged, if they still are empty.
 */
#ifndef SHMBUDDY_LOCATION_H
#define SHMBUDDY_LOCATION_H

#include "common/base.h"

#define LOCATIONS        32u
#define LOCATION_CLASSES 16u
#define LOCATION_HINTS   128u
#define LOCATION_VACANT  32u

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

struct location {
	_Atomic uint64_t id;   /* Of the region; 0: of none. */
	_Atomic uint32_t part; /* Where this thread looks first. */
	_Atomic uint64_t seed;
	_Atomic uint64_t at[LOCATION_CLASSES];    /* Offset in the area: a search begins there. */
	_Atomic uint64_t now[LOCATION_CLASSES];   /* location_hint(); 0: none. */
	_Atomic uint32_t top[LOCATION_CLASSES];   /* Of the others, in `hint`. */
	_Atomic uint64_t vacant[LOCATION_VACANT]; /* location_vacant(); 0: none. */
	_Atomic uint64_t hint[LOCATION_CLASSES][LOCATION_HINTS];
};

/* A word by its number in its level, and by where it is in all parts' metadata; both fit, or there are no hints (handle.c). */
MA_INLINE uint64_t location_hint(uint64_t i, uint64_t at)
{
	return i << 32 | (at / 8 + 1);
}

/* Without a branch: which word comes next cannot be predicted, and a wrong one costs more than a few stores. */
MA_INLINE uint64_t location_either(bool which, uint64_t yes, uint64_t no)
{
	uint64_t mask = ~(uint64_t)which + 1;

	__asm__("" : "+r"(mask)); /* Or the compiler finds out what it is, and branches. */
	return no ^ ((yes ^ no) & mask);
}

MA_INLINE void location_push(struct location *location, unsigned class, uint64_t hint)
{
	uint64_t was = ma_load(&location->now[class]);
	bool differs = was != hint;
	uint32_t top = (ma_load(&location->top[class]) + differs) % LOCATION_HINTS;
	_Atomic uint64_t *entry = &location->hint[class][top];

	ma_store(entry, location_either(differs, was, ma_load(entry)));
	ma_store(&location->top[class], top);
	ma_store(&location->now[class], hint);
}

/* The hint that lies on top goes, if it is exhausted. */
MA_INLINE void location_pop(struct location *location, unsigned class, uint64_t hint, bool exhausted)
{
	uint32_t top = ma_load(&location->top[class]) % LOCATION_HINTS;
	_Atomic uint64_t *entry = &location->hint[class][top];
	uint64_t next = ma_load(entry);

	ma_store(&location->now[class], location_either(exhausted, next, hint));
	ma_store(entry, location_either(exhausted, 0, next));
	ma_store(&location->top[class], top - exhausted);
}

MA_INLINE uint64_t location_vacant(unsigned level, uint64_t word)
{
	return (uint64_t)level << 56 | (word + 1);
}

MA_INLINE _Atomic uint64_t *location_vacant_entry(struct location *location, uint64_t vacant)
{
	return &location->vacant[(vacant ^ vacant >> 5 ^ vacant >> 56) % LOCATION_VACANT];
}

#endif /* SHMBUDDY_LOCATION_H */
