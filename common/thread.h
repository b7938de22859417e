/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread keeps in private memory about a map: its owner tag and, for each size class, a cursor. All of it is
 * speed, none of it is authoritative: it may vanish at any instant, with its process, in a fork child (the pages are wiped), or
 * because the map got another id.
 *
 * A cursor is a look at 64 slots of a unit that this thread owns: mask has a bit for each slot seen free and not yet dealt
 * out by us. A bit that is set means allocation byte zero, for only the owner sets allocation bytes.
 */
#ifndef MA_THREAD_H
#define MA_THREAD_H

#include "common/base.h"
#include "common/layout.h"
#include "common/tls.h"

#define MA_RING        64
#define MA_BY_SIZE_MAX 1024u

struct ma_image;

/* One look: which 64 slots (fewer at a unit's end). */
struct ma_look {
	_Atomic uint8_t *alloc_bytes; /* NULL: none. */
	char *base;             /* The address that the first bit stands for. */
	uint64_t step;          /* Bytes from one bit to the next: a slot, or a granule of a small slab. */
	uint64_t valid;         /* The bits that stand for slots. */
	uint32_t unit;
	uint32_t group; /* Which 64 of the unit. */
};

/* What the fast path reads lies in one cache line. */
struct ma_cursor {
	_Alignas(MA_LINE) uint64_t mask;
	struct ma_look now;
	/* The slow path's part. */
	uint64_t slot_bytes;
	struct ma_look before; /* The look before this one. */
	uint32_t count;        /* Units owned, in ring. */
	uint32_t at;           /* Where the last round through the ring ended. */
	uint32_t class;
	uint32_t slots; /* Dynamic maps: of a slab of whole chunks. */
	uint64_t seen;  /* The mask when the look began. */
	uint64_t ring_news; /* failed[].news of the image when a search of the whole ring last failed. */
	/* Dynamic maps: of small slabs (heap_cell.c). */
	uint32_t small_slots; /* Of each. */
	uint32_t small_cells; /* That the thread owns, in all. */
	uint32_t churn;       /* Looks at small slabs since the last larger one. */
};

/* Dynamic maps: where runs are that the thread freed and that may still be cached (heap_cache.c). */
#define MA_CACHED_RUN 16u /* Chunks of the longest. */

struct ma_cached {
	uint32_t count;
	uint32_t head[15];
};

struct ma_tcache {
	uint64_t id;                                        /* Of the map that it is for; 0 when wiped. */
	struct ma_cursor *by_size[MA_BY_SIZE_MAX / 16 + 1]; /* Dynamic maps; ma_cursor_never for 0, and in others. */
	struct ma_cursor items;                             /* Static maps; its mask is 0 in others. */
	struct ma_cursor cursor[MA_CLASSES];
	uint32_t ring[MA_CLASSES][MA_RING];
	struct ma_image *map;
	uint64_t tag;
	uint32_t stream;
	uint32_t owned;       /* Dynamic maps: cells of the slabs owned, in all classes. */
	uint32_t cached_chunks;
	struct ma_cached cached[MA_CACHED_RUN + 1]; /* By chunks. */
	uint32_t turn;        /* Of the streams without chunks, whose queue is looked into next. */
	uint32_t returns;     /* The sum of ma_stream.returns, when this thread last found nothing. */
	uint64_t barren_ns;   /* Until then it makes no sense to look for empty slabs again; 0: look. */
	/* The place in lists: the last members (thread.c). */
	struct ma_tcache *next;  /* Of the same thread. */
	struct ma_tcache *other; /* Of the process: thread.c. */
	int32_t thread;          /* The kernel's number; 0: not in that list. */
};

/* What the calling thread's place for this map has: its cache, or another one, or none. */
#define ma_tcache_of(map) (*ma_tcache_slot(ma_load_either(&(map)->tls_at)))

/* Its mask is always 0: a thread that meets it takes the slow path. */
extern struct ma_cursor ma_cursor_never;

/* Stands in every slot that is empty, so that the fast path need not test for NULL; its id is no map's. */
extern struct ma_tcache ma_tcache_none;

/* The calling thread's cache for this map, made at the first call. NULL with errno: no owner record, no memory. */
struct ma_tcache *ma_tcache_get(struct ma_image *map);

#endif /* MA_THREAD_H */
