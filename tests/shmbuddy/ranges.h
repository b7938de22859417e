/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions with a range, for the tests of growing. */
#ifndef MA_TESTS_SHMBUDDY_RANGES_H
#define MA_TESTS_SHMBUDDY_RANGES_H

#include "tests/support/support_buddy.h"

#define MOST 50000

static shm_offt blocks[MOST];

static inline shmbuddy_t *open_range(const char *path, uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest)
{
	const struct shmbuddy_options options = {
		.capacity = capacity, .range = range, .smallest = smallest, .largest = largest
	};
	shmbuddy_t *region = shmbuddy_open(path, &options);

	g_assert_nonnull(region);
	return region;
}

/* It has so much, and all of it can be had: in smallest blocks, and then in largest ones. */
static inline void has(shmbuddy_t *region, uint64_t capacity)
{
	struct shmbuddy_stats stats = buddy_stats(region);

	g_assert_cmpuint(stats.capacity, ==, capacity);
	g_assert_cmpuint(buddy_fill(region, 1, blocks, MOST) * stats.smallest, ==, capacity);
	buddy_fails(ENOMEM, !shmbuddy_malloc(region, 1));
	g_assert_cmpuint(buddy_stats(region).largest_free, ==, 0);
	buddy_check(region);
	buddy_free_all(region);
	buddy_check(region);
	g_assert_cmpuint(buddy_fill(region, stats.largest, blocks, MOST), ==, capacity / stats.largest);
	buddy_check(region);
	buddy_free_all(region);
	buddy_check(region);
}

#endif /* MA_TESTS_SHMBUDDY_RANGES_H */
