/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handle of a map: its image (image.h), how this process came by it, and what a fork does to it.
 *
 * struct ma_map is what the libraries give out. Its memory is never given back to the system, only used again
 * for another map, and not soon: so a call on a closed handle fails and does no harm.
 */
#ifndef MA_MAP_H
#define MA_MAP_H

#include "common/image.h"

/* A handle that was never opened: a fast path that meets it goes the slow way. */
#define MA_MAP_HANDLE                     \
	{                                 \
		.image.id = MA_MAP_CLOSED \
	}
#define MA_MAP_REST 64 /* So many maps must be closed after one before its handle is used again. */

/* Those that all opens of one process must agree on. */
#define MA_MAP_WAY (MA_MAP_RDONLY | MA_MAP_PRIVATE | MA_MAP_EXCLUSIVE | MA_MAP_FORKS)

/* What this process's opening of a map found. In which generation the process is, its image says. */
struct ma_opening {
	bool created;        /* There was no map. */
	bool first;          /* No other process was attached. */
	bool copied;         /* The file is not the one that its header tells of. */
	bool machine_died;   /* Another run of the machine, and the last one did not end with a sync. */
	bool recovered;      /* The last users did not close it, and what they held was reclaimed. */
	bool verified;       /* It was checked whole. */
	bool restored;       /* It is as its last checkpoint was. */
	enum ma_state state; /* As the last user left it. */
};

struct ma_map {
	struct ma_image image; /* The first member: a handle is passed where an image is wanted. */
	uint32_t uses;         /* Opens of this process minus closes. */
	uint64_t closed_at;
	int32_t tls_own;           /* The handle's own place, where tls_at is while the map is not watched. */
	struct ma_opening opening; /* Written once, before the map is open. */
	int (*fork_copy)(struct ma_image *image);
	int (*fork_begin)(struct ma_image *image);
	int fork_fd;         /* Between fork_begin() and the fork: the copy. */
	bool fork_barred;    /* While forking: the child does not get these addresses. */
	struct ma_map *next; /* In the registry, for ever. */
};

_Static_assert(offsetof(struct ma_map, image) == 0, "the fast paths, and all that take an image, are given a handle");

/* A handle may be NULL, and then so is its image. */
MA_INLINE struct ma_image *ma_image_of(struct ma_map *map)
{
	return (struct ma_image *)(void *)map;
}

/* Of an image that has one. */
MA_INLINE struct ma_map *ma_map_of(struct ma_image *image)
{
	return (struct ma_map *)(void *)image;
}

struct ma_open {
	const char *filename; /* NULL: use fd. */
	int fd;
	unsigned flags;
	uint64_t asked;  /* The bytes that the caller named, for messages; 0: those below. */
	uint64_t base;   /* 0: no preference. */
	uint64_t length; /* Of a new file; 0: just long enough for the tables. Then it grows as it is used; else when param says so. */
	uint64_t reserved; /* Range of a new map; raised when the file's first segment needs more. */
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
	int (*accept)(const struct ma_image *image, const struct ma_open *how);
	/* What would be refused as damaged is salvaged, and this is told. NULL: it is refused. No other process may be attached. */
	struct ma_findings *salvage;
	/*
	 * NULL: a fork child goes on with the parent's file, or with MA_MAP_FORKS, in what fork_begin() gave (map->fork_fd).
	 * Else it gets one of its own: this gives a descriptor of a copy
	 * that was made before the fork, with all else at rest; -1: there is none, and the child's handle is closed. So
	 * no other process ever sees the map; it must be a new one.
	 */
	int (*fork_copy)(struct ma_image *image);
	/*
	 * With MA_MAP_FORKS: called before each fork, under the lock of ma_map_hold_all(), by the thread that forks. A descriptor of a
	 * copy for the child, or -1: the child's handle is closed. The parent goes on with its file, which others may use too.
	 */
	int (*fork_begin)(struct ma_image *image);
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
/* Register what a fork does to maps: done by the first open, unless handlers of the library's own must come after. */
void ma_map_watch_forks(void);
/*
 * What the handlers do, for a fork that does not call them. False: this thread holds the lock, and nothing was done.
 * Then ma_map_fork_end() must not be called.
 */
bool ma_map_fork_try(void);
void ma_map_fork_end(bool child);
/* Keep every map as it is, open or closed, while a thread that ends leaves its maps. */
void ma_map_hold_all(void);
/* The same, if it can be had at once. */
bool ma_map_try_hold_all(void);
void ma_map_let_go_all(void);
/*
 * What a fork does to this map from now on: see fork_begin and fork_copy in struct ma_open. A fork child gets a copy, as with MA_MAP_FORKS.
 */
void ma_map_set_forks(struct ma_map *map, int (*fork_begin)(struct ma_image *image),
		      int (*fork_copy)(struct ma_image *image));
/* In a fork child that the handlers know nothing of, and that has no copy: what was written there before can be read, and the handle is closed. */
void ma_map_orphan(struct ma_map *map);
/* Every call on every map that is open, and on each one when it is opened, takes the slow path (ma_image_watch). */
void ma_map_watch_all(void);
/* Write every open map to disk; then perhaps close them, however often each was opened. errno is 0 when all went well. */
int ma_map_sync_all(bool then_close);

#endif /* MA_MAP_H */
