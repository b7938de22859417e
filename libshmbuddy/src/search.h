/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Where malloc finds a word with room, when the hint on top is none: other hints, the index, words that were left empty, and what the
 * dead left.
 */
#ifndef SHMBUDDY_SEARCH_H
#define SHMBUDDY_SEARCH_H

#include "tree.h"

/* Where the calling thread's cached location is in a handle: its number times the size of one. */
extern __thread size_t shmbuddy__location_at __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The calling thread's; it is ours only when it has the region's id. No thread has number 0. */
MA_INLINE struct location *location_of(struct shmbuddy *h)
{
	return (struct location *)(void *)((char *)h->location + shmbuddy__location_at);
}

/* The calling thread's, made ready for this region. NULL: the region is closed. */
struct location *shmbuddy__location_settle(struct shmbuddy *h);

/* Offset in the area of a block that is now taken. TREE_NONE: errno ENOMEM, or why there is no disk space; errno stays else. */
uint64_t shmbuddy__search(struct shmbuddy *h, struct location *location, const struct want *want);

/* A free left this word of a local level OPEN and empty: remember that, and merge what is forgotten for it. */
void shmbuddy__search_vacate(struct shmbuddy *h, struct location *location, unsigned level, uint64_t i);

#endif /* SHMBUDDY_SEARCH_H */
