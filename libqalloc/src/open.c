/* SPDX-License-Identifier: BSD-3-Clause */
/* Making, loading and closing maps. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/annotate.h"
#include "common/error.h"
#include "common/heap.h"
#include "common/map.h"
#include "common/snapshot.h"
#include "common/space.h"
#include <qalloc.h>
#include "static.h"

#define STREAM_BYTES ((uint64_t)64 << 20)
#define RANGE_TIMES 64
#define RANGE_LEAST ((uint64_t)4 << 30)
#define RANGE_MOST  (((uint64_t)1 << 46) - 1)

static const struct ma_engine *const static_only[] = { &qalloc__static_engine, NULL };
static const struct ma_engine *const dynamic_only[] = { &ma_heap_engine, NULL };
static const struct ma_engine *const either[] = { &qalloc__static_engine, &ma_heap_engine, NULL };

/* What make* was told of an existing map must be true; 0 means "whatever it has". */
static int accept_numbers(const struct ma_image *map, const struct ma_open *how)
{
	uint64_t streams = how->param[STATIC_PARAM_STREAMS];
	uint64_t item = how->param[STATIC_PARAM_ITEM];

	if (streams && streams != map->lay.streams)
		return ma_fail(EINVAL, "%s: cannot open it with %" PRIu64 " streams: it has %u; use that, or 0",
			       map->name, streams, map->lay.streams);
	if (item && item != map->lay.item_bytes)
		return ma_fail(EINVAL,
			       "%s: cannot open it with items of %" PRIu64 " bytes: it has items of %" PRIu64
			       "; use that, or 0",
			       map->name, item, map->lay.item_bytes);
	return 0;
}

/* A stream for each processor, of 64 MiB at least: no block is larger than a stream's part of the map. */
static uint64_t default_streams(uint64_t length)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t most = ma_min(processors > 0 ? (uint64_t)processors : 1, MA_STREAMS_MAX);

	return ma_max(1, ma_min(most, length / STREAM_BYTES));
}

/* A file that holds something is what it is: only for a new one another range may be tried. */
static bool is_new(const char *filename)
{
	struct stat st;

	return stat(filename, &st) < 0 || st.st_size == 0;
}

static bool may_halve(const struct ma_open *how)
{
	return (errno == ENOMEM || errno == EADDRINUSE || errno == EFBIG) && how->reserved / 2 >= how->length;
}

/* As large a range as can be had. Valgrind and the sanitizers keep something for each byte of it. */
static void *make_in_any_range(struct ma_open *how)
{
	bool few = MA_ASAN || MA_TSAN || ma_under_valgrind();
	bool may = is_new(how->filename);
	void *map;

	how->reserved = ma_max(how->length, RANGE_LEAST);
	if (!few)
		how->reserved = ma_max(how->reserved, ma_min(RANGE_MOST / RANGE_TIMES, how->length) * RANGE_TIMES);
	do
		map = ma_map_open(how);
	while (!map && may && may_halve(how) && (how->reserved /= 2));
	return map;
}

static void *make(const struct ma_engine *const *engines, const char *filename, const struct qalloc_options *o,
		  uint64_t item)
{
	struct ma_open how = {
		.filename = filename,
		.flags = MA_MAP_CREATE,
		.base = (uint64_t)(uintptr_t)o->base,
		.length = o->size,
		.reserved = o->range ? o->range : o->size,
		.param = { o->streams, item, [MA_PARAM_PROCESSES] = o->processes },
		.streams = default_streams,
		.engines = engines,
		.accept = accept_numbers,
	};

	if (!filename)
		return ma_fail_null(EINVAL, "cannot open a map: the file name is NULL; pass a name");
	if (o->streams > MA_STREAMS_MAX)
		return ma_fail_null(EINVAL,
				    "%s: cannot create it with %" PRIu64
				    " streams: at most %u are possible; ask for fewer",
				    filename, o->streams, MA_STREAMS_MAX);
	if (o->processes > MA_PROCESSES_MAX)
		return ma_fail_null(EINVAL,
				    "%s: cannot create it with %" PRIu64
				    " processes: at most %u are possible; ask for fewer",
				    filename, o->processes, MA_PROCESSES_MAX);
	if (how.base % MA_PAGE || how.base >> 47)
		return ma_fail_null(EINVAL,
				    "%s: cannot create it at address %p: not a multiple of 4096 below 128 TiB; pass "
				    "such an address, or NULL",
				    filename, o->base);
	if (o->size > INT64_MAX)
		return ma_fail_null(
			EINVAL, "%s: cannot create it with %lld bytes: the file size is negative; pass a positive one",
			filename, (long long)o->size);
	if (o->size == 0 && is_new(filename))
		return ma_fail_null(EINVAL, "%s: cannot create it with 0 bytes: a map needs some; pass a size", filename);
	/* Who says where it is has plans for the addresses behind it. */
	return o->range || how.base || o->size == 0 ? ma_map_open(&how) : make_in_any_range(&how);
}

mapinfo_t *qalloc_makestatmap(off_t filesize, void *addr, const char *filename, size_t itemsize, size_t streams)
{
	const struct qalloc_options options = { .size = (uint64_t)filesize, .base = addr, .streams = streams };

	if (itemsize >> 40)
		return ma_fail_null(
			EINVAL,
			"%s: cannot create it with items of %zu bytes: an item has less than 1 TiB; ask for less",
			filename ? filename : "(null)", itemsize);
	return make(static_only, filename, &options, qalloc__item_bytes(itemsize));
}

dynmapinfo_t *qalloc_makedynmap(off_t filesize, void *addr, const char *filename, size_t streams)
{
	const struct qalloc_options options = { .size = (uint64_t)filesize, .base = addr, .streams = streams };

	return make(dynamic_only, filename, &options, 0);
}

void *qalloc_make(const char *filename, const struct qalloc_options *options)
{
	struct qalloc_options o;

	if (!options)
		return ma_fail_null(EINVAL, "%s: cannot create it: the options are NULL; pass some", filename ? filename : "(null)");
	o = *options;
	for (size_t i = 0; i < MA_COUNT(o.reserved); i++)
		if (o.reserved[i])
			return ma_fail_null(EINVAL, "%s: cannot create it: reserved options are not 0; set unused fields to 0",
					    filename ? filename : "(null)");
	if (o.item >> 40 || (o.range && o.range < o.size))
		return ma_fail_null(EINVAL, "%s: cannot create it with items of %" PRIu64 " bytes, a range of %" PRIu64 " and a size of %" PRIu64
				    ": these do not fit together; see qalloc_make(3)",
				    filename ? filename : "(null)", o.item, o.range, o.size);
	o.streams = o.streams ? o.streams : 1;
	return make(o.item ? static_only : dynamic_only, filename, &o, o.item ? qalloc__item_bytes(o.item) : 0);
}

int qalloc_grow(void *map, uint64_t size)
{
	struct ma_image *m = map;
	uint64_t had;

	if (!ma_image_is_open(m))
		return -1;
	if (!ma_image_writable(m))
		return ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", m->name);
	had = ma_image_length(m);
	if (size < had)
		return ma_fail(EINVAL, "%s: cannot grow to %" PRIu64 " bytes: it has %" PRIu64 " already; ask for more", m->name, size, had);
	if (ma_space_grow(m, size) < 0)
		return -1;
	ma_image_measure(m);
	return 0;
}

void *qalloc_loadmap(const char *filename)
{
	return qalloc_open(filename, 0);
}

void *qalloc_open(const char *filename, unsigned flags)
{
	struct ma_open how = { .filename = filename, .engines = either, .fork_begin = ma_image_copy_for_fork };

	if (!filename)
		return ma_fail_null(EINVAL, "cannot open a map: the file name is NULL; pass a name");
	if (flags == QALLOC_RDONLY)
		how.flags = MA_MAP_RDONLY;
	else if (flags == QALLOC_PRIVATE)
		how.flags = MA_MAP_PRIVATE;
	else if (flags & ~(QALLOC_EXCLUSIVE | QALLOC_FORK_SNAPSHOT))
		return ma_fail_null(EINVAL,
				    "%s: cannot open it with flags %#x: unknown, or they contradict each other; use 0, "
				    "or what qalloc.h says of its flags",
				    filename, flags);
	if (flags & QALLOC_EXCLUSIVE)
		how.flags |= MA_MAP_EXCLUSIVE;
	if (flags & QALLOC_FORK_SNAPSHOT)
		how.flags |= MA_MAP_FORKS;
	return ma_map_open(&how);
}

void *qalloc_salvage(const char *filename, qalloc_report_fn *report, void *arg)
{
	struct ma_reporter reporter = { report, arg };
	struct ma_findings to = { ma_finding_report, &reporter, 0 };
	struct ma_open how = {
		.filename = filename, .engines = either, .fork_begin = ma_image_copy_for_fork, .salvage = &to
	};

	if (!filename)
		return ma_fail_null(EINVAL, "cannot salvage a map: the file name is NULL; pass a name");
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
