/* SPDX-License-Identifier: BSD-3-Clause */
/* See heap_sweep.h. */
#include "common/heap_sweep.h"

#include <string.h>

#include "common/reclaim.h"

#define FEW_PART    16
#define STEP_SLABS  32
#define STEP_CHUNKS 512 /* Most belong to a slab of several chunks, or to a run: only their words are read. */
#define REST_STEPS  3
#define UNITS_LEAST 65 /* In a smaller map the whole search is short. */
#define WAITS_MOST  1024

uint64_t ma_sweep_ns = 200000000, ma_sweep_most_ns = 1000000000;

/* Not waited for: what another thread is doing, it does for this one as well. */
static bool enter(struct ma_sweep *sweep)
{
	bool was_busy = false;

	/* Pairs with common/heap_sweep.c:leave. */
	return atomic_compare_exchange_strong(&sweep->is_busy, &was_busy, true);
}

static void leave(struct ma_sweep *sweep)
{
	ma_store_release(&sweep->is_busy, false); /* Pairs with common/heap_sweep.c:enter. */
}

/* ---- looking ---- */

static int look_at_slab(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	struct ma_sweep *sweep = &map->sweep;
	uint32_t *slabs = arg;

	++*slabs;
	if (!ma_slab_is_unowned(map, slab, 0) || !ma_slab_has_room(slab, MA_ANY_ROOM))
		return 0;
	sweep->has_room[slab->class] = true;
	sweep->has_empty |= ma_slab_is_empty(slab);
	return 0;
}

/* Returns how many slabs it has. Without one, a chunk in cells can be given back. */
static uint32_t look_at_chunk(struct ma_image *map, uint64_t chunk)
{
	uint32_t slabs = 0;

	ma_chunk_slabs(map, chunk, look_at_slab, &slabs);
	if (slabs == 0 && ma_word_kind(ma_chunk_load(map, chunk)) == MA_CELLS)
		map->sweep.has_empty = true;
	return slabs;
}

/*
 * The next chunks of a lane, under its lock: threads adopt and disown slabs under it for a moment. What is different afterwards is
 * news, or on the list of fresh slabs. False: the lane has more chunks.
 */
static bool look_at_some(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;
	uint64_t first = ma_range_first(map, sweep->lane), used = ma_range_used(map, sweep->lane);
	uint64_t end = ma_min(used, sweep->at + STEP_CHUNKS);
	uint32_t slabs = 0;

	for (; sweep->at < end && slabs < STEP_SLABS; sweep->at++)
		slabs += look_at_chunk(map, first + sweep->at);
	ma_store(&sweep->looks, ma_load(&sweep->looks) + slabs);
	return sweep->at >= used;
}

/* False: the sweep has not come to its end, or it ended because a lane cannot be locked. */
static bool step(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;
	bool is_done;

	sweep->is_on = ma_stream_lock(map, sweep->lane);
	if (!sweep->is_on)
		return false;
	ma_queues_freshen(map, sweep->lane);
	is_done = look_at_some(map);
	ma_stream_unlock(map, sweep->lane);
	if (!is_done)
		return false;
	sweep->at = 0;
	return ++sweep->lane >= ma_lanes(map);
}

/* ---- a sweep ---- */

/* A reader may find claims of two sweeps: each is right for its news. */
static void make_claims(struct ma_sweep *sweep)
{
	uint64_t now = ma_now_ns(CLOCK_MONOTONIC), more = ma_patience * (now - sweep->begin_ns);

	for (uint32_t c = 0; c < MA_CLASSES; c++)
		ma_store(&sweep->claim[c], sweep->has_room[c] ? 0 : sweep->news);
	ma_store(&sweep->claim[MA_SWEEP_EMPTY], sweep->has_empty ? 0 : sweep->news);
	/* Pairs with common/heap_sweep.c:is_claimed. */
	ma_store_release(&sweep->until_ns, now + ma_max(ma_sweep_ns, ma_min(ma_sweep_most_ns, more)));
	sweep->is_on = false;
	sweep->waits = 0;
}

static void begin(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;

	ma_store(&sweep->until_ns, 0);
	ma_body_reap(map, true); /* So that the sweep includes the slabs that dead processes owned. */
	sweep->begin_ns = ma_now_ns(CLOCK_MONOTONIC);
	sweep->news = ma_search_news(map);
	ma_search_see_frees(map);
	sweep->lane = 0;
	sweep->at = 0;
	sweep->has_empty = false;
	memset(sweep->has_room, 0, sizeof(sweep->has_room));
	ma_store(&sweep->fresh_count, 0);
	sweep->is_on = true;
}

/* A sweep that goes on, or begins now. */
static bool is_due(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;
	bool is_known = sweep->is_on || ma_load(&sweep->until_ns) > ma_now_ns(CLOCK_MONOTONIC);

	if (is_known && sweep->news == ma_search_news(map))
		return sweep->is_on;
	if (is_known) { /* News ended the sweep or its claims. */
		sweep->is_on = false;
		ma_store(&sweep->until_ns, 0);
		sweep->waits = (uint32_t)ma_min(WAITS_MOST, 2 * sweep->waits + 1);
		sweep->wait = sweep->waits;
	}
	if (sweep->wait > 0) {
		sweep->wait--;
		return false;
	}
	begin(map);
	return true;
}

static bool is_nearly_full(struct ma_image *map, uint32_t stream)
{
	uint64_t units = ma_units(map), most = units / FEW_PART, free = ma_chunk_free_count(map, stream);

	if (free > most || units < UNITS_LEAST || (map->lay.grows && ma_segments(map) < map->reach))
		return false;
	free = 0;
	for (uint32_t lane = 0; lane < ma_lanes(map); lane++)
		free += ma_chunk_free_count(map, lane);
	return free <= most;
}

void ma_sweep_step(struct ma_tcache *tc)
{
	struct ma_image *map = tc->map;
	struct ma_sweep *sweep = &map->sweep;

	if (MA_LIKELY(!is_nearly_full(map, tc->stream)) || !ma_patience || !enter(sweep))
		return;
	if (is_due(map) && step(map))
		make_claims(sweep);
	leave(sweep);
}

void ma_sweep_finish(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;

	if (!ma_patience || !enter(sweep))
		return;
	for (int i = 0; i < REST_STEPS && sweep->is_on && sweep->news == ma_search_news(map); i++)
		if (step(map))
			make_claims(sweep);
	leave(sweep);
}

/* ---- what is known ---- */

static bool is_claimed(struct ma_image *map, uint32_t class)
{
	uint64_t until = ma_load_acquire(&map->sweep.until_ns); /* Pairs with common/heap_sweep.c:make_claims. */

	return until != 0 && ma_load(&map->sweep.claim[class]) == ma_search_news(map) &&
	       ma_now_ns(CLOCK_MONOTONIC) < until;
}

/* Only those stay on the list that still have room. */
static void drop_full_ones(struct ma_image *map)
{
	struct ma_sweep *sweep = &map->sweep;
	uint32_t had = ma_load(&sweep->fresh_count), count = 0;
	struct ma_slab slab;

	for (uint32_t i = 0; i < had; i++)
		if (ma_slab_at(map, sweep->fresh[i], &slab) && ma_slab_has_room(&slab, MA_ANY_ROOM))
			sweep->fresh[count++] = sweep->fresh[i];
	ma_store(&sweep->fresh_count, count);
}

/* No slab on the list is empty: the thread that added it allocated a block there, and a free would have ended the claim. */
static bool is_on_list(struct ma_image *map, uint32_t class)
{
	struct ma_sweep *sweep = &map->sweep;
	struct ma_slab slab;

	drop_full_ones(map);
	for (uint32_t i = 0; i < ma_load(&sweep->fresh_count); i++)
		if (ma_slab_at(map, sweep->fresh[i], &slab) && slab.class == class)
			return true;
	return false;
}

bool ma_sweep_claims(struct ma_image *map, uint32_t class)
{
	struct ma_sweep *sweep = &map->sweep;
	bool has_room;

	if (!is_claimed(map, class))
		return false;
	if (ma_load(&sweep->fresh_count) == 0)
		return true;
	if (!enter(sweep))
		return false;
	has_room = is_on_list(map, class);
	leave(sweep);
	return !has_room;
}

void ma_sweep_failed(struct ma_image *map, uint32_t class)
{
	ma_search_note(map, class, ma_load(&map->sweep.claim[class]), ma_load(&map->sweep.until_ns));
}

/* Without a sweep or claims nothing is to be noted. */
static bool note_fresh(struct ma_image *map, uint32_t id)
{
	struct ma_sweep *sweep = &map->sweep;
	uint32_t count;

	if (!sweep->is_on && ma_load(&sweep->until_ns) == 0)
		return true;
	drop_full_ones(map);
	count = ma_load(&sweep->fresh_count);
	if (count == MA_SWEEP_FRESH)
		return false;
	sweep->fresh[count] = id;
	ma_store(&sweep->fresh_count, count + 1);
	return true;
}

void ma_sweep_note_room(struct ma_image *map, uint32_t id)
{
	bool is_noted = false;

	if (enter(&map->sweep)) {
		is_noted = note_fresh(map, id);
		leave(&map->sweep);
	}
	if (!is_noted) /* Then it is news. Pairs with common/reclaim.c:ma_search_news. */
		atomic_fetch_add(&map->frees, 1);
}
