/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Giving back: empty slabs to the free chunks, free chunks to the disk.
 *
 * The second happens by itself, in two steps a second apart, so that what is used again soon keeps its space. There is no
 * thread for it: the next call that comes to a slow path does it, or the process that detaches. It also happens when free chunks keep more
 * space than those in use have, and when the disk is full.
 */
#include <errno.h>
#include <time.h>

#include "common/error.h"
#include "common/heap_cache.h"
#include "common/heap_internal.h"
#include "common/heap_sweep.h"
#include "common/reclaim.h"

#define QUEUE_AGE    1024
#define QUEUE_BARREN 64
#define QUIET_AGES   4 /* Since the last call that came here: what is free now was free all that time, but for little. */

uint32_t ma_heap_age_seconds = 1;
uint32_t ma_heap_share_chunks = 1024;

/* ---- empty slabs ---- */

/* Those that the thread owns; but not one that it has in view, when they are to be idle. */
static bool scavenge_own(struct ma_tcache *tc, bool idle_only)
{
	bool any = false;

	for (uint32_t c = 0; c < MA_CLASSES; c++)
		for (uint32_t i = tc->cursor[c].count; i-- > 0;) {
			uint32_t id = tc->ring[c][i];

			if ((idle_only && tc->cursor[c].now.alloc_bytes && tc->cursor[c].now.unit == id) ||
			    !ma_slab_give_if_empty(tc->map, id))
				continue;
			ma_ring_drop(tc, &tc->cursor[c], i);
			any = true;
		}
	return any;
}

/* Only under the stream's lock is a slab without an owner adopted, or given back. So there is no race for it. */
static bool scavenge_queue(struct ma_image *map, struct ma_queue *queue, uint32_t looks)
{
	uint32_t first = MA_NO_SLAB;
	struct ma_slab slab;
	bool any = false;

	if (!ma_load(&queue->head)) /* Most are empty. */
		return false;
	for (uint32_t i = 0; i < looks; i++) {
		uint32_t id = ma_queue_pop(map, queue);

		if (id == MA_NO_SLAB)
			break;
		ma_store(&map->sweep.looks, ma_load(&map->sweep.looks) + 1);
		if (id == first) {
			ma_queue_push_front(map, queue, id);
			break;
		}
		if (!ma_slab_at(map, id, &slab) || !ma_slab_is_unowned(map, &slab, 0))
			continue;
		if (ma_slab_is_empty(&slab)) {
			ma_slab_give(map, &slab);
			any = true;
		} else {
			ma_queue_push(map, queue, id);
			first = first == MA_NO_SLAB ? id : first;
		}
	}
	return any;
}

/* The lock is held. */
static bool scavenge_stream(struct ma_image *map, uint32_t stream, uint32_t looks)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t most = ma_queue_most(map, stream);
	bool any = false;

	looks = (uint32_t)ma_min(looks, most);
	ma_queues_freshen(map, stream);
	for (uint32_t c = 0; c < MA_CLASSES; c++) {
		any |= scavenge_queue(map, &st->queue[c], looks);
		any |= scavenge_queue(map, &st->small_queue[c], looks);
	}
	any |= ma_cell_reap(map, stream);
	return ma_cache_collect(map, stream) | any;
}

static bool scavenge(struct ma_tcache *tc, bool barren)
{
	bool any = scavenge_own(tc, false), is_claimed = ma_sweep_claims(tc->map, MA_SWEEP_EMPTY);

	any |= ma_body_reap(tc->map, !barren && !is_claimed); /* A sweep begins with it. */
	if (!any && is_claimed)
		return false;
	for (uint32_t s = 0; s < ma_lanes(tc->map); s++) {
		if (!ma_stream_lock(tc->map, s))
			return any;
		any |= scavenge_stream(tc->map, s, barren ? QUEUE_BARREN : UINT32_MAX);
		ma_stream_unlock(tc->map, s);
	}
	return any;
}

/*
 * Has a slab come back, by whatever thread or process, since this thread last asked? Thread A finds no room; thread B gives empty
 * slabs back; then A finds none to give back, but there is room. A takes each lock in between, which makes the change visible.
 */
static bool have_returned(struct ma_tcache *tc)
{
	uint32_t was = tc->returns;

	tc->returns = 0;
	for (uint32_t s = 0; s < ma_lanes(tc->map); s++)
		tc->returns += ma_load(&ma_stream(tc->map, s)->returns);
	return tc->returns != was;
}

bool ma_slab_scavenge(struct ma_tcache *tc)
{
	int saved = errno;
	bool any = ma_reclaim(tc, scavenge);

	any |= have_returned(tc);
	errno = saved;
	return any;
}

/* ---- to the disk ---- */

static void age_stream(struct ma_image *map, uint32_t stream, uint32_t now)
{
	_Atomic uint32_t *aged = &ma_stream(map, stream)->aged;
	uint32_t was = ma_load(aged);

	if (was == now || !ma_cas_relaxed(aged, &was, now) || !ma_stream_lock(map, stream))
		return;
	scavenge_stream(map, stream, QUEUE_AGE);
	ma_chunk_punch_free(map, stream, was == 0 || now - was < QUIET_AGES); /* 0: the map is new. */
	ma_stream_unlock(map, stream);
}

void ma_heap_age(struct ma_image *map, struct ma_tcache *tc)
{
	uint32_t now;
	int saved = errno;

	if (!ma_heap_age_seconds)
		return;
	now = (uint32_t)(ma_now_ns(CLOCK_MONOTONIC_COARSE) / 1000000000) / ma_heap_age_seconds;
	if (ma_load(&ma_stream(map, tc ? tc->stream : 0)->aged) == now)
		return;
	if (tc)
		scavenge_own(tc, true);
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		age_stream(map, s, now);
	errno = saved;
}

/* Bytes, or -1 with errno: a stream cannot be locked. */
static int64_t punch_all(struct ma_image *map)
{
	int64_t bytes = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		if (!ma_stream_lock(map, s))
			return -1;
		ma_cache_collect(map, s);
		bytes += (int64_t)ma_chunk_punch_free(map, s, false);
		ma_stream_unlock(map, s);
	}
	return bytes;
}

static bool keeps_too_much(struct ma_image *map)
{
	uint64_t kept = 0, live = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		kept += ma_chunk_kept(map, s, &live);
	return kept > ma_max(live, ma_heap_share_chunks);
}

bool ma_heap_age_at_free(struct ma_image *map, uint64_t freed)
{
	struct ma_tcache *tc = ma_tcache_of(map);
	bool many = freed >= ma_heap_share_chunks;

	if (many)
		ma_store(&map->freed_chunks, 0);
	ma_heap_age(map, tc->id == ma_load(&map->id) ? tc : NULL);
	return many;
}

void ma_heap_limit_kept(struct ma_image *map)
{
	int saved = errno;

	if (keeps_too_much(map))
		punch_all(map);
	errno = saved;
}

bool ma_heap_help_full_disk(struct ma_image *map)
{
	int saved = errno;
	bool any = (saved == ENOSPC || saved == EDQUOT) && punch_all(map) > 0;

	errno = saved;
	return any;
}

void ma_heap_rest(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		if (!ma_stream_lock(map, s))
			return;
		scavenge_stream(map, s, UINT32_MAX);
		ma_chunk_punch_free(map, s, false);
		ma_stream_unlock(map, s);
	}
}

int64_t ma_heap_trim(struct ma_image *map)
{
	struct ma_tcache *tc;

	if (!ma_image_writable(map))
		return ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name);
	tc = ma_tcache_get(map);
	if (!tc)
		return -1;
	tc->barren_ns = 0;
	ma_slab_scavenge(tc);
	return punch_all(map);
}

void ma_heap_hollow(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		ma_chunk_punch_free(map, s, false);
}
