/* SPDX-License-Identifier: BSD-3-Clause */
/* See plan.h. A kernel older than MAP_FIXED_NOREPLACE takes the address as a hint: then we look where it went. */
#include "common/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/error.h"

#define TRIES 64

/* The first line of /proc/self/maps that meets the range. */
static void name_occupant(uint64_t base, uint64_t bytes, char *text, size_t size)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	uint64_t from, to;

	snprintf(text, size, "something that /proc/self/maps does not show");
	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) != 2 || to <= base || from >= base + bytes)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(text, size, "%s", line);
		break;
	}
	if (maps)
		fclose(maps);
}

/* MAP_FAILED with errno when not mapped at base. */
static void *map_exactly(uint64_t base, uint64_t bytes, int prot, int flags, int fd)
{
	void *want = (void *)(uintptr_t)base;
	void *got = mmap(want, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);

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
		return ma_fail_null(err, "%s: cannot map %" PRIu64 " bytes at %#" PRIx64, name, bytes, base);
	if (ma_debug_on()) {
		name_occupant(base, bytes, occupant, sizeof(occupant));
		ma_fail(err, "%s: its address %#" PRIx64 " is taken by: %s", name, base, occupant);
	}
	errno = err;
	return NULL;
}

void *ma_plan_map(uint64_t seed, uint64_t bytes, int prot, int flags, int fd, const char *name)
{
	uint64_t span = MA_PLAN_LAST - MA_PLAN_FIRST;
	uint64_t places;

	if (bytes > span)
		return ma_fail_null(ENOMEM, "%s: %" PRIu64 " bytes do not fit into the address plan", name, bytes);
	places = (span - bytes) / MA_PLAN_ALIGN + 1;
	for (int i = 0; i < TRIES; i++) {
		uint64_t base = MA_PLAN_FIRST + ma_mix(seed + (uint64_t)i) % places * MA_PLAN_ALIGN;
		void *got = map_exactly(base, bytes, prot, flags, fd);

		if (got != MAP_FAILED)
			return got;
		if (errno != EADDRINUSE)
			return ma_fail_null(errno, "%s: cannot map %" PRIu64 " bytes", name, bytes);
	}
	return ma_fail_null(EADDRINUSE, "%s: no free address for %" PRIu64 " bytes in %d tries", name, bytes, TRIES);
}
