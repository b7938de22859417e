/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking: what a pointer is, advice, figures, the status, leaks by site. Nothing here allocates.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "falloc.h"
#include "lock.h"
#include "look.h"
#include "say.h"
#include "site.h"
#include "small.h"
#include "state.h"
#include "vmfile.h"
#include "warn.h"

#include "common/cancel.h"
#include "common/error.h"
#include "common/page.h"

const char *xmemory_errmsg(void)
{
	return ma_errmsg();
}

/* ---- one block ---- */

/* Never printed: programs ask in order to learn it. */
static int no_block(const char *call, const void *ptr)
{
	return ma_fail_quiet(EINVAL,
			     "%s(%p): not a live block of this library; give the first byte of one that was not freed",
			     call, ptr);
}

enum xmemory_kind xmemory_kind(const void *ptr)
{
	struct xmemory__block block;

	return xmemory__look(ptr, &block) ? (enum xmemory_kind)block.kind : XMEMORY_UNKNOWN;
}

unsigned xmemory_vmfile_id(const void *ptr)
{
	struct xmemory__block block;

	if (xmemory__look(ptr, &block))
		return block.vmfile;
	no_block("xmemory_vmfile_id", ptr);
	return 0;
}

size_t xmemory_size(const void *ptr)
{
	struct xmemory__block block;

	if (xmemory__look(ptr, &block))
		return block.size;
	no_block("xmemory_size", ptr);
	return 0;
}

/* ---- advice ---- */

/* Of the range, the pages that have nothing of another block. */
static int advise_pages(const struct xmemory__block *block, const char *ptr, size_t len, int how)
{
	uintptr_t end = (uintptr_t)block->ptr + block->size;
	uintptr_t from = (uintptr_t)ptr & ~(ma_page() - 1);
	uintptr_t to = (uintptr_t)ptr + ma_min(len, end - (uintptr_t)ptr);

	if (from < (uintptr_t)block->ptr)
		from += ma_page();
	to = to == end && ((uintptr_t)block->ptr & (ma_page() - 1)) == 0 ? ma_up(to, ma_page()) : ma_down(to, ma_page());
	if (from >= to)
		return 0;
	return madvise((void *)from, to - from, how);
}

int xmemory_advise(void *ptr, size_t len, enum xmemory_advice advice)
{
	static const int how[] = { [XMEMORY_NORMAL] = MADV_NORMAL,
				   [XMEMORY_SEQUENTIAL] = MADV_SEQUENTIAL,
				   [XMEMORY_RANDOM] = MADV_RANDOM,
				   [XMEMORY_WILLNEED] = MADV_WILLNEED,
				   [XMEMORY_DONTNEED] = MADV_PAGEOUT };
	struct xmemory__block block;

	if ((unsigned)advice >= MA_COUNT(how))
		return ma_fail(EINVAL, "xmemory_advise: %d: no such advice; take one of enum xmemory_advice",
			       (int)advice);
	if (!xmemory__look(ptr, &block))
		return no_block("xmemory_advise", ptr);
	if (block.kind == XMEMORY_RAM)
		return 0;
	/* Advice: a kernel that does not know it does without. */
	if (advise_pages(&block, ptr, len, how[advice]) < 0 && errno != EINVAL)
		return ma_fail(errno, "xmemory_advise(%p): the kernel refuses the advice: %s; go on without it", ptr,
			       strerrordesc_np(errno));
	return 0;
}

/* ---- figures ---- */

int xmemory_stats(struct xmemory_stats *stats)
{
	struct xmemory__figures vm = { 0 };
	struct xmemory__totals totals;

	if (!stats)
		return ma_fail(EINVAL, "xmemory_stats: the place for the figures is NULL; give the address of a struct "
				       "xmemory_stats");
	memset(stats, 0, sizeof(*stats));
	xmemory__totals(&totals);
	xmemory__lock();
	xmemory__vm_figures(&vm);
	xmemory__small_figures(&vm);
	xmemory__mapped_figures(&stats->mapped_files, &stats->mappings);
	xmemory__unlock();
	stats->vm_files = vm.files;
	stats->vm_bytes = vm.bytes;
	stats->vm_disk_bytes = vm.disk_bytes;
	stats->pointers = (uint64_t)totals.blocks;
	stats->bytes = (uint64_t)totals.bytes;
	stats->ram_pointers = (uint64_t)totals.ram_blocks;
	stats->ram_bytes = (uint64_t)totals.ram_bytes;
	stats->peak_pointers = (uint64_t)totals.peak_blocks;
	stats->peak_bytes = (uint64_t)totals.peak_bytes;
	stats->warnings = xmemory__warnings();
	stats->limit = xmemory_getlimit();
	stats->limit_source = (enum xmemory_limit_source)totals.source;
	return 0;
}

/* ---- the status ---- */

static void say_block(const struct xmemory__block *block, void *arg)
{
	const struct xmemory__site *site = xmemory__site_of(block->site);

	(void)arg;
	xmemory__say("%c %p %s %d %zu", "?RSM"[block->kind], block -> ptr, site -> name, site -> line, block -> size);
}

void xmemory_status_(const char *file, int line)
{
	struct xmemory_stats s;

	xmemory_stats(&s);
	xmemory__say("#----- memory status, called from %s, line %d", file ? file : "?", line);
	xmemory__say("ALL_npointers %llu", (unsigned long long)s.pointers);
	xmemory__say("ALL_size %llu", (unsigned long long)s.bytes);
	xmemory__say("ALL_maxalloc_kb %llu", (unsigned long long)(s.peak_bytes / 1024));
	xmemory__say("ALL_maxpointers %llu", (unsigned long long)s.peak_pointers);
	xmemory__say("RAM_alloc %llu", (unsigned long long)s.ram_bytes);
	xmemory__say("SWP_alloc %llu", (unsigned long long)s.vm_bytes);
	xmemory__say("SWP_files %llu", (unsigned long long)s.vm_files);
	xmemory__say("MAP_files %llu", (unsigned long long)s.mapped_files);
	xmemory__say("MAP_mappings %llu", (unsigned long long)s.mappings);
	xmemory__say("# kind, pointer, file, line, bytes");
	xmemory__walk(say_block, NULL);
	xmemory__say("#----- end");
}

/* ---- leaks ---- */

struct sums {
	struct xmemory_leak *sites;
	uint32_t end;
};

static void add_block(const struct xmemory__block *block, void *arg)
{
	struct sums *sums = arg;
	uint32_t site = block->site < sums->end ? block->site : 0;

	sums->sites[site].blocks++;
	sums->sites[site].bytes += block->size;
}

typedef bool order_fn(const struct xmemory_leak *a, const struct xmemory_leak *b);

static bool by_name(const struct xmemory_leak *a, const struct xmemory_leak *b)
{
	int names = strcmp(a->file, b->file);

	return names < 0 || (names == 0 && a->line <= b->line);
}

/* Most bytes first. */
static bool by_bytes(const struct xmemory_leak *a, const struct xmemory_leak *b)
{
	return a->bytes == b->bytes ? by_name(a, b) : a->bytes > b->bytes;
}

/* Shell's sort: in place, without the C library's, which may call malloc. */
static void sort(struct xmemory_leak *leaks, uint32_t count, order_fn *in_order)
{
	for (uint32_t gap = count / 2; gap > 0; gap /= 2)
		for (uint32_t i = gap; i < count; i++) {
			struct xmemory_leak moving = leaks[i];
			uint32_t at = i;

			for (; at >= gap && !in_order(&leaks[at - gap], &moving); at -= gap)
				leaks[at] = leaks[at - gap];
			leaks[at] = moving;
		}
}

/* Those that have blocks, with their names. */
static uint32_t compact(struct xmemory_leak *leaks, uint32_t end)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < end; i++) {
		const struct xmemory__site *site = xmemory__site_of(i);

		if (leaks[i].blocks == 0)
			continue;
		leaks[count] = leaks[i];
		leaks[count].file = site->name;
		leaks[count++].line = site->line;
	}
	return count;
}

/* Equal names and lines: a place in a header that several files include has a number for each. They stand in a row. */
static uint32_t merge(struct xmemory_leak *leaks, uint32_t count)
{
	uint32_t last = 0;

	for (uint32_t i = 1; i < count; i++) {
		if (leaks[last].line != leaks[i].line || strcmp(leaks[last].file, leaks[i].file) != 0) {
			leaks[++last] = leaks[i];
			continue;
		}
		leaks[last].blocks += leaks[i].blocks;
		leaks[last].bytes += leaks[i].bytes;
	}
	return count ? last + 1 : 0;
}

int xmemory_leaks(xmemory_leak_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	struct sums sums = { .end = xmemory__site_end() };
	size_t bytes = ma_up(sums.end * sizeof(*sums.sites), ma_page());
	uint32_t count;
	int result = 0;

	if (!fn)
		return ma_fail(EINVAL, "xmemory_leaks: the function to call is NULL; give one");
	/* For a moment only, and shared: so RLIMIT_DATA does not count it. */
	sums.sites = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sums.sites == MAP_FAILED)
		return ma_fail(ENOMEM,
			       "xmemory_leaks: no memory for the figures of %u places in the source; free blocks",
			       sums.end);
	xmemory__walk(add_block, &sums);
	count = compact(sums.sites, sums.end);
	sort(sums.sites, count, by_name);
	count = merge(sums.sites, count);
	sort(sums.sites, count, by_bytes);
	for (uint32_t i = 0; i < count && result == 0; i++)
		result = fn(&sums.sites[i], arg);
	munmap(sums.sites, bytes);
	return result;
}

static int say_leak(const struct xmemory_leak *leak, void *arg)
{
	struct xmemory_leak *total = arg;

	total->blocks += leak->blocks;
	total->bytes += leak->bytes;
	xmemory__say("xmemory: leak: %s, line %d: %llu blocks, %llu bytes", leak->file, leak->line,
		     (unsigned long long)leak->blocks, (unsigned long long)leak->bytes);
	return 0;
}

__attribute__((destructor)) static void report_leaks(void)
{
	struct xmemory_leak total = { 0 };

	if (xmemory__level() < 1)
		return;
	xmemory_leaks(say_leak, &total);
	xmemory__say("xmemory: %llu blocks, %llu bytes were never freed", (unsigned long long)total.blocks,
		     (unsigned long long)total.bytes);
}
