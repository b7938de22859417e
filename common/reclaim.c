/* SPDX-License-Identifier: BSD-3-Clause */
/* See reclaim.h. */
#include "common/reclaim.h"

uint32_t ma_patience = 4;

/* A number that changes with all that makes a new search worth its time. Each part only grows; in a damaged file it is a hint. */
uint64_t ma_search_news(struct ma_image *map)
{
	/* Pairs with common/reclaim.c:ma_search_lift. */
	uint64_t sum = ma_load_acquire(&map->frees) + ma_load(&map->header->length);

	for (uint32_t lane = 0; lane < ma_lanes(map); lane++)
		sum += ma_load_acquire(&ma_stream(map, lane)->returns); /* Pairs with common/image.h:ma_stream_count_return. */
	return sum;
}

/* until_ns is stored last: whatever another thread stores meanwhile, news is that of this search or of a later one. */
bool ma_search_would_fail(struct ma_image *map, uint32_t class)
{
	uint64_t until =
		ma_load_acquire(&map->failed[class].until_ns); /* Pairs with common/reclaim.c:ma_search_note. */

	if (MA_LIKELY(until == 0))
		return false;
	if (ma_load(&map->failed[class].news) == ma_search_news(map) && ma_now_ns(CLOCK_MONOTONIC) < until)
		return true;
	ma_cas(&map->failed[class].until_ns, &until, 0);
	return false;
}

struct ma_search ma_search_begin(struct ma_image *map)
{
	return (struct ma_search){ .news = ma_search_news(map), .begin_ns = ma_now_ns(CLOCK_MONOTONIC) };
}

/* The reason is stored already. The first fence orders it before the limits, the second one the limits before what is read next. */
static void limit_frees(struct ma_image *map)
{
	ma_fence();
	ma_store_either(&map->fast_units, 0);
	ma_store_either(&map->fast_items, 0);
	ma_fence(); /* Pairs with common/reclaim.h:ma_search_note_free. */
}

void ma_search_see_frees(struct ma_image *map)
{
	if (!ma_patience) /* Then each call searches. */
		return;
	/* Before the limits and the search: pairs with common/reclaim.c:ma_search_lift. */
	atomic_store(&map->frees_are_seen, true);
	limit_frees(map);
}

void ma_search_failed(struct ma_image *map, uint32_t class, const struct ma_search *search)
{
	uint64_t took = ma_now_ns(CLOCK_MONOTONIC) - search->begin_ns;

	if (took < MA_SEARCH_CHEAP_NS || !ma_patience)
		return;
	ma_search_note(map, class, search->news, search->begin_ns + (1 + ma_patience) * took);
}

void ma_search_note(struct ma_image *map, uint32_t class, uint64_t news, uint64_t until_ns)
{
	ma_store(&map->failed[class].news, news);
	ma_store_release(&map->failed[class].until_ns,
			 until_ns); /* Pairs with common/reclaim.c:ma_search_would_fail. */
}

/*
 * Another thread may have begun a search meanwhile, or the map may be watched or closed: what forbids fast frees is stored before
 * the limits become 0. So the limits that are stored here are seen by that thread, or this one sees the reason.
 */
void ma_search_lift(struct ma_image *map)
{
	bool were_seen = true;

	atomic_fetch_add(&map->frees, 1); /* Pairs with common/reclaim.c:ma_search_news. */
	if (!atomic_compare_exchange_strong(&map->frees_are_seen, &were_seen, false))
		return;
	if (map->item_bytes)
		ma_store_either(&map->fast_items, ma_capacity(map));
	else
		ma_store_either(&map->fast_units, ma_units(map));
	ma_fence(); /* Pairs with common/reclaim.c:ma_search_see_frees. */
	if (ma_load(&map->frees_are_seen) || ma_load(&map->is_watched) || ma_load(&map->id) == MA_MAP_CLOSED)
		limit_frees(map);
}
