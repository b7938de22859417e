/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The part of the body that every kind with owners has: behind the header page
 *
 *     4096          struct ma_body
 *     4224          processes x 16            struct ma_process
 *     stream_off    streams x stream_stride   struct ma_stream     (those of later segments: segment.h)
 *     owner_off     owners x 64               struct ma_owner      (owner.h)
 *     root_off      roots x 128               struct ma_root       (roots.h)
 *     ...           what the kind adds
 *     user_off      what blocks are made of
 *
 * Every offset follows from the header's sealed numbers alone (struct ma_engine's layout()), so none is ever read from
 * the file. Words below that are read from the file are checked against the layout at every use.
 */
#ifndef MA_LAYOUT_H
#define MA_LAYOUT_H

#include "common/base.h"
#include "common/header.h"

#define MA_STREAMS_MAX   1024u
#define MA_CLASSES       80
#define MA_PROCESSES_MAX 65534u /* A lock has 16 bits for one. */

/* What all kinds have among the header's numbers. */
#define MA_PARAM_FIRST     2 /* Bytes of the file with the first segment (segment.h). */
#define MA_PARAM_PROCESSES 3
#define MA_PARAM_GROWS     4                     /* 1: the file grows as it is used. */
#define MA_PARAM_RANGE     5                     /* The longest that the file may get. */
#define MA_FIRST_MAX       ((uint64_t)256 << 20) /* The default first segment of such a file is not larger. */

/* See lock.h. */
struct ma_lock {
	_Atomic uint32_t word;
};

struct ma_body {
	struct ma_lock root_lock;
	_Atomic uint32_t owner_top; /* Records ever used. Never falls; a record is used only after this counts it. */
	_Atomic uint64_t root_link; /* To the table below the fixed one (roots.h). */
	struct ma_lock length_lock; /* Over the file's length. Taken last. */
	_Atomic uint32_t guarded; /* Kind MMALLOC: 1 when blocks may have guards of the library's own. Never 0 again. */
	uint32_t zero[24];
	_Atomic uint32_t process_hint; /* Where to look for a process slot, and for an owner record, first. */
	_Atomic uint32_t owner_hint;
};

/* A process slot, for people: who has it. Whether that one lives only the kernel knows (proc.h). */
struct ma_process {
	_Atomic uint32_t pid; /* 0: never used, or closed in order. */
	uint32_t zero;
	_Atomic uint64_t since; /* Seconds since the epoch. */
};

/* A queue of slabs without an owner, by slab id + 1 (heap.h); 0 ends. Derived: may lose members, or name chunks that moved on. */
struct ma_queue {
	_Atomic uint32_t head;
	_Atomic uint32_t tail;
};

/*
 * A stream: a lock and a range of units (chunks, or groups of items in a static map). Each segment has as many as the map was made
 * with: all of them together are the *lanes*, numbered in the order of their units.
 *
 * The intent says which units the lock's holder is changing. What the change is need not be said: the unit's own words
 * tell how far it came (heap_recover.c).
 */
struct ma_stream {
	struct ma_lock lock;
	_Atomic uint32_t
		stale; /* 1: the queues may lack slabs without an owner; look through the range before growing. */
	_Atomic uint64_t intent_first;
	_Atomic uint64_t intent_count;
	_Atomic uint32_t intent_valid; /* Stored last, cleared last. */
	_Atomic uint32_t
		area_ready; /* Dynamic: the stream's own area of allocation bytes has its disk space (heap_alloc_bytes.c). */
	_Atomic uint64_t top;     /* Units (groups, or 64 chunks) that were ever allocated. Never falls. */
	_Atomic uint64_t backed;  /* Units (groups, or chunks) that have their disk space, from the range's start. */
	_Atomic uint64_t rover;   /* Static maps: where the last search ended. A hint. */
	_Atomic uint32_t areas;   /* Dynamic: further areas of allocation bytes, by chunk + 1, as in a queue. */
	_Atomic uint32_t returns; /* How often slabs, chunks or groups came back to the stream (reclaim.h). A hint. */
	/* Dynamic maps. A static map's streams end before this. */
	struct ma_queue queue[MA_CLASSES];       /* Of slabs of whole chunks, by class. */
	struct ma_queue small_queue[MA_CLASSES]; /* Of small slabs, which lie in cells. */
	_Atomic uint32_t celled; /* List of the chunks in cells that have free ones, by chunk + 1. Derived. */
	_Atomic uint32_t aged;   /* When freed space was last given back: seconds. A hint. */
	_Atomic uint64_t spare;  /* Chunks below top that are free. Derived. */
	_Atomic uint32_t cached; /* There may be cached runs (heap_cache.c). */
	uint32_t zero2[27];
};

#define MA_STREAM_HEAD offsetof(struct ma_stream, queue)

_Static_assert(sizeof(struct ma_body) == 128, "format 1");
_Static_assert(offsetof(struct ma_body, process_hint) == 120, "format 1");
_Static_assert(sizeof(struct ma_process) == 16, "format 1");
_Static_assert(offsetof(struct ma_stream, queue) == 64, "format 1");
_Static_assert(sizeof(struct ma_stream) == 1472, "format 1; an odd number of cache lines");

#define MA_ROOT_NAME 64

/* A named root (roots.h). */
struct ma_root {
	_Atomic uint64_t state;
	_Atomic uint64_t offset;
	_Atomic uint64_t name[MA_ROOT_NAME / 8];
	uint64_t zero[6];
};

_Static_assert(sizeof(struct ma_root) == 128, "format 1");

#define MA_PROCESS_OFF (MA_PAGE + sizeof(struct ma_body))

/* ---- in memory: where everything is ---- */

#define MA_SEGMENTS     12
#define MA_TABLES       3
#define MA_SLICES       (1 + MA_SEGMENTS * (MA_TABLES + 3))
#define MA_SEGMENT_GROW 8

struct ma_slice {
	uint64_t at; /* In the range. */
	uint64_t file;
	uint64_t bytes;
};

struct ma_segment {
	uint64_t user_at; /* Where its part of the user area begins there ... */
	uint64_t user_bytes;
	uint64_t user_file; /* ... and in the file. A file that reaches so far has all of the segment's tables. */
	uint64_t first;     /* Its units; the first and the last one may lie in its neighbours in part. */
	uint64_t count;
	uint64_t per_stream; /* Units of one stream's range. */
	uint64_t reciprocal; /* (2^64 - 1) / per_stream */
	uint64_t stream_off;
	uint64_t leaf_off;  /* Dynamic: free-chunk words, 64 chunks each. */
	uint64_t hole_off;  /* Dynamic: chunks without disk space, 64 chunks a word. */
	uint64_t span_off;  /* Dynamic: the tree over the leaves. */
	uint64_t own_end;   /* Where that ends. */
	uint64_t leaves;    /* Of one stream. */
	uint64_t span_base; /* Index of a stream's first leaf in its tree: a power of two. */
	uint32_t slices;    /* So many slices are of this segment and those before. */
};

struct ma_layout {
	uint32_t streams;
	uint32_t owners;
	uint32_t processes;
	uint32_t roots;
	uint32_t stream_stride;
	bool grows;        /* The file grows as it is used. Other files grow only when a program asks for it. */
	uint32_t big_span; /* Chunks of a slab with slots over 8 KiB. */
	uint32_t segments;
	uint32_t slices;
	uint64_t process_off;
	uint64_t owner_off;
	uint64_t root_off;
	uint64_t key_off;   /* Kind MMALLOC: MA_KEYS words for the program. */
	uint64_t fixed_end; /* Everything before has its disk space from creation on. */
	uint64_t
		table_end; /* Dynamic: end of the first segment's trees; their space is taken as needed, when not fixed. */
	uint64_t area_off; /* Dynamic: the own areas of allocation bytes of the first segment's streams. */
	uint64_t area_units; /* Dynamic: units of each. */
	uint64_t front_end;
	uint64_t user_off;
	uint64_t user_bytes; /* Of the whole range. */
	uint64_t units;      /* Chunks or groups of the whole range. */
	uint64_t unit_bytes;
	uint64_t unit_off;  /* Chunk words, or group words. */
	uint64_t alloc_bytes_off; /* Static. */
	uint64_t slab_desc_off;   /* Dynamic: by chunk, what a slab's slots are found with. */
	uint64_t next_off;  /* Dynamic: links of the queues. */
	uint64_t own_end;   /* The end of the range that is used. */
	uint64_t file_end;  /* The longest that the file can get. */
	uint64_t item_bytes;
	uint64_t group_items;           /* Static: 64, fewer when items are large: 1, 2, 4, ... */
	uint8_t small_span[MA_CLASSES]; /* Dynamic: cells of a small slab. */
	struct ma_segment seg[MA_SEGMENTS];
	struct ma_slice slice[MA_SLICES];
};

#endif /* MA_LAYOUT_H */
