/* SPDX-License-Identifier: BSD-3-Clause */
/* New maps of any kind, by the libraries' own calls; and what load puts into them. */
#ifndef TOOLS_MAKE_H
#define TOOLS_MAKE_H

#include "tools/view.h"

struct make_plan {
	uint32_t kind;
	uint64_t size; /* shmbuddy: what blocks can take. mmalloc: the range. Else the file's length. */
	uint64_t base; /* 0: anywhere. */
	uint64_t streams, item, smallest, largest;
};

struct made {
	uint32_t kind;
	void *map;
	char *base;
};

/* The number of a kind by its name; 0: none has it. */
uint32_t make_kind(const char *name);
/* The file must not be there yet; when it fails there is none again. Said why. */
enum status make_open(struct tool *tool, const char *file, const struct make_plan *plan, struct made *made);
/* Offset of a new block from the start of the file; 0 with errno. */
uint64_t make_block(struct made *made, uint64_t size);
int make_root(struct made *made, const char *name, uint64_t offset);
int make_key(struct made *made, int key, uint64_t value);
int make_close(struct made *made);

#endif /* TOOLS_MAKE_H */
