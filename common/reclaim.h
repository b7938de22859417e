/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How often a full map is searched for what deaths and frees have left. Both kinds of maps do it.
 *
 * Two things bound what a thread spends that fails again and again:
 *
 * - It asks the kernel which processes are alive for a part of its time only: when that was in vain, not again until ma_patience
 *   times as long has passed. Such a thread is barren.
 * - A free is one store into an allocation byte, so a search reads the bytes of all blocks of the class. When it was in vain, the
 *   process remembers that, and does not search again until there is news: a block freed by this process, or a slab or chunks
 *   given back by any process, or a longer file. The fast path of a free cannot count; so before the search all frees of the
 *   process are sent the slow way, by the limits that the fast path compares with. The first one that comes lets the others go
 *   the fast way again. Blocks that other processes free the fast way are no news. For them the search is repeated, when
 *   ma_patience times its duration has passed; one that takes less than MA_SEARCH_CHEAP_NS each time.
 *
 * A free of another thread that read the limits before they changed, and stores after the search passed by, is found by the
 * repeated search too.
 */
#ifndef MA_RECLAIM_H
#define MA_RECLAIM_H

#include <time.h>

#include "common/image.h"
#include "common/thread.h"

#define MA_SEARCH_CHEAP_NS 20000

/* Only tests change it: with 0 a call does the same whenever it is made. */
extern uint32_t ma_patience;

uint64_t ma_reclaim_now(clockid_t clock);

/* Search, thoroughly only when the thread is not barren. What search returns: has it found something? */
MA_INLINE bool ma_reclaim(struct ma_tcache *tc, bool (*search)(struct ma_tcache *tc, bool barren))
{
	uint64_t begin = ma_reclaim_now(CLOCK_MONOTONIC);
	bool barren = begin < tc->barren_ns;
	bool any = search(tc, barren);

	if (!any && !barren)
		tc->barren_ns = begin + ma_patience * (ma_reclaim_now(CLOCK_MONOTONIC) - begin);
	return any;
}

/* ---- searches in vain ---- */

struct ma_search {
	uint64_t news;
	uint64_t begin_ns;
};

/* Would a search for a block of this class that the thread does not own be in vain? Static maps have two of their own. */
bool ma_search_is_vain(struct ma_image *map, uint32_t class);

/* When it would: of what the thread itself owns this is known only when it was searched since. */
MA_INLINE bool ma_search_ring_is_vain(const struct ma_image *map, const struct ma_cursor *cursor)
{
	return cursor->ring_news == ma_load(&map->vain[cursor->class].news);
}

MA_INLINE void ma_search_ring_failed(const struct ma_image *map, struct ma_cursor *cursor)
{
	cursor->ring_news = ma_load(&map->vain[cursor->class].news);
}

struct ma_search ma_search_begin(struct ma_image *map);
/* From here on the search finds each block that this process frees, or another thread is told of it. */
void ma_search_see_frees(struct ma_image *map);
/* It ended without a block, and all blocks of the class were looked at. */
void ma_search_failed(struct ma_image *map, uint32_t class, const struct ma_search *search);
void ma_search_lift(struct ma_image *map);

/* A block was freed the slow way: its allocation byte is stored. */
MA_INLINE void ma_search_note_free(struct ma_image *map)
{
	/* The byte goes first: pairs with common/reclaim.c:ma_search_see_frees. */
	ma_fence();
	if (MA_UNLIKELY(ma_load(&map->frees_are_seen)))
		ma_search_lift(map);
}

#endif /* MA_RECLAIM_H */
