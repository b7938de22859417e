/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A map of this process: file, mapping, locks, and what the engines keep private about it.
 *
 * struct ma_map is the handle that the libraries give out. Its memory is never given back to the system, only used again
 * for another map, and not soon: so a call on a closed handle fails and does no harm.
 *
 * id is unique for ever within the process. Threads' caches (thread.h) carry the id that they were made for; to invalidate
 * all of them at once, at close and in a fork child, the map gets another id.
 */
#ifndef MA_MAP_H
#define MA_MAP_H

#include <pthread.h>
#include <time.h>

#include "common/base.h"
#include "common/body.h"
#include "common/finding.h"
#include "common/header.h"
#include "common/sizeclass.h"

#define MA_MAP_CLOSED UINT64_MAX

/* A handle that was never opened: a fast path that meets it goes the slow way. */
#define MA_MAP_HANDLE               \
	{                           \
		.id = MA_MAP_CLOSED \
	}
#define MA_MAP_REST 64 /* So many maps must be closed after one before its handle is used again. */

enum ma_map_flags {
	MA_MAP_CREATE = 1,     /* An absent or empty file becomes a new map. */
	MA_MAP_RDONLY = 2,     /* Never write, hold no lock. */
	MA_MAP_PRIVATE = 4,    /* A copy-on-write view of the file. */
	MA_MAP_ANON = 8,       /* No file at all. */
	MA_MAP_EXCLUSIVE = 16, /* No other process may be attached, now and until the map is closed. */
	MA_MAP_FORKS = 32,     /* A fork child gets a copy of its own (fork_begin). */
};

/* Those that all opens of one process must agree on. */
#define MA_MAP_WAY (MA_MAP_RDONLY | MA_MAP_PRIVATE | MA_MAP_EXCLUSIVE | MA_MAP_FORKS)

/* What this process's opening of a map found. */
struct ma_opening {
	uint64_t generation; /* First attachers so far, this one included. */
	bool created;        /* There was no map. */
	bool first;          /* No other process was attached. */
	bool copied;         /* The file is not the one that its header tells of. */
	bool machine_died;   /* Another run of the machine, and the last one did not end with a sync. */
	bool recovered;      /* The last users did not close it, and what they held was reclaimed. */
	bool verified;       /* It was checked whole. */
	enum ma_state state; /* As the last user left it. */
};

struct ma_map;
struct ma_tcache;

/* A unit of the user area that serves as a table of roots. */
struct ma_table {
	uint64_t id;
	uint64_t offset; /* From the base. */
	uint64_t bytes;
};

/* What a kind of body brings along. A new body needs nothing: it reads as zero, and zeros are an empty one. */
struct ma_engine {
	enum ma_kind kind;
	/* Fill map->lay and the other numbers from map->sealed. False: they are impossible. */
	bool (*layout)(struct ma_map *map);
	/* How long the file must be for what is in use, as the body's words have it. NULL: that is not asked. */
	uint64_t (*end)(struct ma_map *map);
	/* Redo or undo what the dead holder of this stream's lock was doing. The lock is ours. */
	void (*recover_stream)(struct ma_map *map, uint32_t stream);
	/*
	 * The file is a copy, or its machine died: what is not in use becomes zero again, as a new body is, and what is
	 * derived is computed anew. 0, or -1 with errno.
	 */
	int (*renew)(struct ma_map *map);
	/* Make sure of the disk space of all that is in use: the file may have lost it (lost.h). 0, or -1 with errno. */
	int (*reserve_space)(struct ma_map *map);
	/* The whole check. Returns the number of violations. */
	uint64_t (*check)(struct ma_map *map, ma_finding_fn *fn, void *arg);
	/* Each live block, until fn returns something but 0. */
	int (*walk)(struct ma_map *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
	/* A thread's new cache: set its cursors up. Its end: give its units to the streams. */
	void (*thread_attach)(struct ma_tcache *tc);
	void (*thread_detach)(struct ma_tcache *tc);
	/* Is this unit a table? The unit's own word says so, and which. */
	bool (*table_at)(struct ma_map *map, uint64_t unit, struct ma_table *table);
	/*
	 * Make some unit the table of this id: zeros, then *link says unit + 1, then the unit's word commits. A link to a
	 * unit that is not the table of its id means nothing: it was left by a kill. False: errno.
	 */
	bool (*table_take)(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);
	/* A private view, or a snapshot: make own copies of all metadata in use, and settle what changed meanwhile. */
	void (*privatize_metadata)(struct ma_map *map);
	/* Each part of the file that blocks take, tables of roots left out, until fn returns something but 0: that. */
	int (*used)(struct ma_map *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
	/* This process detaches, and gave all its owner records up: what is free need not keep its space. May be NULL. */
	void (*rest)(struct ma_map *map);
	/* A snapshot: what is free has no disk space. May be NULL. */
	void (*hollow)(struct ma_map *map);
};

struct ma_map {
	/* What the fast paths read: one line, written only by open, close, fork and ma_map_watch(). */
	_Atomic uint64_t id;
	char *user;             /* Address of unit 0. */
	_Atomic uint8_t *truth; /* Of item 0. Dynamic: the base, which spots count from. */
	_Atomic uint64_t *spot; /* Dynamic; see common/heap.h. */
	/*
	 * Low half: so many chunks may have blocks freed the fast way; 0 when every call must be seen. High half: this line,
	 * and each one below it, may hold truth: the slots of any slab there are inside the file. One load for both.
	 */
	_Atomic uint64_t fast_limits;
	uint64_t fast_items; /* The same as the low half, for items, in bytes. One of the two is 0: that is the kind. */
	union {
		uint64_t first_chunk; /* user / 64 KiB. */
		uint64_t item_magic;  /* 2^64 / item_bytes, rounded up. */
	};
	int32_t tls_at; /* Where a thread's cache for this map is: see ma_tcache_of(), MA_TLS_WATCHED. */

	uint32_t kind;
	char *base;
	uint64_t item_bytes;
	struct ma_header *header;
	uint64_t mapped;
	uint64_t hole_at;     /* From here ... */
	uint64_t hole_end;    /* ... to here it is not mapped, when not 0: there was not enough address space. */
	uint64_t punch_bytes; /* See struct ma_open. */
	/* What follows from the length that the header had at the last ma_map_measure(). */
	struct {
		_Atomic uint64_t most;   /* The longest that the file was seen to be. Never less; 0: believe the header. */
		_Atomic uint64_t length; /* What the header said; 0: nothing is known. */
		_Atomic uint64_t bytes;  /* What is believed of that, and what follows from it: */
		_Atomic uint64_t units;
		_Atomic uint64_t user_end;
		_Atomic uint32_t segments;
	} known;
	struct ma_layout lay;
	const struct ma_engine *engine;
	_Atomic uint32_t slot;
	unsigned flags;
	uint32_t reach; /* So many segments are mapped here. */
	int fd;   /* ma_map_fd() says whether it still is ours. */
	int mark; /* fd.h */
	bool fickle;       /* The process's locks end with the descriptor. */
	bool was_replaced; /* The mapping belongs to an open file description before this one. */
	_Atomic bool lost; /* The descriptor is gone, and could not be opened again. */
	time_t lost_at;      /* When that was tried last. */
	uint64_t slot_since; /* What we wrote into the slot. */
	uint64_t closed_at;
	uint32_t uses;          /* Opens of this process minus closes. */
	bool annotated;         /* Valgrind or ASan is told of each block (annotate.h). The map is watched then. */
	bool created;           /* The file's name was made by this open. */
	int32_t tls_own;        /* The handle's own place, where tls_at is while nobody watches. */
	_Atomic uintptr_t hook; /* The library's own word about this map; 0 after an open. */
	uint8_t uuid[16];
	uint64_t smallest; /* What layout() found to be the smallest length, when it refused. */
	uint64_t device, inode;
	_Atomic bool frees_are_seen; /* The next free takes the slow path (reclaim.h). */
	_Atomic bool is_watched;     /* Every call does. */
	_Atomic uint64_t frees;      /* Blocks that this process freed the slow way. */
	struct {
		_Atomic uint64_t until_ns; /* 0: no search was in vain. */
		_Atomic uint64_t news;     /* ma_search_news() before it. */
	} vain[MA_CLASSES];                /* What reclaim.h remembers. Static maps: the first two. */
	_Atomic uintptr_t stuck_lock; /* The last lock for which a wait timed out, and its word then. */
	_Atomic uint32_t stuck_word;
	struct ma_header sealed; /* The header as it was checked: what is written once is read from here. */
	int (*fork_copy)(struct ma_map *map);
	int (*fork_begin)(struct ma_map *map);
	int fork_fd;               /* Between fork_begin() and the fork: the copy. */
	bool fork_barred;          /* While forking: the child does not get these addresses. */
	struct ma_opening opening; /* Written once, before the map is open. */
	pthread_mutex_t mutex;     /* Guards slot and the three members below. */
	_Atomic uint32_t reap_left;     /* Process slots that the current search for dead processes has not checked yet. */
	uint32_t reap_next, probe_next; /* The slots whose lock, and whose pid, it checks next. */
	pthread_mutex_t fd_mutex;  /* Guards replacing fd; taken last. */
	struct ma_map *source;     /* Of a snapshot that is being made: what it is copied from. */
	int privatize_errno;       /* Why that failed. */
	_Atomic bool
		opening_space; /* Space is taken again that the tables say is there: by the first opener, or regain.h. */
	_Atomic bool lacks_space;  /* That failed in a map in use: no more blocks. */
	_Atomic uint64_t blocks;   /* What the file had at the last look, in st_blocks; 0: none yet. */
	_Atomic uint64_t looked;   /* When that was, in seconds. */
	struct ma_map *next;       /* In the registry, for ever. */
	char name[256]; /* For messages, also about a closed handle: the last field, it stays until the next open. */
};

struct ma_open {
	const char *filename; /* NULL: use fd. */
	int fd;
	unsigned flags;
	uint64_t asked;  /* The bytes that the caller named, for messages; 0: those below. */
	uint64_t base;   /* 0: no preference. */
	uint64_t length; /* Of a new file; 0: just long enough for the tables. Then it grows as it is used; else when param says so. */
	uint64_t reserved;    /* Range of a new map; raised when the file's first segment needs more. */
	uint64_t punch_bytes; /* Freed runs from this size on give their disk space back; 0: none does. */
	uint64_t param[MA_PARAMS];
	/* Of a new map of this length whose first number is 0, the number of streams. May be NULL. */
	uint64_t (*streams)(uint64_t length);
	/*
	 * Of memory without a file: the caller's handle for it (MA_MAP_HANDLE), of which there is one for ever. Who opens it
	 * again gets the map that is there. NULL: any handle.
	 */
	struct ma_map *handle;
	const struct ma_engine *const *engines; /* Those that may be found, NULL at the end; the first one creates. */
	/* Do the loaded map's numbers please the caller? 0, or -1 with errno. May be NULL. */
	int (*accept)(const struct ma_map *map, const struct ma_open *how);
	/*
	 * NULL: a fork child goes on with the parent's file, or with MA_MAP_FORKS, in what fork_begin() gave (map->fork_fd).
	 * Else it gets one of its own: this gives a descriptor of a copy
	 * that was made before the fork, with all else at rest; -1: there is none, and the child's handle is closed. So
	 * nobody else ever sees the map; it must be a new one.
	 */
	int (*fork_copy)(struct ma_map *map);
	/*
	 * With MA_MAP_FORKS: called before each fork, under the lock of ma_map_hold_all(), by the thread that forks. A descriptor of a
	 * copy for the child, or -1: the child's handle is closed. The parent goes on with its file, which others may use too.
	 */
	int (*fork_begin)(struct ma_map *map);
};

/* NULL with errno. */
struct ma_map *ma_map_open(const struct ma_open *how);
/* -1 with EBADF. The last close of a process gives all its records up. */
int ma_map_close(struct ma_map *map);
/*
 * The process ends now: say in the file that it was closed, as the last close does, and leave all else as it is. The map must not be used
 * for allocation any more. Signal-safe.
 */
void ma_map_sign_off(struct ma_map *map);
/* Is this a map that is open now? Else errno EBADF. */
bool ma_map_is_open(const struct ma_map *map);
/*
 * The descriptor of the map's file, for one system call: looked at, and opened and locked again when the program closed it. -1 with errno
 * EBADF and a sentence: that cannot be, or there is no file. errno stays otherwise.
 */
int ma_map_fd(struct ma_map *map);
/* Register what a fork does to maps: done by the first open, unless somebody's own handlers must come after. */
void ma_map_watch_forks(void);
/*
 * What the handlers do, for a fork that does not call them. False: this thread holds the lock, and nothing was done.
 * Then ma_map_fork_end() must not be called.
 */
bool ma_map_fork_try(void);
void ma_map_fork_end(bool child);
/* 0: this process is a child that was made without the handlers. */
extern _Atomic uint32_t *ma_process_mark;
void ma_map_notice_fork(void);
/* Keep every map as it is, open or closed, while a thread that ends leaves its maps. */
void ma_map_hold_all(void);
/* The same, if it can be had at once. */
bool ma_map_try_hold_all(void);
void ma_map_let_go_all(void);
/*
 * From now on every call on this map, in every thread, takes the slow path; until the map is closed. A call that another
 * thread is just making may still be a fast one. What threads have in their caches stays theirs.
 */
void ma_map_watch(struct ma_map *map);
/* The same for every map that is open, and for each one when it is opened. */
void ma_map_watch_all(void);
/* The file may have grown: let the fast paths know. */
void ma_map_measure(struct ma_map *map);
/*
 * What is believed when the header says this length. It may be damaged at any moment: it is never less than before, and not more
 * than the file has.
 */
uint64_t ma_map_believe(const struct ma_map *map, uint64_t length);
/* This process made the file, or its memory, so long. */
void ma_map_is_long(struct ma_map *map, uint64_t length);
/* The application's number: 0, or what was set. Setting it again to another one fails with EEXIST. */
uint64_t ma_map_tag(const struct ma_map *map);
int ma_map_set_tag(struct ma_map *map, uint64_t tag);
/* Write it to disk and wait. */
int ma_map_sync(struct ma_map *map);
/* The same for every open map; then perhaps close them, however often each was opened. errno is 0 when all went well. */
int ma_map_sync_all(bool then_close);

MA_INLINE bool ma_map_writable(const struct ma_map *map)
{
	return !(map->flags & MA_MAP_RDONLY);
}

/* ---- segments and lanes: inline, for each slow call comes by here ---- */

/* Segments that a file of this length has. */
MA_INLINE uint32_t ma_segments_at(const struct ma_layout *lay, uint64_t length)
{
	uint32_t count = lay->segments;

	while (count > 1 && length < lay->seg[count - 1].user_file)
		count--;
	return count;
}

/* Does this length still have the numbers that ma_map_measure() noted? It notes the length last. */
MA_INLINE bool ma_map_is_known(const struct ma_map *map, uint64_t length)
{
	return MA_LIKELY(length == ma_load_acquire(&map->known.length) && length);
}

/* The file's length, as far as it is believed. */
MA_INLINE uint64_t ma_map_length(const struct ma_map *map)
{
	uint64_t length = ma_load_acquire(&map->header->length); /* Pairs with common/space.c:grow. */

	return ma_map_is_known(map, length) ? ma_load(&map->known.bytes) : ma_map_believe(map, length);
}

/* Segments that the file has. It may come to have more at any moment, never fewer. */
MA_INLINE uint32_t ma_segments(const struct ma_map *map)
{
	uint64_t length = ma_load_acquire(&map->header->length); /* Pairs with common/space.c:grow. */
	uint32_t count = map->reach;

	if (ma_map_is_known(map, length))
		return ma_load(&map->known.segments);
	length = ma_map_believe(map, length);
	while (count > 1 && length < map->lay.seg[count - 1].user_file)
		count--;
	return count;
}

/* Lanes that the file has. Those of the segments behind are not even there to be looked at. */
MA_INLINE uint32_t ma_lanes(const struct ma_map *map)
{
	return ma_segments(map) * map->lay.streams;
}

/* The segment that a unit, or a lane, is in. */
MA_INLINE const struct ma_segment *ma_segment_of(const struct ma_map *map, uint64_t unit)
{
	const struct ma_segment *seg = map->lay.seg, *last = seg + map->lay.segments - 1;

	while (seg < last && unit >= seg[1].first)
		seg++;
	return seg;
}

MA_INLINE const struct ma_segment *ma_lane_segment(const struct ma_map *map, uint32_t lane)
{
	return lane < map->lay.streams ? map->lay.seg : &map->lay.seg[lane / map->lay.streams];
}

/* Its number among those of its segment. */
MA_INLINE uint32_t ma_lane_stream(const struct ma_map *map, uint32_t lane)
{
	return lane < map->lay.streams ? lane : lane % map->lay.streams;
}

MA_INLINE struct ma_stream *ma_stream(const struct ma_map *map, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(map, lane);

	return (struct ma_stream *)(void *)(map->base + seg->stream_off +
					    (uint64_t)ma_lane_stream(map, lane) * map->lay.stream_stride);
}

/*
 * A slab, chunks or a group come back to the lane, whose lock is held. A thread that finds no room searches again when the count has
 * changed. Pairs with common/reclaim.c:news.
 */
MA_INLINE void ma_stream_count_return(const struct ma_map *map, uint32_t lane)
{
	_Atomic uint32_t *returns = &ma_stream(map, lane)->returns;

	ma_store_release(returns, ma_load(returns) + 1);
}

/* The lane that unit belongs to by its position. */
MA_INLINE uint32_t ma_stream_of(const struct ma_map *map, uint64_t unit)
{
	const struct ma_segment *seg = map->lay.seg;
	uint32_t lane = 0;

	while (MA_UNLIKELY(unit - seg->first >= seg->count) && seg < &map->lay.seg[map->lay.segments - 1]) {
		seg++;
		lane += map->lay.streams;
	}
	/* What per_stream divides: exactly that, for both are below 2^32. */
	return lane + (uint32_t)((unsigned __int128)(unit - seg->first + 1) * seg->reciprocal >> 64);
}

/* The i-th lane that a thread of this stream asks: its own in each of so many segments, then its neighbours'. */
MA_INLINE uint32_t ma_lane_at(const struct ma_map *map, uint32_t segments, uint32_t stream, uint32_t i)
{
	if (MA_LIKELY(i == 0))
		return stream;
	return i % segments * map->lay.streams + (stream + i / segments) % map->lay.streams;
}

/* Units that a file of this length has whole; one that grows by itself, those of all its segments. */
MA_INLINE uint64_t ma_units_at(const struct ma_map *map, uint64_t length)
{
	const struct ma_layout *lay = &map->lay;
	const struct ma_segment *last;
	uint32_t count = map->reach;
	uint64_t units;

	while (count > 1 && length < lay->seg[count - 1].user_file)
		count--;
	last = &lay->seg[count - 1];
	units = lay->grows ? last->user_at + last->user_bytes : ma_segment_user(lay, length);
	units = lay->item_bytes ? (units / lay->item_bytes + lay->group_items - 1) / lay->group_items
				: units / lay->unit_bytes;
	return ma_min(units, last->first + last->count);
}

MA_INLINE uint64_t ma_units(const struct ma_map *map)
{
	uint64_t length = ma_load_acquire(&map->header->length); /* Pairs with common/space.c:grow. */

	return ma_map_is_known(map, length) ? ma_load(&map->known.units)
					    : ma_units_at(map, ma_map_believe(map, length));
}

MA_INLINE uint64_t ma_range_first(const struct ma_map *map, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(map, lane);

	return seg->first + ma_min(ma_lane_stream(map, lane) * seg->per_stream, seg->count);
}

/* With the units that the file does not have yet. A tree covers those too: they are free, and out of reach. */
MA_INLINE uint64_t ma_range_whole(const struct ma_map *map, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(map, lane);

	return ma_min(seg->per_stream, seg->first + seg->count - ma_range_first(map, lane));
}

/* Units of a lane that the file has. */
MA_INLINE uint64_t ma_range_count(const struct ma_map *map, uint32_t lane)
{
	const struct ma_segment *seg = ma_lane_segment(map, lane);
	uint64_t first = ma_range_first(map, lane);
	uint64_t end = ma_min(ma_units(map), ma_min(seg->first + seg->count, first + seg->per_stream));

	return end > first ? end - first : 0;
}

/* The lane of a unit that is known to lie in this one or behind; mostly it is that one. */
MA_INLINE uint32_t ma_stream_from(const struct ma_map *map, uint32_t from, uint64_t unit)
{
	const struct ma_segment *seg = ma_lane_segment(map, from);
	uint64_t end = ma_min(seg->first + seg->count, ma_range_first(map, from) + seg->per_stream);

	return unit < end ? from : ma_stream_of(map, unit);
}

/* Everything before this offset that is no table lies inside a file of this length. */
MA_INLINE uint64_t ma_user_end_at(const struct ma_map *map, uint64_t length)
{
	const struct ma_segment *last = &map->lay.seg[map->reach - 1];

	return map->lay.user_off + ma_min(ma_segment_user(&map->lay, length), last->user_at + last->user_bytes);
}

MA_INLINE uint64_t ma_user_end(const struct ma_map *map)
{
	uint64_t length = ma_load_acquire(&map->header->length); /* Pairs with common/space.c:grow. */

	return ma_map_is_known(map, length) ? ma_load(&map->known.user_end)
					    : ma_user_end_at(map, ma_map_believe(map, length));
}

/* What blocks can take, in a file of this length. */
MA_INLINE uint64_t ma_capacity_at(const struct ma_map *map, uint64_t length)
{
	const struct ma_layout *lay = &map->lay;
	uint64_t units = ma_units_at(map, length);

	if (!lay->item_bytes)
		return units * lay->unit_bytes;
	return ma_min(ma_segment_user(lay, length) / lay->item_bytes, units * lay->group_items) * lay->item_bytes;
}

MA_INLINE uint64_t ma_capacity(const struct ma_map *map)
{
	return ma_capacity_at(map, ma_map_length(map));
}

#endif /* MA_MAP_H */
