/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The heap engine: blocks of any size in a map.
 *
 * The user area is an array of chunks of 64 KiB. One word a chunk says what the chunk is, and nothing else does:
 *
 *      63                    12 11     4 3    0
 *     | argument               | class  | kind |
 *
 *     FREE  0                               all bits zero, so a sparse file is all free
 *     SLAB  class, argument: owner's tag    slots of one class; tag 0 or dead: any thread may adopt it
 *     RUN   argument: number of chunks      one large block
 *     CONT  argument: index of the head     belongs to the slab or run that begins there
 *     ROOTS argument: the table's id        a table of roots (roots.h)
 *     ALLOC_BYTES                           allocation bytes of slabs (heap_alloc_bytes.c)
 *     CELLS                                 64 cells of 1 KiB, of which small slabs are made (heap_cell.c)
 *     CACHED argument: number of chunks     a free run in one piece: any thread may allocate it (heap_cache.h)
 *
 * A slab's slots have one allocation byte each: 0 free, 1 allocated. The chunk's slab descriptor says where they are, and has the
 * reciprocal that finds a block's slot; it is written before the chunk's word says SLAB, and cleared after:
 *
 *      63                          32 31                  0
 *     | line: 256 bytes from the base | reciprocal, or 0 |
 *
 * The allocation bytes of another slab are never there, as the area's head says too. The slot that a slab descriptor and a block's address lead to is
 * always inside the map, whatever a damaged file says.
 *
 * Who may write what:
 *     allocation byte 0 -> 1   the slab's owner, by a plain store
 *     allocation byte 1 -> 0   the user of the block, by a plain store
 *     chunk words         under the lock of the chunk's stream, with an intent; but the owner of a slab changes alone,
 *                         by compare-exchange, whenever the tag in it is dead, or is the writer's own; and RUN becomes CACHED,
 *                         and CACHED becomes RUN, by compare-exchange alone
 *     leaf, hole, span, queue, next, areas   under the stream's lock. Derived from the chunk words, but for hole.
 *     slab descriptor                under the stream's lock, while the word is not SLAB
 *
 * What a kill leaves in the middle of a change of chunk words, and what recover_stream() makes of it:
 *     CONT not covered by its head   -> FREE: a run or slab whose head was not stored, or was freed, or shrunk
 *     slab descriptor of a FREE chunk           -> 0
 *     leaf and span of the range     -> computed again
 */
#ifndef MA_HEAP_H
#define MA_HEAP_H

#include "common/annotate.h"
#include "common/image.h"
#include "common/scan.h"
#include "common/sizeclass.h"
#include "common/thread.h"

#define MA_AREA_UNITS         ((uint32_t)(MA_CHUNK / MA_UNIT))
#define MA_AREA_HEAD          4
#define MA_NO_CHUNK           UINT64_MAX
#define MA_HEAP_PARAM_STREAMS 0

enum ma_chunk_kind {
	MA_FREE = 0,
	MA_SLAB = 1,
	MA_RUN = 2,
	MA_CONT = 3,
	MA_ROOTS = 4,
	MA_ALLOC_BYTES = 5,
	MA_CELLS = 6,
	MA_CACHED = 7
};

/* The same heap under two kinds; the second has room for MA_KEYS words of the program's own, at key_off. */
#define MA_KEYS 64
extern const struct ma_engine ma_heap_engine;
extern const struct ma_engine ma_heap_engine_keys;

/* What the libraries' public calls of these names promise, on a map that is this engine's. */
void *ma_heap_malloc_slow(struct ma_image *map, size_t size);
void ma_heap_free_slow(struct ma_image *map, void *block);
void *ma_heap_realloc(struct ma_image *map, void *block, size_t size);
void *ma_heap_memalign(struct ma_image *map, size_t alignment, size_t size);
size_t ma_heap_usable_size(struct ma_image *map, const void *block);

/* The slot, or the run, that an address lies in. */
struct ma_block {
	char *start;
	uint64_t room; /* Usable bytes. */
	bool is_run;
	bool is_live; /* A run always is. */
};
/* False: it lies in none. Any address may be asked about. */
bool ma_heap_find(struct ma_image *map, const void *address, struct ma_block *block);
int ma_heap_walk(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg);

/*
 * Give back to the disk, or the system, what is free: empty slabs that this thread or no thread owns, and all free chunks.
 * Returns bytes; -1 with errno EROFS, EUSERS.
 */
int64_t ma_heap_trim(struct ma_image *map);

/* So many seconds lie between two looks for space to give back; 0: it is not given back by itself. Only tests change it. */
extern uint32_t ma_heap_age_seconds;
/* Free chunks may keep so much disk space, however little is in use; else at most as much as those in use. Only tests change it. */
extern uint32_t ma_heap_share_chunks;

struct ma_heap_stats {
	uint64_t used_bytes;
	uint64_t used_blocks;
	uint64_t largest_free;
	uint64_t free_chunks;  /* That have their space. */
	uint64_t backed_bytes; /* Of all chunks that have. */
};
void ma_heap_stats(struct ma_image *map, struct ma_heap_stats *stats);

/* Deal a slot out of a cursor whose mask is not empty. The store is the commit: before it nothing happened. */
MA_INLINE void *ma_cursor_pop(struct ma_cursor *cursor)
{
	uint64_t mask = cursor->mask;
	uint64_t slot = ma_lowest(mask);

	cursor->mask = mask & (mask - 1);
	ma_store(&cursor->now.alloc_bytes[slot], 1);
	return cursor->now.base + slot * cursor->now.step;
}

/* Begin to deal from another look; the one in use so far becomes the one before. */
MA_INLINE void ma_cursor_begin(struct ma_cursor *cursor, struct ma_look look, uint64_t mask)
{
	cursor->before = cursor->now;
	cursor->now = look;
	cursor->mask = mask;
	cursor->seen = mask;
}

/* The same, if it has so many free slots. */
MA_INLINE bool ma_cursor_look(struct ma_cursor *cursor, struct ma_look look, uint32_t least)
{
	uint64_t mask = ma_scan64(look.alloc_bytes) & look.valid;

	if (mask == 0 || (least > 1 && ma_bits(mask) < least))
		return false;
	ma_cursor_begin(cursor, look, mask);
	return true;
}

MA_INLINE bool ma_half_is_free(uint32_t mask, uint32_t valid)
{
	return valid != 0 && mask == valid;
}

/*
 * Go back to the look before this one, when one half of it is all free again: so a thread that frees what it takes stays
 * with 128 slots, which its cache holds. Not to the same 64 at once: their bytes were stored to a moment ago, and a wide load
 * would have to wait for each of them.
 */
MA_INLINE bool ma_cursor_go_back(struct ma_cursor *cursor)
{
	struct ma_look look = cursor->before;
	uint64_t mask;

	if (!look.alloc_bytes)
		return false;
	mask = ma_scan64(look.alloc_bytes) & look.valid;
	if (!ma_half_is_free((uint32_t)mask, (uint32_t)look.valid) &&
	    !ma_half_is_free((uint32_t)(mask >> 32), (uint32_t)(look.valid >> 32)))
		return false;
	ma_cursor_begin(cursor, look, mask);
	return true;
}

/* The unit is not ours any more. */
MA_INLINE void ma_cursor_forget(struct ma_cursor *cursor, uint64_t unit)
{
	if (cursor->before.alloc_bytes && cursor->before.unit == unit)
		cursor->before.alloc_bytes = NULL;
	if (cursor->now.alloc_bytes && cursor->now.unit == unit) {
		cursor->now.alloc_bytes = NULL;
		cursor->mask = 0;
	}
}

/* Free a slot whose allocation byte is known to be one. Pairs with common/scan.h:ma_scan64. */
MA_INLINE void ma_slot_free(_Atomic uint8_t *alloc_bytes)
{
	ma_store_release(alloc_bytes, 0);
}

/* For small blocks of this size; NULL when it is none, or the thread has no cache for the map. Size 0 has one that is empty. */
MA_INLINE struct ma_cursor *ma_heap_cursor(struct ma_image *map, size_t size)
{
	struct ma_tcache *tc = ma_tcache_of(map);
	size_t step = (size + 15) / 16; /* 0 for the hugest, too. */

	ma_hide(step); /* Else the compiler compares the sum, and needs a copy of it. */
	if (MA_UNLIKELY(step > MA_BY_SIZE_MAX / 16) || MA_UNLIKELY(tc->id != ma_load(&map->id)))
		return NULL;
	if (!tc->by_size[step]) /* So that no caller tests for it. */
		__builtin_unreachable();
	return tc->by_size[step];
}

/* The same if it has a block at once. */
MA_INLINE struct ma_cursor *ma_heap_cursor_full(struct ma_image *map, size_t size)
{
	struct ma_cursor *cursor = ma_heap_cursor(map, size);

	return MA_LIKELY(cursor != NULL) && MA_LIKELY(cursor->mask != 0) ? cursor : NULL;
}

MA_INLINE void *ma_heap_malloc(struct ma_image *map, size_t size)
{
	struct ma_cursor *cursor = ma_heap_cursor_full(map, size);

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : ma_heap_malloc_slow(map, size);
}

/*
 * The product of the offset in the chunk and the reciprocal (2^32 / slot bytes, rounded up) has the slot in its upper half;
 * the lower half is below the reciprocal exactly when the offset is a slot's start. Reciprocal 0: no one-chunk slab here.
 * A closed or read-only map, and one whose every call must be seen, has a limit of 0 chunks. A slab descriptor's line is its upper half.
 * The reciprocal may be any number: a slot's is below 64 Ki.
 */
MA_INLINE bool ma_heap_free_fast(struct ma_image *map, void *block)
{
	uint64_t chunk = ((uint64_t)(uintptr_t)block >> MA_CHUNK_SHIFT) - ma_load_either(&map->first_chunk);
	uint64_t slab_desc, product, line;
	_Atomic uint8_t *alloc_bytes;

	if (MA_UNLIKELY(chunk >= ma_load_either(&map->fast_units)))
		return false;
	slab_desc = ma_load(&map->slab_desc[chunk]);
	product = ((uintptr_t)block & (MA_CHUNK - 1)) * (uint32_t)slab_desc;
	if (MA_UNLIKELY((uint32_t)product >= (uint32_t)slab_desc))
		return false;
	ma_hide(slab_desc); /* Else the compiler makes a copy of it before the test. */
	line = slab_desc >> 32;
	if (MA_UNLIKELY((uint32_t)line >= ma_load_either(&map->fast_lines)))
		return false;
	alloc_bytes = map->alloc_bytes + line * MA_UNIT + (product >> 32);
	if (MA_UNLIKELY(!ma_byte_is_one(alloc_bytes)))
		return false;
	ma_slot_free(alloc_bytes);
	return true;
}

MA_INLINE void ma_heap_free(struct ma_image *map, void *block)
{
	if (MA_UNLIKELY(!ma_heap_free_fast(map, block)))
		ma_heap_free_slow(map, block);
}

#endif /* MA_HEAP_H */
