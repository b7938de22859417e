/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A heap as JSON lines: what `mapalloc dump` writes and `mapalloc load` reads. In this order:
 *
 *     {"mapalloc_dump": 1, "kind": "qalloc-dynamic", "base": N, "length": N, "range": N, "streams": N}
 *         with "item_bytes" for qalloc-static; "capacity", "capacity_range", "smallest" and "largest" for shmbuddy, without "streams"
 *     {"block": OFFSET, "size": BYTES, "data": "BASE64"}        each live block; zeros at its end may be left out of data
 *     {"root": "NAME", "offset": OFFSET}                        each root; "" is shmbuddy's without a name
 *     {"root64": "BASE64", "offset": OFFSET}                    one whose name is no UTF-8
 *     {"key": NUMBER, "value": WORD}                            libmmalloc's keys that are not 0
 *     {"end": true, "blocks": N, "roots": N}                    so that a dump that was cut is found out;
 *         with "damaged": true when check found the map damaged, so that blocks may be missing
 *
 * Offsets are from the start of the file the dump was made of; base is the address that they are counted from in stored pointers (0 in
 * kinds that store offsets).
 */
#ifndef TOOLS_DUMP_H
#define TOOLS_DUMP_H

#include "tools/view.h"

#define DUMP_FORMAT 1

/* Whether it could be written, the stream knows. */
void dump_write(struct view *view, FILE *to);

struct dump_load {
	const char *file; /* To be made. */
	const char *from; /* For messages. */
	FILE *input;
	const struct stat *like;      /* The file that it is to replace; NULL: there is none. */
	uint64_t size, base, streams; /* 0: as it was. */
	bool relocate, damaged;       /* damaged: also of a damaged map. */
	/* What came of it. */
	uint64_t blocks, moved, roots, fixed, doubtful;
	uint64_t stale; /* Words that look like pointers to where a block was, and were left so. */
};

enum status dump_read(struct tool *tool, struct dump_load *load);

#endif /* TOOLS_DUMP_H */
