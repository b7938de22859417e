/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Named roots: hash tables in the map, 128 bytes an entry.
 *
 *      0  state   u64       0 never used; odd: in use; even: being given another name
 *      8  offset  u64       of the root from the base; 0: taken away (the name stays, to be used again)
 *     16  name    64 bytes  padded with zeros
 *     80  (zero)
 *
 * A fixed table lies behind the owner records. When the places where a name might go are all taken, it goes to the table
 * below: a unit of the user area (a chunk, a group of items) that was made a table then. The fixed table has one table
 * below it, every other one has two, and the name's hash says which. So there is room for any number of names, and a look-up
 * visits as many tables as the tree has levels, and a few places in each. Tables are never given back.
 *
 * Such a table begins with its two links, padded to 128 bytes. A link says unit + 1, and the unit's own word says that it is
 * a table, and which: id 2 * (unit of the table above + 1) + side, where the fixed table counts as unit -1. A link to a unit
 * whose word says anything else means nothing.
 *
 * Changing a root is one store of offset. A new name is written under the root lock and becomes visible by the store of an
 * odd state; readers take no lock and look at state before and after. A place never becomes unused again, so a look-up ends
 * at the first one that is.
 */
#ifndef MA_ROOTS_H
#define MA_ROOTS_H

#include "common/finding.h"
#include "common/image.h"

#define MA_TABLE_MIN 256 /* Bytes of the smallest unit that can be a table: links, and one place. */

/* On a map that is open. -1 or NULL: errno EINVAL, EROFS, ENOSPC; ENOENT when there is no such root. */
int ma_root_set(struct ma_image *map, const char *name, void *ptr);
void *ma_root_get(struct ma_image *map, const char *name);

/*
 * Compare and set: when the root is *expected (NULL: there is none) make it desired (NULL: take it away), else say in *expected
 * what it is. 1 or 0; -1: errno as above. A root that points out of the map is none.
 */
int ma_root_cas(struct ma_image *map, const char *name, void **expected, void *desired);

/* How ma_root_find_or_create() makes a block, and frees it when it was not needed. Given to it with handle. */
struct ma_root_new {
	void *handle;
	size_t size;
	void *(*take)(void *handle, size_t size); /* All zeros; NULL: errno. */
	void (*give)(void *handle, void *block);
	int (*init)(void *block, size_t size, void *arg); /* May be NULL; -1: errno, and nothing is made. */
	void *arg;
};

/* The root of this name; when there is none, a new block that no other thread or process sees before it is complete. NULL: errno. */
void *ma_root_find_or_create(struct ma_image *map, const char *name, const struct ma_root_new *how, int *created);

/* Make what is to be a table all zeros. */
void ma_root_clear(struct ma_image *map, void *table, uint64_t bytes);

/* Does a chain of links lead from the fixed table to this unit, which is a table? */
bool ma_root_is_linked(struct ma_image *map, uint64_t unit);

/* A private view, when all else is its own: make own copies of the tables in the user area. */
void ma_root_own(struct ma_image *map);

/* Each root, until fn returns something but 0: that. The name has no closing zero, and the offset may be anything in a damaged file. */
typedef int ma_root_fn(const char *name, size_t bytes, uint64_t offset, void *arg);
int ma_root_walk(struct ma_image *map, ma_root_fn *fn, void *arg);

/* The same with names that end in a zero, and addresses; what points out of the map is left out. */
typedef int ma_root_show_fn(const char *name, void *ptr, void *arg);
int ma_root_list(struct ma_image *map, ma_root_show_fn *fn, void *arg);

/* Does this offset lie in the user area, or may it come to? */
MA_INLINE bool ma_root_is_inside(const struct ma_image *map, uint64_t offset)
{
	uint64_t end = map->lay.grows ? map->lay.user_off + map->lay.user_bytes : ma_user_end(map);

	return offset >= map->lay.user_off && offset < end;
}

/* Roots that do not point there. */
uint64_t ma_root_check(struct ma_image *map, ma_finding_fn *fn, void *arg);
/* These are taken away, and told. */
void ma_root_salvage(struct ma_image *map, struct ma_findings *to);

#endif /* MA_ROOTS_H */
