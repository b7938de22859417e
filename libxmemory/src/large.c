/* SPDX-License-Identifier: BSD-3-Clause */
/* Large blocks, and the ranges of pages that are kept of freed ones. Ranges are few, so they are searched one by one. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "large.h"
#include "lock.h"

#include "common/page.h"

#define RANGES     64
#define OLD_MS     2000
#define ZERO_MOST  ((size_t)32 << 20) /* A table of which little is used must not get all its pages. */
#define PROTECTION (PROT_READ | PROT_WRITE)
#define FLAGS      (MAP_PRIVATE | MAP_ANONYMOUS)

struct range {
	char *at;
	size_t bytes;
	int64_t freed; /* ms */
};

static struct {
	pthread_mutex_t mutex;
	struct range range[RANGES]; /* By address. No two of them touch. */
	size_t count;
	_Atomic int64_t bytes;
} kept = { .mutex = XMEMORY__MUTEX };

int64_t xmemory__large_kept(void)
{
	return ma_load(&kept.bytes);
}

/* ---- ranges; the mutex is held ---- */

static void note_kept(int64_t more)
{
	ma_store(&kept.bytes, ma_load(&kept.bytes) + more);
}

static void remove_range(size_t i)
{
	kept.count--;
	memmove(&kept.range[i], &kept.range[i + 1], (kept.count - i) * sizeof(struct range));
}

/* The first range that begins behind this address. */
static size_t range_behind(const char *at)
{
	size_t i = 0;

	while (i < kept.count && kept.range[i].at < at)
		i++;
	return i;
}

static bool touches(size_t i, const char *at)
{
	return kept.range[i].at + kept.range[i].bytes == at;
}

/* False: there are too many ranges. */
static bool insert_range(size_t i, char *at, size_t bytes)
{
	if (kept.count == RANGES)
		return false;
	memmove(&kept.range[i + 1], &kept.range[i], (kept.count - i) * sizeof(struct range));
	kept.range[i] = (struct range){ .at = at, .bytes = bytes };
	kept.count++;
	return true;
}

static void keep(char *at, size_t bytes)
{
	size_t i = range_behind(at);

	if (i > 0 && touches(i - 1, at)) {
		kept.range[--i].bytes += bytes;
	} else if (!insert_range(i, at, bytes)) {
		munmap(at, bytes);
		return;
	}
	kept.range[i].freed = xmemory__now_ms();
	note_kept((int64_t)bytes);
	if (i + 1 < kept.count && touches(i, kept.range[i + 1].at)) {
		kept.range[i].bytes += kept.range[i + 1].bytes;
		remove_range(i + 1);
	}
}

/* The first bytes of a range are in use again. */
static char *use_first(size_t i, size_t bytes)
{
	char *at = kept.range[i].at;

	kept.range[i].at += bytes;
	kept.range[i].bytes -= bytes;
	note_kept(-(int64_t)bytes);
	if (kept.range[i].bytes == 0)
		remove_range(i);
	return at;
}

/* The smallest range of at least so many bytes, or else the largest one. There is one. */
static size_t best_range(size_t bytes)
{
	size_t best = 0;

	for (size_t i = 1; i < kept.count; i++) {
		size_t had = kept.range[best].bytes, has = kept.range[i].bytes;

		if (had < bytes ? has > had : has >= bytes && has < had)
			best = i;
	}
	return best;
}

/* Kernels before 4.17 take the address as advice. */
static bool map_at(char *at, size_t bytes)
{
	char *pages = mmap(at, bytes, PROTECTION, FLAGS | MAP_FIXED_NOREPLACE, -1, 0);

	if (pages != MAP_FAILED && pages != at)
		munmap(pages, bytes);
	return pages == at;
}

struct pages {
	char *at;
	char *used; /* What kept pages there are in it: their contents are arbitrary. */
	size_t used_bytes;
};

/* The range and as many new pages in front of it, or behind it, as it lacks. */
static bool use_extended(size_t i, size_t bytes, struct pages *pages)
{
	struct range range = kept.range[i];
	size_t lacking = bytes - range.bytes;

	if (map_at(range.at - lacking, lacking))
		pages->at = range.at - lacking;
	else if (map_at(range.at + range.bytes, lacking))
		pages->at = range.at;
	else
		return false;
	pages->used_bytes = range.bytes;
	pages->used = use_first(i, range.bytes);
	return true;
}

static bool use_kept(size_t bytes, struct pages *pages)
{
	size_t i;

	if (kept.count == 0)
		return false;
	i = best_range(bytes);
	if (kept.range[i].bytes < bytes)
		return use_extended(i, bytes, pages);
	pages->at = pages->used = use_first(i, bytes);
	pages->used_bytes = bytes;
	return true;
}

/* The end of a range. False: the kernel cannot split the mapping. */
static bool return_some(size_t i, size_t bytes)
{
	struct range *range = &kept.range[i];

	if (munmap(range->at + range->bytes - bytes, bytes) < 0)
		return false;
	range->bytes -= bytes;
	note_kept(-(int64_t)bytes);
	if (range->bytes == 0)
		remove_range(i);
	return true;
}

static size_t oldest_range(void)
{
	size_t oldest = 0;

	for (size_t i = 1; i < kept.count; i++)
		if (kept.range[i].freed < kept.range[oldest].freed)
			oldest = i;
	return oldest;
}

/* ---- how much is kept ---- */

bool xmemory__large_trim(int64_t most)
{
	int saved = errno;
	bool any = false;

	if (xmemory__large_kept() <= most)
		return false;
	xmemory__lock_mutex(&kept.mutex);
	while (kept.count > 0 && xmemory__large_kept() > most) {
		size_t i = oldest_range();
		size_t over = ma_up((size_t)(xmemory__large_kept() - most), ma_page());

		if (!return_some(i, ma_min(over, kept.range[i].bytes)))
			break;
		any = true;
	}
	xmemory__unlock_mutex(&kept.mutex);
	errno = saved;
	return any;
}

void xmemory__large_age(void)
{
	int64_t now = xmemory__now_ms();
	int saved = errno;

	if (xmemory__large_kept() == 0)
		return;
	xmemory__lock_mutex(&kept.mutex);
	for (size_t i = kept.count; i-- > 0;)
		if (now - kept.range[i].freed >= OLD_MS)
			return_some(i, kept.range[i].bytes);
	xmemory__unlock_mutex(&kept.mutex);
	errno = saved;
}

/* ---- blocks ---- */

static size_t bytes_for(size_t size)
{
	return ma_up(size + XMEMORY__LARGE_AT, ma_page());
}

static char *pages_of(void *ptr)
{
	return (char *)ptr - XMEMORY__LARGE_AT;
}

static size_t bytes_of(const void *ptr)
{
	return ((const size_t *)ptr)[-1] & ~(size_t)XMEMORY__LARGE_MARK;
}

/* As the C library marks a block that it mapped, and one bit more. */
static void *block_in(char *pages, size_t bytes)
{
	size_t *block = (size_t *)(void *)(pages + XMEMORY__LARGE_AT);

	block[-2] = 0;
	block[-1] = bytes | XMEMORY__LARGE_MARK;
	return block;
}

void *xmemory__large_new(size_t size, bool zeroed)
{
	size_t bytes = bytes_for(size);
	struct pages pages = { .at = NULL };

	if (xmemory__large_kept() > 0 && !(zeroed && size > ZERO_MOST)) {
		xmemory__lock_mutex(&kept.mutex);
		use_kept(bytes, &pages);
		xmemory__unlock_mutex(&kept.mutex);
	}
	if (!pages.at) {
		pages.at = mmap(NULL, bytes, PROTECTION, FLAGS, -1, 0);
		if (pages.at == MAP_FAILED)
			return NULL;
	}
	if (zeroed && pages.used)
		memset(pages.used, 0, pages.used_bytes);
	return block_in(pages.at, bytes);
}

void xmemory__large_free(void *ptr)
{
	int saved = errno;

	xmemory__lock_mutex(&kept.mutex);
	keep(pages_of(ptr), bytes_of(ptr));
	xmemory__unlock_mutex(&kept.mutex);
	errno = saved;
}

/* By kept pages that lie right behind it. */
static bool grow_in_place(char *end, size_t more)
{
	bool done = false;
	size_t i;

	xmemory__lock_mutex(&kept.mutex);
	i = range_behind(end - 1);
	if (i < kept.count && kept.range[i].at == end && kept.range[i].bytes >= more)
		done = use_first(i, more) == end;
	xmemory__unlock_mutex(&kept.mutex);
	return done;
}

/* What grew piece by piece may be several mappings for the kernel, which it does not move. */
static char *moved(char *pages, size_t had, size_t bytes)
{
	int saved = errno;
	char *now = mremap(pages, had, bytes, MREMAP_MAYMOVE);

	errno = saved;
	return now == MAP_FAILED ? NULL : now;
}

void *xmemory__large_resize(void *ptr, size_t size)
{
	size_t had = bytes_of(ptr), bytes = bytes_for(size);
	char *pages = pages_of(ptr);

	if (bytes < had) {
		xmemory__lock_mutex(&kept.mutex);
		keep(pages + bytes, had - bytes);
		xmemory__unlock_mutex(&kept.mutex);
	} else if (bytes > had && !grow_in_place(pages + had, bytes - had)) {
		pages = moved(pages, had, bytes);
	}
	return pages ? block_in(pages, bytes) : NULL;
}

/* ---- forks ---- */

static bool was_held; /* See xmemory__budget_hold(). */

void xmemory__large_hold(void)
{
	was_held = pthread_mutex_lock(&kept.mutex) == EDEADLK;
}

bool xmemory__large_try(void)
{
	return pthread_mutex_lock(&kept.mutex) == 0;
}

void xmemory__large_forget(void)
{
	kept.count = 0;
	ma_store(&kept.bytes, 0);
}

void xmemory__large_let_go(bool child)
{
	if (child && was_held)
		xmemory__large_forget();
	xmemory__let_go_inner(&kept.mutex, &was_held, child);
}
