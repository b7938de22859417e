/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams, their locks, and what is done for the dead. See body.h, owner.h. */
#include "common/body.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/image_fd.h"
#include "common/owner.h"
#include "common/page.h"
#include "common/proc.h"
#include "common/roots.h"

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
	uint32_t slot = ma_proc_slot(map);
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

/* The lock is ours, taken from the dead: mend, then let it go. */
static void mend_stream(struct ma_image *map, uint32_t index)
{
	struct ma_stream *st = ma_stream(map, index);

	map->engine->recover_stream(map, index);
	ma_store(&st->stale, 1);
	ma_lock_give(&st->lock);
}

void ma_body_sweep(struct ma_image *map, uint32_t slot, bool was_used)
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
	ma_proc_forget_all(map);
	for (uint32_t i = 0; i < ma_lanes(map); i++) {
		ma_lock_seize(&ma_stream(map, i)->lock, 0);
		mend_stream(map, i);
	}
}

/* The disk is full: what has no space must not be touched. The copy is read on in memory, until its maker looks at privatize_errno. */
static void give_copy_up(struct ma_image *map, int error)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (!map->privatize_errno)
		mmap(map->base, map->mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
	map->privatize_errno = error;
}

static ssize_t copy_to(struct ma_image *map, const void *bytes, size_t count, off_t at)
{
	int fd = ma_image_fd(map);

	return fd < 0 ? -1 : pwrite(fd, bytes, count, at);
}

/*
 * A snapshot takes each word whole. By a write, because the disk may be full. The magic number is left out: half a copy is not
 * to look like a map.
 */
static void copy_words(struct ma_image *map, uint64_t from, uint64_t end)
{
	uint64_t words[MA_PAGE / 8];
	uint64_t file, count;
	ssize_t done;

	while (from < end) {
		count = ma_segment_run(&map->lay, from, ma_min(sizeof(words), ma_up(end, 8) - from), &file) / 8;
		if (count == 0)
			return;

		for (uint64_t i = 0; i < count; i++)
			words[i] = ma_load_acquire((_Atomic uint64_t *)(void *)(map->source->base + from) + i);
		if (from == 0)
			words[0] = 0;
		done = copy_to(map, words, count * 8, (off_t)file);
		if (done != (ssize_t)(count * 8)) {
			give_copy_up(map, done < 0 ? errno : ENOSPC);
			return;
		}
		from += count * 8;
	}
}

void ma_body_own(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	if (map->source) {
		if (!map->privatize_errno)
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

void ma_body_privatize_again(struct ma_image *map)
{
	/* A view has those of the first segment with the front; of the others nothing was copied yet. */
	for (uint32_t k = map->source ? 0 : 1; k < ma_segments(map); k++)
		ma_body_own(map, map->lay.seg[k].stream_off, (uint64_t)map->lay.streams * map->lay.stream_stride);
}

/* Pages that hold nothing else are not even read; those at the ends are copied. */
void ma_body_void(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	uint64_t end = from + bytes;
	uint64_t first = ma_up(from, ma_page());
	uint64_t last = ma_down(end, ma_page());

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

void ma_body_fresh(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	if ((map->mode & MA_MAP_PRIVATE) || map->source)
		memset(map->base + from, 0, bytes);
}

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
