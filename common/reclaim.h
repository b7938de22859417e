/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How often a full map is searched for space that dead processes and frees have left. Both kinds of maps do it.
 *
 * Two rules limit the time that a thread spends when its calls fail again and again:
 *
 * - The thread asks the kernel which processes live. When that found no dead process, it asks again only after ma_patience times as
 *   long as it took. Until then the thread is barren.
 * - A free is one store into an allocation byte, so a search reads the bytes of all blocks of the class. When the search finds no free
 *   block, the process notes that it failed. The process searches again when there is news: this process freed a block, any process
 *   gave a slab or chunks back, or the file became longer. The fast path of a free counts nothing. So the search first sends all frees
 *   of the process through the slow path, by means of the limits that the fast path compares with. The first free on the slow path
 *   counts, and restores the fast path. Frees on the fast path of other processes are no news. For them the process repeats the
 *   search after ma_patience times its duration. It makes a search of less than MA_SEARCH_CHEAP_NS for each call.
 *
 * A heap makes most of its first search before it is full (heap_sweep.h).
 *
 * Another thread may have read the limits before they changed, and store its byte after the search has read it. The repeated search
 * finds that block too.
 */
#ifndef MA_RECLAIM_H
#define MA_RECLAIM_H

#include "common/image.h"
#include "common/stamp.h"
#include "common/thread.h"

#define MA_SEARCH_CHEAP_NS 20000

/* Only tests change it: with 0 a call does the same whenever it is made. */
extern uint32_t ma_patience;

/* Search, thoroughly only when the thread is not barren. What search returns: has it found something? */
MA_INLINE bool ma_reclaim(struct ma_tcache *tc, bool (*search)(struct ma_tcache *tc, bool barren))
{
	uint64_t begin = ma_now_ns(CLOCK_MONOTONIC);
	bool barren = begin < tc->barren_ns;
	bool any = search(tc, barren);

	if (!any && !barren)
		tc->barren_ns = begin + ma_patience * (ma_now_ns(CLOCK_MONOTONIC) - begin);
	return any;
}

/* ---- failed searches ---- */

struct ma_search {
	uint64_t news;
	uint64_t begin_ns;
};

/* Would a search for a block of this class, among those that the thread does not own, fail? Static maps number their searches. */
bool ma_search_would_fail(struct ma_image *map, uint32_t class);

/* When it would: of what the thread itself owns this is known only when it was searched since. */
MA_INLINE bool ma_search_ring_would_fail(const struct ma_image *map, const struct ma_cursor *cursor)
{
	return cursor->ring_news == ma_load(&map->failed[cursor->class].news);
}

MA_INLINE void ma_search_ring_failed(const struct ma_image *map, struct ma_cursor *cursor)
{
	cursor->ring_news = ma_load(&map->failed[cursor->class].news);
}

uint64_t ma_search_news(struct ma_image *map);
struct ma_search ma_search_begin(struct ma_image *map);
/* From here on the search finds each block that this process frees, or another thread is told of it. */
void ma_search_see_frees(struct ma_image *map);
/* It ended without a block, and all blocks of the class were looked at. */
void ma_search_failed(struct ma_image *map, uint32_t class, const struct ma_search *search);
/* The same, for a caller that knows it from elsewhere: with these news, until then. */
void ma_search_note(struct ma_image *map, uint32_t class, uint64_t news, uint64_t until_ns);
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
