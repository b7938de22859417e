/* SPDX-License-Identifier: BSD-3-Clause */
/* How far a long check is: a line on a terminal, at most ten times a second and not before a second has passed. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include "tools/tool.h"

struct progress {
	struct tool *tool;
	const char *name;
	uint64_t done, all;
	double began, shown; /* Seconds. */
	bool is_visible;     /* A line is on the screen. */
};

double progress_now(void);
void progress_begin(struct progress *progress, struct tool *tool, const char *name, uint64_t all);
void progress_add(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress);

#endif /* TOOLS_PROGRESS_H */
