/* SPDX-License-Identifier: BSD-3-Clause */
/* What the commands share that show blocks one by one. */
#ifndef TOOLS_BLOCKS_H
#define TOOLS_BLOCKS_H

#include "tools/reach.h"

#define BLOCKS_LINE 16 /* Bytes in a line of a hexadecimal dump. */

/*
 * Open, lay out, and have its blocks; what is wrong with the file goes to stderr. what: "listed". STATUS_OK: blocks_end() is due, which returns
 * this status, or that of a damaged map.
 */
enum status blocks_begin(struct tool *tool, const char *name, struct view *view, struct reach *reach, const char *what);
enum status blocks_end(struct view *view, struct reach *reach, enum status status);
/* Where programs see this offset: its address, or in regions the offset. */
uint64_t blocks_address(const struct view *view, uint64_t offset);
/* BLOCKS_LINE bytes from here on at most, as numbers and as characters. */
void blocks_line(FILE *to, const struct view *view, uint64_t offset, uint64_t bytes);

#endif /* TOOLS_BLOCKS_H */
