/* SPDX-License-Identifier: BSD-3-Clause */
/* See plan.h. A kernel older than MAP_FIXED_NOREPLACE takes the address as a hint: then we look where it went. */
#include "common/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/cancel.h"
#include "common/error.h"
#include "common/page.h"

#define TRIES 64

/* The first line of /proc/self/maps that meets the range: "FILE (at FROM-TO)". */
static void name_occupant(uint64_t base, uint64_t bytes, char *text, size_t size)
{
	MA_UNCANCELLED;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[480];
	const char *name;
	uint64_t from, to;

	snprintf(text, size, "something that /proc/self/maps does not show");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) != 2 || to <= base || from >= base + bytes)
			continue;
		line[strcspn(line, "\n")] = '\0';
		name = strpbrk(line, "/[");
		snprintf(text, size, "%s (at %#" PRIx64 "-%#" PRIx64 ")", name ? name : "memory without a file", from,
			 to);
		break;
	}
	if (maps)
		fclose(maps);
}

/* ---- mlockall(MCL_FUTURE) and a limit of locked memory ---- */

static _Atomic bool short_of_locks;

bool ma_plan_is_short_of_locks(void)
{
	return ma_load(&short_of_locks);
}

/* One page is little to count. Unlocked, it grows to a mapping that is not locked either. */
static void *map_unlocked(void *at, uint64_t bytes, int prot, int flags, int fd, uint64_t from)
{
	void *page, *got;
	int saved;

	flags &= ~(MAP_FIXED | MAP_FIXED_NOREPLACE);
	page = mmap(NULL, ma_page(), prot, flags, fd, (off_t)from);
	if (page == MAP_FAILED)
		return MAP_FAILED;
	munlock(page, ma_page());
	got = at ? mremap(page, ma_page(), bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at)
		 : mremap(page, ma_page(), bytes, MREMAP_MAYMOVE);
	saved = errno;
	if (got == MAP_FAILED)
		munmap(page, ma_page());
	else
		ma_store(&short_of_locks, true);
	errno = saved;
	return got;
}

/* The same where nothing may be replaced: one page takes the place, and grows there. */
static void *reserve_unlocked(void *want, uint64_t bytes, int flags)
{
	void *page = mmap(want, ma_page(), PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);

	if (page == MAP_FAILED)
		return MAP_FAILED;
	munlock(page, ma_page());
	if (page == want && mremap(page, ma_page(), bytes, 0) == want) {
		ma_store(&short_of_locks, true);
		return page;
	}
	munmap(page, ma_page());
	errno = EEXIST;
	return MAP_FAILED;
}

/* Bytes from there on that the file has, in whole pages. */
static uint64_t file_has(int fd, uint64_t from, uint64_t most)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_size <= from)
		return 0;
	return ma_min(ma_up((uint64_t)st.st_size - from, ma_page()), most);
}

void *ma_plan_map_over(void *at, uint64_t bytes, int prot, int flags, int fd, uint64_t from)
{
	uint64_t has = bytes;
	void *got;

	if (ma_plan_is_short_of_locks()) /* Or small pieces that the file does not have would use up the limit. */
		has = file_has(fd, from, bytes);
	got = has ? mmap(at, has, prot, flags | MAP_FIXED, fd, (off_t)from) : at;
	if (has == bytes && got == MAP_FAILED && errno == EAGAIN) {
		has = file_has(fd, from, bytes);
		if (has < bytes)
			got = has ? mmap(at, has, prot, flags | MAP_FIXED, fd, (off_t)from) : at;
	}
	if (got == MAP_FAILED || has == bytes)
		return got;
	return map_unlocked((char *)at + has, bytes - has, prot, flags, fd, from + has) == MAP_FAILED ? MAP_FAILED : at;
}

void *ma_plan_map_anywhere(uint64_t bytes, int prot, int flags, int fd)
{
	void *got = mmap(NULL, bytes, prot, flags, fd, 0);

	return got == MAP_FAILED && errno == EAGAIN ? map_unlocked(NULL, bytes, prot, flags, fd, 0) : got;
}

const char *ma_plan_advice(int error)
{
	return error == EAGAIN ? "after mlockall(MCL_FUTURE) it counts as locked memory; raise `ulimit -l`, or use a "
				 "smaller map"
			       : "raise `ulimit -v`, or unmap something";
}

/* ---- addresses ---- */

/* MAP_FAILED with errno when not mapped at base. */
static void *map_exactly(uint64_t base, uint64_t bytes, int prot, int flags, int fd)
{
	void *want = (void *)(uintptr_t)base;
	void *got = mmap(want, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (got == MAP_FAILED && errno == EAGAIN && prot == PROT_NONE && fd < 0)
		got = reserve_unlocked(want, bytes, flags);
	if (got == MAP_FAILED) {
		if (errno == EEXIST)
			errno = EADDRINUSE;
		return MAP_FAILED;
	}
	if (got == want)
		return got;
	munmap(got, bytes);
	errno = EADDRINUSE;
	return MAP_FAILED;
}

void *ma_plan_map_at(uint64_t base, uint64_t bytes, int prot, int flags, int fd, const char *name)
{
	void *got = map_exactly(base, bytes, prot, flags, fd);
	char occupant[512];
	int err = errno;

	if (got != MAP_FAILED)
		return got;
	if (err != EADDRINUSE)
		return ma_fail_null(err, "%s: cannot map %" PRIu64 " bytes at %#" PRIx64 ": mmap(2) failed; %s", name,
				    bytes, base, ma_plan_advice(err));
	name_occupant(base, bytes, occupant, sizeof(occupant));
	return ma_fail_null(err, "%s: cannot map it: its address %#" PRIx64 " is in use by %s; unmap that first", name,
			    base, occupant);
}

/*
 * Ranges lie at multiples of their size (of the next power of two) from the window's begin: two that were chosen apart take the
 * same place or do not meet, half as often as if each could begin anywhere. Huge ranges keep some places to try.
 */
static uint64_t step_for(uint64_t bytes, uint64_t span)
{
	uint64_t step = MA_PLAN_ALIGN;

	while (step < bytes && step <= span / TRIES / 2)
		step *= 2;
	return step;
}

/* MAP_FAILED and errno: EADDRINUSE, no place was free; else as mmap(2). */
static void *map_within(uint64_t first, uint64_t last, uint64_t seed, uint64_t bytes, int prot, int flags, int fd)
{
	uint64_t span = last - first;
	uint64_t step = step_for(bytes, span);
	uint64_t places = (span - bytes) / step + 1;

	for (int i = 0; i < TRIES; i++) {
		uint64_t base = first + ma_mix(seed + (uint64_t)i) % places * step;
		void *got = map_exactly(base, bytes, prot, flags, fd);

		if (got != MAP_FAILED || errno != EADDRINUSE)
			return got;
	}
	return MAP_FAILED;
}

void *ma_plan_map(uint64_t seed, uint64_t bytes, int prot, int flags, int fd, const char *name)
{
	const uint64_t small = (MA_PLAN_SMALL_LAST - MA_PLAN_SMALL_FIRST) / 4;
	void *got;

	if (bytes > MA_PLAN_LAST - MA_PLAN_FIRST)
		return ma_fail_null(ENOMEM,
				    "%s: cannot map %" PRIu64 " bytes: more than any address range has; ask for less",
				    name, bytes);
	got = map_within(MA_PLAN_FIRST, MA_PLAN_LAST, seed, bytes, prot, flags, fd);
	if (got == MAP_FAILED && errno == ENOMEM && bytes <= small)
		got = map_within(MA_PLAN_SMALL_FIRST, MA_PLAN_SMALL_LAST, seed, bytes, prot, flags, fd);
	if (got != MAP_FAILED)
		return got;
	if (errno != EADDRINUSE)
		return ma_fail_null(errno, "%s: cannot map %" PRIu64 " bytes: mmap(2) failed; %s", name, bytes,
				    ma_plan_advice(errno));
	return ma_fail_null(EADDRINUSE,
			    "%s: cannot map %" PRIu64
			    " bytes: no free address range found in %d tries; ask for less, or pass an address",
			    name, bytes, TRIES);
}
