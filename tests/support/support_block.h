/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_block.h
 * @brief Marked blocks, assertions about errno, and a library's calls as tests know them that serve several libraries.
 */
#ifndef MA_TESTS_SUPPORT_BLOCK_H
#define MA_TESTS_SUPPORT_BLOCK_H

#include "tests/support/support.h"

/** A library's calls, with their parameters in one order. As that library documents them. */
struct support_calls {
	const char *name;
	size_t least; /**< Sizes from here on give a block. */
	void *(*malloc)(void *map, size_t size);
	void *(*calloc)(void *map, size_t size);
	void *(*realloc)(void *map, void *block, size_t size);
	void *(*memalign)(void *map, size_t alignment, size_t size);
	void (*free)(void *map, void *block);
	size_t (*usable_size)(void *map, const void *block);
	int (*walk)(void *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
	int (*check)(void *map, void (*report)(const char *text, void *arg), void *arg);
};

/* --- marked blocks ----------------------------------------------------------------------------------------- */

/** A block that a test holds, filled with what follows from @p tag. */
struct support_block {
	void *at;
	size_t size;
	uint64_t tag;
};

/** Fill @p size bytes with what follows from @p tag: all of them up to 4 KiB, samples and both ends above. */
void support_fill(void *block, size_t size, uint64_t tag);
bool support_intact(const void *block, size_t size, uint64_t tag);
/** The first @p kept bytes are what support_fill() put there when the block had @p size bytes. */
bool support_kept(const void *block, size_t kept, size_t size, uint64_t tag);
/** All bytes are zero. */
bool support_zero(const void *block, size_t size);
void support_verify(const struct support_block *block);
void support_shuffle(struct support_block *blocks, size_t count, struct support_rand *r);
/** Assert that no two overlap and all lie in this range. Sorts @p blocks by address. */
void support_no_overlap_in(const char *base, const char *end, struct support_block *blocks, size_t count);

/** malloc and fill; false when there is no room. */
bool support_take_by(const struct support_calls *calls, void *map, struct support_block *block, size_t size,
		     uint64_t tag);
/** Assert that it is intact, free it, assert that this worked. */
void support_give_by(const struct support_calls *calls, void *map, struct support_block *block);

/* --- looking ----------------------------------------------------------------------------------------------- */

/** For a library's check: print, and count in the size_t @p count. */
void support_print_violation(const char *text, void *count);
/** Assert that there are no violations. */
void support_check_by(const struct support_calls *calls, void *map);
/** Blocks that a walk visits. */
size_t support_count_by(const struct support_calls *calls, void *map);
/** Free every live block; how many there were. */
size_t support_free_all_by(const struct support_calls *calls, void *map);

#endif /* MA_TESTS_SUPPORT_BLOCK_H */
