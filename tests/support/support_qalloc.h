/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_qalloc.h
 * @brief What the tests of libqalloc share: maps, marked blocks, a check of the whole map.
 */
#ifndef MA_TESTS_SUPPORT_QALLOC_H
#define MA_TESTS_SUPPORT_QALLOC_H

#include <qalloc.h>

#include "tests/support/support_block.h"

extern const struct support_calls support_qalloc_calls;

/* --- maps -------------------------------------------------------------------------------------------------- */

/** New maps, asserted. @p path NULL: a new path. */
dynmapinfo_t *support_dyn(const char *path, size_t bytes, size_t streams);
mapinfo_t *support_stat(const char *path, size_t bytes, size_t itemsize, size_t streams);
/** qalloc_loadmap(), asserted. */
void *support_load(const char *path);
/** qalloc_open(), asserted. */
void *support_open(const char *path, unsigned flags);
/** qalloc_close(), asserted. */
void support_close(void *map);
/** check_map(), then close and unlink. */
#define support_finish(map, path)   \
	do {                        \
		check_map(map);     \
		support_close(map); \
		unlink(path);       \
	} while (0)

/* --- looking ----------------------------------------------------------------------------------------------- */

/** Check the whole map; print each violation, and fail if there was one. */
#define check_map(map) support_check_at((map), __FILE__, __LINE__)
void support_check_at(void *map, const char *file, int line);
/** Number of violations that qalloc_check() reports, printed; errno as it left it. */
size_t support_violations(void *map);
struct qalloc_stats support_stats(void *map);
/** used_blocks of the statistics. */
size_t support_used(void *map);
/** Blocks that a walk visits. */
size_t support_count(void *map);
/** The largest block that can be had now, found by trying. */
size_t support_largest(void *map);
/** Free every live block; how many there were. */
size_t support_free_all(void *map);
/** Where the file would lie in memory: first byte and first byte behind it. */
char *support_base(void *map);
char *support_end(void *map);

/* --- marked blocks ----------------------------------------------------------------------------------------- */

/** qalloc_malloc() and fill; false when there is no room. */
bool support_take(void *map, struct support_block *block, size_t size, uint64_t tag);
/** Assert that it is intact, free it, assert that this worked. */
void support_give(void *map, struct support_block *block);
/** Assert that no two overlap and all lie inside the map. Sorts @p blocks by address. */
void support_no_overlap(void *map, struct support_block *blocks, size_t count);
/** Take blocks of @p size until the map is full (asserts ENOMEM), at most @p most; how many. */
size_t support_fill_up(void *map, struct support_block *blocks, size_t most, size_t size);

#endif /* MA_TESTS_SUPPORT_QALLOC_H */
