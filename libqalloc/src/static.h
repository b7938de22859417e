/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Static maps: one array of items of one size, a truth byte for each, and a word for each group of up to 64 items.
 *
 * A group's word is its owner's tag (common/owner.h), or 0. Whoever owns a group, and nobody else, sets truth bytes in it;
 * whoever holds an item clears its byte. A group is taken by compare-exchange from 0 or from a dead tag, so nothing needs
 * mending after a death. A stream's lock is held only to bring groups into use that never were (their disk space first).
 *
 * A group that serves as a table of roots (common/roots.h) has STATIC_ROOTS and the table's id for its word, and no item.
 */
#ifndef QALLOC_STATIC_H
#define QALLOC_STATIC_H

#include "common/map.h"
#include "common/scan.h"
#include "common/thread.h"

#define STATIC_PARAM_STREAMS 0
#define STATIC_PARAM_ITEM    1
#define STATIC_ROOTS         ((uint64_t)1 << 63) /* No tag has this bit. */

extern const struct ma_engine qalloc__static_engine;

/* Items are rounded up so that a truth byte each is worth it and 8-byte words are aligned. */
MA_INLINE uint64_t qalloc__item_bytes(uint64_t size)
{
	return ma_up(size, 8);
}

uint64_t qalloc__static_items(const struct ma_map *map);
void *qalloc__static_malloc_slow(struct ma_map *map, size_t size);
void qalloc__static_free_slow(struct ma_map *map, void *block);
bool qalloc__static_holds(struct ma_map *map, const void *block);
int qalloc__static_walk(struct ma_map *map, int (*fn)(void *block, size_t size, void *arg), void *arg);

/*
 * The product of the offset and the reciprocal (2^64 / item bytes, rounded up) has the item's index in its upper half; the
 * lower half is below the reciprocal when the offset is an item's start. For items of over 128 KiB it may not be: those
 * go the slow way, which divides.
 */
MA_INLINE bool qalloc__static_free_fast(struct ma_map *map, void *block)
{
	uint64_t offset = (uint64_t)((char *)block - map->user);
	unsigned __int128 product = (unsigned __int128)offset * map->item_magic;
	_Atomic uint8_t *truth;

	if (MA_UNLIKELY(offset >= map->fast_items || (uint64_t)product >= map->item_magic))
		return false;
	truth = map->truth + (uint64_t)(product >> 64);
	if (MA_UNLIKELY(!ma_truth_is_one(truth)))
		return false;
	ma_store_release(truth, 0);
	return true;
}

#endif /* QALLOC_STATIC_H */
