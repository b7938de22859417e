/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams, their locks, and what is done for the dead. See body.h, owner.h. */
#include "common/body.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "common/error.h"
#include "common/image_fd.h"
#include "common/lock.h"
#include "common/owner.h"
#include "common/process.h"
#include "common/slot.h"
#include "common/stamp.h"

#define LOOKS_MOST  4096 /* A call that searches for dead processes reads so many entries, */
#define PROBES_MOST 32   /* pids, */
#define ASKS_MOST   4    /* and questions to the kernel that take longer. */

#define OWNERS_MIN      16
#define OWNERS_SMALL    64 /* A small map has so many for 4 KiB each; only a larger one has more. */
#define OWNERS_MAX      4096
#define OWNER_BYTES     (16 << 10)
#define PROCESSES_MIN   64
#define PROCESSES_MAX   4096
#define BYTES_A_PROCESS (16 << 10)

/* Thread ids are addresses of aligned thread blocks: mix, or all threads meet in one stream. */
uint32_t ma_stream_mine(struct ma_image *map)
{
	return (uint32_t)(ma_mix((uint64_t)pthread_self()) % map->lay.streams);
}

bool ma_stream_lock(struct ma_image *map, uint32_t index)
{
	uint32_t slot = ma_body_slot(map);
	enum ma_lock_result result;

	if (slot == MA_NO_SLOT)
		return false;
	result = ma_lock_take(map, &ma_stream(map, index)->lock, slot);
	if (result == MA_LOCK_INHERITED)
		map->engine->recover_stream(map, index);
	return result != MA_LOCK_STUCK;
}

void ma_stream_unlock(struct ma_image *map, uint32_t index)
{
	ma_lock_give(&ma_stream(map, index)->lock);
}

void ma_body_let_go(struct ma_image *map, uint32_t lanes)
{
	while (lanes > 0)
		ma_stream_unlock(map, --lanes);
}

bool ma_body_hold(struct ma_image *map, uint32_t *lanes)
{
	uint32_t n = 0;

	while (n < ma_lanes(map) && ma_stream_lock(map, n))
		n++;
	*lanes = n;
	if (n == ma_lanes(map))
		return true;
	ma_body_let_go(map, n);
	return false;
}

/* The lock is ours, taken from the dead: mend, then let it go. */
static void mend_stream(struct ma_image *map, uint32_t index)
{
	struct ma_stream *st = ma_stream(map, index);

	map->engine->recover_stream(map, index);
	ma_store(&st->stale, 1);
	ma_lock_give(&st->lock);
}

/*
 * Taking over a process slot: mend and free all locks that still name it; when its last holder did not close in order, retire all
 * owners that do.
 */
static void sweep(struct ma_image *map, uint32_t slot, bool was_used)
{
	/* A root's change is one store, and so is that of the length: their locks need no mending. */
	if (ma_lock_inherit(&ma_body(map)->root_lock, slot))
		ma_lock_give(&ma_body(map)->root_lock);
	if (ma_lock_inherit(&ma_body(map)->length_lock, slot))
		ma_lock_give(&ma_body(map)->length_lock);
	for (uint32_t i = 0; i < ma_lanes(map); i++)
		if (ma_lock_inherit(&ma_stream(map, i)->lock, slot))
			mend_stream(map, i);
	if (!was_used)
		return;
	/* It may have died when its records were retired already, and nothing said so. */
	ma_owner_retire_slot(map, slot);
	for (uint32_t i = 0; i < ma_lanes(map); i++)
		ma_store(&ma_stream(map, i)->stale, 1);
}

void ma_body_recover(struct ma_image *map)
{
	ma_lock_seize(&ma_body(map)->root_lock, 0);
	ma_lock_give(&ma_body(map)->root_lock);
	ma_lock_seize(&ma_body(map)->length_lock, 0);
	ma_lock_give(&ma_body(map)->length_lock);
	ma_owner_retire_all(map);
	ma_slot_forget_all(map);
	for (uint32_t i = 0; i < ma_lanes(map); i++) {
		ma_lock_seize(&ma_stream(map, i)->lock, 0);
		mend_stream(map, i);
	}
}

/* ---- membership ---- */

/* Before the slot is ours in public, inherit what its last holder left: see lock.h and owner.h. */
static void move_in(struct ma_image *map, uint32_t slot)
{
	sweep(map, slot, ma_load(&ma_slot_row(map, slot)->pid) != 0);
	ma_slot_enter(map, slot);
	ma_store_release(&map->slot, slot); /* Pairs with common/body.c:ma_body_slot. */
}

/*
 * The first slot from the hint on that can be had, among those that were never used or given back; or among the others, whose
 * holders live or died. Only the kernel knows which, and it is asked of one after the other: the next process begins behind.
 */
static uint32_t take_among(struct ma_image *map, int fd, bool was_used)
{
	uint32_t count = map->lay.processes;
	uint32_t start = ma_load(&ma_body(map)->process_hint) % count;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t slot = (start + i) % count;

		if ((ma_load(&ma_slot_row(map, slot)->pid) != 0) == was_used && ma_slot_lock(map, fd, slot))
			return slot;
	}
	return MA_NO_SLOT;
}

/* A process with a slot may have to repair any part for a dead one. So it must have all segments mapped that others have made. */
static bool sees_all(struct ma_image *map)
{
	if (map->reach == map->lay.segments || ma_image_length(map) < map->lay.seg[map->reach].user_file)
		return true;
	ma_fail(ENOMEM, "%s: has grown beyond what this process had address space for: open it again", map->name);
	return false;
}

static uint32_t fail_full(struct ma_image *map)
{
	ma_fail(EUSERS,
		"%s: cannot attach for allocating: all %u process slots are in use; end a process that uses it, "
		"or create the map with more",
		map->name, map->lay.processes);
	return MA_NO_SLOT;
}

/* A slot that was given back was found before: it needs no question. */
static uint32_t take_used_slot(struct ma_image *map, int fd)
{
	uint64_t begin = ma_now_ns(CLOCK_MONOTONIC);
	uint32_t slot;

	if (ma_slot_all_held(map, &map->slots_held_until, begin))
		return fail_full(map);
	slot = take_among(map, fd, true);
	if (slot != MA_NO_SLOT || ma_slot_blame(map, fd, "cannot attach for allocating"))
		return slot;
	ma_slot_note_held(&map->slots_held_until, begin);
	return fail_full(map);
}

static uint32_t take_slot(struct ma_image *map)
{
	int fd = ma_image_fd(map);
	uint32_t slot;

	if (fd < 0 || !sees_all(map))
		return MA_NO_SLOT;
	slot = take_among(map, fd, false);
	if (slot == MA_NO_SLOT)
		slot = take_used_slot(map, fd);
	if (slot != MA_NO_SLOT)
		move_in(map, slot);
	return slot;
}

uint32_t ma_body_slot(struct ma_image *map)
{
	uint32_t slot = ma_load_acquire(&map->slot); /* Pairs with common/body.c:move_in. */

	if (MA_LIKELY(slot != MA_NO_SLOT) && MA_LIKELY(ma_load(ma_process_mark)) && MA_LIKELY(!map->fickle))
		return slot;
	if (!ma_load(ma_process_mark)) {
		ma_process_notice();
		if (ma_load(&map->id) == MA_MAP_CLOSED) {
			ma_fail(EBADF, "%s: the map is closed in this fork child: open it again", map->name);
			return MA_NO_SLOT;
		}
		slot = ma_load_acquire(&map->slot);
	}
	if (slot != MA_NO_SLOT && map->fd >= 0 && ma_image_fd(map) < 0)
		return MA_NO_SLOT;
	pthread_mutex_lock(&map->mutex);
	slot = ma_load_acquire(&map->slot);
	if (slot == MA_NO_SLOT)
		slot = take_slot(map);
	pthread_mutex_unlock(&map->mutex);
	return slot;
}

/* ---- dead processes ---- */

/*
 * The slot's byte is ours while we mend, so that no process moves in meanwhile. Killed there: it is dead again. The mutex,
 * because threads of one process would all get the byte.
 */
static bool reap_slot(struct ma_image *map, int fd, uint32_t slot)
{
	if (slot == ma_load(&map->slot) || !ma_load(&ma_slot_row(map, slot)->pid) || !ma_slot_lock(map, fd, slot))
		return false;
	sweep(map, slot, true);
	ma_store_kill(&ma_slot_row(map, slot)->pid, 0); /* Pairs with common/slot.c:is_still_ours. */
	ma_slot_unlock(fd, slot);
	return true;
}

/* Most slots were never used: the search passes over a cache line of them at once. Returns the first slot that is taken, or end. */
static uint32_t taken_before(const struct ma_process *row, uint32_t slot, uint32_t end)
{
	for (const struct ma_process *at = row + slot; end - slot >= 4; at += 4, slot += 4)
		if (ma_load(&at[0].pid) | ma_load(&at[1].pid) | ma_load(&at[2].pid) | ma_load(&at[3].pid))
			break;
	while (slot < end && !ma_load(&row[slot].pid))
		slot++;
	return slot;
}

/* The next slot that a process took, among *left of them from *next on. MA_NO_SLOT: there is none. */
static uint32_t next_taken(const struct ma_image *map, uint32_t *next, uint32_t *left)
{
	const struct ma_process *row = ma_slot_row(map, 0);
	uint32_t count = map->lay.processes;

	while (*left > 0) {
		uint32_t from = *next, end = from + (uint32_t)ma_min(*left, count - from),
			 slot = taken_before(row, from, end);
		bool is_found = slot < end;

		*left -= slot - from + is_found;
		*next = slot + is_found < count ? slot + is_found : 0;
		if (is_found)
			return slot;
	}
	return MA_NO_SLOT;
}

/* Those whose pid no process has. */
static bool reap_without_pid(struct ma_image *map, int fd, uint32_t most)
{
	uint32_t next = ma_load(&map->probe_next) % map->lay.processes, slot;
	bool any = false;

	for (uint32_t probes = 0; probes < PROBES_MOST; probes++) {
		slot = next_taken(map, &next, &most);
		if (slot == MA_NO_SLOT)
			break;
		if (ma_slot_seems_dead(map, slot) && reap_slot(map, fd, slot))
			any = true, probes = 0;
	}
	ma_store(&map->probe_next, next);
	return any;
}

/* Those whose lock no process has. */
static bool reap_without_lock(struct ma_image *map, int fd, uint32_t most)
{
	uint32_t left = (uint32_t)ma_min(most, ma_load(&map->reap_left)), rest = ma_load(&map->reap_left) - left, slot;
	bool any = false;

	for (uint32_t asks = 0; asks < ASKS_MOST; asks++) {
		slot = next_taken(map, &map->reap_next, &left);
		if (slot == MA_NO_SLOT)
			break;
		if (reap_slot(map, fd, slot))
			any = true, asks = 0;
	}
	ma_store(&map->reap_left, rest + left);
	return any;
}

/*
 * The kernel takes a microsecond or two for each process that it is asked about, and there may be thousands that live. So a call asks
 * of some, the next call of others; first of those whose pid no process has. A call that finds some goes on as if it had just begun.
 */
static bool reap_some(struct ma_image *map, int fd, bool probe)
{
	uint32_t most = (uint32_t)ma_min(map->lay.processes, LOOKS_MOST);
	bool any = probe && reap_without_pid(map, fd, most);

	return reap_without_lock(map, fd, most) || any;
}

bool ma_body_reap(struct ma_image *map, bool begin)
{
	bool any;
	int fd;

	if (map->fd < 0 || ma_body_slot(map) == MA_NO_SLOT || (!begin && ma_load(&map->reap_left) == 0))
		return false;
	fd = ma_image_fd(map);
	if (fd < 0)
		return false;
	pthread_mutex_lock(&map->mutex);
	if (begin)
		ma_store(&map->reap_left, map->lay.processes);
	any = reap_some(map, fd, begin);
	pthread_mutex_unlock(&map->mutex);
	return any;
}

void ma_body_reap_all(struct ma_image *map)
{
	int fd;

	if (map->fd < 0 || ma_body_slot(map) == MA_NO_SLOT)
		return;
	fd = ma_image_fd(map);
	if (fd < 0)
		return;
	pthread_mutex_lock(&map->mutex);
	for (uint32_t slot = 0; slot < map->lay.processes; slot++)
		reap_slot(map, fd, slot);
	pthread_mutex_unlock(&map->mutex);
}

/* ---- numbers and layout ---- */

uint64_t ma_body_processes(uint64_t bytes)
{
	return ma_max(PROCESSES_MIN, ma_min(PROCESSES_MAX, bytes / BYTES_A_PROCESS));
}

static uint64_t owners_for(uint64_t bytes)
{
	uint64_t few = ma_min(OWNERS_SMALL, bytes / MA_PAGE);

	return ma_max(OWNERS_MIN, ma_min(OWNERS_MAX, ma_max(few, bytes / OWNER_BYTES)));
}

bool ma_body_numbers(struct ma_layout *lay, const struct ma_header *sealed, struct ma_segment_plan *plan)
{
	const uint64_t *param = sealed->param;

	plan->first = param[MA_PARAM_FIRST];
	plan->range = param[MA_PARAM_RANGE];
	lay->processes = (uint32_t)param[MA_PARAM_PROCESSES];
	lay->grows = param[MA_PARAM_GROWS];
	return param[MA_PARAM_PROCESSES] >= 1 && param[MA_PARAM_PROCESSES] <= MA_PROCESSES_MAX &&
	       param[MA_PARAM_GROWS] <= 1;
}

uint64_t ma_body_layout(struct ma_layout *lay, uint64_t bytes)
{
	lay->process_off = MA_PROCESS_OFF;
	lay->seg[0].stream_off = ma_up(lay->process_off + lay->processes * sizeof(struct ma_process), MA_LINE);
	lay->owners = (uint32_t)owners_for(bytes);
	lay->owner_off = lay->seg[0].stream_off + (uint64_t)lay->streams * lay->stream_stride;
	lay->root_off = ma_up(lay->owner_off + (uint64_t)lay->owners * sizeof(struct ma_owner), sizeof(struct ma_root));
	return lay->root_off + (uint64_t)lay->roots * sizeof(struct ma_root);
}
