/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams, their locks, and what is done for the dead. See body.h, owner.h. */
#include "common/body.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/map.h"
#include "common/owner.h"
#include "common/proc.h"
#include "common/roots.h"

#define OWNERS_MIN 16
#define OWNERS_MAX 4096

struct ma_body *ma_body(struct ma_map *map)
{
	return (struct ma_body *)(void *)(map->base + MA_PAGE);
}

struct ma_stream *ma_stream(struct ma_map *map, uint32_t index)
{
	return (struct ma_stream *)(void *)(map->base + map->lay.stream_off + (uint64_t)index * map->lay.stream_stride);
}

uint32_t ma_stream_of(struct ma_map *map, uint64_t unit)
{
	return (uint32_t)(unit / map->lay.per_stream);
}

/* Thread ids are addresses of aligned thread blocks: mix, or all threads meet in one stream. */
uint32_t ma_stream_mine(struct ma_map *map)
{
	return (uint32_t)(ma_mix((uint64_t)pthread_self()) % map->lay.streams);
}

bool ma_stream_lock(struct ma_map *map, uint32_t index)
{
	uint32_t slot = ma_proc_slot(map);

	if (slot == MA_NO_SLOT)
		return false;
	if (ma_lock_take(map, &ma_stream(map, index)->lock, slot) == MA_LOCK_INHERITED)
		map->engine->recover_stream(map, index);
	return true;
}

void ma_stream_unlock(struct ma_map *map, uint32_t index)
{
	ma_lock_give(&ma_stream(map, index)->lock);
}

/* The lock is ours, taken from the dead: mend, then let it go. */
static void mend_stream(struct ma_map *map, uint32_t index)
{
	struct ma_stream *st = ma_stream(map, index);

	map->engine->recover_stream(map, index);
	ma_store(&st->stale, 1);
	ma_lock_give(&st->lock);
}

void ma_body_sweep(struct ma_map *map, uint32_t slot)
{
	/* A root's change is one store, and so is that of the length: their locks need no mending. */
	if (ma_lock_inherit(&ma_body(map)->root_lock, slot))
		ma_lock_give(&ma_body(map)->root_lock);
	if (ma_lock_inherit(&ma_body(map)->length_lock, slot))
		ma_lock_give(&ma_body(map)->length_lock);
	for (uint32_t i = 0; i < map->lay.streams; i++)
		if (ma_lock_inherit(&ma_stream(map, i)->lock, slot))
			mend_stream(map, i);
	if (ma_owner_retire_slot(map, slot) > 0)
		for (uint32_t i = 0; i < map->lay.streams; i++)
			ma_store(&ma_stream(map, i)->stale, 1);
}

void ma_body_recover(struct ma_map *map)
{
	ma_lock_seize(&ma_body(map)->root_lock, 0);
	ma_lock_give(&ma_body(map)->root_lock);
	ma_lock_seize(&ma_body(map)->length_lock, 0);
	ma_lock_give(&ma_body(map)->length_lock);
	ma_owner_retire_all(map);
	for (uint32_t i = 0; i < map->lay.streams; i++) {
		ma_lock_seize(&ma_stream(map, i)->lock, 0);
		mend_stream(map, i);
	}
}

/*
 * A snapshot takes each word whole. By a write, because the disk may be full. The magic number is left out: half a copy is not
 * to look like a map.
 */
static void copy_words(struct ma_map *map, uint64_t from, uint64_t end)
{
	uint64_t words[MA_PAGE / 8];
	ssize_t done;

	while (from < end) {
		uint64_t count = ma_min(MA_COUNT(words), (end - from + 7) / 8);

		for (uint64_t i = 0; i < count; i++)
			words[i] = ma_load_acquire((_Atomic uint64_t *)(void *)(map->source->base + from) + i);
		if (from == 0)
			words[0] = 0;
		done = pwrite(map->fd, words, count * 8, (off_t)from);
		if (done != (ssize_t)(count * 8))
			map->own_errno = done < 0 ? errno : ENOSPC;
		from += count * 8;
	}
}

void ma_body_own(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	if (map->source) {
		copy_words(map, ma_down(from, 8), from + bytes);
		return;
	}
	for (uint64_t at = ma_down(from, MA_PAGE); at < from + bytes; at += MA_PAGE) {
		_Atomic uint8_t *page = (_Atomic uint8_t *)(map->base + at);
		uint8_t byte = ma_load(page);

		/*
		 * A write makes the kernel copy the page. It must be one indivisible step with its own look: a byte that was
		 * read before the copy and written after it would tear a word that changed in between.
		 */
		while (!ma_cas(page, &byte, byte))
			;
	}
}

void ma_body_own_again(struct ma_map *map)
{
	if (map->source)
		ma_body_own(map, map->lay.stream_off, (uint64_t)map->lay.streams * map->lay.stream_stride);
}

/* Pages that hold nothing else are not even read; those at the ends are copied. */
void ma_body_void(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	uint64_t end = from + bytes;
	uint64_t first = ma_up(from, MA_PAGE);
	uint64_t last = ma_down(end, MA_PAGE);

	if (map->source)
		return;
	if (first >= last || mmap(map->base + first, last - first, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		first = last = end;
	ma_body_own(map, from, first - from);
	memset(map->base + from, 0, first - from);
	ma_body_own(map, last, end - last);
	memset(map->base + last, 0, end - last);
}

void ma_body_fresh(struct ma_map *map, uint64_t from, uint64_t bytes)
{
	if ((map->flags & MA_MAP_PRIVATE) || map->source)
		memset(map->base + from, 0, bytes);
}

uint64_t ma_body_layout(struct ma_layout *lay, uint64_t length)
{
	lay->stream_off = MA_PAGE + sizeof(struct ma_body);
	lay->owners = (uint32_t)ma_max(OWNERS_MIN, ma_min(OWNERS_MAX, length / MA_PAGE));
	lay->owner_off = lay->stream_off + (uint64_t)lay->streams * lay->stream_stride;
	lay->root_off = ma_up(lay->owner_off + (uint64_t)lay->owners * sizeof(struct ma_owner), sizeof(struct ma_root));
	return lay->root_off + (uint64_t)lay->roots * sizeof(struct ma_root);
}
