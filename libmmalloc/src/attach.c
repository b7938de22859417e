/* SPDX-License-Identifier: BSD-3-Clause */
/* Attaching and detaching, the default heap, and what failed last. */
#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "heap.h"

#include "common/annotate.h"
#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/file.h"
#include "common/heap.h"
#include "common/plan.h"
#include "common/snapshot.h"
#include <mmalloc.h>

#define RANGE_DEFAULT ((uint64_t)1 << 40)
#define RANGE_TOOLS   ((uint64_t)4 << 30)
#define RANGE_LEAST   ((uint64_t)64 << 20)
#define PROCESSES     1024
#define FAILURES      16

static const struct ma_engine *const engines[] = { &ma_heap_engine_keys, NULL };

struct ma_map mmalloc__default = MA_MAP_HANDLE;

static const struct mmalloc_options defaults;

/* ---- what failed last, for each descriptor in each thread ---- */

struct failure {
	const void *md;
	uint64_t born;
	int error;
};

/* The last one is in static TLS, which is scarce; those before it are where there was memory for them. */
static _Thread_local struct failure last __attribute__((tls_model("initial-exec")));

struct earlier {
	unsigned count; /* Ever put in. */
	struct failure at[FAILURES - 1];
};

_Static_assert(sizeof(struct earlier) <= MA_ERROR_EXTRA, "it has its memory from there");

/* Tells a descriptor from a later one at the same address, which is given out again only after 64 others were closed. */
static uint64_t born(const void *md)
{
	const struct ma_map *map = md;

	/* Pairs with common/map_open.c:publish. */
	return map && ma_load_acquire(&map->image.id) != MA_MAP_CLOSED ? map->closed_at : 0;
}

static unsigned count_of(const struct earlier *e)
{
	return (unsigned)ma_min(e->count, MA_COUNT(e->at));
}

static struct failure *find_earlier(struct earlier *e, const void *md)
{
	for (unsigned i = 0; i < count_of(e); i++)
		if (e->at[i].md == md)
			return &e->at[i];
	return NULL;
}

/* When all are taken by others, the one that came longest ago goes. */
static void put_earlier(const struct failure *f)
{
	struct earlier *e = ma_error_extra();
	struct failure *entry = e ? find_earlier(e, f->md) : NULL;

	if (e && !entry)
		entry = &e->at[e->count++ % MA_COUNT(e->at)];
	if (entry)
		*entry = *f;
}

void mmalloc__keep_errno(const void *md)
{
	if (last.error && last.md != md)
		put_earlier(&last);
	last = (struct failure){ .md = md, .born = born(md), .error = errno };
}

int mmalloc_errno(void *md)
{
	struct earlier *e = last.error && last.md != md ? ma_error_extra() : NULL;
	const struct failure *f = e ? find_earlier(e, md) : &last;
	uint64_t now = born(md);

	if (!f || !f->error || f->md != md)
		return 0;
	return now && f->born != now ? 0 : f->error;
}

/* ---- attaching ---- */

/* Might a smaller range help? A heap that is there already has the range that it has. */
static bool may_halve(const struct ma_open *how)
{
	int saved = errno;
	struct stat st;
	bool may = (saved == ENOMEM || saved == EADDRINUSE || saved == EFBIG) && how->reserved / 2 >= RANGE_LEAST;

	if (may && how->fd >= 0)
		may = fstat(how->fd, &st) == 0 && (uint64_t)st.st_size < how->reserved / 2 &&
		      ma_file_is_zero(how->fd, 0, (uint64_t)st.st_size);
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

/* A heap in memory cannot have more than RLIMIT_DATA, and the tables for a larger range would come out of that. */
static uint64_t within_data_limit(uint64_t range)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_DATA, &limit) < 0 || limit.rlim_cur > range)
		return range;
	return ma_max(ma_down(limit.rlim_cur, MA_PAGE), RANGE_LEAST);
}

/* Valgrind and ASan keep something for each byte of the range: 1 TiB takes them seconds. TSan leaves half of that to all. */
static uint64_t default_range(int fd)
{
	uint64_t range = MA_ASAN || MA_TSAN || ma_under_valgrind() ? RANGE_TOOLS : RANGE_DEFAULT;

	return fd < 0 ? within_data_limit(range) : range;
}

static bool options_are_sound(const struct mmalloc_options *o)
{
	for (size_t i = 0; i < MA_COUNT(o->reserved); i++)
		if (o->reserved[i])
			return false;
	if (o->flags == MMALLOC_RDONLY || o->flags == MMALLOC_PRIVATE)
		return true;
	return !(o->flags & ~(MMALLOC_EXCLUSIVE | MMALLOC_FORK_SNAPSHOT));
}

static unsigned map_flags(int fd, unsigned flags)
{
	if (fd < 0)
		return MA_MAP_ANON;
	if (flags == MMALLOC_RDONLY)
		return MA_MAP_RDONLY;
	if (flags == MMALLOC_PRIVATE)
		return MA_MAP_PRIVATE;
	return MA_MAP_CREATE | (flags & MMALLOC_EXCLUSIVE ? MA_MAP_EXCLUSIVE : 0) |
	       (flags & MMALLOC_FORK_SNAPSHOT ? MA_MAP_FORKS : 0);
}

static struct ma_map *attach_to(int fd, void *baseaddr, const struct mmalloc_options *o, struct ma_map *handle)
{
	char name[256] = "heap without a file";
	struct ma_open how = {
		.fd = fd,
		.base = (uint64_t)(uintptr_t)baseaddr,
		.asked = o->reserve,
		.reserved = o->reserve ? ma_up(o->reserve, MA_PAGE) : default_range(fd),
		.param = { o->streams ? o->streams : 1, [MA_PARAM_PROCESSES] = o->processes },
		.handle = handle,
		.engines = engines,
		.fork_begin = ma_image_copy_for_fork,
	};

	if (fd >= 0)
		ma_file_name(fd, name, sizeof(name));
	if (how.base % MA_PAGE || how.base >> 47)
		return ma_fail_null(EINVAL,
				    "%s: cannot attach at address %p: not a multiple of 4096 below 128 TiB; pass such "
				    "an address, or NULL",
				    name, baseaddr);
	if (o->streams > MA_STREAMS_MAX)
		return ma_fail_null(EINVAL, "%s: cannot attach with %u streams: at most %u are possible; ask for fewer",
				    name, o->streams, MA_STREAMS_MAX);
	if (o->reserve >> 46)
		return ma_fail_null(
			EINVAL, "%s: cannot attach with a range of %zu bytes: it must be below 64 TiB; ask for less",
			name, o->reserve);
	if (!options_are_sound(o) || (fd < 0 && (o->flags & ~MMALLOC_FORK_SNAPSHOT)))
		return ma_fail_null(EINVAL,
				    "%s: cannot attach: flags %#x are unknown or do not fit here, or reserved fields "
				    "are not zero; set unused fields to 0",
				    name, o->flags);
	if (o->processes > MA_PROCESSES_MAX)
		return ma_fail_null(EINVAL,
				    "%s: cannot attach with %" PRIu64 " processes: at most %u are possible; ask for fewer",
				    name, o->processes, MA_PROCESSES_MAX);
	if (!o->processes)
		how.param[MA_PARAM_PROCESSES] = ma_min(PROCESSES, ma_body_processes(how.reserved));
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

void *mmalloc_salvage(int fd, mmalloc_report_fn *report, void *arg)
{
	struct ma_reporter reporter = { report, arg };
	struct ma_findings to = { ma_finding_report, &reporter, 0 };
	const struct ma_open how = {
		.fd = fd, .engines = engines, .fork_begin = ma_image_copy_for_fork, .salvage = &to
	};

	if (fd < 0)
		return ma_fail_null(EBADF, "cannot salvage a heap: descriptor %d is not open; pass one of its file",
				    fd);
	return ma_map_open(&how);
}

void *mmalloc_detach(void *md)
{
	if (!md) {
		ma_fail(EINVAL, "cannot detach: the descriptor is NULL, and the default heap stays until the process "
				"ends; pass a descriptor");
		return mmalloc__set_last_error(md, NULL);
	}
	if (ma_map_close(md) == 0)
		return NULL;
	mmalloc__keep_errno(md);
	return md;
}

struct ma_image *mmalloc__map(void *md)
{
	struct ma_map *map = md ? md : &mmalloc__default;

	if (!md && ma_load_acquire(&map->image.id) == MA_MAP_CLOSED) /* Pairs with common/map_open.c:publish. */
		map = attach_to(-1, NULL, &defaults, map);
	else if (!ma_image_is_open(ma_image_of(map)))
		map = NULL;
	if (map)
		return &map->image;
	mmalloc__keep_errno(md);
	return NULL;
}

const char *mmalloc_errmsg(void)
{
	return ma_errmsg();
}

void *mmalloc_findbase(size_t size)
{
	MA_UNCANCELLED;
	uint64_t bytes = ma_up(ma_max(size, 1), MA_PAGE);
	void *base;

	if (size >> 46)
		return ma_fail_null(
			ENOMEM, "cannot find a base for %zu bytes: no address range has 64 TiB or more; ask for less",
			size);
	base = ma_plan_map(bytes, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, "findbase");
	if (!base) /* Also when all address ranges are taken. */
		return ma_fail_null(
			ENOMEM, "cannot find a base for %zu bytes: no free address range has them; ask for less", size);
	munmap(base, bytes);
	return base;
}
