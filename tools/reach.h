/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All live blocks, and which of them the roots reach: by a conservative scan, in which every aligned word that could be the address of
 * a block, or of anything inside of one, counts. In regions a word counts that could be an offset.
 */
#ifndef TOOLS_REACH_H
#define TOOLS_REACH_H

#include "tools/view.h"

#define REACH_ROOT    1u /* A root points to it. */
#define REACH_FOUND   2u /* A root, or a block that is reached, does. */
#define REACH_POINTED 4u /* Some other block does, reached or not. */

/*
 * Maps have hundreds of millions of blocks, so these are small: 12 bytes, and 4 on the stack of the scan.
 *
 *     first  63 .. 47: the size's low 17 bits   46 .. 0: the offset      (first and second are three words of 32 bits)
 *     second 31 .. 29: REACH_...                28 .. 0: the size's other bits
 */
struct reach_block {
	uint32_t first[2];
	uint32_t second;
};

_Static_assert(sizeof(struct reach_block) == 12, "a block's entry grew");

static inline struct reach_block reach_block(uint64_t offset, uint64_t size)
{
	uint64_t first = offset | size << 47;

	return (struct reach_block){ { (uint32_t)first, (uint32_t)(first >> 32) },
				     (uint32_t)(size >> 17) & (UINT32_MAX >> 3) };
}

static inline uint64_t reach_first(const struct reach_block *block)
{
	return block->first[0] | (uint64_t)block->first[1] << 32;
}

static inline uint64_t reach_offset(const struct reach_block *block)
{
	return reach_first(block) & (((uint64_t)1 << 47) - 1);
}

static inline uint64_t reach_size(const struct reach_block *block)
{
	return reach_first(block) >> 47 | (uint64_t)(block->second & (UINT32_MAX >> 3)) << 17;
}

static inline bool reach_is(const struct reach_block *block, unsigned flag)
{
	return block->second >> 29 & flag;
}

static inline void reach_mark(struct reach_block *block, unsigned flag)
{
	block->second |= flag << 29;
}

struct reach_root {
	char name[72];
	size_t bytes;
	int key;
	uint64_t offset;
	uint64_t block; /* Its number, with reach_roots() its offset; NOWHERE: the root points to no live block. */
};

struct reach {
	struct view *view;
	struct reach_block *block; /* By offset. */
	uint64_t count, most;      /* There are; there is memory for. */
	struct reach_root *root;
	uint64_t roots;
	uint32_t *stack;
	bool is_short; /* No memory for all of them. */
};

/* The roots alone, which need no list of all blocks. False: no memory, said why. */
bool reach_roots(struct reach *reach, struct view *view);
/* Blocks and roots, and the first flag. False: no memory, said why. */
bool reach_begin(struct reach *reach, struct view *view);
/* The other flags. False: as above. */
bool reach_scan(struct reach *reach);
void reach_end(struct reach *reach);
/* The block that has this byte; NOWHERE. */
uint64_t reach_find(const struct reach *reach, uint64_t offset);

/* Each word of a block that points into this one, its own words too: the number of the word's block, and the word's offset. */
typedef void pointer_fn(const struct reach *reach, uint64_t from, uint64_t at, void *arg);
void reach_pointers(const struct reach *reach, uint64_t number, pointer_fn *fn, void *arg);

#endif /* TOOLS_REACH_H */
