/* SPDX-License-Identifier: BSD-3-Clause */
/* What the heap engine's files share among themselves. Words are read here, and bounds are checked where they are used. */
#ifndef MA_HEAP_INTERNAL_H
#define MA_HEAP_INTERNAL_H

#include "common/body.h"
#include "common/heap.h"
#include "common/privatize.h"

#define MA_LEAF 64 /* Chunks a leaf word. */

/*
 * A slab's id: its chunk, or for a small one this bit, its chunk, and its first cell in the low six bits. Queues have ids
 * plus 1, so that zeros are an empty queue.
 */
#define MA_SMALL        0x80000000u
#define MA_SMALL_CHUNKS ((uint64_t)1 << 24) /* Chunks that may be in cells: the first TiB. */
#define MA_NO_SLAB      UINT32_MAX

#define MA_CELL_SHIFT   10
#define MA_CELL         ((uint64_t)1 << MA_CELL_SHIFT)
#define MA_CHUNK_CELLS  64u
#define MA_GRANULE      16u                                   /* Bytes of a chunk in cells that an allocation byte stands for. */
#define MA_GRANULE_BYTES ((uint32_t)(MA_CHUNK / MA_GRANULE)) /* Allocation bytes of such a chunk. */
#define MA_GRANULE_RECIP ((uint32_t)(((uint64_t)1 << 32) / MA_GRANULE))

/*
 * What is kept about the cells of a chunk, in the units behind its allocation bytes. The word of a small slab's first cell
 * has the form of a slab's chunk word, and alone says what the slab is; all other cells have zero. How many cells it
 * takes, its class tells (small_span in struct ma_layout).
 */
struct ma_cells {
	_Atomic uint64_t word[MA_CHUNK_CELLS];
	_Atomic uint32_t next[MA_CHUNK_CELLS]; /* Links of the queues. */
};

_Static_assert(MA_GRANULE_BYTES + sizeof(struct ma_cells) == MA_UNITS_MOST * MA_UNIT, "format 1");

/* ---- words ---- */

MA_INLINE _Atomic uint64_t *ma_chunk(struct ma_image *map, uint64_t chunk)
{
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.unit_off) + chunk;
}

MA_INLINE uint64_t ma_chunk_load(struct ma_image *map, uint64_t chunk)
{
	return ma_load_acquire(ma_chunk(map, chunk)); /* Pairs with common/heap_chunk.c:write_words. */
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

MA_INLINE _Atomic uint32_t *ma_chunk_next(struct ma_image *map, uint64_t chunk)
{
	return (_Atomic uint32_t *)(void *)(map->base + map->lay.next_off) + chunk;
}

MA_INLINE char *ma_chunk_address(struct ma_image *map, uint64_t chunk)
{
	return map->user + (chunk << MA_CHUNK_SHIFT);
}

/* Chunks of a slab of this class. */
MA_INLINE uint32_t ma_slab_chunks(const struct ma_image *map, uint32_t class)
{
	return ma_class_bytes(class) > MA_SMALL_MAX ? map->lay.big_span : 1;
}

MA_INLINE uint32_t ma_slab_slots(const struct ma_image *map, uint32_t class)
{
	return (uint32_t)(ma_slab_chunks(map, class) * MA_CHUNK / ma_class_bytes(class));
}

/* Of a small slab: its slots lie in so many cells. */
MA_INLINE uint32_t ma_small_slots(const struct ma_image *map, uint32_t class)
{
	return (uint32_t)(((uint64_t)map->lay.small_span[class] << MA_CELL_SHIFT) / ma_class_bytes(class));
}

/* What ma_heap_free_fast() multiplies with; 0 for slabs of several chunks, whose blocks go the slow way. */
MA_INLINE uint32_t ma_slab_recip(const struct ma_image *map, uint32_t class)
{
	uint64_t size = ma_class_bytes(class);

	return ma_slab_chunks(map, class) == 1 ? (uint32_t)((((uint64_t)1 << 32) + size - 1) / size) : 0;
}

/* Chunks that the word of a head claims; 0 when it is no head, or claims chunks that do not exist. */
uint64_t ma_word_chunks(const struct ma_image *map, uint64_t chunk, uint64_t word);
/* The same; 0 also when the file does not have all of them: a block that is there, to be read and written. */
uint64_t ma_block_chunks(const struct ma_image *map, uint64_t chunk, uint64_t word);
/* The head of the block that chunk belongs to; MA_NO_CHUNK when it is free or its words contradict each other. */
uint64_t ma_chunk_head(struct ma_image *map, uint64_t chunk);
/* It belongs to a run that is free: see heap_cache.c. */
bool ma_chunk_is_cached(struct ma_image *map, uint64_t chunk);
/* How many of most chunks belong to head by their own words: head itself and those that follow. most is 1 at least, and inside the map. */
uint64_t ma_chunk_followers(struct ma_image *map, uint64_t head, uint64_t most);

/*
 * The units that the chunk's slab descriptor leads to are its own, so says the chunk that they lie in, but that one's word is zero: then
 * it is an area of allocation bytes again. Its number; MA_NO_CHUNK: it is not so.
 */
uint64_t ma_alloc_bytes_regain(struct ma_image *map, uint64_t chunk, uint32_t units);

/* ---- words of different moments (heap_settle.c) ---- */

/* Allocation bytes that the slab's, or the small slabs', words do not account for are cleared. to may be NULL. */
void ma_slab_settle(struct ma_image *map, uint64_t head, uint32_t class, struct ma_findings *to);
void ma_cells_settle(struct ma_image *map, uint64_t chunk, struct ma_findings *to);

/* ---- the ranges of lanes ---- */

/* Where a lane's leaves begin, and how many it has. */
MA_INLINE uint64_t ma_leaf_off(const struct ma_image *map, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(map, lane);

	return seg->leaf_off + ma_lane_stream(map, lane) * seg->leaves * 8;
}

MA_INLINE uint64_t ma_leaves(const struct ma_image *map, uint32_t lane)
{
	return ma_lane_segment(map, lane)->leaves;
}

/* Have its leaves, holes and spans their disk space from creation on? */
MA_INLINE bool ma_tree_is_fixed(const struct ma_image *map, uint32_t lane)
{
	return lane < map->lay.streams && map->lay.fixed_end == map->lay.table_end;
}

/* Chunks of the range that have their disk space, as its stream says. */
MA_INLINE uint64_t ma_range_backed(struct ma_image *map, uint32_t stream)
{
	/* Pairs with common/heap_space.c:back_more. */
	return ma_min(ma_load_acquire(&ma_stream(map, stream)->backed), ma_range_count(map, stream));
}

/* Chunks whose memory is in the file. One that grows by itself has the words of more. */
MA_INLINE uint64_t ma_chunks_there(const struct ma_image *map)
{
	return (ma_user_end(map) - map->lay.user_off) / MA_CHUNK;
}

/*
 * The backed chunks of a range, limited to those that the file contains. Every chunk that was ever allocated is among them. Chunks
 * beyond are free, and their words are not read: on some file systems, reading a hole allocates a page. A process extends the file
 * before it raises backed, so this function reads backed first and the length last.
 */
MA_INLINE uint64_t ma_range_used(struct ma_image *map, uint32_t stream)
{
	uint64_t backed = ma_range_backed(map, stream), there, first;

	if (!map->lay.grows)
		return backed;
	there = ma_chunks_there(map);
	first = ma_range_first(map, stream);
	return ma_min(backed, there > first ? there - first : 0);
}

MA_INLINE bool ma_chunk_is_backed(struct ma_image *map, uint64_t chunk)
{
	uint32_t stream = ma_stream_of(map, chunk);

	return chunk - ma_range_first(map, stream) < ma_range_used(map, stream);
}

MA_INLINE bool ma_chunk_is_free(struct ma_image *map, uint64_t chunk)
{
	return !ma_chunk_is_backed(map, chunk) || ma_chunk_load(map, chunk) == MA_FREE;
}

/* ---- the tree of free chunks (heap_tree.c); the stream's lock is held ---- */

/* A bit a chunk: 1 is free. */
_Atomic uint64_t *ma_tree_leaf(struct ma_image *map, uint32_t stream, uint64_t leaf);
/* The lowest run of count free chunks, relative to the range; MA_NO_CHUNK. Ends after as many steps as the tree has levels. */
uint64_t ma_tree_find(struct ma_image *map, uint32_t stream, uint64_t count);
/* Chunks [first, first + count) of one stream are taken now, or free. */
void ma_tree_mark(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count, bool free);
/* As the words have it, whatever the tree says of them: after a death, and for leaves that are new. */
void ma_tree_mend(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count);
/* Count the free chunks of the leaves: after a death, and for leaves that are new. */
void ma_tree_recount(struct ma_image *map, uint32_t stream);
/* Disk space for count leaves and the spans over them: one stretch a level. */
int ma_tree_back(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count);
/* No leaf is in the tree. */
void ma_tree_blank(struct ma_image *map, uint32_t stream);

/* ---- free chunks (heap_chunk.c); the stream's lock is held ---- */

/*
 * Deal out chunks of one stream, the first of them at a multiple of align chunks by address, with this word on the head.
 * MA_NO_CHUNK; errno is ENOMEM when there is no room, else the disk's.
 */
uint64_t ma_chunk_take(struct ma_image *map, uint32_t stream, uint64_t count, uint64_t align, uint64_t word);
/* The same over the bounds of lanes. The locks of so many are held. */
uint64_t ma_chunk_take_across(struct ma_image *map, uint32_t lanes, uint64_t count, uint64_t align, uint64_t word);
/* Free chunks of one stream that have their disk space; nothing is changed yet. MA_NO_CHUNK: errno. */
uint64_t ma_chunk_ready(struct ma_image *map, uint32_t stream, uint64_t count, uint64_t align);
/* No more chunks can come into the tree, and those in it have no such run: then nothing else need be tried. */
bool ma_chunk_is_full(struct ma_image *map, uint32_t stream, uint64_t count);
/* Deal out such chunks, with this slab descriptor and this word on the head. */
void ma_chunk_deal_slab(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count, uint64_t slab_desc,
			uint64_t word);
/* So many chunks of the stream's range are not taken. */
uint64_t ma_chunk_free_count(struct ma_image *map, uint32_t stream);
/* A chunk with the head of an area of allocation bytes that has nothing in it. */
uint64_t ma_chunk_take_area(struct ma_image *map, uint32_t stream);
/* A chunk of one stream for a table of roots: see struct ma_engine. */
uint64_t ma_chunk_take_table(struct ma_image *map, uint32_t stream, _Atomic uint64_t *link, uint64_t id);
/* Take back [first, first + count), after the head's word says so (or with it). Locks of all its streams are held. */
void ma_chunk_give(struct ma_image *map, uint64_t first, uint64_t count);
/* The same for a caller that knows in which streams they lie: from to to. False: the head's word is not this one any more. */
bool ma_chunk_give_in(struct ma_image *map, uint32_t from, uint32_t to, uint64_t first, uint64_t count, uint64_t word);
/* The same for a cached run that begins here, of one stream. False: there is none (any more). */
bool ma_chunk_give_cached(struct ma_image *map, uint32_t stream, uint64_t head);
/* Change a run from old to count chunks in place, both inside one stream. False: the chunks behind it are taken. */
bool ma_chunk_resize(struct ma_image *map, uint64_t head, uint64_t old, uint64_t count);
/*
 * Disk space for chunks [at, at + count) of the range: for those that never had any in steps that grow with the map, or if there is no
 * room, exactly so much; and for those whose space was given back.
 */
int ma_chunk_back_to(struct ma_image *map, uint32_t stream, uint64_t at, uint64_t count);
/* The chunks of a leaf that is new in the tree. */
void ma_chunk_clear_holes(struct ma_image *map, uint32_t stream, uint64_t leaf);
/* Disk space for what is kept about so many leaves; about chunks [had, want) of the range. 0, or -1 with errno. */
int ma_chunk_back_leaves(struct ma_image *map, uint32_t stream, uint64_t first, uint64_t count);
int ma_chunk_back_tables(struct ma_image *map, uint32_t stream, uint64_t had, uint64_t want);
/* A chunk of the range has no disk space: who uses it takes that first. */
void ma_chunk_mark_hole(struct ma_image *map, uint32_t stream, uint64_t chunk);
/* Has a chunk, by its place in the stream's range, disk space? Give that of some free ones back. */
bool ma_chunk_has_space(struct ma_image *map, uint32_t stream, uint64_t at);
void ma_chunk_punch(struct ma_image *map, uint32_t stream, uint64_t at, uint64_t count);
/* The same for all that is free, or only for what was free at the last call as well. Returns bytes. */
uint64_t ma_chunk_punch_free(struct ma_image *map, uint32_t stream, bool idle_only);
/* How many chunks of the stream are free and have disk space, by tables that may change meanwhile. Adds to *live those in use. */
uint64_t ma_chunk_kept(struct ma_image *map, uint32_t stream, uint64_t *live);
/* See struct ma_engine. */
int ma_chunk_back(struct ma_image *map);
int ma_chunk_renew(struct ma_image *map);

/* ---- allocation bytes (heap_alloc_bytes.c) ---- */

uint32_t ma_slab_units(const struct ma_image *map, uint32_t class);
/* Units that the chunk of this word has; 0 when it is neither a slab nor in cells. */
uint32_t ma_word_units(const struct ma_image *map, uint64_t word);
/* The allocation bytes of a slab of so many slots; NULL when the file is damaged and they would lie outside of it. */
MA_INLINE _Atomic uint8_t *ma_chunk_alloc_bytes(struct ma_image *map, uint64_t head, uint32_t slots)
{
	uint64_t offset = (ma_load_acquire(&map->slab_desc[head]) >> 32) *
			  MA_UNIT; /* Pairs with common/heap_chunk.c:ma_chunk_deal_slab. */
	uint64_t bytes = ma_up(slots, MA_UNIT);

	/* The file grows before a slab descriptor leads to its new part: there is no memory beyond it. */
	if (offset < map->lay.area_off || offset + bytes > ma_user_end(map))
		return NULL;
	return (_Atomic uint8_t *)(map->base + offset);
}

MA_INLINE _Atomic uint8_t *ma_slab_alloc_bytes(struct ma_image *map, uint64_t head, uint32_t class)
{
	return ma_chunk_alloc_bytes(map, head, ma_slab_slots(map, class));
}

/* Does the area that the chunk's slab descriptor leads to know of it? */
bool ma_chunk_owns_alloc_bytes(struct ma_image *map, uint64_t head, uint32_t units);
/* ma_chunk_take() for a slab and its allocation bytes, all of them zero. The lock is held. */
uint64_t ma_slab_chunks_take(struct ma_image *map, uint32_t stream, uint32_t class, uint64_t tag);
/* The same for a chunk in cells, all of them free. */
uint64_t ma_cell_chunk_take(struct ma_image *map, uint32_t stream);
/* Take back the chunks of a slab, or a chunk in cells, and their allocation bytes. The lock is held. */
void ma_slab_chunks_give(struct ma_image *map, uint64_t first, uint64_t count);
/* Would the area in this chunk be given back if all chunks were given back that gone() names? */
bool ma_alloc_bytes_would_go(struct ma_image *map, uint64_t chunk, bool (*gone)(struct ma_image *map, uint64_t chunk));
/* The stream was stale: compute its list of areas, and their counts, again. The lock is held. */
void ma_alloc_bytes_recount(struct ma_image *map, uint32_t stream);
int ma_alloc_bytes_back(struct ma_image *map, uint32_t stream);
/* A private view: make own copies. */
void ma_alloc_bytes_own(struct ma_image *map, uint32_t stream);

/* ---- intents (heap_recover.c) ---- */

void ma_intent_set(struct ma_stream *st, uint64_t first, uint64_t count);
void ma_intent_clear(struct ma_stream *st);
void ma_heap_recover_stream(struct ma_image *map, uint32_t stream);

/* ---- cells (heap_cell.c) ---- */

/* The cells that a small slab of each class takes, in a map of so many chunks. */
void ma_cell_layout(struct ma_layout *lay);
/* NULL when the chunk is not in cells, or the file is damaged. */
struct ma_cells *ma_chunk_cells(struct ma_image *map, uint64_t chunk);
/* The class of the small slab that begins at this cell; MA_CLASSES when none does. */
uint32_t ma_cell_class(const struct ma_image *map, struct ma_cells *cells, uint32_t cell);
/* The first cell of the small slab that this cell belongs to; MA_CHUNK_CELLS when it is free. */
uint32_t ma_cell_head(const struct ma_image *map, struct ma_cells *cells, uint32_t cell);
/* A bit per free cell. */
uint64_t ma_cells_free(const struct ma_image *map, struct ma_cells *cells);
/* Bytes of a slot of the largest slab that so many free cells have room for; 0. */
uint64_t ma_cell_largest(const struct ma_image *map, uint64_t free);
/* A new small slab; MA_NO_SLAB: errno. The stream's lock is held, here and below. */
uint32_t ma_cell_take(struct ma_image *map, uint32_t stream, uint32_t class, uint64_t tag);
/* The small slab, which is empty, is gone; and perhaps its chunk. */
void ma_cell_give(struct ma_image *map, uint32_t id);
/* Give all chunks back whose cells are all free. True when there were any. */
bool ma_cell_reap(struct ma_image *map, uint32_t stream);
/* The stream was stale: the list is empty; put this chunk into it, or give it back. */
void ma_cell_relist(struct ma_image *map, uint32_t stream, uint64_t chunk);

/* ---- slabs (heap_slab.c) ---- */

/* A slab of either form. */
struct ma_slab {
	uint32_t id;
	uint32_t class;
	uint32_t slots;
	uint32_t stride; /* Allocation bytes from one slot to the next. */
	uint32_t cells;
	_Atomic uint64_t *word;
	_Atomic uint8_t *alloc_bytes;
	char *base;
};

MA_INLINE uint64_t ma_slab_chunk(uint32_t id)
{
	return id & MA_SMALL ? (id & ~MA_SMALL) / MA_CHUNK_CELLS : id;
}

MA_INLINE uint32_t ma_slab_cell(uint32_t id)
{
	return id % MA_CHUNK_CELLS;
}

/* At least one slot in MA_RICH is free; or any. */
enum ma_want { MA_ANY_ROOM, MA_RICH_ROOM };
#define MA_RICH 16

/*
 * What a search is content with. Blocks that are freed at random leave few free slots in each slab: a thread that took the
 * first one it finds would search for every block. So it first passes by what is poor, and rather takes a new slab; that
 * costs at most a sixteenth of the memory, and something.
 */
MA_INLINE uint32_t ma_want_least(uint32_t slots, enum ma_want want)
{
	return want == MA_RICH_ROOM ? (slots + MA_RICH - 1) / MA_RICH : 1;
}

/* False: there is no slab of this id (any more). Any id may be asked about. */
bool ma_slab_at(struct ma_image *map, uint32_t id, struct ma_slab *slab);
/* Each slab that begins in this chunk, until fn returns something but 0: that. */
int ma_chunk_slabs(struct ma_image *map, uint64_t chunk, int (*fn)(struct ma_image *map, const struct ma_slab *slab, void *arg),
		   void *arg);
uint32_t ma_slab_used(const struct ma_slab *slab);

bool ma_slab_has_room(const struct ma_slab *slab, enum ma_want want);
bool ma_slab_is_empty(const struct ma_slab *slab);
/* No live thread is its owner; or tag is the owner's. */
bool ma_slab_is_unowned(struct ma_image *map, const struct ma_slab *slab, uint64_t tag);

/* Queues of slabs without an owner, two per class; the stream's lock is held. */
uint32_t ma_queue_pop(struct ma_image *map, struct ma_queue *queue);
/* The first one, and the one after another. MA_NO_SLAB: none. The links may lead anywhere in the map, and in a circle. */
uint32_t ma_queue_first(const struct ma_queue *queue);
uint32_t ma_queue_after(struct ma_image *map, uint32_t id);
/* All up to `before`, whose next one is id, go to the end. */
void ma_queue_turn(struct ma_image *map, struct ma_queue *queue, uint32_t before, uint32_t id);
void ma_queue_push(struct ma_image *map, struct ma_queue *queue, uint32_t id);
void ma_queue_push_front(struct ma_image *map, struct ma_queue *queue, uint32_t id);
/* No queue of the stream has more members; a damaged one may lead round. */
MA_INLINE uint64_t ma_queue_most(struct ma_image *map, uint32_t stream)
{
	return ma_range_used(map, stream) * MA_CHUNK_CELLS;
}

struct ma_queue *ma_slab_queue(struct ma_image *map, uint32_t stream, uint32_t id, uint32_t class);
/* Rebuild queues and lists when a kill may have left them incomplete. */
void ma_queues_freshen(struct ma_image *map, uint32_t stream);

/* Make it ours when it has no owner. */
bool ma_slab_adopt(struct ma_tcache *tc, const struct ma_slab *slab);
/* After this store any thread may adopt it; all that its owner did in it comes before. */
void ma_slab_disown(const struct ma_slab *slab);

/* Chunks that the map has, or comes to have by itself. */
MA_INLINE uint64_t ma_units_in_time(const struct ma_image *map)
{
	return map->lay.grows ? map->lay.units : ma_units(map);
}

/*
 * A thread that looks at its small slabs so often, because it frees what it allocates, gets a larger one in a map of some
 * size: a look shows more slots there.
 */
#define MA_CHURN_MOST  32
#define MA_CHURN_UNITS 1024

MA_INLINE bool ma_cursor_churns(const struct ma_image *map, struct ma_cursor *cursor, uint32_t more)
{
	cursor->churn += more;
	return cursor->churn >= MA_CHURN_MOST && ma_units_in_time(map) >= MA_CHURN_UNITS;
}

/* Give an empty slab back to the free chunks. The lock is held, and no other thread can own it. */
void ma_slab_give(struct ma_image *map, const struct ma_slab *slab);
/* The same when it is empty, and its owner is the caller. */
bool ma_slab_give_if_empty(struct ma_image *map, uint32_t id);

/* ---- what a thread owns (heap_ring.c) ---- */

/* Fill a cursor whose mask is empty from what the thread owns. It takes no lock, and changes nothing that others see. */
bool ma_slab_look_on(struct ma_tcache *tc, struct ma_cursor *cursor);

/* The ring of a class: the slabs that a thread owns. */
bool ma_ring_add(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t id);
/* Any slab of the ring that has a free slot. */
bool ma_ring_search(struct ma_tcache *tc, struct ma_cursor *cursor);
void ma_ring_drop(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at);

void ma_heap_thread_attach(struct ma_tcache *tc);
void ma_heap_thread_detach(struct ma_tcache *tc);

/* ---- getting slabs (heap_refill.c) ---- */

/* When ma_slab_look_on() failed: from anywhere. False: errno. */
bool ma_slab_refill(struct ma_tcache *tc, struct ma_cursor *cursor);
/* When that failed too: one block of a slab that stays the stream's. NULL: errno. */
void *ma_slab_take_one(struct ma_tcache *tc, struct ma_cursor *cursor);

/* ---- giving back (heap_reclaim.c) ---- */

/*
 * Give the empty slabs without an owner, and the caller's own, back to the free chunks. True when there were any, or others have
 * given some back: then search again.
 */
bool ma_slab_scavenge(struct ma_tcache *tc);
/*
 * Once per second, by the thread that comes first: what has been free for a second goes back to the disk. The caller's cache, or NULL: it
 * has none.
 */
void ma_heap_age(struct ma_image *map, struct ma_tcache *tc);
/* So many chunks of runs were freed since this last returned true. True: call ma_heap_limit_kept() after the next one is freed. */
bool ma_heap_age_at_free(struct ma_image *map, uint64_t freed);
/* If free chunks keep more disk space than those in use have, and not little: give it back. */
void ma_heap_limit_kept(struct ma_image *map);
/* All that is free goes back to the disk, which is full (errno): then try again. False: that is not why, or nothing was free. */
bool ma_heap_help_full_disk(struct ma_image *map);
/* This process detaches: what is free goes back to the disk. */
void ma_heap_rest(struct ma_image *map);

/* ---- runs (heap_run.c) ---- */

void *ma_run_malloc(struct ma_image *map, struct ma_tcache *tc, uint64_t chunks, uint64_t align_chunks);
/* 0, or -1 with EINVAL when head is no run (any more). */
int ma_run_free(struct ma_image *map, uint64_t head);
bool ma_run_resize(struct ma_image *map, uint64_t head, uint64_t count);

/* See struct ma_engine. */
void ma_heap_hollow(struct ma_image *map);
bool ma_heap_table_at(struct ma_image *map, uint64_t chunk, struct ma_table *table);
bool ma_heap_table_take(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);

/* See struct ma_engine (heap_layout.c). */
bool ma_heap_layout(struct ma_layout *lay, const struct ma_header *sealed);

/* ---- looking (heap_check.c) ---- */

uint64_t ma_heap_check(struct ma_image *map, ma_finding_fn *fn, void *arg);
void ma_heap_salvage(struct ma_image *map, struct ma_findings *to);
/* Chunks [from, end) of a stream alone, of those that are in use; no lock is taken. For callers that show their progress. */
uint64_t ma_heap_check_some(struct ma_image *map, uint64_t from, uint64_t end, ma_finding_fn *fn, void *arg);
void ma_heap_privatize_metadata(struct ma_image *map);
int ma_heap_used(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
int ma_heap_tables(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);

#endif /* MA_HEAP_INTERNAL_H */
