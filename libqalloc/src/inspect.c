/* SPDX-License-Identifier: BSD-3-Clause */
/* Roots, and looking at a whole map. */
#include <errno.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/heap.h"
#include "common/proc.h"
#include "common/roots.h"
#include "common/snapshot.h"
#include <qalloc.h>
#include "static.h"

int qalloc_setroot(void *map, const char *name, void *ptr)
{
	return ma_map_is_open(map) ? ma_root_set(map, name, ptr) : -1;
}

void *qalloc_getroot(void *map, const char *name)
{
	return ma_map_is_open(map) ? ma_root_get(map, name) : NULL;
}

int qalloc_sync(void *map)
{
	return ma_map_is_open(map) ? ma_map_sync(map) : -1;
}

int qalloc_snapshot(void *map, const char *filename)
{
	return ma_map_is_open(map) ? ma_map_snapshot(map, filename) : -1;
}

int qalloc_check(void *map, qalloc_report_fn *report, void *arg)
{
	struct ma_map *m = map;

	if (!ma_map_is_open(m))
		return -1;
	if (m->engine->check(m, report, arg) == 0)
		return 0;
	return ma_fail(EUCLEAN, "%s: the check found violations", m->name);
}

int qalloc_walk(void *map, qalloc_walk_fn *fn, void *arg)
{
	struct ma_map *m = map;

	if (!ma_map_is_open(m))
		return -1;
	if (!fn)
		return ma_fail(EINVAL, "%s: no function to call for each block", m->name);
	return m->engine->walk(m, fn, arg);
}

static int count_item(void *block, size_t size, void *arg)
{
	struct qalloc_stats *stats = arg;

	(void)block;
	stats->used_blocks++;
	stats->used_bytes += size;
	return 0;
}

static void count_blocks(struct ma_map *map, struct qalloc_stats *stats)
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
	struct ma_map *m = map;
	struct stat st;

	if (!ma_map_is_open(m))
		return -1;
	if (!stats)
		return ma_fail(EINVAL, "%s: no place for the figures", m->name);
	*stats = (struct qalloc_stats){
		.file_bytes = ma_load(&m->header->length),
		.user_bytes = m->lay.user_bytes,
		.item_bytes = m->lay.item_bytes,
		.streams = m->lay.streams,
		.processes = ma_proc_count(m),
		.base = m->base,
		.is_static = m->kind == MA_KIND_STATIC,
	};
	if (m->fd >= 0 && fstat(m->fd, &st) == 0)
		stats->disk_bytes = (uint64_t)st.st_blocks * 512;
	count_blocks(m, stats);
	stats->free_bytes = stats->user_bytes - ma_min(stats->used_bytes, stats->user_bytes);
	return 0;
}
