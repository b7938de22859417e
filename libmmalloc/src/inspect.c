/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and roots, and looking at a whole heap. */
#include <errno.h>
#include <sys/stat.h>

#include "heap.h"

#include "common/error.h"
#include "common/proc.h"
#include "common/roots.h"
#include "common/snapshot.h"
#include <mmalloc.h>

/* Where a key is; NULL with errno. */
static _Atomic uint64_t *key_word(void *md, struct ma_map *map, int keynum)
{
	if (!map)
		return NULL;
	if (keynum < 0 || keynum >= MMALLOC_KEYS)
		return mmalloc__told(md, ma_fail_null(EINVAL, "%s: there is no key %d", map->name, keynum));
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.key_off) + keynum;
}

int mmalloc_setkey(void *md, int keynum, void *key)
{
	struct ma_map *map = mmalloc__map(md);
	_Atomic uint64_t *word = key_word(md, map, keynum);

	if (!word)
		return 0;
	if (!ma_map_writable(map)) {
		ma_fail(EROFS, "%s: is open read-only", map->name);
		mmalloc__failed(md);
		return 0;
	}
	ma_store_kill(word, (uint64_t)(uintptr_t)key);
	return 1;
}

void *mmalloc_getkey(void *md, int keynum)
{
	struct ma_map *map = mmalloc__map(md);
	_Atomic uint64_t *word = key_word(md, map, keynum);

	return word ? (void *)(uintptr_t)ma_load_acquire(word) : NULL;
}

int mmalloc_setroot(void *md, const char *name, void *ptr)
{
	struct ma_map *map = mmalloc__map(md);

	return map ? (int)mmalloc__told_int(md, ma_root_set(map, name, ptr)) : -1;
}

void *mmalloc_getroot(void *md, const char *name)
{
	struct ma_map *map = mmalloc__map(md);

	return map ? mmalloc__told(md, ma_root_get(map, name)) : NULL;
}

int mmalloc_sync(void *md)
{
	struct ma_map *map = mmalloc__map(md);

	return map ? (int)mmalloc__told_int(md, ma_map_sync(map)) : -1;
}

int mmalloc_snapshot(void *md, const char *filename)
{
	struct ma_map *map = mmalloc__map(md);

	return map ? (int)mmalloc__told_int(md, ma_map_snapshot(map, filename)) : -1;
}

int64_t mmalloc_trim(void *md)
{
	struct ma_map *map = mmalloc__map(md);

	return map ? mmalloc__told_int(md, ma_heap_trim(map)) : -1;
}

int mmalloc_check(void *md, mmalloc_report_fn *report, void *arg)
{
	struct ma_map *map = mmalloc__map(md);
	uint64_t violations;

	if (!map)
		return -1;
	violations = map->engine->check(map, report, arg);
	if (mmalloc__has_guards(map))
		violations += mmalloc__guarded_check(map, report, arg);
	if (violations == 0)
		return 0;
	return (int)mmalloc__told_int(md, ma_fail(EUCLEAN, "%s: the check found violations", map->name));
}

int mmalloc_walk(void *md, mmalloc_walk_fn *fn, void *arg)
{
	struct ma_map *map = mmalloc__map(md);

	if (!map)
		return -1;
	if (!fn)
		return (int)mmalloc__told_int(md, ma_fail(EINVAL, "%s: no function to call for each block", map->name));
	return mmalloc__has_guards(map) ? mmalloc__guarded_walk(map, fn, arg) : ma_heap_walk(map, fn, arg);
}

int mmalloc_stats(void *md, struct mmalloc_stats *stats)
{
	struct ma_map *map = mmalloc__map(md);
	struct ma_heap_stats heap;
	struct stat st;

	if (!map)
		return -1;
	if (!stats)
		return (int)mmalloc__told_int(md, ma_fail(EINVAL, "%s: no place for the figures", map->name));
	ma_heap_stats(map, &heap);
	*stats = (struct mmalloc_stats){
		.file_bytes = ma_load(&map->header->length),
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
	struct ma_map *map = mmalloc__map(md);
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
