/* SPDX-License-Identifier: BSD-3-Clause */
/* For commands that change files at rest: nobody else uses the file, and nobody comes in until the descriptor is closed. */
#ifndef TOOLS_ALONE_H
#define TOOLS_ALONE_H

#include "tools/view.h"

/* "NAME: not WHAT: WHY". Returns STATUS_REFUSED. */
enum status alone_refuse(struct tool *tool, const char *name, const char *what, const char *why);
/*
 * The file opened for writing, with the attach byte. No other descriptor of this process may be open. seen: a view that was closed. what:
 * "repaired", ... Said why when it fails, and *fd is -1 then.
 */
enum status alone_open(struct tool *tool, const char *name, const struct view *seen, const char *what, int *fd);
/* Let a view that was opened under it write to the file. */
bool alone_map(struct view *view, int fd);

#endif /* TOOLS_ALONE_H */
