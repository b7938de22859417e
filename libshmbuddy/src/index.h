/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which words may have room? Hints; the words alone are the truth.
 *
 * A word whose largest free block has order m is *listed* under m, or above: its bit is set in mask m of its line, 64 words a line. Above
 * are lines of lines, in which a bit says that the line below has some bit set in this mask, up to one line a part, and on to lines
 * over the parts. Looking for order z means looking at masks z and above.
 *
 * In the top level the mask of the largest order is stored inverted, so that zeros, which a new region is made of, list all its words.
 *
 * What keeps it true enough:
 *   - A free lists the word before the change and reads the listing again after it. Where the word is listed already, both only read.
 *   - A malloc leaves the listing as it is. So a word that is allocated from and freed to in turn costs nothing here.
 *   - A malloc that follows a listing, and finds in its line no room of the size that it needs, corrects the whole line: it lists each
 *     of the 64 words under the order that the word has room for, removes it from the orders above, reads the word once more, and
 *     lists it again if it changed. That removes as many listings as frees made, so it costs malloc no more than they cost free.
 * So a listing gets lost only when a process is killed between its change and the second read, while another process removes the
 * first listing; mend.c finds such words.
 */
#ifndef SHMBUDDY_INDEX_H
#define SHMBUDDY_INDEX_H

#include "region.h"

#define INDEX_NONE UINT64_MAX

/* Word i has room for blocks of this order. */
void shmbuddy__index_list(struct shmbuddy *h, const struct level *l, uint64_t i, unsigned order);
/* List word i under the order that it has room for, and no larger one. */
void shmbuddy__index_correct(struct shmbuddy *h, const struct level *l, uint64_t i);
/* The same for all 64 words of its line that are listed; of a local level. */
void shmbuddy__index_correct_line(struct shmbuddy *h, const struct level *l, uint64_t i);
/* A word of a local level, in the line of word i and from it on all around, that has room for this order, and is listed so. */
uint64_t shmbuddy__index_room(const struct shmbuddy *h, const struct level *l, unsigned order, uint64_t i);
/*
 * A word of a local level that is listed under this order or a larger one: in the part of word from, which has its space, after it and
 * then before it. INDEX_NONE: there is none.
 */
uint64_t shmbuddy__index_find(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t from);
/* Of parts [from, end), the first in which a local level has words so listed. */
uint64_t shmbuddy__index_find_part(const struct shmbuddy *h, const struct level *l, unsigned order, uint64_t from,
				   uint64_t end, bool only_backed);
/* Nothing was found in this part. */
void shmbuddy__index_correct_part(struct shmbuddy *h, const struct level *l, uint64_t part, unsigned order);
/* A listed word of a level in the crown: from word at on. */
uint64_t shmbuddy__index_find_crown(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t at);
/* Is word `item` of a local level, in the part whose metadata begins there, listed under the largest order? Sequentially consistent. */
MA_INLINE bool index_is_listed(const struct level *l, const char *meta, uint64_t item)
{
	const _Atomic uint64_t *mask =
		(const _Atomic uint64_t *)(const void *)(meta + l->cap_at + (item & ~UINT64_C(63)));

	/* Pairs with libshmbuddy/src/index.c:unlist_many, and with put() there. */
	return (atomic_load(mask) >> item % 64 & 1) != l->top;
}

#endif /* SHMBUDDY_INDEX_H */
