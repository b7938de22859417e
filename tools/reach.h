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

struct reach_block {
	uint64_t offset;
	uint64_t size;
	uint64_t flags; /* REACH_... */
};

struct reach_root {
	char name[72];
	size_t bytes;
	int key;
	uint64_t offset;
	uint64_t block; /* Its number; NOWHERE: it points to no live block. */
};

struct reach {
	struct view *view;
	struct reach_block *block; /* By offset. */
	uint64_t count, room;
	struct reach_root *root;
	uint64_t roots;
	uint64_t *stack;
	bool is_short; /* No memory for all of them. */
};

/* Blocks and roots, and the first flag. False: no memory, said why. */
bool reach_begin(struct reach *reach, struct view *view);
/* The other flags. False: as above. */
bool reach_scan(struct reach *reach);
void reach_end(struct reach *reach);
/* The block that has this byte; NOWHERE. */
uint64_t reach_find(const struct reach *reach, uint64_t offset);

#endif /* TOOLS_REACH_H */
