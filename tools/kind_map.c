/* SPDX-License-Identifier: BSD-3-Clause */
/* See kind_map.h. The image of a view is as an open would have made it, at an address of no importance. */
#include "tools/kind_map.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/lock.h"
#include "common/owner.h"
#include "common/recover.h"
#include "common/roots.h"
#include "libmmalloc/src/inspect.h"

bool kind_map_lay_out(struct view *view, const struct ma_engine *engine)
{
	struct ma_image *map = &view->map;

	if (!ma_image_make(map, engine, &view->header, view->name))
		return false;
	ma_image_set_file(map, view->fd, &view->place);
	/* Of what is in use the engines look again at what seems wrong; what is at rest stays wrong. */
	ma_image_set_mode(map, view->processes.is_attached || view->processes.locks_unknown ? MA_MAP_RDONLY : MA_MAP_PRIVATE);
	view->mapped = map->mapped;
	view->user_off = map->lay.user_off;
	view->user_bytes = map->lay.user_bytes;
	return true;
}

void kind_map_attach(struct view *view)
{
	ma_image_place(&view->map, view->base);
}

enum severity kind_map_open(struct view *view)
{
	struct ma_image *map = &view->map;
	bool certain = ma_is_certain(ma_image_certainty(map));

	ma_image_part(map);
	if (ma_image_recover(map, certain ? 0 : MA_RECOVER_RENEW) < 0)
		return SEVERITY_DAMAGE;
	return map->engine->check(map, kind_map_report, view) == 0 ? SEVERITY_UNCLOSED : SEVERITY_DAMAGE;
}

/* ---- blocks and roots ---- */

struct walk {
	struct view *view;
	block_fn *fn;
	root_fn *root;
	void *arg;
};

static int on_block(void *block, size_t size, void *arg)
{
	struct walk *walk = arg;

	return walk->fn(walk->view, (uint64_t)((char *)block - walk->view->base), size, walk->arg);
}

bool kind_map_has_guards(struct view *view)
{
	return view->map.kind == MA_KIND_MMALLOC && mmalloc__has_guards(&view->map);
}

int kind_map_walk(struct view *view, block_fn *fn, void *arg)
{
	struct walk walk = { .view = view, .fn = fn, .arg = arg };

	if (kind_map_has_guards(view))
		return mmalloc__guarded_walk(&view->map, on_block, &walk);
	return view->map.engine->walk(&view->map, on_block, &walk);
}

static int on_root(const char *name, size_t bytes, uint64_t offset, void *arg)
{
	struct walk *walk = arg;

	walk->root(walk->view, name, bytes, -1, offset, walk->arg);
	return 0;
}

static void walk_keys(struct view *view, root_fn *fn, void *arg)
{
	_Atomic uint64_t *keys = (_Atomic uint64_t *)(void *)(view->base + view->map.lay.key_off);
	char name[16];

	for (int i = 0; i < 64; i++) {
		uint64_t value = ma_load(&keys[i]);
		int bytes = snprintf(name, sizeof(name), "key %d", i);

		if (value)
			fn(view, name, (size_t)bytes, i, view_offset_of(view, value), arg);
	}
}

void kind_map_roots(struct view *view, root_fn *fn, void *arg)
{
	struct walk walk = { .view = view, .root = fn, .arg = arg };

	ma_root_walk(&view->map, on_root, &walk);
	if (view->map.lay.key_off)
		walk_keys(view, fn, arg);
}

/* ---- what is broken ---- */

void kind_map_report(const struct ma_finding *finding, void *arg)
{
	view_add_finding(arg, SEVERITY_DAMAGE, finding->rule, finding->at, "%s", finding->text);
}

static bool is_dead(struct view *view, uint32_t slot)
{
	return slot >= view->map.lay.processes ||
	       (!view->processes.locks_unknown && !processes_slot_is_alive(view->fd, slot));
}

static uint32_t pid_of(const struct view *view, uint32_t slot)
{
	const struct ma_process *process = (struct ma_process *)(void *)(view->base + view->map.lay.process_off);

	return slot < view->map.lay.processes ? ma_load(&process[slot].pid) : 0;
}

static bool check_lock(struct view *view, struct ma_lock *lock, const char *what)
{
	uint32_t holder = ma_load(&lock->word) & MA_LOCK_SLOT;

	if (holder == 0 || !is_dead(view, holder - 1))
		return holder != 0;
	view_add_finding(view, SEVERITY_UNCLOSED, "state/lock", (uint64_t)((char *)lock - view->base),
			 "%s is held by process slot %u (pid %u), which is dead", what, holder - 1,
			 pid_of(view, holder - 1));
	return false;
}

/* Items of static maps are taken and freed by one store each: an intent means nothing. */
static bool map_has_no_intents(const struct view *view)
{
	return view->header.kind == MA_KIND_STATIC;
}

static void check_stream(struct view *view, uint32_t index)
{
	struct ma_stream *st = ma_stream(&view->map, index);
	uint64_t at = (uint64_t)((char *)st - view->base);
	char what[40];

	snprintf(what, sizeof(what), "the lock of stream %u", index);
	if (check_lock(view, &st->lock, what) || map_has_no_intents(view))
		return;
	if (ma_load(&st->intent_valid))
		view_add_finding(view, SEVERITY_UNCLOSED, "state/intent", at + offsetof(struct ma_stream, intent_first),
				 "stream %u: a change of %" PRIu64 " units from %" PRIu64 " on was not finished", index,
				 (uint64_t)ma_load(&st->intent_count), (uint64_t)ma_load(&st->intent_first));
}

bool kind_map_is_interrupted(struct view *view, uint32_t stream)
{
	struct ma_stream *st = ma_stream(&view->map, stream);
	uint32_t holder = ma_load(&st->lock.word) & MA_LOCK_SLOT;

	return holder && is_dead(view, holder - 1) && ma_load(&st->intent_valid);
}

static void check_leases(struct view *view)
{
	struct ma_image *map = &view->map;
	struct ma_owner *owners = (struct ma_owner *)(void *)(view->base + map->lay.owner_off);
	uint64_t top = ma_min(ma_load(&ma_body(map)->owner_top), map->lay.owners);
	uint32_t *leases = calloc(UINT16_MAX + 1, sizeof(*leases)); /* By process slot + 1. */

	for (uint64_t i = 0; leases && i < top; i++)
		leases[ma_load(&owners[i].word) & UINT16_MAX]++;
	for (uint32_t slot = 1; leases && slot <= UINT16_MAX; slot++)
		if (leases[slot] && is_dead(view, slot - 1))
			view_add_finding(view, SEVERITY_UNCLOSED, "state/lease", map->lay.owner_off,
					 "%u %s of process slot %u (pid %u), which is dead", leases[slot],
					 leases[slot] == 1 ? "lease" : "leases", slot - 1, pid_of(view, slot - 1));
	free(leases);
}

void kind_map_check_state(struct view *view)
{
	struct ma_image *map = &view->map;

	check_lock(view, &ma_body(map)->root_lock, "the lock of the roots");
	check_lock(view, &ma_body(map)->length_lock, "the lock of the length");
	for (uint32_t s = 0; s < ma_lanes(map); s++)
		check_stream(view, s);
	check_leases(view);
}
