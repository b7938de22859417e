/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many instructions a malloc takes: the same whatever the fill, and after any number of frees no more than these have paid for.
 */
#include "tests/support/support_buddy.h"
#include "tests/support/support_trap.h"

#define MEASURED 16

static volatile size_t instructions;

static void count(int sig)
{
	(void)sig;
	instructions++;
}

static size_t cost(shmbuddy_t *region, size_t size, shm_offt *block)
{
	instructions = 0;
	support_trap_on();
	*block = shmbuddy_malloc(region, size);
	support_trap_off();
	return instructions;
}

struct figures {
	size_t sum, most;
};

/* Blocks taken and given at random; half of them are measured. */
static struct figures measure(shmbuddy_t *region, shm_offt *blocks, size_t live, struct support_rand *rand, size_t size)
{
	struct figures figures = { 0 };

	for (size_t i = 0; i < MEASURED; i++) {
		size_t k = support_rand_below(rand, live), n;

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		n = cost(region, size, &blocks[k]);
		g_assert_cmpuint(blocks[k], !=, SHM_NULL);
		figures.sum += n;
		figures.most = MAX(figures.most, n);
	}
	return figures;
}

/* From a tenth to 99 hundredths of the region; the cost of a malloc stays what it is. */
static void fill_costs_nothing(const char *name, uint64_t capacity, uint64_t largest, size_t size)
{
	shmbuddy_t *region = buddy_open(support_path(name), capacity, 32, largest);
	size_t all = capacity / size, live = 0;
	shm_offt *blocks = g_new(shm_offt, all);
	struct figures first = { 0 }, last = { 0 };
	struct support_rand rand;

	support_rand_seed(&rand, size);
	for (unsigned percent = 10; percent <= 99; percent += percent == 10 ? 40 : 49) {
		/* Whole words, so that what is freed below must be searched for. */
		while (live < all * percent / 100 / 128 * 128)
			g_assert_cmpuint(blocks[live++] = shmbuddy_malloc(region, size), !=, SHM_NULL);
		last = measure(region, blocks, live, &rand, size);
		support_watchdog(4 * SUPPORT_HUNG_SECONDS);
		if (percent == 10)
			first = last;
		g_test_message("%s: %u %% full: %zu instructions a malloc, %zu at most", name, percent,
			       last.sum / MEASURED, last.most);
	}
	/* A scan of the words would take over a hundred thousand. */
	g_assert_cmpuint(last.sum / MEASURED, <, first.sum / MEASURED + 3000);
	g_assert_cmpuint(last.most, <, 20000);
	buddy_free_all(region);
	buddy_is_empty(region);
	buddy_close(region);
	g_free(blocks);
}

/*
 * Nearly full, and much was taken and given in turn, which leaves listings of what is taken again. Another handle, which has no hints, takes
 * what was freed: it comes by those listings, and takes them off, but never by more of them than there were frees.
 */
static void listings_are_paid_for(const char *name, uint64_t capacity, uint64_t largest, size_t size)
{
	const char *path = support_path(name);
	shmbuddy_t *region = buddy_open(path, capacity, 32, largest), *other = buddy_open(path, 0, 0, 0);
	size_t all = capacity / size, live = all * 99 / 100, sum = 0;
	size_t turns =
		5000 /
		support_stride(5); /* Each leaves a hundred instructions for later, and each of these is a signal. */
	shm_offt *blocks = g_new(shm_offt, all);
	struct support_rand rand;

	support_rand_seed(&rand, size + 1);
	g_assert_cmpuint(buddy_fill(region, size, blocks, live), ==, live);
	for (size_t i = 0; i < turns; i++) {
		size_t k = support_rand_below(&rand, live);

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		g_assert_cmpuint(blocks[k] = shmbuddy_malloc(region, size), !=, SHM_NULL);
	}
	for (size_t i = 0; i < MEASURED; i++) {
		size_t k = support_rand_below(&rand, live);

		g_assert_cmpint(shmbuddy_free(region, blocks[k]), ==, 0);
		sum += cost(other, size, &blocks[k]);
		g_assert_cmpuint(blocks[k], !=, SHM_NULL);
	}
	g_test_message("%s: %zu instructions for %u mallocs after %zu turns", name, sum, MEASURED, turns);
	g_assert_cmpuint(sum, <, turns * 500 + MEASURED * 3000);
	support_watchdog(4 * SUPPORT_HUNG_SECONDS);
	buddy_free_all(region);
	buddy_is_empty(region);
	buddy_close(other);
	buddy_close(region);
	g_free(blocks);
}

static void fill(void)
{
	if (!support_trap_begin(count))
		return;
	fill_costs_nothing("flat, 32 bytes", 16 * MIB, 1024, 32);
	fill_costs_nothing("flat, 1024 bytes", 64 * MIB, 1024, 1024);
	fill_costs_nothing("stacked, 32 bytes", 16 * MIB, 16 * MIB, 32);
	fill_costs_nothing("stacked, 8 KiB", 64 * MIB, MIB, 8 * KIB);
}

static void listings(void)
{
	if (!support_trap_begin(count))
		return;
	listings_are_paid_for("listed, flat, 32 bytes", 4 * MIB, 1024, 32);
	if (support_stride(2) == 1) /* Two million instructions, each a signal: half a minute. */
		listings_are_paid_for("listed, flat, 1024 bytes", 64 * MIB, 1024, 1024);
	else
		g_test_message("listings of 1024 bytes: with MA_CRASH_ALL only");
	listings_are_paid_for("listed, stacked, 32 bytes", 4 * MIB, 4 * MIB, 32);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/costs/fill", fill);
	support_add("/shmbuddy/costs/listings", listings);
	return support_run();
}
