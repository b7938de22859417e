/* SPDX-License-Identifier: BSD-3-Clause */
/* What the heap engine's files share among themselves. Words are read here, and bounds are checked where they are used. */
#ifndef MA_HEAP_INTERNAL_H
#define MA_HEAP_INTERNAL_H

#include "common/heap.h"

#define MA_LEAF 64 /* Chunks a leaf word. */

/* ---- words ---- */

MA_INLINE _Atomic uint64_t *ma_chunk(struct ma_map *map, uint64_t chunk)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.unit_off) + chunk;
}

MA_INLINE uint64_t ma_chunk_load(struct ma_map *map, uint64_t chunk)
{
	return ma_load_acquire(ma_chunk(map, chunk));
}

MA_INLINE enum ma_chunk_kind ma_word_kind(uint64_t word)
{
	return (enum ma_chunk_kind)(word & 15);
}

MA_INLINE uint32_t ma_word_class(uint64_t word)
{
	return (uint32_t)(word >> 4) & 255;
}

MA_INLINE uint64_t ma_word_argument(uint64_t word)
{
	return word >> 12;
}

MA_INLINE uint64_t ma_word(enum ma_chunk_kind kind, uint32_t class, uint64_t argument)
{
	return argument << 12 | (uint64_t) class << 4 | kind;
}

MA_INLINE _Atomic uint32_t *ma_chunk_next(struct ma_map *map, uint64_t chunk)
{
	return (_Atomic uint32_t *)(void *)(map->base + map->lay.next_off) + chunk;
}

MA_INLINE char *ma_chunk_address(struct ma_map *map, uint64_t chunk)
{
	return map->user + (chunk << MA_CHUNK_SHIFT);
}

/* Chunks of a slab of this class. */
MA_INLINE uint32_t ma_slab_chunks(const struct ma_map *map, uint32_t class)
{
	return ma_class_bytes(class) > MA_SMALL_MAX ? map->lay.big_span : 1;
}

MA_INLINE uint32_t ma_slab_slots(const struct ma_map *map, uint32_t class)
{
	return (uint32_t)(ma_slab_chunks(map, class) * MA_CHUNK / ma_class_bytes(class));
}

/* What ma_heap_free_fast() multiplies with; 0 for slabs of several chunks, whose blocks go the slow way. */
MA_INLINE uint32_t ma_slab_recip(const struct ma_map *map, uint32_t class)
{
	uint64_t size = ma_class_bytes(class);

	return ma_slab_chunks(map, class) == 1 ? (uint32_t)((((uint64_t)1 << 32) + size - 1) / size) : 0;
}

/* Chunks that the word of a head claims; 0 when it is no head, or claims chunks that do not exist. */
uint64_t ma_word_chunks(const struct ma_map *map, uint64_t chunk, uint64_t word);
/* The head of the block that chunk belongs to; MA_NO_CHUNK when it is free or its words contradict each other. */
uint64_t ma_chunk_head(struct ma_map *map, uint64_t chunk);

/* ---- the ranges of streams ---- */

MA_INLINE uint64_t ma_range_first(const struct ma_map *map, uint32_t stream)
{
	return (uint64_t)stream * map->lay.per_stream;
}

MA_INLINE uint64_t ma_range_count(const struct ma_map *map, uint32_t stream)
{
	uint64_t first = ma_range_first(map, stream);

	return first >= map->lay.units ? 0 : ma_min(map->lay.per_stream, map->lay.units - first);
}

/*
 * Chunks of the range that have their disk space. All that was ever dealt out is among them; what lies beyond is free, and
 * its words are never even read: reading a hole takes space on some file systems.
 */
MA_INLINE uint64_t ma_range_used(struct ma_map *map, uint32_t stream)
{
	return ma_min(ma_load_acquire(&ma_stream(map, stream)->backed), ma_range_count(map, stream));
}

MA_INLINE bool ma_chunk_is_backed(struct ma_map *map, uint64_t chunk)
{
	uint32_t stream = ma_stream_of(map, chunk);

	return chunk - ma_range_first(map, stream) < ma_range_used(map, stream);
}

MA_INLINE bool ma_chunk_is_free(struct ma_map *map, uint64_t chunk)
{
	return !ma_chunk_is_backed(map, chunk) || ma_chunk_load(map, chunk) == MA_FREE;
}

/* ---- the tree of free chunks (heap_tree.c); the stream's lock is held ---- */

/* A bit a chunk: 1 is free. */
_Atomic uint64_t *ma_tree_leaf(struct ma_map *map, uint32_t stream, uint64_t leaf);
/* The lowest run of count free chunks, relative to the range; MA_NO_CHUNK. Ends after as many steps as the tree has levels. */
uint64_t ma_tree_find(struct ma_map *map, uint32_t stream, uint64_t count);
/* Chunks [first, first + count) of one stream are taken now, or free. */
void ma_tree_mark(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count, bool free);
/* As the words have it, whatever the tree says of them: after a death, and for leaves that are new. */
void ma_tree_mend(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count);
/* Disk space for count leaves and the spans over them: one stretch a level. */
int ma_tree_back(struct ma_map *map, uint32_t stream, uint64_t first, uint64_t count);
/* No leaf is in the tree. */
void ma_tree_blank(struct ma_map *map, uint32_t stream);

/* ---- free chunks (heap_chunk.c); the stream's lock is held ---- */

/*
 * Deal out chunks of one stream, the first of them at a multiple of align chunks by address, with this word on the head.
 * MA_NO_CHUNK; errno is ENOMEM when there is no room, else the disk's.
 */
uint64_t ma_chunk_take(struct ma_map *map, uint32_t stream, uint64_t count, uint64_t align, uint64_t word);
/* The same over the bounds of streams. All locks are held. */
uint64_t ma_chunk_take_across(struct ma_map *map, uint64_t count, uint64_t align, uint64_t word);
/* The same for a slab and its truth. */
uint64_t ma_chunk_take_slab(struct ma_map *map, uint32_t stream, uint32_t class, uint64_t tag);
/* A chunk with the head of an area of truth that has nothing in it. */
uint64_t ma_chunk_take_area(struct ma_map *map, uint32_t stream);
/* A chunk of one stream for a table of roots: see struct ma_engine. */
uint64_t ma_chunk_take_table(struct ma_map *map, uint32_t stream, _Atomic uint64_t *link, uint64_t id);
/* Take back [first, first + count), after the head's word says so (or with it). Locks of all its streams are held. */
void ma_chunk_give(struct ma_map *map, uint64_t first, uint64_t count);
/* Change a run from old to count chunks in place, both inside one stream. False: the chunks behind it are taken. */
bool ma_chunk_resize(struct ma_map *map, uint64_t head, uint64_t old, uint64_t count);
/* Has a chunk, by its place in the stream's range, disk space? Give that of some free ones back. */
bool ma_chunk_has_space(struct ma_map *map, uint32_t stream, uint64_t at);
void ma_chunk_punch(struct ma_map *map, uint32_t stream, uint64_t at, uint64_t count);
/* See struct ma_engine. */
int ma_chunk_back(struct ma_map *map);
int ma_chunk_renew(struct ma_map *map);

/* ---- truth (heap_truth.c) ---- */

uint32_t ma_slab_units(const struct ma_map *map, uint32_t class);
/* The truth bytes of a slab of so many slots; NULL when the file is damaged and they would lie outside of it. */
MA_INLINE _Atomic uint8_t *ma_spot_truth(struct ma_map *map, uint64_t head, uint32_t slots)
{
	uint64_t offset = (ma_load_acquire(&map->spot[head]) >> 32) * MA_UNIT;
	uint64_t bytes = ma_up(slots, MA_UNIT);

	/* The file's length, which grows before a spot leads to its new part: there is no memory beyond it. */
	if (offset < map->lay.area_off || offset + bytes > ma_min(map->mapped, ma_load(&map->header->length)))
		return NULL;
	return (_Atomic uint8_t *)(map->base + offset);
}

MA_INLINE _Atomic uint8_t *ma_slab_truth(struct ma_map *map, uint64_t head, uint32_t class)
{
	return ma_spot_truth(map, head, ma_slab_slots(map, class));
}

/* Does the area that the slab's spot leads to know of it? */
bool ma_slab_owns_truth(struct ma_map *map, uint64_t head, uint32_t class);
/* The line of free units for a slab of this class, which may need a new area first; 0: errno. The lock is held. */
uint32_t ma_truth_find(struct ma_map *map, uint32_t stream, uint32_t class);
/* They are head's from now on, if its word comes to say so; and all zero. The lock is held. */
void ma_truth_claim(struct ma_map *map, uint32_t line, uint64_t head, uint32_t class);
/* No slab came of what was found: an area that was taken for it alone is a free chunk again. The lock is held. */
void ma_truth_leave(struct ma_map *map, uint32_t stream, uint32_t line);
/* The slab is gone. The lock is held. */
void ma_truth_give(struct ma_map *map, uint32_t line, uint64_t head, uint32_t class);
/* The stream was stale: make its list of areas, and their counts, anew. The lock is held. */
void ma_truth_recount(struct ma_map *map, uint32_t stream);
int ma_truth_back(struct ma_map *map, uint32_t stream);
/* A private view: make own copies. */
void ma_truth_own(struct ma_map *map, uint32_t stream);

/* ---- intents (heap_recover.c) ---- */

void ma_intent_set(struct ma_stream *st, uint64_t first, uint64_t count);
void ma_intent_clear(struct ma_stream *st);
void ma_heap_recover_stream(struct ma_map *map, uint32_t stream);

/* ---- slabs (heap_slab.c) ---- */

/* Fill a cursor whose mask is empty from what the thread owns. It takes no lock, and changes nothing that others see. */
bool ma_slab_look_on(struct ma_tcache *tc, struct ma_cursor *cursor);
/* When that failed: from anywhere. False: errno. */
bool ma_slab_refill(struct ma_tcache *tc, struct ma_cursor *cursor);
bool ma_slab_is_empty(struct ma_map *map, uint64_t head, uint32_t class);
/* Give the empty slabs that nobody needs back to the free chunks, of every stream. True when there were any. */
bool ma_slab_scavenge(struct ma_tcache *tc);
void ma_heap_equip(struct ma_tcache *tc);
void ma_heap_leave(struct ma_tcache *tc);

/* ---- runs (heap_run.c) ---- */

void *ma_run_malloc(struct ma_map *map, struct ma_tcache *tc, uint64_t chunks, uint64_t align_chunks);
/* 0, or -1 with EINVAL when head is no run (any more). */
int ma_run_free(struct ma_map *map, uint64_t head);
bool ma_run_resize(struct ma_map *map, uint64_t head, uint64_t count);

/* See struct ma_engine. */
void ma_heap_hollow(struct ma_map *map);
bool ma_heap_table_at(struct ma_map *map, uint64_t chunk, struct ma_table *table);
bool ma_heap_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);

/* ---- looking (heap_check.c) ---- */

uint64_t ma_heap_check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg);
/* Chunks [from, end) of a stream alone, of those that are in use; no lock is taken. For whoever shows how far he is. */
uint64_t ma_heap_check_some(struct ma_map *map, uint32_t stream, uint64_t from, uint64_t end,
			    void (*report)(const char *text, void *arg), void *arg);
void ma_heap_own_metadata(struct ma_map *map);
int ma_heap_used(struct ma_map *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);

#endif /* MA_HEAP_INTERNAL_H */
