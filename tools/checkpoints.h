/* SPDX-License-Identifier: BSD-3-Clause */
/* The checkpoint file of a durable map (common/ckpt.h), as the commands see it. */
#ifndef TOOLS_CHECKPOINTS_H
#define TOOLS_CHECKPOINTS_H

#include "tools/view.h"

/* Read its records into view->checkpoints, when the map is durable. Nothing of the file changes. */
void checkpoints_read(struct view *view);
/* What is wrong with it, and what the next open does with it: fills the findings. */
void checkpoints_check(struct view *view);

/* Is the map stale: does the next open make it what its last checkpoint was? */
bool checkpoints_roll_back(const struct view *view);
/* Is the map to be repaired because of its checkpoint file, which is missing or damaged? Then it cannot stay durable. */
bool checkpoints_are_lost(const struct view *view);

/* Do what the next open does: open the map for writing, and close it. */
enum status checkpoints_settle(struct tool *tool, const char *name, uint32_t kind);
/* Refuse, when the map is stale: "NAME: not WHAT: ...". */
enum status checkpoints_refuse_stale(const struct view *view, const char *what);

/* Make the map durable: the first checkpoint. No process may have it open. */
enum status checkpoints_begin(struct tool *tool, const char *name, uint32_t kind);
/*
 * The map is not durable any more, and all of it is on disk. Then its checkpoint file can be removed; one that belongs to another map
 * stays. fd: of the map, with the attach byte. -1 with errno.
 */
int checkpoints_end(int fd);
int checkpoints_remove(int fd);

/* Lines of info. */
void checkpoints_print(struct view *view);
void checkpoints_json(struct view *view);

#endif /* TOOLS_CHECKPOINTS_H */
