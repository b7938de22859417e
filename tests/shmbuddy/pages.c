/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions on machines with larger pages (support_machine.h): they lie in memory as in their file, so they can be used with all page sizes. */
#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_machine.h"

#define BLOCKS 3000

static const uintptr_t pages[] = { 16384, 65536 };
static uintptr_t wanted;

struct block {
	shm_offt offset;
	size_t size;
};

static struct block *blocks; /* In memory that all children share. */

static void fill_all(shmbuddy_t *region, uint64_t tag)
{
	struct support_rand r;

	support_rand_seed(&r, tag);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i].size = support_rand_between(&r, 1, i % 50 ? 700 : 60000);
		blocks[i].offset = shmbuddy_malloc(region, blocks[i].size);
		g_assert_cmpuint(blocks[i].offset, !=, SHM_NULL);
		support_fill(shmbuddy_address(region, blocks[i].offset), blocks[i].size, i);
	}
}

static void verify_all(shmbuddy_t *region)
{
	for (size_t i = 0; i < BLOCKS; i++)
		g_assert_true(support_intact(shmbuddy_address(region, blocks[i].offset), blocks[i].size, i));
	buddy_check(region);
}

static void free_all(shmbuddy_t *region)
{
	for (size_t i = 0; i < BLOCKS; i++)
		g_assert_cmpint(shmbuddy_free(region, blocks[i].offset), ==, 0);
	buddy_is_empty(region);
}

/* Open, look, free, fill, and grow. */
static void use_region(const char *path, uint64_t capacity)
{
	shmbuddy_t *region = shmbuddy_open(path, NULL);

	g_assert_nonnull(region);
	verify_all(region);
	free_all(region);
	g_assert_cmpint(shmbuddy_grow(region, capacity), ==, 0);
	fill_all(region, capacity);
	verify_all(region);
	g_assert_cmpint(shmbuddy_sync(region), ==, 0);
	buddy_close(region);
}

/* Made with other pages; and a copy. */
static int on_large_pages(void *arg)
{
	const char *copy = support_path("copy");

	page = wanted;
	g_assert_cmpint(sysconf(_SC_PAGESIZE), ==, (long)wanted);
	use_region(arg, 44 * MIB);
	support_file_copy(arg, copy);
	use_region(copy, 48 * MIB);
	unlink(copy);
	return 0;
}

/* Made with large pages. */
static int make_on_large_pages(void *arg)
{
	const struct shmbuddy_options options = {
		.capacity = 32 * MIB, .range = 64 * MIB, .smallest = 16, .largest = 512 * KIB
	};
	shmbuddy_t *region;

	page = wanted;
	region = shmbuddy_open(arg, &options);
	g_assert_nonnull(region);
	fill_all(region, 1);
	buddy_close(region);
	use_region(arg, 40 * MIB);
	return 0;
}

static int make_as_usual(void *arg)
{
	wanted = 4096;
	return make_on_large_pages(arg);
}

static void both_ways(void)
{
	const char *path = support_path("region");

	blocks = support_shared(BLOCKS * sizeof(*blocks));
	for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
		support_run_child(make_as_usual, (void *)(uintptr_t)path);
		wanted = pages[i];
		support_run_child(on_large_pages, (void *)(uintptr_t)path);
		unlink(path);
		support_run_child(make_on_large_pages, (void *)(uintptr_t)path);
		wanted = 4096;
		support_run_child(on_large_pages, (void *)(uintptr_t)path);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/pages/both-ways", both_ways);
	return support_run();
}
