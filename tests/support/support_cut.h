/* SPDX-License-Identifier: BSD-3-Clause */
/* Power cuts that are only made up: what regions of several shapes are after one. */
#ifndef SUPPORT_CUT_H
#define SUPPORT_CUT_H

#include <fcntl.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

#define AT_BOOT_ID 216 /* doc/format.md */
#define AT_BODY    4096

static const struct shmbuddy_options shapes[] = {
	{ .capacity = 256 * 1024, .range = 256 * 1024, .smallest = 32, .largest = 1024 }, /* One level, one part. */
	{ .capacity = 5008, .range = 5008, .smallest = 16, .largest = 512 }, /* Its end is in the middle of a page. */
	{ .capacity = 8 * MIB, .range = 8 * MIB, .smallest = 16, .largest = 2 * MIB }, /* Five levels. */
	{ .capacity = MIB, .range = 64 * MIB, .smallest = 32, .largest = MIB },
	{ .capacity = 3 * MIB + 48,
	  .range = 512 * MIB,
	  .smallest = 16,
	  .largest = 16 * MIB }, /* Larger than all it has. */
};

/* What other writes may have come to the disk: none of them is believed. Page 0 is one that was there. */
static inline void cut_power(const char *path, struct support_rand *rand, bool torn)
{
	off_t bytes = support_file_size(path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char noise[512];

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(pwrite(fd, "another machine ", 16, AT_BOOT_ID), ==, 16);
	for (unsigned i = 0; torn && i < 200; i++) {
		memset(noise, (int)support_rand_next(rand), sizeof(noise));
		g_assert_cmpint(
			pwrite(fd, noise, sizeof(noise), (off_t)support_rand_between(rand, AT_BODY, (size_t)bytes - 1)),
			==, sizeof(noise));
	}
	if (torn && support_rand_below(rand, 2))
		g_assert_cmpint(ftruncate(fd, (off_t)support_rand_between(rand, AT_BODY, (size_t)bytes)), ==, 0);
	close(fd);
}

static inline struct shmbuddy_opening opening_of(shmbuddy_t *region)
{
	struct shmbuddy_opening opening;

	g_assert_cmpint(shmbuddy_opening(region, &opening), ==, 0);
	return opening;
}

/* After a power cut, it went back; otherwise not. */
static inline shmbuddy_t *open_again(const char *path, bool goes_back)
{
	shmbuddy_t *region = shmbuddy_open(path, &(struct shmbuddy_options){ .flags = SHMBUDDY_EXISTING });

	if (!region)
		g_error("%s", shmbuddy_errmsg());
	g_assert_cmpuint(opening_of(region).restored, ==, goes_back);
	buddy_check(region);
	return region;
}

static inline shmbuddy_t *open_after_cut(const char *path)
{
	shmbuddy_t *region = open_again(path, true);
	struct shmbuddy_opening opening = opening_of(region);

	g_assert_true(opening.first && opening.machine_died && opening.verified && !opening.copied && !opening.created);
	return region;
}

#endif /* SUPPORT_CUT_H */
