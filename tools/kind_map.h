/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kinds that are images share: their engines work on a view as they do on a map that is open. */
#ifndef TOOLS_KIND_MAP_H
#define TOOLS_KIND_MAP_H

#include "tools/view.h"

bool kind_map_lay_out(struct view *view, const struct ma_engine *engine);
void kind_map_attach(struct view *view);
/* As the first process to attach after all have gone: nothing of it reaches the file. SEVERITY_UNCLOSED: then all is right. */
enum severity kind_map_open(struct view *view);
/* Were blocks with guards ever allocated (mmcheck())? Then the walk passes what is between the guards, as the library's does. */
bool kind_map_has_guards(struct view *view);
int kind_map_walk(struct view *view, block_fn *fn, void *arg);
void kind_map_roots(struct view *view, root_fn *fn, void *arg);
/* For the engines' checks: arg is the view. */
void kind_map_report(const struct ma_finding *finding, void *arg);
/* Did the holder of this stream's lock die in the middle of a change? */
bool kind_map_is_interrupted(struct view *view, uint32_t stream);
/* Locks, intents and leases that dead processes left. */
void kind_map_check_state(struct view *view);

#endif /* TOOLS_KIND_MAP_H */
