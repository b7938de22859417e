/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking at a whole heap. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "heap.h"

#include "common/cancel.h"
#include "common/error.h"
#include "common/proc.h"
#include "common/snapshot.h"
#include "common/checkpoint_image.h"
#include "common/ckpt_map.h"
#include "common/tag.h"
#include <mmalloc.h>

int mmalloc_sync(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_sync(map)) : -1;
}

int mmalloc_durable(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_make_durable(map)) : -1;
}

int mmalloc_capture(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_capture(map)) : -1;
}

int mmalloc_commit(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_commit(map)) : -1;
}

int mmalloc_restore(const char *filename)
{
	return ma_checkpoint_go_back(filename, 1u << MA_KIND_MMALLOC);
}

int mmalloc_snapshot(void *md, const char *filename)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_snapshot(map, filename)) : -1;
}

int mmalloc_settag(void *md, uint64_t tag)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_image_set_tag(map, tag)) : -1;
}

uint64_t mmalloc_gettag(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? ma_image_tag(map) : 0;
}

int mmalloc_opening(void *md, struct mmalloc_opening *opening)
{
	struct ma_image *map = mmalloc__map(md);
	const struct ma_opening *found = map ? &ma_map_of(map)->opening : NULL;

	if (!map)
		return -1;
	if (!opening)
		return (int)mmalloc__set_last_error_int(
			md, ma_fail(EINVAL,
				    "%s: cannot say what was found at opening: the place for it is NULL; pass an "
				    "address",
				    map->name));
	*opening = (struct mmalloc_opening){
		.generation = map->generation,
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

int64_t mmalloc_trim(void *md)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? mmalloc__set_last_error_int(md, ma_heap_trim(map)) : -1;
}

int mmalloc_check(void *md, mmalloc_report_fn *report, void *arg)
{
	MA_UNCANCELLED;
	struct ma_reporter reporter = { report, arg };
	struct ma_image *map = mmalloc__map(md);
	uint64_t violations;

	if (!map)
		return -1;
	violations = map->engine->check(map, ma_finding_report, &reporter);
	if (mmalloc__has_guards(map))
		violations += mmalloc__guarded_check(map, ma_finding_report, &reporter);
	if (violations == 0)
		return 0;
	return (int)mmalloc__set_last_error_int(
		md, ma_fail(EUCLEAN,
			    "%s: heap is damaged: violations found: %" PRIu64
			    "; restore a copy, or keep what can be proved: mapalloc repair --salvage",
			    map->name, violations));
}

int mmalloc_walk(void *md, mmalloc_walk_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	struct ma_image *map = mmalloc__map(md);

	if (!map)
		return -1;
	if (!fn)
		return (int)mmalloc__set_last_error_int(
			md, ma_fail(EINVAL, "%s: cannot walk: the function to call for each block is NULL; pass one",
				    map->name));
	return mmalloc__has_guards(map) ? mmalloc__guarded_walk(map, fn, arg) : ma_heap_walk(map, fn, arg);
}

int mmalloc_stats(void *md, struct mmalloc_stats *stats)
{
	struct ma_image *map = mmalloc__map(md);
	struct ma_heap_stats heap;
	struct stat st;

	if (!map)
		return -1;
	if (!stats)
		return (int)mmalloc__set_last_error_int(
			md, ma_fail(EINVAL, "%s: cannot return statistics: the pointer to them is NULL; pass one",
				    map->name));
	ma_heap_stats(map, &heap);
	*stats = (struct mmalloc_stats){
		.file_bytes = ma_image_length(map),
		.user_bytes = map->lay.user_bytes,
		.used_bytes = heap.used_bytes,
		.used_blocks = heap.used_blocks,
		.largest_free = heap.largest_free,
		.streams = map->lay.streams,
		.processes = map->fd < 0 ? 1 : ma_proc_count(map),
		.base = map->base,
	};
	if (map->fd >= 0 && fstat(map->fd, &st) == 0)
		stats->disk_bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}

struct mstats mmstats(void *md)
{
	struct ma_image *map = mmalloc__map(md);
	struct mstats figures = { 0 };
	struct ma_heap_stats heap;

	if (!map)
		return figures;
	ma_heap_stats(map, &heap);
	figures.chunks_used = heap.used_blocks;
	figures.bytes_used = heap.used_bytes;
	figures.chunks_free = heap.free_chunks;
	figures.bytes_total = ma_max(heap.backed_bytes, heap.used_bytes);
	figures.bytes_free = figures.bytes_total - figures.bytes_used;
	return figures;
}
