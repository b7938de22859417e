/* SPDX-License-Identifier: BSD-3-Clause */
/* Attaching and detaching, the default heap, and what failed last. */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "heap.h"

#include "common/annotate.h"
#include "common/error.h"
#include "common/heap.h"
#include "common/plan.h"
#include <mmalloc.h>

#define RANGE_DEFAULT ((uint64_t)1 << 40)
#define RANGE_TOOLS   ((uint64_t)4 << 30)
#define RANGE_LEAST   ((uint64_t)64 << 20)
#define PUNCH_BYTES   ((uint64_t)1 << 20)
#define FAILURES      16

static const struct ma_engine *const engines[] = { &ma_heap_engine_keys, NULL };

struct ma_map mmalloc__default = MA_MAP_HANDLE;

static const struct mmalloc_options defaults;

/* ---- what failed last, for each descriptor in each thread ---- */

static _Thread_local struct {
	const void *md;
	uint64_t born;
	int error;
} failures[FAILURES];
static _Thread_local unsigned failure_count;

/* Tells a descriptor from a later one at the same address, which is given out again only after 64 others were closed. */
static uint64_t born(const void *md)
{
	const struct ma_map *map = md;

	return map && ma_load_acquire(&map->id) != MA_MAP_CLOSED ? map->closed_at : 0;
}

void mmalloc__failed(const void *md)
{
	unsigned at = 0;

	while (at < failure_count && at < FAILURES && failures[at].md != md)
		at++;
	if (at == FAILURES) /* All taken by others: the one that came longest ago goes. */
		at = failure_count % FAILURES;
	if (at >= failure_count || failures[at].md != md)
		failure_count++;
	failures[at].md = md;
	failures[at].born = born(md);
	failures[at].error = errno;
}

int mmalloc_errno(void *md)
{
	uint64_t now = born(md);

	for (unsigned i = 0; i < failure_count && i < FAILURES; i++)
		if (failures[i].md == md)
			return now && failures[i].born != now ? 0 : failures[i].error;
	return 0;
}

/* ---- attaching ---- */

/* Might a smaller range help? A heap that is there already has the range that it has. */
static bool may_halve(const struct ma_open *how)
{
	int saved = errno;
	struct stat st;
	bool may = (saved == ENOMEM || saved == EADDRINUSE || saved == EFBIG) && how->reserved / 2 >= RANGE_LEAST;

	if (may && how->fd >= 0)
		may = fstat(how->fd, &st) == 0 && st.st_size == 0;
	errno = saved;
	return may;
}

/* As large a range as can be had: half of it each time that there is no room, but no less than a small heap needs. */
static struct ma_map *attach(struct ma_open *how)
{
	struct ma_map *map = ma_map_open(how);

	while (!map && may_halve(how)) {
		how->reserved /= 2;
		map = ma_map_open(how);
	}
	return map;
}

/* Valgrind and ASan keep something for each byte of the range: 1 TiB takes them seconds. TSan leaves half of that to all. */
static uint64_t default_range(void)
{
	return MA_ASAN || MA_TSAN || ma_under_valgrind() ? RANGE_TOOLS : RANGE_DEFAULT;
}

static bool options_are_sound(const struct mmalloc_options *o)
{
	for (size_t i = 0; i < MA_COUNT(o->reserved); i++)
		if (o->reserved[i])
			return false;
	return o->flags <= MMALLOC_PRIVATE;
}

static unsigned map_flags(int fd, unsigned flags)
{
	if (fd < 0)
		return MA_MAP_ANON;
	if (flags == MMALLOC_RDONLY)
		return MA_MAP_RDONLY;
	return flags == MMALLOC_PRIVATE ? MA_MAP_PRIVATE : MA_MAP_CREATE;
}

static struct ma_map *attach_to(int fd, void *baseaddr, const struct mmalloc_options *o, struct ma_map *handle)
{
	struct ma_open how = {
		.fd = fd,
		.base = (uint64_t)(uintptr_t)baseaddr,
		.reserved = o->reserve ? ma_up(o->reserve, MA_PAGE) : default_range(),
		.punch_bytes = PUNCH_BYTES,
		.param = { o->streams ? o->streams : 1 },
		.handle = handle,
		.engines = engines,
	};

	if (how.base % MA_PAGE || how.base >> 47)
		return ma_fail_null(EINVAL, "%p is not a page's address", baseaddr);
	if (o->streams > MA_STREAMS_MAX)
		return ma_fail_null(EINVAL, "%u streams: at most %u are possible", o->streams, MA_STREAMS_MAX);
	if (o->reserve >> 46)
		return ma_fail_null(EINVAL, "a range of %zu bytes: it must be below 64 TiB", o->reserve);
	if (!options_are_sound(o) || (fd < 0 && o->flags))
		return ma_fail_null(EINVAL, "options are unknown or contradict each other");
	how.flags = map_flags(fd, o->flags);
	return o->reserve ? ma_map_open(&how) : attach(&how);
}

void *mmalloc_attach_opt(int fd, void *baseaddr, const struct mmalloc_options *options)
{
	return attach_to(fd, baseaddr, options ? options : &defaults, NULL);
}

void *mmalloc_attach(int fd, void *baseaddr)
{
	return attach_to(fd, baseaddr, &defaults, NULL);
}

void *mmalloc_detach(void *md)
{
	if (!md) {
		ma_fail(EINVAL, "the default heap is never detached");
		return mmalloc__told(md, NULL);
	}
	if (ma_map_close(md) == 0)
		return NULL;
	mmalloc__failed(md);
	return md;
}

struct ma_map *mmalloc__map(void *md)
{
	struct ma_map *map = md ? md : &mmalloc__default;

	if (!md && ma_load_acquire(&map->id) == MA_MAP_CLOSED)
		map = attach_to(-1, NULL, &defaults, map);
	else if (!ma_map_is_open(map))
		map = NULL;
	if (!map)
		mmalloc__failed(md);
	return map;
}

void *mmalloc_findbase(size_t size)
{
	uint64_t bytes = ma_up(ma_max(size, 1), MA_PAGE);
	void *base;

	if (size >> 46)
		return ma_fail_null(ENOMEM, "no address has room for %zu bytes", size);
	base = ma_plan_map(bytes, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, "findbase");
	if (base)
		munmap(base, bytes);
	else
		errno = ENOMEM; /* Also when all places are taken. */
	return base;
}
