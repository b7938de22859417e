/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in the region, and what the files of pathcache share. Each process may have the region at another address, so
 * everything in it is linked by offsets.
 */
#ifndef PATHCACHE_H
#define PATHCACHE_H

#include <shmbuddy.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { WORKERS = 4, WAYS = 16 };

/* [link] */
/* A link is 0, the offset of an entry, or that of a node plus NODE: blocks lie at multiples of 32, so the bit is free. */
#define NODE ((shm_offt)1)

/* One level of the trie: four bits of the hash choose the way. */
struct node {
	_Atomic shm_offt way[WAYS];
};
/* [link] */

/* [entry] */
/* Never changes once it is linked. */
struct entry {
	size_t name_bytes; /* the closing zero included */
	char text[];       /* the name, then the real path of it; empty when it had none */
};
/* [entry] */

/* The region's root leads here. */
struct cache {
	_Atomic size_t done[WORKERS]; /* so many of its names each worker has put in */
	struct node top;
};

/* Where this process has them. */
struct here {
	shmbuddy_t *region;
	char *base;
	struct cache *cache;
};

/* The real path of a name; NULL when nobody has put it in. */
const char *cache_find(const struct here *here, const char *name);

/* Put it in, unless somebody else was quicker. False: the region is full. */
bool cache_put(const struct here *here, const char *name, const char *real);

/* A worker: every WORKERS-th name is its own. Exit status. */
int fill(const char *path, unsigned worker, char **names, size_t count);

/* Open the region, or make it (SHMBUDDY_NEW). False: stderr says why. */
bool cache_open(struct here *here, const char *path, unsigned flags);

#endif /* PATHCACHE_H */
