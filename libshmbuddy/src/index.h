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
 *   - Who makes room lists the word before the change and looks again after it.
 *   - Who finds a word under a mask that it does not belong to takes it off, then looks at the word once more, and lists it again.
 *   - A thread that leaves a word, because it has no more room of the size it wants, does the same.
 * So a listing gets lost only when somebody is killed just between making room and the second look, while somebody else takes the
 * first listing off; mend.c finds such words.
 */
#ifndef SHMBUDDY_INDEX_H
#define SHMBUDDY_INDEX_H

#include "region.h"

#define INDEX_NONE UINT64_MAX

/* Word i has room for blocks of this order. */
void shmbuddy__index_list(struct shmbuddy *h, const struct level *l, uint64_t i, unsigned order);
/* List word i under the order that it has room for, and no larger one. */
void shmbuddy__index_correct(struct shmbuddy *h, const struct level *l, uint64_t i);
/*
 * A word of a local level that is listed under this order or a larger one: in the part of word from, after it and then before it, then in
 * another part that has its space. INDEX_NONE: there is none.
 */
uint64_t shmbuddy__index_find(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t from);
/* The same of a level in the crown: from word at on. */
uint64_t shmbuddy__index_find_crown(struct shmbuddy *h, const struct level *l, unsigned order, uint64_t at);
/* A part without its space where the top level, a local one, has room. */
uint64_t shmbuddy__index_find_unbacked(struct shmbuddy *h, const struct level *l, unsigned order);

#endif /* SHMBUDDY_INDEX_H */
