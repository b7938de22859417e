/* SPDX-License-Identifier: BSD-3-Clause */
/* Back end: blocks in RAM within the budget, then in VM files. The environment says how (xmemory.h). */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "shim.h"

#include "common/env.h"

#include "libxmemory/src/preload.h"

#define MAPPED_FROM (1 << 20)

const char shim_name[] = "xmemory-run";

void shim_prepare(void)
{
	if (xmemory__ram.malloc == __libc_malloc)
		return;
	xmemory__ram =
		(struct xmemory__ram){ __libc_malloc, __libc_calloc, __libc_realloc, __libc_free, __libc_memalign };
}

/*
 * What the C library has free must leave RAM, because the budget does not count it: so the C library maps large blocks one by one (aligned
 * ones: libxmemory/src/large.h has the others), and its thresholds do not change while the program runs.
 */
void shim_begin(void)
{
	int *folder;

	mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
	mallopt(M_TRIM_THRESHOLD, MAPPED_FROM);
	xmemory__preload_begin();
	folder = xmemory__descriptor(XMEMORY__FOLDER);
	if (*folder >= 0)
		*folder = shim_move(*folder);
	/* The program may know blocks that are none of ours, of another name space of the linker for one. */
	if (!ma_env("XMEMORY_WARNINGS"))
		xmemory_setwarnings(0);
}

void *shim_new(size_t size)
{
	return xmemory_malloc(size, NULL, 0);
}

void *shim_zeroed(size_t size)
{
	return xmemory_calloc(1, size, NULL, 0);
}

void *shim_resize(void *ptr, size_t size)
{
	return xmemory_realloc(ptr, size, NULL, 0);
}

void *shim_aligned(size_t alignment, size_t size)
{
	return xmemory_memalign(alignment, size, NULL, 0);
}

void shim_give(void *ptr)
{
	xmemory_free(ptr, NULL, 0);
}

/* No more than was asked for: then no call has to say when more of it is used. */
size_t shim_room(void *ptr)
{
	return xmemory_size(ptr);
}

/* VM files have no names: they go with the process. */
void shim_end(void)
{
}

/* Each block is looked up and counted. */
void shim_allow_fast(void)
{
}

int *shim_kept(unsigned i)
{
	return xmemory__descriptor(i);
}

bool shim_kept_is_ours(unsigned i)
{
	return xmemory__descriptor_is_ours(i);
}

bool shim_holds(const void *address)
{
	return xmemory__is_elsewhere(address);
}

/* The mutexes say so. */
bool shim_is_inside(void)
{
	return xmemory__depth > 0;
}

bool shim_fork_try(void)
{
	return xmemory__fork_try();
}

void shim_fork_end(bool child)
{
	xmemory__fork_end(child);
}

void shim_fork_orphaned(void)
{
	xmemory__fork_orphaned();
	shim_say("a fork in a signal handler that interrupted a call: the child has no copy of VM files, and must not "
		 "write there");
}

static void mib(char text[32], uint64_t bytes)
{
	uint64_t tenths = (bytes * 10 + ((uint64_t)1 << 19)) >> 20;

	snprintf(text, 32, "%llu.%llu MiB", (unsigned long long)(tenths / 10), (unsigned long long)(tenths % 10));
}

void shim_figures(char *text, size_t size)
{
	struct xmemory__totals totals;
	char ram[32], limit[32], vm[32];

	if (!xmemory__try_totals(&totals))
		return;
	mib(ram, (uint64_t)totals.peak_ram);
	mib(limit, (uint64_t)totals.limit);
	mib(vm, (uint64_t)totals.peak_elsewhere);
	snprintf(text, size, "peak RAM %s of %s, peak VM %s, %u VM files", ram, limit, vm, xmemory__vm_files_made());
}
