/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions on disks that are full, at creation and later, and that lose space in place. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

/* --- disks --- */

static int fill_a_disk(uint64_t capacity, uint64_t largest)
{
	shmbuddy_t *region;
	size_t count = 0, again = 0;
	struct shmbuddy_stats stats;

	if (!support_small_disk("size=9m"))
		return SUPPORT_CANNOT;
	region = buddy_open(support_path("full"), capacity, 32, largest);
	for (shm_offt at; (at = shmbuddy_malloc(region, 1024)) != SHM_NULL; count++)
		memset(shmbuddy_address(region, at), 1, 1024);
	g_assert_cmpint(errno, ==, ENOSPC);
	g_assert_cmpuint(count, >=, 2 * MIB / 1024);
	buddy_check(region);
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.used_bytes, ==, stats.backed_bytes);
	/* What has its space can be had again and again. */
	buddy_free_all(region);
	for (shm_offt at; (at = shmbuddy_malloc(region, 1024)) != SHM_NULL; again++)
		memset(shmbuddy_address(region, at), 1, 1024);
	g_assert_cmpuint(again, ==, count);
	buddy_close(region);
	return 0;
}

static int fill_flat(void *arg)
{
	(void)arg;
	return fill_a_disk(0, 0);
}

static int fill_stacked(void *arg)
{
	(void)arg;
	return fill_a_disk(64 * MIB, 16 * MIB);
}

static void full_disk(void)
{
	support_run_or_skip(fill_flat, "no disk of its own can be mounted");
	support_run_or_skip(fill_stacked, "no disk of its own can be mounted");
}

/* Zeros in a block became holes in place, and the disk is full: ENOSPC when it is opened; later it is there before it is written to. */
static int lose_space(void *arg)
{
	const struct shmbuddy_options *how = arg;
	const char *path, *filler;
	shmbuddy_t *region;
	shm_offt block;

	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	path = support_path("region");
	filler = support_path("filler");
	region = shmbuddy_open(path, how);
	g_assert_nonnull(region);
	block = shmbuddy_calloc(region, 1, MIB);
	g_assert_cmpuint(block, !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_setroot(region, "block", block), ==, 0);
	buddy_close(region);
	g_assert_cmpuint(support_dig(path), >=, MIB);
	support_fill_disk(filler);
	buddy_fails(ENOSPC, !shmbuddy_open(path, NULL));
	unlink(filler);
	region = shmbuddy_open(path, NULL);
	g_assert_nonnull(region);
	support_fill_disk(filler);
	memset(shmbuddy_address(region, shmbuddy_getroot(region, "block")), 7, MIB);
	buddy_close(region);
	return 0;
}

static int lose_space_of_parts(void *arg)
{
	struct shmbuddy_options how = { .capacity = 4 * MIB, .largest = MIB };

	(void)arg;
	return lose_space(&how);
}

static int lose_space_of_small(void *arg)
{
	struct shmbuddy_options how = { .capacity = MIB + MIB / 2, .largest = MIB };

	(void)arg;
	return lose_space(&how);
}

static void space_lost_in_place(void)
{
	support_run_or_skip(lose_space_of_parts, "no disk of its own can be mounted");
	support_run_or_skip(lose_space_of_small, "no disk of its own can be mounted");
}

static int on_a_tiny_disk(void *arg)
{
	const char *path;

	(void)arg;
	if (!support_small_disk("size=64k"))
		return SUPPORT_CANNOT;
	path = support_path("tiny");
	buddy_fails(ENOSPC, !shmbuddy_open(path, NULL));
	g_assert_cmpint(access(path, F_OK), ==, -1);
	return 0;
}

static void full_at_creation(void)
{
	support_run_or_skip(on_a_tiny_disk, "no disk of its own can be mounted");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/regions/full-disk", full_disk);
	support_add("/shmbuddy/regions/full-at-creation", full_at_creation);
	support_add("/shmbuddy/regions/lost", space_lost_in_place);
	return support_run();
}
