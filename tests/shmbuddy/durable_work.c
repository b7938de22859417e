/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Three processes allocate and free all the time while a fourth makes checkpoints. One of them changes a table under the program's lock. The other
 * two never wait: one grows the region, one makes words split and merge. Then all are killed and the power is cut. What is found is one state
 * that the program's own lock let through: the table, whose blocks were there before, their contents and their sum, of the last checkpoint that
 * returned or of the one that was being made.
 */
#include <inttypes.h>

#include "tests/support/support_cut.h"

#define CUTS    50
#define WORKERS 3
#define KEPT    60
#define EACH    1000 /* What each block of the table has at first. */
#define LOOSE   50

/* The region's root. */
struct table {
	uint64_t version;
	shm_offt block[KEPT];
};

struct kept {
	int64_t amount;
	uint64_t version;
	uint64_t words; /* That follow. */
	uint64_t word[];
};

/* Of one round. */
struct shared {
	const char *path;
	uint64_t range;
	_Atomic bool lock; /* The program's own. */
	_Atomic uint64_t captured, committed, rounds;
	_Atomic unsigned seed;
	_Atomic unsigned workers;
};

static void lock(struct shared *s)
{
	while (atomic_exchange(&s->lock, true))
		sched_yield();
}

static void unlock(struct shared *s)
{
	atomic_store(&s->lock, false);
}

static void *address(shmbuddy_t *region, shm_offt at)
{
	void *block = shmbuddy_address(region, at);

	g_assert_nonnull(block);
	return block;
}

static struct table *table_of(shmbuddy_t *region)
{
	return address(region, shmbuddy_getroot(region, "table"));
}

static uint64_t word_of(const struct kept *kept, uint64_t i)
{
	return (kept->version * UINT64_C(0x9e3779b97f4a7c15)) ^ ((uint64_t)kept->amount << 20) ^ i;
}

static void fill(struct kept *kept, int64_t amount, uint64_t version, size_t bytes)
{
	kept->amount = amount;
	kept->version = version;
	kept->words = (bytes - sizeof(*kept)) / sizeof(kept->word[0]);
	for (uint64_t i = 0; i < kept->words; i++)
		kept->word[i] = word_of(kept, i);
}

static size_t some_bytes(shmbuddy_t *region, struct support_rand *rand)
{
	size_t largest = buddy_stats(region).largest;

	if (support_rand_below(rand, 20) == 0)
		return MIN(largest, 256 * 1024);
	return support_rand_between(rand, sizeof(struct kept), MIN(largest, 4096));
}

/* ---- the processes ---- */

/* Under the lock: an amount moves from one block to another one, which is allocated for it. The old one is freed. */
static void move(shmbuddy_t *region, struct support_rand *rand)
{
	struct table *table = table_of(region);
	size_t a = support_rand_below(rand, KEPT), b = (a + 1 + support_rand_below(rand, KEPT - 1)) % KEPT;
	struct kept *from = address(region, table->block[a]), *to = address(region, table->block[b]);
	int64_t amount = (int64_t)support_rand_below(rand, 100);
	size_t bytes = some_bytes(region, rand);
	shm_offt new = shmbuddy_malloc(region, bytes), old = table->block[b];

	if (new == SHM_NULL)
		return;
	table->version++;
	fill(address(region, new), to->amount + amount, table->version, bytes);
	fill(from, from->amount - amount, table->version, sizeof(*from) + from->words * sizeof(from->word[0]));
	table->block[b] = new;
	g_assert_cmpint(shmbuddy_free(region, old), ==, 0);
}

/* Blocks of no account come and go without the lock. */
static void churn(shmbuddy_t *region, struct support_rand *rand, shm_offt *loose)
{
	for (unsigned i = 0; i < LOOSE; i++) {
		shm_offt *at = &loose[support_rand_below(rand, LOOSE)];

		if (*at != SHM_NULL)
			g_assert_cmpint(shmbuddy_free(region, *at), ==, 0);
		*at = shmbuddy_malloc(region, some_bytes(region, rand));
	}
}

static shmbuddy_t *open_beside(struct shared *s, struct support_rand *rand)
{
	support_rand_seed(rand, atomic_fetch_add(&s->seed, 1));
	return open_again(s->path, false);
}

/* Again and again, and what comes is used at once: so captures have lengths, words and parts of different moments. */
static void grow(shmbuddy_t *region, struct support_rand *rand, uint64_t range)
{
	uint64_t capacity = buddy_stats(region).capacity, more = support_rand_below(rand, 4) ? 16 : 32 * 1024;

	for (unsigned i = 0; i < 100 && capacity < range; i++) {
		capacity = MIN(range, capacity + more);
		g_assert_cmpint(shmbuddy_grow(region, capacity), ==, 0);
		shmbuddy_malloc(region, more);
	}
}

/* Small blocks, and then larger ones in their place. */
static void split_and_merge(shmbuddy_t *region)
{
	size_t smallest = buddy_stats(region).smallest, largest = MIN(buddy_stats(region).largest, 65536);
	shm_offt small[LOOSE], large[4];

	for (unsigned i = 0; i < LOOSE; i++)
		small[i] = shmbuddy_malloc(region, smallest * 32);
	for (unsigned i = 0; i < LOOSE; i++)
		shmbuddy_free(region, small[i]);
	for (size_t size = smallest * 256; size <= largest; size *= 8) {
		for (unsigned i = 0; i < G_N_ELEMENTS(large); i++)
			large[i] = shmbuddy_malloc(region, size);
		for (unsigned i = 0; i < G_N_ELEMENTS(large); i++)
			shmbuddy_free(region, large[i]);
	}
}

static int work(void *arg)
{
	struct shared *s = arg;
	shm_offt loose[LOOSE] = { 0 };
	struct support_rand rand;
	shmbuddy_t *region = open_beside(s, &rand);
	unsigned number = atomic_fetch_add(&s->workers, 1);

	for (unsigned turn = 0;; turn++) {
		if (number == 2)
			split_and_merge(region);
		if (number != 2 || turn % 100 == 0)
			churn(region, &rand, loose);
		if (number == 0)
			grow(region, &rand, s->range);
		if (number != 1)
			continue;
		lock(s);
		move(region, &rand);
		unlock(s);
	}
	return 0;
}

/* The lock is held while what changed is copied, and not while the disk writes. */
static int make_checkpoints(void *arg)
{
	struct shared *s = arg;
	struct support_rand rand;
	shmbuddy_t *region = open_beside(s, &rand);

	for (;;) {
		uint64_t version;

		lock(s);
		version = table_of(region)->version;
		atomic_store(&s->captured, version);
		if (shmbuddy_capture(region) < 0)
			g_error("%s", shmbuddy_errmsg());
		unlock(s);
		if (shmbuddy_commit(region) < 0)
			g_error("%s", shmbuddy_errmsg());
		atomic_store(&s->committed, version);
		atomic_fetch_add(&s->rounds, 1);
	}
	return 0;
}

/* ---- what is found ---- */

static bool is_kept(const struct table *table, shm_offt offset)
{
	for (unsigned i = 0; i < KEPT; i++)
		if (table->block[i] == offset)
			return true;
	return false;
}

/* What those left that were killed. */
static int free_loose(shm_offt offset, size_t size, void *region)
{
	(void)size;
	if (offset != shmbuddy_getroot(region, "table") && !is_kept(table_of(region), offset))
		g_assert_cmpint(shmbuddy_free(region, offset), ==, 0);
	return 0;
}

static void look_at_table(shmbuddy_t *region)
{
	const struct table *table = table_of(region);
	int64_t sum = 0;

	for (unsigned i = 0; i < KEPT; i++) {
		const struct kept *kept = address(region, table->block[i]);

		g_assert_cmpuint(shmbuddy_usable_size(region, table->block[i]), >=, sizeof(*kept) + kept->words * 8);
		g_assert_cmpuint(kept->version, <=, table->version);
		for (uint64_t k = 0; k < kept->words; k++)
			g_assert_cmpuint(kept->word[k], ==, word_of(kept, k));
		sum += kept->amount;
	}
	g_assert_cmpint(sum, ==, KEPT * EACH);
	shmbuddy_walk(region, free_loose, region);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, KEPT + 1);
	buddy_check(region);
}

static void make_table(const char *path, const struct shmbuddy_options *shape)
{
	shmbuddy_t *region = shmbuddy_open(path, shape);
	shm_offt at = shmbuddy_malloc(region, sizeof(struct table));
	struct table *table = address(region, at);

	*table = (struct table){ 0 };
	for (unsigned i = 0; i < KEPT; i++) {
		table->block[i] = shmbuddy_malloc(region, 100);
		fill(address(region, table->block[i]), EACH, 0, 100);
	}
	g_assert_cmpint(shmbuddy_setroot(region, "table", at), ==, 0);
	g_assert_cmpint(shmbuddy_durable(region), ==, 0);
	buddy_close(region);
}

/* Returns how many checkpoints were made. */
static uint64_t run_and_cut(struct shared *s, struct support_rand *rand)
{
	uint64_t version;
	shmbuddy_t *region;
	pid_t pids[WORKERS + 1];

	*s = (struct shared){ .path = s->path, .range = s->range, .seed = (unsigned)support_rand_next(rand) };
	region = open_again(s->path, false);
	version = table_of(region)->version;
	buddy_close(region);
	atomic_store(&s->committed, version);
	for (unsigned i = 0; i <= WORKERS; i++)
		pids[i] = support_fork(i ? work : make_checkpoints, s);
	while (atomic_load(&s->rounds) < 1 + support_rand_below(rand, 3))
		support_sleep_us(100);
	support_sleep_us((unsigned)support_rand_below(rand, 20000));
	for (unsigned i = 0; i <= WORKERS; i++)
		g_assert_true(support_kill(pids[i]));
	cut_power(s->path, rand, true);
	region = open_after_cut(s->path);
	version = table_of(region)->version;
	if (version != atomic_load(&s->committed) && version != atomic_load(&s->captured))
		g_error("version %" PRIu64 " is none of the last checkpoints, %" PRIu64 " and %" PRIu64, version,
			atomic_load(&s->committed), atomic_load(&s->captured));
	look_at_table(region);
	buddy_close(region);
	return atomic_load(&s->rounds);
}

static void of_shape(const struct shmbuddy_options *shape, unsigned cuts)
{
	struct shared *s = support_shared(sizeof(*s));
	struct support_rand rand;
	uint64_t made = 0;

	support_rand_seed(&rand, (uint64_t)shape->capacity);
	s->path = support_path("region");
	s->range = shape->range;
	make_table(s->path, shape);
	for (unsigned i = 0; i < cuts; i++)
		made += run_and_cut(s, &rand);
	g_test_message("%u cuts, %" PRIu64 " checkpoints", cuts, made);
}

static void flat(void)
{
	of_shape(&(struct shmbuddy_options){ .capacity = MIB, .range = MIB, .smallest = 32, .largest = 1024 },
		 (unsigned)support_scale(CUTS / 4));
}

static void levels(void)
{
	of_shape(&shapes[2], (unsigned)support_scale(CUTS / 2));
}

static void growing(void)
{
	of_shape(&shapes[4], (unsigned)support_scale(CUTS - CUTS / 4 - CUTS / 2));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/durable_work/flat", flat);
	support_add("/shmbuddy/durable_work/levels", levels);
	support_add("/shmbuddy/durable_work/growing", growing);
	return support_run();
}
