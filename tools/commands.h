/* SPDX-License-Identifier: BSD-3-Clause */
/* All commands, and what some of them have from others. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "tools/view.h"

extern const struct command command_info, command_check, command_list, command_leaks, command_stat;
extern const struct command command_set, command_restore, command_repair, command_plot, command_snapshot;
extern const struct command command_create, command_resize, command_reap, command_dump, command_load;

struct dump_load;
/* What came of it, on standard output. */
void load_report(struct tool *tool, const struct dump_load *load);
/* As the value of "loaded". */
void load_report_json(struct tool *tool, const struct dump_load *load);

/* The member "occupancy". */
void info_json_occupancy(struct view *view, const struct figures *figures);

#endif /* TOOLS_COMMANDS_H */
