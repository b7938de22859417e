/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of libshmbuddy share: regions in files, and a check of the whole region at each end. */
#ifndef SUPPORT_BUDDY_H
#define SUPPORT_BUDDY_H

#include <shmbuddy.h>

#include "tests/support/support_block.h"

/* By address, for tests that serve several libraries: memalign gives a block that is large enough to be aligned. */
extern const struct support_calls support_buddy_calls;

static inline shmbuddy_t *buddy_open(const char *path, uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	const struct shmbuddy_options options = { .capacity = capacity, .smallest = smallest, .largest = largest };
	shmbuddy_t *region = shmbuddy_open(path, &options);

	if (!region)
		g_error("shmbuddy_open(%s): %s", path, g_strerror(errno));
	return region;
}

static inline void buddy_complain(const char *text, void *arg)
{
	(void)arg;
	g_printerr("# %s\n", text);
}

static inline void buddy_check(shmbuddy_t *region)
{
	g_assert_cmpint(shmbuddy_check(region, buddy_complain, NULL), ==, 0);
}

static inline struct shmbuddy_stats buddy_stats(shmbuddy_t *region)
{
	struct shmbuddy_stats stats;

	g_assert_cmpint(shmbuddy_stats(region, &stats), ==, 0);
	return stats;
}

static inline void buddy_close(shmbuddy_t *region)
{
	buddy_check(region);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

/* The largest block can be had, and nothing is in use. */
static inline void buddy_is_empty(shmbuddy_t *region)
{
	struct shmbuddy_stats stats = buddy_stats(region);
	shm_offt block;

	g_assert_cmpuint(stats.used_blocks, ==, 0);
	g_assert_cmpuint(stats.largest_free, ==, stats.largest);
	block = shmbuddy_malloc(region, stats.largest);
	g_assert_cmpuint(block, !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
}

static inline int buddy__free_it(shm_offt offset, size_t size, void *region)
{
	(void)size;
	g_assert_cmpint(shmbuddy_free(region, offset), ==, 0);
	return 0;
}

static inline void buddy_free_all(shmbuddy_t *region)
{
	g_assert_cmpint(shmbuddy_walk(region, buddy__free_it, region), ==, 0);
}

/* Blocks of this size until there are no more, freed again; how many. */
static inline size_t buddy_fill(shmbuddy_t *region, size_t size, shm_offt *blocks, size_t most)
{
	size_t count = 0;

	while (count < most && (blocks[count] = shmbuddy_malloc(region, size)) != SHM_NULL)
		count++;
	return count;
}

#define LENGTH_AT 192 /* Of a region's length in its file: doc/format.md. */

#define buddy_fails(error, call)                   \
	do {                                       \
		errno = 0;                         \
		g_assert_true((call));             \
		g_assert_cmpint(errno, ==, error); \
	} while (0)

/* To open it in one way fails, and no file is left. */
static inline void buddy_is_not_made(const char *path, int error)
{
	buddy_fails(error, !shmbuddy_open(path, NULL));
	g_assert_cmpint(access(path, F_OK), ==, -1);
}

/* The region serves a block, and is closed. */
static inline void buddy_goes_on(shmbuddy_t *region)
{
	shm_offt block = shmbuddy_malloc(region, 1000);

	g_assert_cmpuint(block, !=, SHM_NULL);
	memset(shmbuddy_address(region, block), 1, 1000);
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
	buddy_close(region);
}

#endif /* SUPPORT_BUDDY_H */
