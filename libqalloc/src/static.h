/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Static maps: one array of items of one size, an allocation byte for each, and a word for each group of up to 64 items.
 *
 * A group's word is its owner's tag (common/owner.h), or 0. Only the thread that owns a group sets allocation bytes in it;
 * the user of an item clears its byte. A group is taken by compare-exchange from 0 or from a dead tag, so nothing needs
 * mending after a death. A stream's lock is held to bring groups into use that never were (their disk space first), and to take
 * single items of the last groups of its range, which no thread owns for longer than that.
 *
 * A group that serves as a table of roots (common/roots.h) has STATIC_ROOTS and the table's id for its word, and no item.
 */
#ifndef QALLOC_STATIC_H
#define QALLOC_STATIC_H

#include "common/map.h"
#include "common/scan.h"
#include "common/thread.h"
#include "inspect.h"

#define STATIC_PARAM_STREAMS 0
#define STATIC_PARAM_ITEM    1
#define STATIC_ROOTS         ((uint64_t)1 << 63) /* No tag has this bit. */
#define STATIC_SCAN_SLACK    64                  /* A scan reads 64 bytes even of a smaller group. */

/* Items are rounded up so that an allocation byte each is worth it and 8-byte words are aligned. */
MA_INLINE uint64_t qalloc__item_bytes(uint64_t size)
{
	return ma_up(size, 8);
}

uint64_t qalloc__static_items(const struct ma_image *map);
void *qalloc__static_malloc_slow(struct ma_image *map, size_t size);
void qalloc__static_free_slow(struct ma_image *map, void *block);
bool qalloc__static_holds(struct ma_image *map, const void *block);
int qalloc__static_walk(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg);

/*
 * The product of the offset and the reciprocal (2^64 / item bytes, rounded up) has the item's index in its upper half; the
 * lower half is below the reciprocal when the offset is an item's start. For items of over 128 KiB it may not be: those
 * go the slow way, which divides.
 */
MA_INLINE bool qalloc__static_free_fast(struct ma_image *map, void *block)
{
	uint64_t offset = (uint64_t)((char *)block - map->user);
	unsigned __int128 product = (unsigned __int128)offset * map->item_magic;
	_Atomic uint8_t *byte;

	if (MA_UNLIKELY(offset >= ma_load_either(&map->fast_items) || (uint64_t)product >= map->item_magic))
		return false;
	byte = map->alloc_bytes + (uint64_t)(product >> 64);
	if (MA_UNLIKELY(!ma_byte_is_one(byte)))
		return false;
	ma_store_release(byte, 0); /* Pairs with common/scan.h:ma_scan64. */
	return true;
}

/* ---- groups (static_group.c) ---- */

MA_INLINE _Atomic uint64_t *qalloc__group_word(struct ma_image *map, uint64_t group)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.unit_off) + group;
}

/* Groups of the range that were ever in use. */
MA_INLINE uint64_t qalloc__range_used(struct ma_image *map, uint32_t stream)
{
	/* Pairs with libqalloc/src/static_group.c:next_group. */
	return ma_min(ma_load_acquire(&ma_stream(map, stream)->top), ma_range_count(map, stream));
}

/* Was it ever in use? What is said of others is not even read. */
MA_INLINE bool qalloc__is_used(struct ma_image *map, uint64_t group)
{
	uint32_t lane;

	if (group >= ma_units(map))
		return false;
	lane = ma_stream_of(map, group);
	return group - ma_range_first(map, lane) < qalloc__range_used(map, lane);
}

/* Disk space for one group more than the used ones of the range, in steps that grow with the map. 0, or -1 with errno. */
int qalloc__static_reserve_next(struct ma_image *map, uint32_t stream, uint64_t used);
/* Fill a cursor whose mask is empty. False: errno. */
bool qalloc__static_refill(struct ma_tcache *tc, struct ma_cursor *cursor);
/* When that failed: look through all groups; the last resort is one item of a group that no thread owns. NULL: errno. */
void *qalloc__static_search(struct ma_tcache *tc);
/* See struct ma_engine. */
void qalloc__static_thread_attach(struct ma_tcache *tc);
void qalloc__static_thread_detach(struct ma_tcache *tc);
bool qalloc__static_table_at(struct ma_image *map, uint64_t group, struct ma_table *table);
bool qalloc__static_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);

#endif /* QALLOC_STATIC_H */
