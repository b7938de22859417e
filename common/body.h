/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part of the body that every kind with owners has: behind the header page
 *
 *     4096          struct ma_body
 *     stream_off    streams x stream_stride   struct ma_stream
 *     owner_off     owners x 64               struct ma_owner      (owner.h)
 *     root_off      roots x 128               struct ma_root       (roots.h)
 *     ...           what the kind adds
 *     user_off      what blocks are made of
 *
 * Every offset follows from the header's sealed numbers alone (struct ma_engine's layout()), so none is ever read from
 * the file. Words below that are read from the file are checked against the layout at every use.
 */
#ifndef MA_BODY_H
#define MA_BODY_H

#include "common/base.h"
#include "common/lock.h"

#define MA_STREAMS_MAX 1024u
#define MA_CLASSES     80

struct ma_body {
	struct ma_lock root_lock;
	_Atomic uint32_t owner_top; /* Records ever used. Grows only; a record is used after this says so. */
	_Atomic uint64_t root_link; /* To the table below the fixed one (roots.h). */
	struct ma_lock length_lock; /* Over the file's length. Taken last. */
	_Atomic uint32_t guarded; /* Kind MMALLOC: 1 when blocks may have guards of the library's own. Never 0 again. */
	uint32_t zero[26];
};

/* A queue of slabs that nobody owns, by chunk + 1; 0 ends. Derived: may lose members, or name chunks that moved on. */
struct ma_queue {
	_Atomic uint32_t head;
	_Atomic uint32_t tail;
};

/*
 * A stream: a lane with a lock and a range of units of its own (chunks, or groups of items in a static map).
 *
 * The intent says which units the lock's holder is changing. What the change is need not be said: the unit's own words
 * tell how far it came (heap_recover.c).
 */
struct ma_stream {
	struct ma_lock lock;
	_Atomic uint32_t
		stale; /* 1: the queues may lack slabs that nobody owns; look through the range before growing. */
	_Atomic uint64_t intent_first;
	_Atomic uint64_t intent_count;
	_Atomic uint32_t intent_valid; /* Stored last, cleared last. */
	_Atomic uint32_t area_ready;   /* Dynamic: the stream's own area of truth has its disk space (heap_truth.c). */
	_Atomic uint64_t top;          /* Units (groups, or 64 chunks) that were ever dealt out. Grows only. */
	_Atomic uint64_t backed; /* Units (groups, or chunks) that have their disk space, from the range's start. */
	_Atomic uint64_t rover;  /* Static maps: where the last search ended. A hint. */
	_Atomic uint32_t areas;  /* Dynamic: further areas of truth, by chunk + 1, as in a queue. */
	uint32_t zero;
	struct ma_queue queue[MA_CLASSES]; /* Dynamic maps. A static map's streams end before it. */
};

#define MA_STREAM_HEAD offsetof(struct ma_stream, queue)

_Static_assert(sizeof(struct ma_body) == 128, "format 1");
_Static_assert(offsetof(struct ma_stream, queue) == 64, "format 1");
_Static_assert(sizeof(struct ma_stream) == 704, "format 1; an odd number of cache lines");

struct ma_layout {
	uint32_t streams;
	uint32_t owners;
	uint32_t roots;
	uint32_t stream_stride;
	uint64_t stream_off;
	uint64_t owner_off;
	uint64_t fixed_end; /* Everything before has its disk space from creation on. */
	uint64_t root_off;
	uint64_t user_off;
	uint64_t user_bytes;
	uint64_t units;      /* Chunks or groups of the whole map. */
	uint64_t per_stream; /* Units of one stream's range; the last ranges may be shorter or empty. */
	uint64_t unit_off;   /* Chunk words, or group words. */
	uint64_t truth_off;  /* Static. */
	uint64_t key_off;    /* Kind MMALLOC: MA_KEYS words for the program. */
	uint64_t area_off;   /* Dynamic: the streams' own areas of truth. */
	uint64_t area_units; /* Dynamic: units of each. */
	uint64_t spot_off;   /* Dynamic: by chunk, what a slab's slots are found with. */
	uint64_t next_off;   /* Dynamic: links of the queues. */
	uint64_t
		table_end; /* Dynamic: end of leaves, holes and spans; up to it space is taken as needed, when not fixed. */
	uint64_t leaf_off;  /* Dynamic: free-chunk words, 64 chunks each. */
	uint64_t hole_off;  /* Dynamic: chunks without disk space, 64 chunks a word. */
	uint64_t span_off;  /* Dynamic: the tree over the leaves. */
	uint64_t leaves;    /* Leaves of one stream. */
	uint64_t span_base; /* Index of a stream's first leaf in its tree: a power of two. */
	uint64_t item_bytes;
	uint64_t group_items; /* Static: 64, fewer when items are large: 1, 2, 4, ... */
	uint32_t big_span;    /* Chunks of a slab with slots over 8 KiB. */
};

struct ma_map;

struct ma_stream *ma_stream(struct ma_map *map, uint32_t index);
struct ma_body *ma_body(struct ma_map *map);

/* The stream that unit belongs to by its position. */
uint32_t ma_stream_of(struct ma_map *map, uint64_t unit);
/* The stream that the calling thread belongs to. */
uint32_t ma_stream_mine(struct ma_map *map);

/* Take a stream's lock; when a dead holder had it, what it left undone is mended first. False: no process slot. */
bool ma_stream_lock(struct ma_map *map, uint32_t index);
void ma_stream_unlock(struct ma_map *map, uint32_t index);

/* Taking over a process slot: mend and free all locks, and retire all owners, that still name it. */
void ma_body_sweep(struct ma_map *map, uint32_t slot);
/* Nobody else is attached: do that for every slot. */
void ma_body_recover(struct ma_map *map);

/* A private view: make own copies of the pages of a range. A snapshot: copy its words. */
void ma_body_own(struct ma_map *map, uint64_t from, uint64_t bytes);
/* A snapshot: copy the streams once more. What came into use before the roots were copied has to be in use. */
void ma_body_own_again(struct ma_map *map);
/*
 * A range that is not in use: zeros of its own, for reading a hole of the file may take disk space. A snapshot has
 * them already.
 */
void ma_body_void(struct ma_map *map, uint64_t from, uint64_t bytes);

/*
 * A private view: metadata that comes into use only now reads as what others have made of it in the file meanwhile. Make
 * the range zero, as it was at the time of the view; the same for a snapshot. Nothing for other maps.
 */
void ma_body_fresh(struct ma_map *map, uint64_t from, uint64_t bytes);

/* The fixed tables of a layout under construction: roots is set; sets owners, stream_off, owner_off, root_off; returns their end. */
uint64_t ma_body_layout(struct ma_layout *lay, uint64_t length);

#endif /* MA_BODY_H */
