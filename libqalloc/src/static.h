/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Static maps: one array of items of one size, a truth byte for each, and a word for each group of up to 64 items.
 *
 * A group's word is its owner's tag (common/owner.h), or 0. Whoever owns a group, and nobody else, sets truth bytes in it;
 * whoever holds an item clears its byte. A group is taken by compare-exchange from 0 or from a dead tag, so nothing needs
 * mending after a death. A stream's lock is held only to bring groups into use that never were (their disk space first).
 */
#ifndef QALLOC_STATIC_H
#define QALLOC_STATIC_H

#include "common/thread.h"
#include "common/map.h"

#define STATIC_PARAM_STREAMS 0
#define STATIC_PARAM_ITEM 1

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

/* The item's index is the offset divided by the item size, by multiplication with its reciprocal. */
MA_INLINE uint64_t qalloc__static_index(const struct ma_map *map, uint64_t offset)
{
	return (uint64_t)(((unsigned __int128)offset * map->item_magic) >> 64);
}

MA_INLINE bool qalloc__static_free_fast(struct ma_map *map, void *block)
{
	uint64_t offset = (uint64_t)((char *)block - map->user);
	uint64_t index = qalloc__static_index(map, offset);

	if (MA_UNLIKELY(offset >= map->fast_bytes || index * map->item_bytes != offset || ma_load(&map->truth[index]) != 1))
		return false;
	ma_store_release(&map->truth[index], 0);
	return true;
}

#endif /* QALLOC_STATIC_H */
