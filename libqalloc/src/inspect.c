/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at a whole map. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "common/cancel.h"
#include "common/error.h"
#include "common/heap.h"
#include "common/map.h"
#include "common/proc.h"
#include "common/snapshot.h"
#include "common/checkpoint_image.h"
#include "common/ckpt_map.h"
#include "common/tag.h"
#include <qalloc.h>
#include "static.h"

const char *qalloc_errmsg(void)
{
	return ma_errmsg();
}

int qalloc_sync(void *map)
{
	return ma_image_is_open(map) ? ma_image_sync(map) : -1;
}

int qalloc_durable(void *map)
{
	return ma_image_is_open(map) ? ma_image_make_durable(map) : -1;
}

int qalloc_capture(void *map)
{
	return ma_image_is_open(map) ? ma_image_capture(map) : -1;
}

int qalloc_commit(void *map)
{
	return ma_image_is_open(map) ? ma_image_commit(map) : -1;
}

int qalloc_restore(const char *filename)
{
	return ma_checkpoint_go_back(filename, 1u << MA_KIND_STATIC | 1u << MA_KIND_DYNAMIC);
}

int qalloc_snapshot(void *map, const char *filename)
{
	return ma_image_is_open(map) ? ma_image_snapshot(map, filename) : -1;
}

/* Items keep their space: a group that was ever in use never goes back. */
int64_t qalloc_trim(void *map)
{
	struct ma_image *m = map;

	if (!ma_image_is_open(m))
		return -1;
	if (m->kind == MA_KIND_DYNAMIC)
		return ma_heap_trim(m);
	if (!ma_image_writable(m))
		return ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", m->name);
	return 0;
}

int qalloc_check(void *map, qalloc_report_fn *report, void *arg)
{
	MA_UNCANCELLED;
	struct ma_reporter reporter = { report, arg };
	struct ma_image *m = map;
	uint64_t violations;

	if (!ma_image_is_open(m))
		return -1;
	violations = m->engine->check(m, ma_finding_report, &reporter);
	if (violations == 0)
		return 0;
	return ma_fail(EUCLEAN,
		       "%s: map is damaged: violations found: %" PRIu64
		       "; restore a copy, or keep what can be proved: mapalloc repair --salvage",
		       m->name, violations);
}

int qalloc_walk(void *map, qalloc_walk_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	struct ma_image *m = map;

	if (!ma_image_is_open(m))
		return -1;
	if (!fn)
		return ma_fail(EINVAL, "%s: cannot walk: the function to call for each block is NULL; pass one",
			       m->name);
	return m->engine->walk(m, fn, arg);
}

int qalloc_settag(void *map, uint64_t tag)
{
	return ma_image_is_open(map) ? ma_image_set_tag(map, tag) : -1;
}

uint64_t qalloc_gettag(void *map)
{
	return ma_image_is_open(map) ? ma_image_tag(map) : 0;
}

int qalloc_opening(void *map, struct qalloc_opening *opening)
{
	const struct ma_image *m = map;
	const struct ma_opening *found = map ? &((const struct ma_map *)map)->opening : NULL;

	if (!ma_image_is_open(m))
		return -1;
	if (!opening)
		return ma_fail(EINVAL,
			       "%s: cannot say what was found at opening: the place for it is NULL; pass an address",
			       m->name);
	*opening = (struct qalloc_opening){
		.generation = m->generation,
		.created = found->created,
		.first = found->first,
		.copied = found->copied,
		.machine_died = found->machine_died,
		.closed = (uint32_t)found->state,
		.recovered = found->recovered,
		.verified = found->verified,
		.restored = found->restored,
	};
	return 0;
}

static int count_item(void *block, size_t size, void *arg)
{
	struct qalloc_stats *stats = arg;

	(void)block;
	stats->used_blocks++;
	stats->used_bytes += size;
	return 0;
}

static void count_blocks(struct ma_image *map, struct qalloc_stats *stats)
{
	struct ma_heap_stats heap;

	if (map->kind == MA_KIND_STATIC) {
		qalloc__static_walk(map, count_item, stats);
		stats->largest_free = stats->used_bytes < stats->user_bytes ? map->item_bytes : 0;
		return;
	}
	ma_heap_stats(map, &heap);
	stats->used_blocks = heap.used_blocks;
	stats->used_bytes = heap.used_bytes;
	stats->largest_free = heap.largest_free;
}

int qalloc_stats(void *map, struct qalloc_stats *stats)
{
	struct ma_image *m = map;
	struct stat st;

	if (!ma_image_is_open(m))
		return -1;
	if (!stats)
		return ma_fail(EINVAL, "%s: cannot return statistics: the pointer to them is NULL; pass one", m->name);
	*stats = (struct qalloc_stats){
		.file_bytes = ma_image_length(m),
		.user_bytes = ma_capacity(m),
		.item_bytes = m->lay.item_bytes,
		.streams = m->lay.streams,
		.processes = ma_proc_count(m),
		.base = m->base,
		.slots = m->lay.processes,
		.range_bytes = m->lay.file_end,
		.is_static = m->kind == MA_KIND_STATIC,
	};
	if (m->fd >= 0 && fstat(m->fd, &st) == 0)
		stats->disk_bytes = (uint64_t)st.st_blocks * 512;
	count_blocks(m, stats);
	stats->free_bytes = stats->user_bytes - ma_min(stats->used_bytes, stats->user_bytes);
	return 0;
}
