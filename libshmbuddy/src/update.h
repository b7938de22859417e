/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that several processes change: what a word becomes is computed from what it is, and stored by one compare-exchange; again and
 * again until no other change came between. Inlined, and so is the function that computes.
 */
#ifndef SHMBUDDY_UPDATE_H
#define SHMBUDDY_UPDATE_H

#include "common/base.h"

/* What the word becomes, now that it is w. False: it is not to be changed. */
typedef bool update_fn(void *arg, uint64_t w, uint64_t *next);

/*
 * *w is what the word was when it was last read, and afterwards what it is. False: it was not to be
 * changed. Sequentially consistent: a thread that makes room reads the index after this change, and
 * a thread that removes a listing reads the word after that.
 */
MA_INLINE bool update_word(_Atomic uint64_t *at, uint64_t *w, update_fn *next_of, void *arg)
{
	uint64_t next;

	do {
		if (!next_of(arg, *w, &next))
			return false;
	} while (!atomic_compare_exchange_strong(at, w, next)); /* Pairs with libshmbuddy/src/index.c:room_of_fenced. */
	*w = next;
	return true;
}

/* A word that only rises. What it was before. */
MA_INLINE uint64_t raise_word(_Atomic uint64_t *at, uint64_t to)
{
	uint64_t was = atomic_load(at);

	/* The length of a region pairs with libshmbuddy/src/region.h:region_area; others need no order. */
	while (was < to && !atomic_compare_exchange_strong(at, &was, to))
		;
	return was;
}

#endif /* SHMBUDDY_UPDATE_H */
