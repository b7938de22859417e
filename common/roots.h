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

#include "common/base.h"

#define MA_ROOT_NAME 64
#define MA_TABLE_MIN 256 /* Bytes of the smallest unit that can be a table: links, and one place. */

struct ma_map;

struct ma_root {
	_Atomic uint64_t state;
	_Atomic uint64_t offset;
	_Atomic uint64_t name[MA_ROOT_NAME / 8];
	uint64_t zero[6];
};

_Static_assert(sizeof(struct ma_root) == 128, "format 1");

/* On a map that is open. -1 or NULL: errno EINVAL, EROFS, ENOSPC; ENOENT when there is no such root. */
int ma_root_set(struct ma_map *map, const char *name, void *ptr);
void *ma_root_get(struct ma_map *map, const char *name);

/* Make what is to be a table all zeros. */
void ma_root_clear(struct ma_map *map, void *table, uint64_t bytes);

/* Does a chain of links lead from the fixed table to this unit, which is a table? */
bool ma_root_is_linked(struct ma_map *map, uint64_t unit);

/* A private view, when all else is its own: make own copies of the tables in the user area. */
void ma_root_own(struct ma_map *map);

/* Each root, until fn returns something but 0: that. The name has no closing zero, and the offset may be anything in a damaged file. */
typedef int ma_root_fn(const char *name, size_t bytes, uint64_t offset, void *arg);
int ma_root_walk(struct ma_map *map, ma_root_fn *fn, void *arg);

/* Roots that point out of the user area. */
uint64_t ma_root_check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg);

#endif /* MA_ROOTS_H */
