/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that grow in place: all shapes, in files and in memory, with others at work meanwhile. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/shmbuddy/ranges.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_fd.h"

/* --- sizes --- */

static void grow_in_steps(uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest)
{
	const char *path = support_path("steps");
	shmbuddy_t *region = open_range(path, capacity, range, smallest, largest);
	uint64_t length = buddy_stats(region).region_bytes;
	struct support_rand rand;

	support_rand_seed(&rand, capacity + range + smallest);
	g_assert_cmpuint((uint64_t)support_file_size(path), ==, length);
	has(region, capacity);
	while (capacity < range) {
		uint64_t more = smallest * support_rand_between(&rand, 1, (size_t)(range / 3 / smallest));

		length -= capacity;
		capacity = MIN(capacity + more, range);
		length += capacity;
		g_assert_cmpint(shmbuddy_grow(region, capacity - support_rand_below(&rand, smallest)), ==, 0);
		g_assert_cmpuint(buddy_stats(region).region_bytes, ==, length);
		g_assert_cmpuint((uint64_t)support_file_size(path), ==, length);
		has(region, capacity);
	}
	buddy_fails(ENOMEM, shmbuddy_grow(region, range + 1) == -1);
	buddy_close(region);
	region = open_range(path, 0, range, smallest, largest);
	has(region, range);
	buddy_close(region);
	unlink(path);
}

static void sizes(void)
{
	for (size_t round = 0; round < support_scale(3); round++) {
		grow_in_steps(8 * KIB, 100 * KIB, 32, 1024);
		grow_in_steps(10 * KIB + 16, 300 * KIB + 48, 16, 8 * KIB);
		grow_in_steps(64 * KIB, 512 * KIB, 16, 64 * KIB);
		grow_in_steps(100 * KIB, 400 * KIB, 64, 64 * KIB);
		grow_in_steps(5 * MIB + 4096, 40 * MIB, 4096, 64 * KIB); /* Many parts, and ends within them. */
		grow_in_steps(5 * MIB, 33 * MIB, 4096, 4 * MIB);         /* A level above the parts. */
		grow_in_steps(4096, 4096, 16, 4096);
	}
}

/* The largest block may be larger than the region, until that has grown. */
static void largest_comes_later(void)
{
	shmbuddy_t *region = open_range(support_path("later"), 12 * KIB, 256 * KIB, 32, 128 * KIB);

	g_assert_cmpuint(buddy_stats(region).largest, ==, 128 * KIB);
	g_assert_cmpuint(buddy_stats(region).largest_free, ==, 8 * KIB);
	buddy_fails(ENOMEM, !shmbuddy_malloc(region, 16 * KIB));
	has(region, 12 * KIB);
	g_assert_cmpint(shmbuddy_grow(region, 200 * KIB), ==, 0);
	g_assert_cmpuint(buddy_stats(region).largest_free, ==, 128 * KIB);
	has(region, 200 * KIB);
	buddy_close(region);
}

/* A file is as long as was asked for, and its tables do not weigh much, whatever it may grow to. */
static void by_default(void)
{
	static const uint64_t shapes[][3] = {
		{ 64 * KIB, 16, 0 },  { 1 * MIB, 32, 0 }, { 64 * MIB, 16, 1 * MIB }, { 64 * MIB, 4096, MIB },
		{ 512 * MIB, 32, 0 }, { 4096, 32, 0 },    { 100 * MIB + 32, 32, 0 }, { (uint64_t)GIB, 64, 0 },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
		const char *path = support_path("default");
		shmbuddy_t *region = buddy_open(path, shapes[i][0], shapes[i][1], shapes[i][2]);
		struct shmbuddy_stats stats = buddy_stats(region);
		uint64_t tables = stats.region_bytes - stats.capacity;
		struct stat st;

		g_assert_cmpuint(stats.capacity, ==, shapes[i][0]);
		g_assert_cmpuint(stats.range, >=, 4 * stats.capacity);
		g_assert_cmpuint(tables, <=, stats.capacity / 10 + 2 * MIB + 64 * KIB);
		g_assert_true(stat(path, &st) == 0 && (uint64_t)st.st_size == stats.region_bytes);
		g_assert_cmpuint((uint64_t)st.st_blocks * 512, <=, MIN(stats.capacity, 2 * MIB) + 512 * KIB);
		g_assert_cmpint(shmbuddy_grow(region, stats.range), ==, 0);
		g_assert_cmpuint(buddy_stats(region).capacity, ==, stats.range);
		g_assert_true(stat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 < 5 * MIB);
		g_assert_cmpuint(shmbuddy_malloc(region, stats.largest), !=, SHM_NULL);
		buddy_close(region);
		unlink(path);
	}
}

static void refusals(void)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	const char *path = support_path("refusals");
	shmbuddy_t *region = open_range(path, 64 * KIB, 128 * KIB, 32, 1024), *reader = shmbuddy_open(path, &look);

	g_assert_cmpint(shmbuddy_grow(region, 0), ==, 0);
	g_assert_cmpint(shmbuddy_grow(region, 32 * KIB), ==, 0);
	g_assert_cmpuint(buddy_stats(region).capacity, ==, 64 * KIB);
	buddy_fails(ENOMEM, shmbuddy_grow(region, 129 * KIB) == -1);
	buddy_fails(ENOMEM, shmbuddy_grow(region, UINT64_MAX) == -1);
	buddy_fails(EROFS, shmbuddy_grow(reader, 65 * KIB) == -1);
	buddy_fails(EBADF, shmbuddy_grow(NULL, 65 * KIB) == -1);
	g_assert_cmpint(shmbuddy_grow(region, 100 * KIB), ==, 0);
	g_assert_cmpuint(buddy_stats(reader).capacity, ==, 100 * KIB);
	/* Whoever asks for what it was, or is, means this one. */
	buddy_close(open_range(path, 64 * KIB, 128 * KIB, 32, 1024));
	buddy_close(open_range(path, 100 * KIB, 0, 0, 0));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .capacity = 101 * KIB }));
	buddy_fails(EINVAL, !shmbuddy_open(path, &(struct shmbuddy_options){ .capacity = 63 * KIB }));
	buddy_close(reader);
	buddy_close(region);
	buddy_fails(EBADF, shmbuddy_grow(region, 65 * KIB) == -1);
}

/* --- others --- */

/* Two handles of one process are like two processes: each has its own idea of the size. */
static void others_see_it(void)
{
	const char *path = support_path("others");
	shmbuddy_t *a = open_range(path, 16 * KIB, 256 * KIB, 16, 4 * KIB), *b = open_range(path, 0, 0, 0, 0);
	size_t count = buddy_fill(a, 1, blocks, MOST);
	shm_offt last = SHM_NULL;

	buddy_fails(ENOMEM, !shmbuddy_malloc(b, 1));
	buddy_fails(EINVAL, !shmbuddy_address(b, (shm_offt)buddy_stats(b).region_bytes));
	g_assert_cmpint(shmbuddy_grow(a, 200 * KIB), ==, 0);
	while (shmbuddy_malloc(b, 1))
		count++;
	g_assert_cmpuint(count * 16, ==, 200 * KIB);
	g_assert_cmpint(shmbuddy_grow(b, 256 * KIB), ==, 0);
	last = shmbuddy_malloc(a, 4 * KIB);
	g_assert_cmpuint(last, !=, SHM_NULL);
	memset(shmbuddy_address(b, last), 1, 4 * KIB);
	g_assert_cmpint(shmbuddy_setroot(b, "last", last), ==, 0);
	g_assert_cmpuint(shmbuddy_getroot(a, "last"), ==, last);
	g_assert_cmpint(shmbuddy_free(b, last), ==, 0);
	buddy_free_all(b);
	has(a, 256 * KIB);
	has(b, 256 * KIB);
	buddy_close(a);
	buddy_close(b);
}

static struct support_barrier *barrier;
static const char *shared_path;

/* Grows and allocates; what it holds is its own. */
static int grow_and_use(void *arg)
{
	shmbuddy_t *region = open_range(shared_path, 0, 0, 0, 0);
	shm_offt held[64] = { 0 };
	struct support_rand rand;

	support_rand_seed(&rand, (uint64_t)(uintptr_t)arg);
	support_barrier_wait(barrier);
	for (size_t i = 0; i < support_scale(4000); i++) {
		size_t k = support_rand_below(&rand, 64), size = support_rand_between(&rand, 8, 3000) / 8 * 8;
		uint64_t *at;

		if (held[k]) {
			at = shmbuddy_address(region, held[k]);
			g_assert_cmpuint(at[0], ==, (uint64_t)getpid() << 32 | k);
			g_assert_cmpuint(at[shmbuddy_usable_size(region, held[k]) / 8 - 1], ==, at[0]);
			g_assert_cmpint(shmbuddy_free(region, held[k]), ==, 0);
		}
		held[k] = shmbuddy_malloc(region, size);
		if (held[k]) {
			at = shmbuddy_address(region, held[k]);
			at[0] = at[shmbuddy_usable_size(region, held[k]) / 8 - 1] = (uint64_t)getpid() << 32 | k;
		} else {
			g_assert_cmpint(errno, ==, ENOMEM);
		}
		if (i % 100 == 50)
			g_assert_cmpint(
				shmbuddy_grow(region, buddy_stats(region).capacity + support_rand_below(&rand, 4096)),
				==, 0);
	}
	for (size_t k = 0; k < 64; k++)
		g_assert_cmpint(shmbuddy_free(region, held[k]), ==, 0);
	buddy_close(region);
	return 0;
}

static void many_at_once(uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest)
{
	pid_t pids[6];
	shmbuddy_t *region;

	shared_path = support_path("many");
	barrier = support_barrier_new(G_N_ELEMENTS(pids));
	region = open_range(shared_path, capacity, range, smallest, largest);
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(grow_and_use, (void *)(uintptr_t)(i + 1));
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		support_wait_ok(pids[i]);
	capacity = buddy_stats(region).capacity;
	g_assert_cmpuint((uint64_t)support_file_size(shared_path), >=, buddy_stats(region).region_bytes);
	g_assert_cmpint(shmbuddy_mend(region), ==, 0);
	has(region, capacity);
	buddy_close(region);
	unlink(shared_path);
}

static void all_at_once(void)
{
	many_at_once(16 * KIB, 2 * MIB, 64, 4096);
	many_at_once(16 * KIB, 2 * MIB, 64, 16 * KIB);
	many_at_once(100 * KIB, 64 * MIB, 1024, 4 * MIB);
}

/* Killed anywhere, at it or not: what is left is whole, and grows on. */
static int grow_for_ever(void *arg)
{
	shmbuddy_t *region = open_range(shared_path, 0, 0, 0, 0);

	for (uint64_t i = 0;; i++) {
		uint64_t capacity = buddy_stats(region).capacity;

		g_assert_cmpint(shmbuddy_grow(region, MIN(capacity + 64 * (i % 50), *(uint64_t *)arg)), ==, 0);
		shmbuddy_free(region, shmbuddy_malloc(region, 64 * (i % 40)));
	}
	return 0;
}

static void killed(void)
{
	uint64_t range = 12 * MIB, capacity = 64 * KIB, blocks_lost = 0;
	struct support_rand rand;
	shmbuddy_t *region;

	shared_path = support_path("killed");
	support_rand_seed(&rand, 4);
	region = open_range(shared_path, capacity, range, 64, 4096);
	for (size_t round = 0; round < support_scale(150); round++) {
		pid_t pid = support_fork(grow_for_ever, &range), other = support_fork(grow_for_ever, &range);

		support_kill_after_us(pid, (unsigned)support_rand_below(&rand, 3000));
		support_kill_after_us(other, (unsigned)support_rand_below(&rand, 1000));
		buddy_check(region);
		g_assert_cmpuint(buddy_stats(region).capacity, >=, capacity);
		capacity = buddy_stats(region).capacity;
		blocks_lost += 2;
	}
	g_assert_cmpuint(buddy_stats(region).used_blocks, <=, blocks_lost);
	g_assert_cmpint(shmbuddy_mend(region), ==, 0);
	buddy_free_all(region);
	g_assert_cmpint(shmbuddy_grow(region, MIN(capacity + 100 * KIB, range)), ==, 0);
	capacity = buddy_stats(region).capacity;
	for (uint64_t have = 0; have < capacity; have += 64)
		g_assert_cmpuint(shmbuddy_malloc(region, 64), !=, SHM_NULL);
	buddy_fails(ENOMEM, !shmbuddy_malloc(region, 64));
	buddy_close(region);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/grow/sizes", sizes);
	support_add("/shmbuddy/grow/largest-comes-later", largest_comes_later);
	support_add("/shmbuddy/grow/by-default", by_default);
	support_add("/shmbuddy/grow/refusals", refusals);
	support_add("/shmbuddy/grow/others-see-it", others_see_it);
	support_add("/shmbuddy/grow/all-at-once", all_at_once);
	support_add("/shmbuddy/grow/killed", killed);
	return support_run();
}
