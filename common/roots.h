/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Named roots: an open hash table in the map, 128 bytes an entry, linear probing.
 *
 *      0  state   u64       0 never used; odd: in use; even: being given another name
 *      8  offset  u64       of the root from the base; 0: taken away (the name stays, to be used again)
 *     16  name    64 bytes  padded with zeros
 *     80  (zero)
 *
 * Most of the table's pages are holes in the file; a bitmap says which are not. A hole is never even read: on some file
 * systems that takes space, which may not be there.
 *
 * Changing a root is one store of offset. A new name is written under the root lock and becomes visible by the store of an
 * odd state; readers take no lock and look at state before and after.
 */
#ifndef MA_ROOTS_H
#define MA_ROOTS_H

#include "common/base.h"

#define MA_ROOT_NAME 64

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

/* Places in a map of this length: one for each so many bytes. Bytes of the bits for the pages of so many places. */
uint32_t ma_root_places(uint64_t length, uint64_t bytes_a_root, uint32_t least);
uint64_t ma_root_map_bytes(uint32_t places);

/* Make sure of the disk space of the pages in use. 0, or -1 with errno. */
int ma_root_back(struct ma_map *map);

/* A private view: make own copies of the pages in use. */
void ma_root_own(struct ma_map *map);

/* Roots that point out of the user area. */
uint64_t ma_root_check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg);

#endif /* MA_ROOTS_H */
