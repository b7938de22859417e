/* SPDX-License-Identifier: BSD-3-Clause */
/* For commands that change files at rest: no other process uses the file, or can attach to it until the descriptor is closed. */
#ifndef TOOLS_EXCLUSIVE_H
#define TOOLS_EXCLUSIVE_H

#include "tools/view.h"

/* "NAME: not WHAT: WHY". Returns STATUS_REFUSED. */
enum status exclusive_refuse(struct tool *tool, const char *name, const char *what, const char *why);
/*
 * The file opened for writing, with the attach byte. No other descriptor of this process may be open. seen: a view that was closed. what:
 * "repaired", ... Said why when it fails, and *fd is -1 then.
 */
enum status exclusive_open(struct tool *tool, const char *name, const struct view *seen, const char *what, int *fd);
/* Let a view that was opened under it write to the file. */
bool exclusive_map(struct view *view, int fd);

#endif /* TOOLS_EXCLUSIVE_H */
