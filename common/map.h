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

#include "common/base.h"
#include "common/body.h"
#include "common/header.h"

#define MA_MAP_CLOSED UINT64_MAX

/* A handle that was never opened: a fast path that meets it goes the slow way. */
#define MA_MAP_HANDLE               \
	{                           \
		.id = MA_MAP_CLOSED \
	}
#define MA_MAP_REST 64 /* So many maps must be closed after one before its handle is used again. */

enum ma_map_flags {
	MA_MAP_CREATE = 1,  /* An absent or empty file becomes a new map. */
	MA_MAP_RDONLY = 2,  /* Never write, hold no lock. */
	MA_MAP_PRIVATE = 4, /* A copy-on-write view of the file. */
	MA_MAP_ANON = 8,    /* No file at all. */
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
	/* Where what is in use ends, as the body's words have it. NULL: with the file. */
	uint64_t (*end)(struct ma_map *map);
	/* Redo or undo what the dead holder of this stream's lock was doing. The lock is ours. */
	void (*recover_stream)(struct ma_map *map, uint32_t stream);
	/*
	 * The file is a copy, or its machine died: what is not in use becomes zero again, as a new body is, and what is
	 * derived is computed anew. 0, or -1 with errno.
	 */
	int (*renew)(struct ma_map *map);
	/* Make sure of the disk space of all that is in use (a copied file may have lost it). 0, or -1 with errno. */
	int (*back)(struct ma_map *map);
	/* The whole check. Returns the number of violations. */
	uint64_t (*check)(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg);
	/* Each live block, until fn returns something but 0. */
	int (*walk)(struct ma_map *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
	/* A thread's new cache: set its cursors up. Its end: give its units to the streams. */
	void (*equip)(struct ma_tcache *tc);
	void (*leave)(struct ma_tcache *tc);
	/* Is this unit a table? The unit's own word says so, and which. */
	bool (*table_at)(struct ma_map *map, uint64_t unit, struct ma_table *table);
	/*
	 * Make some unit the table of this id: zeros, then *link says unit + 1, then the unit's word commits. A link to a
	 * unit that is not the table of its id means nothing: it was left by a kill. False: errno.
	 */
	bool (*table_take)(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);
	/* A private view, or a snapshot: make own copies of all metadata in use, and settle what changed meanwhile. */
	void (*own_metadata)(struct ma_map *map);
	/* Each part of the file that blocks take, tables of roots left out, until fn returns something but 0: that. */
	int (*used)(struct ma_map *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
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
	uint64_t punch_bytes; /* See struct ma_open. */
	struct ma_layout lay;
	const struct ma_engine *engine;
	_Atomic uint32_t slot;
	unsigned flags;
	int fd;
	uint64_t closed_at;
	uint32_t uses;          /* Opens of this process minus closes. */
	bool annotated;         /* Valgrind or ASan is told of each block (annotate.h). The map is watched then. */
	bool created;           /* The file's name was made by this open. */
	int32_t tls_own;        /* The handle's own place, where tls_at is while nobody watches. */
	_Atomic uintptr_t hook; /* The library's own word about this map; 0 after an open. */
	uint8_t uuid[16];
	uint64_t smallest; /* What layout() found to be the smallest length, when it refused. */
	uint64_t device, inode;
	struct ma_header sealed; /* The header as it was checked: what is written once is read from here. */
	int (*fork_copy)(struct ma_map *map);
	pthread_mutex_t mutex; /* Guards taking the slot. */
	struct ma_map *source; /* Of a snapshot that is being made: what it is copied from. */
	int own_errno;         /* Why that failed. */
	struct ma_map *next;   /* In the registry, for ever. */
	char name[256];        /* For messages. */
};

struct ma_open {
	const char *filename; /* NULL: use fd. */
	int fd;
	unsigned flags;
	uint64_t base;        /* 0: no preference. */
	uint64_t length;      /* Of a new file; 0: just long enough for the tables, and it grows from there. */
	uint64_t reserved;    /* Of a new map; at least length. */
	uint64_t punch_bytes; /* Freed runs from this size on give their disk space back; 0: none does. */
	uint64_t param[MA_PARAMS];
	/*
	 * Of memory without a file: the caller's handle for it (MA_MAP_HANDLE), of which there is one for ever. Who opens it
	 * again gets the map that is there. NULL: any handle.
	 */
	struct ma_map *handle;
	const struct ma_engine *const *engines; /* Those that may be found, NULL at the end; the first one creates. */
	/* Do the loaded map's numbers please the caller? 0, or -1 with errno. May be NULL. */
	int (*accept)(const struct ma_map *map, const struct ma_open *how);
	/*
	 * NULL: a fork child goes on with the parent's file. Else it gets one of its own: this gives a descriptor of a copy
	 * that was made before the fork, with all else at rest; -1: there is none, and the child's handle is closed. So
	 * nobody else ever sees the map; it must be a new one.
	 */
	int (*fork_copy)(struct ma_map *map);
};

/* NULL with errno. */
struct ma_map *ma_map_open(const struct ma_open *how);
/* -1 with EBADF. The last close of a process gives all its records up. */
int ma_map_close(struct ma_map *map);
/* Is this a map that is open now? Else errno EBADF. */
bool ma_map_is_open(const struct ma_map *map);
/* Register what a fork does to maps: done by the first open, unless somebody's own handlers must come after. */
void ma_map_watch_forks(void);
/* Keep every map as it is, open or closed, while a thread that ends leaves its maps. */
void ma_map_hold_all(void);
void ma_map_let_go_all(void);
/*
 * From now on every call on this map, in every thread, takes the slow path; until the map is closed. A call that another
 * thread is just making may still be a fast one. What threads have in their caches stays theirs.
 */
void ma_map_watch(struct ma_map *map);
/* The same for every map that is open, and for each one when it is opened. */
void ma_map_watch_all(void);
/* The file has grown: let the fast paths know. */
void ma_map_measure(struct ma_map *map);
/* Write it to disk and wait. */
int ma_map_sync(struct ma_map *map);
/* The same for every open map; then perhaps close them, however often each was opened. errno is 0 when all went well. */
int ma_map_sync_all(bool then_close);

MA_INLINE bool ma_map_writable(const struct ma_map *map)
{
	return !(map->flags & MA_MAP_RDONLY);
}

/* ---- streams: inline, for each slow call comes by here ---- */

MA_INLINE struct ma_stream *ma_stream(const struct ma_map *map, uint32_t index)
{
	return (struct ma_stream *)(void *)(map->base + map->lay.stream_off + (uint64_t)index * map->lay.stream_stride);
}

/* The stream that unit belongs to by its position. */
MA_INLINE uint32_t ma_stream_of(const struct ma_map *map, uint64_t unit)
{
	return map->lay.streams == 1 ? 0 : (uint32_t)(unit / map->lay.per_stream);
}

/* The same when it is known that this lies in stream from or behind; mostly it is that one, without a division. */
MA_INLINE uint32_t ma_stream_from(const struct ma_map *map, uint32_t from, uint64_t unit)
{
	return unit < map->lay.per_stream * ((uint64_t)from + 1) ? from : ma_stream_of(map, unit);
}

#endif /* MA_MAP_H */
