/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc repair, in two files. */
#ifndef TOOLS_REPAIR_H
#define TOOLS_REPAIR_H

#include "tools/tool.h"

/* What can be proved in a damaged map stays; all else is told, on the output. No process has it open. */
enum status salvage(struct tool *tool, const char *name, uint32_t kind);

#endif /* TOOLS_REPAIR_H */
