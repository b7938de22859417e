/* SPDX-License-Identifier: BSD-3-Clause */
/* All commands, and what some of them have from others. */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "tools/view.h"

extern const struct command command_info, command_check, command_list, command_leaks, command_stat;
extern const struct command command_show, command_set, command_restore, command_repair, command_plot, command_snapshot;
extern const struct command command_create, command_resize, command_reap, command_dump, command_load;

struct dump_load;
/* What came of it, on standard output. */
void load_report(struct tool *tool, const struct dump_load *load);
/* As the value of "loaded". */
void load_report_json(struct tool *tool, const struct dump_load *load);

/* The member "occupancy". */
void info_json_occupancy(struct view *view, const struct figures *figures);

/* stat.c */
uint64_t stat_free_bytes(const struct figures *f);
/* How much smaller the largest free block is than it could be with so much free space, and with the kind's limit of a block. */
double stat_fragmentation(const struct figures *f);
/* prometheus.c: stat --prometheus. */
void prometheus_print(struct view *view, const struct figures *f);

#endif /* TOOLS_COMMANDS_H */
