/* SPDX-License-Identifier: BSD-3-Clause */
/* Making, loading and closing maps. */
#include <errno.h>
#include <inttypes.h>

#include "common/error.h"
#include "common/heap.h"
#include "common/map.h"
#include <qalloc.h>
#include "static.h"

static const struct ma_engine *const static_only[] = { &qalloc__static_engine, NULL };
static const struct ma_engine *const dynamic_only[] = { &ma_heap_engine, NULL };
static const struct ma_engine *const either[] = { &qalloc__static_engine, &ma_heap_engine, NULL };

/* What make* was told of an existing map must be true; 0 means "whatever it has". */
static int accept_numbers(const struct ma_map *map, const struct ma_open *how)
{
	uint64_t streams = how->param[STATIC_PARAM_STREAMS];
	uint64_t item = how->param[STATIC_PARAM_ITEM];

	if (streams && streams != map->lay.streams)
		return ma_fail(EINVAL, "%s: has %u streams, not %" PRIu64, map->name, map->lay.streams, streams);
	if (item && item != map->lay.item_bytes)
		return ma_fail(EINVAL, "%s: has items of %" PRIu64 " bytes, not %" PRIu64, map->name,
			       map->lay.item_bytes, item);
	return 0;
}

static void *make(const struct ma_engine *const *engines, off_t filesize, void *addr, const char *filename,
		  uint64_t item, size_t streams)
{
	struct ma_open how = {
		.filename = filename,
		.flags = MA_MAP_CREATE,
		.base = (uint64_t)(uintptr_t)addr,
		.length = (uint64_t)filesize,
		.reserved = (uint64_t)filesize,
		.param = { streams, item },
		.engines = engines,
		.accept = accept_numbers,
	};

	if (!filename)
		return ma_fail_null(EINVAL, "the file name is NULL");
	if (streams > MA_STREAMS_MAX)
		return ma_fail_null(EINVAL, "%s: %zu streams: at most %u are possible", filename, streams,
				    MA_STREAMS_MAX);
	if (how.base % MA_PAGE || how.base >> 47)
		return ma_fail_null(EINVAL, "%s: %p is not a page's address", filename, addr);
	if (filesize < 0)
		return ma_fail_null(EINVAL, "%s: a negative file size", filename);
	return ma_map_open(&how);
}

mapinfo_t *qalloc_makestatmap(off_t filesize, void *addr, const char *filename, size_t itemsize, size_t streams)
{
	if (itemsize >> 40)
		return ma_fail_null(EINVAL, "%s: items of %zu bytes", filename ? filename : "(null)", itemsize);
	return make(static_only, filesize, addr, filename, qalloc__item_bytes(itemsize), streams);
}

dynmapinfo_t *qalloc_makedynmap(off_t filesize, void *addr, const char *filename, size_t streams)
{
	return make(dynamic_only, filesize, addr, filename, 0, streams);
}

void *qalloc_loadmap(const char *filename)
{
	return qalloc_open(filename, 0);
}

void *qalloc_open(const char *filename, unsigned flags)
{
	struct ma_open how = { .filename = filename, .engines = either };

	if (!filename)
		return ma_fail_null(EINVAL, "the file name is NULL");
	if (flags == QALLOC_RDONLY)
		how.flags = MA_MAP_RDONLY;
	else if (flags == QALLOC_PRIVATE)
		how.flags = MA_MAP_PRIVATE;
	else if (flags != 0)
		return ma_fail_null(EINVAL, "%s: flags %#x are unknown or contradict each other", filename, flags);
	return ma_map_open(&how);
}

int qalloc_close(void *map)
{
	return ma_map_close(map);
}

void qalloc_checkpoint(void)
{
	ma_map_sync_all(false);
}

void qalloc_cleanup(void)
{
	ma_map_sync_all(true);
}
