/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The trie of pathcache, in which no process waits for another. A link changes twice at most, each time by one compare-exchange:
 * from nothing to an entry, and from an entry to a node that has the entry. So what was found once is found for ever, whoever is
 * killed: that one leaves a block that is linked, or one that nobody knows of.
 */
#include "pathcache.h"

#include <stdint.h>
#include <string.h>

/* FNV-1a. A name has as many hashes as it takes to tell it from all others. */
static uint64_t hash(const char *name, uint64_t which)
{
	uint64_t h = 0xcbf29ce484222325u ^ which;

	for (; *name != 0; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return h ^ h >> 32;
}

static unsigned way_at(const char *name, unsigned depth)
{
	return hash(name, depth / WAYS) >> depth % WAYS * 4 & (WAYS - 1);
}

/* [address] */
static void *address(const struct here *here, shm_offt offset)
{
	return here->base + offset;
}
/* [address] */

/* The link at which a name's nodes end, and what it says: 0, or the one entry that begins with the same bits. */
static _Atomic shm_offt *walk(const struct here *here, const char *name, unsigned *depth, shm_offt *seen)
{
	struct node *node = &here->cache->top;
	_Atomic shm_offt *link;

	for (*depth = 0;; ++*depth) {
		link = &node->way[way_at(name, *depth)];
		/* Pairs with the release that linked it: what it leads to is complete. */
		*seen = atomic_load_explicit(link, memory_order_acquire);
		if (!(*seen & NODE))
			return link;
		node = address(here, *seen - NODE);
	}
}

static bool is_name(const struct here *here, shm_offt offset, const char *name)
{
	return offset != SHM_NULL && strcmp(((struct entry *)address(here, offset))->text, name) == 0;
}

const char *cache_find(const struct here *here, const char *name)
{
	const struct entry *entry;
	unsigned depth;
	shm_offt seen;

	walk(here, name, &depth, &seen);
	if (!is_name(here, seen, name))
		return NULL;
	entry = address(here, seen);
	return entry->text + entry->name_bytes;
}

/* [link_to] */
static bool link_to(_Atomic shm_offt *link, shm_offt seen, shm_offt to)
{
	return atomic_compare_exchange_strong_explicit(link, &seen, to, memory_order_release, memory_order_relaxed);
}
/* [link_to] */

/* The entry at a link gets a node of its own, so that there is room beside it. */
static bool deepen(const struct here *here, _Atomic shm_offt *link, unsigned depth, shm_offt seen)
{
	shm_offt offset = shmbuddy_calloc(here->region, 1, sizeof(struct node));
	const struct entry *entry = address(here, seen);
	struct node *node = address(here, offset);

	if (offset == SHM_NULL)
		return false;
	atomic_init(&node->way[way_at(entry->text, depth + 1)], seen);
	if (!link_to(link, seen, offset | NODE))
		shmbuddy_free(here->region, offset); /* somebody else did the same */
	return true;
}

/* [put] */
bool cache_put(const struct here *here, const char *name, const char *real)
{
	size_t name_bytes = strlen(name) + 1, real_bytes = strlen(real) + 1;
	shm_offt offset = shmbuddy_malloc(here->region, sizeof(struct entry) + name_bytes + real_bytes), seen;
	struct entry *entry = address(here, offset);
	_Atomic shm_offt *link;
	bool room = true;
	unsigned depth;

	if (offset == SHM_NULL)
		return false;
	entry->name_bytes = name_bytes;
	memcpy(entry->text, name, name_bytes);
	memcpy(entry->text + name_bytes, real, real_bytes);
	while (room) {
		link = walk(here, name, &depth, &seen);
		if (is_name(here, seen, name))
			break;
		if (seen != SHM_NULL)
			room = deepen(here, link, depth, seen);
		else if (link_to(link, seen, offset))
			return true;
	}
	shmbuddy_free(here->region, offset);
	return room;
}
/* [put] */
