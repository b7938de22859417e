/* SPDX-License-Identifier: BSD-3-Clause */
/* New maps of any kind, by the libraries' own calls; and what load puts into them. */
#ifndef TOOLS_MAKE_H
#define TOOLS_MAKE_H

#include "common/target.h"
#include "tools/view.h"

struct make_plan {
	uint32_t kind;
	uint64_t size; /* shmbuddy: what blocks can take. mmalloc: the range. Else the file's length. */
	uint64_t base; /* 0: anywhere. */
	uint64_t streams, item, smallest, largest, range, processes;
};

/* Under no name until it is whole: who is killed meanwhile leaves nothing. */
struct made {
	uint32_t kind;
	void *map; /* NULL: it was closed. */
	char *base;
	struct ma_target target;
	char *path; /* That leads to it meanwhile. */
};

/* The number of a kind by its name; 0: none has it. */
uint32_t make_kind(const char *name);
/*
 * What is to become this file; nothing is there yet. like: the file that it is to replace, with its mode and owner; NULL: the
 * file must not be there yet. Said why when it fails, and there is nothing to drop.
 */
enum status make_open(struct tool *tool, const char *file, const struct make_plan *plan, const struct stat *like,
		      struct made *made);
/* Offset of a new block from the start of the file; 0 with errno. */
uint64_t make_block(struct made *made, uint64_t size);
int make_root(struct made *made, const char *name, uint64_t offset);
int make_key(struct made *made, int key, uint64_t value);
int make_tag(struct made *made, uint64_t tag);
/* It is whole: on disk with it, and it gets its name. Said why when it fails; then there is nothing, or what was there. */
enum status make_finish(struct tool *tool, const char *file, bool may_replace, struct made *made);
/* It is not to be. */
void make_drop(struct made *made);

#endif /* TOOLS_MAKE_H */
