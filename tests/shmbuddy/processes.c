/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads, processes and fork children in one region: who creates it, whose each byte is, who dies. */
#include <shm_alloc.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/support/support_buddy.h"

static const char *path;
static struct support_barrier *barrier;

static int create_racing(void *arg)
{
	(void)arg;
	support_barrier_wait(barrier);
	g_assert_true(shm_init(NULL, path));
	for (int i = 0; i < 100; i++) {
		shm_offt block = shm_malloc(100);

		g_assert_cmpuint(block, !=, SHM_NULL);
		memset(SHM_OFFT_TO_ADDR(block), 1, 128);
	}
	return 0;
}

static void creation_races(void)
{
	for (size_t round = 0; round < support_scale(8); round++) {
		pid_t pids[32];
		shmbuddy_t *region;

		path = support_path("race");
		barrier = support_barrier_new(32);
		for (size_t i = 0; i < 32; i++)
			pids[i] = support_fork(create_racing, NULL);
		for (size_t i = 0; i < 32; i++)
			support_wait_ok(pids[i]);
		region = buddy_open(path, 0, 0, 0);
		g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 3200);
		buddy_close(region);
		unlink(path);
	}
}

/* Its own numbers, or EINVAL because somebody else's are there: exit status 1. */
static int create_otherwise(void *arg)
{
	unsigned me = *(unsigned *)arg;
	struct shmbuddy_options options = { .capacity = 64 * KIB << me % 4,
					    .smallest = 16u << me % 3,
					    .largest = 1024u << me % 5 };
	shmbuddy_t *region;
	struct shmbuddy_stats stats;

	support_barrier_wait(barrier);
	region = shmbuddy_open(path, &options);
	if (!region) {
		g_assert_cmpint(errno, ==, EINVAL);
		return 1;
	}
	stats = buddy_stats(region);
	g_assert_cmpuint(stats.smallest, ==, options.smallest);
	g_assert_cmpuint(stats.largest, ==, options.largest);
	g_assert_cmpuint(stats.capacity, >=, options.capacity);
	return 0;
}

static void creators_disagree(void)
{
	for (size_t round = 0; round < support_scale(20); round++) {
		size_t refused = 0;
		pid_t pids[12];

		path = support_path("disagree");
		barrier = support_barrier_new(G_N_ELEMENTS(pids));
		for (unsigned i = 0; i < G_N_ELEMENTS(pids); i++)
			pids[i] = support_fork(create_otherwise, &i);
		for (size_t i = 0; i < G_N_ELEMENTS(pids); i++) {
			int status = support_wait(pids[i]);

			g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
			refused += WEXITSTATUS(status) == 1;
		}
		g_assert_cmpuint(refused, <, G_N_ELEMENTS(pids));
		unlink(path);
	}
}

static void init_in_thread(struct support_thread *self)
{
	support_barrier_wait(barrier);
	g_assert_true(shm_init(NULL, path));
	(void)self;
}

static void threads_init(void)
{
	path = support_path("threads-init");
	barrier = support_barrier_new(16);
	support_threads(16, init_in_thread, NULL);
	g_assert_nonnull(get_shm_user_base());
	shm_deinit();
}

/* --- whose is each byte? --- */

struct work {
	shmbuddy_t *region;
	size_t largest, steps, processes;
};

/*
 * Two threads of one process may be ordered by what another process did to the block in between. TSan does not see that process:
 * then it may not take these for plain stores and loads.
 */
static void put(const struct work *work, uint64_t *word, uint64_t value)
{
	if (work->processes)
		__atomic_store_n(word, value, __ATOMIC_RELAXED);
	else
		*word = value;
}

static uint64_t get(const struct work *work, const uint64_t *word)
{
	return work->processes ? __atomic_load_n(word, __ATOMIC_RELAXED) : *word;
}

/* Every block is filled with who has it, and looked at before it goes. */
static void work(const struct work *work, uint64_t me)
{
	struct {
		shm_offt at;
		size_t words;
	} live[64] = { { 0 } };
	struct support_rand rand;

	support_rand_seed(&rand, me);
	for (size_t step = 0; step < work->steps; step++) {
		size_t k = support_rand_below(&rand, 64);
		uint64_t *at;

		if (live[k].at == SHM_NULL) {
			live[k].words = support_rand_between(&rand, 1, work->largest / 8);
			live[k].at = shmbuddy_malloc(work->region, live[k].words * 8);
			if (live[k].at == SHM_NULL)
				continue;
			at = shmbuddy_address(work->region, live[k].at);
			for (size_t i = 0; i < live[k].words; i++)
				put(work, &at[i], me);
			continue;
		}
		at = shmbuddy_address(work->region, live[k].at);
		for (size_t i = 0; i < live[k].words; i++)
			g_assert_cmpuint(get(work, &at[i]), ==, me);
		g_assert_cmpint(shmbuddy_free(work->region, live[k].at), ==, 0);
		live[k].at = SHM_NULL;
	}
	for (size_t k = 0; k < 64; k++)
		g_assert_cmpint(shmbuddy_free(work->region, live[k].at), ==, 0);
}

static void work_in_thread(struct support_thread *self)
{
	work(self->arg, (uint64_t)getpid() << 8 | self->index);
}

static int work_in_process(void *arg)
{
	support_threads(2, work_in_thread, arg);
	return 0;
}

static void share_among(size_t processes, const char *name, uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	const char *file = support_path(name);
	struct work all = { buddy_open(file, capacity, smallest, largest), MIN(largest, 2 * KIB), support_scale(20000),
			    processes };
	pid_t pids[3];

	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	for (size_t i = 0; i < processes; i++)
		pids[i] = support_fork(work_in_process, &all);
	support_threads(3, work_in_thread, &all);
	for (size_t i = 0; i < processes; i++)
		support_wait_ok(pids[i]);
	buddy_check(all.region);
	/* Nobody died, so nothing is stranded: no mending is needed. */
	buddy_is_empty(all.region);
	buddy_close(all.region);
}

/* Threads of this process alone, and beside those of three others. */
static void share(const char *name, uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	share_among(0, name, capacity, smallest, largest);
	share_among(3, name, capacity, smallest, largest);
}

static void flat(void)
{
	share("flat", 4 * MIB, 32, 1024);
}

/* So small that it is full most of the time, and words split and merge under everybody's hands. */
static void crowded(void)
{
	share("crowded-flat", 64 * KIB, 32, 1024);
	share("crowded", 64 * KIB, 16, 64 * KIB);
}

static void stacked(void)
{
	share("stacked", 4 * MIB, 16, MIB);
}

/* --- who dies --- */

static int work_for_ever(void *arg)
{
	struct work all = *(struct work *)arg;

	all.steps = SIZE_MAX;
	work(&all, (uint64_t)getpid());
	return 0;
}

/* What the dead held is theirs for ever; everything else comes back, and the living are not disturbed. */
static void kills(void)
{
	struct work all = { buddy_open(support_path("kills"), MIB, 16, MIB), 2 * KIB, 0, 1 };
	size_t before = 0;

	for (size_t round = 0; round < support_scale(40); round++) {
		pid_t victims[2] = { support_fork(work_for_ever, &all), support_fork(work_for_ever, &all) };

		support_watchdog(SUPPORT_HUNG_SECONDS);
		support_sleep_us((unsigned)(500 + round * 137 % 3000));
		g_assert_true(support_kill(victims[0]));
		support_sleep_us(500);
		g_assert_true(support_kill(victims[1]));
		buddy_check(all.region);
		before = buddy_stats(all.region).used_blocks;
		g_assert_cmpuint(before, <=, 2 * 65u);
		buddy_free_all(all.region);
		g_assert_cmpint(shmbuddy_mend(all.region), ==, 0);
		buddy_is_empty(all.region);
	}
	buddy_close(all.region);
}

static int child_goes_on(void *arg)
{
	struct work *all = arg;
	shm_offt block = shmbuddy_getroot(all->region, "parent's");

	g_assert_cmpstr(shmbuddy_address(all->region, block), ==, "from the parent");
	g_assert_cmpint(shmbuddy_free(all->region, block), ==, 0);
	block = shmbuddy_malloc(all->region, 100);
	strcpy(shmbuddy_address(all->region, block), "from the child");
	g_assert_cmpint(shmbuddy_setroot(all->region, "child's", block), ==, 0);
	all->steps = support_scale(3000);
	work(all, 77);
	return 0;
}

static void forks(void)
{
	struct work all = { buddy_open(support_path("fork"), MIB, 32, 1024), 1024, support_scale(3000), 1 };
	shm_offt block = shmbuddy_malloc(all.region, 100);
	pid_t child;

	strcpy(shmbuddy_address(all.region, block), "from the parent");
	g_assert_cmpint(shmbuddy_setroot(all.region, "parent's", block), ==, 0);
	child = support_fork(child_goes_on, &all);
	work(&all, 78);
	support_wait_ok(child);
	block = shmbuddy_getroot(all.region, "child's");
	g_assert_cmpstr(shmbuddy_address(all.region, block), ==, "from the child");
	g_assert_cmpint(shmbuddy_free(all.region, block), ==, 0);
	buddy_is_empty(all.region);
	buddy_close(all.region);
}

static void set_one_root(struct support_thread *self)
{
	shmbuddy_t *region = self->arg;
	shm_offt block = shmbuddy_malloc(region, 32);
	char name[16];

	g_snprintf(name, sizeof(name), "own %u", self->index);
	for (size_t i = 0; i < support_scale(2000); i++) {
		g_assert_cmpint(shmbuddy_setroot(region, "everybody's", i % 3 ? block : SHM_NULL), ==, 0);
		g_assert_cmpint(shmbuddy_setroot(region, name, block), ==, 0);
		g_assert_cmpuint(shmbuddy_getroot(region, name), ==, block);
		g_assert_cmpint(shmbuddy_setroot(region, name, SHM_NULL), ==, 0);
		g_assert_cmpuint(shmbuddy_getroot(region, name), ==, SHM_NULL);
	}
}

static void racing_roots(void)
{
	shmbuddy_t *region = buddy_open(support_path("roots"), 64 * KIB, 32, 1024);
	char name[16];

	support_threads(8, set_one_root, region);
	shmbuddy_setroot(region, "everybody's", SHM_NULL);
	g_assert_cmpuint(shmbuddy_getroot(region, "everybody's"), ==, SHM_NULL);
	for (int i = 0; i < SHMBUDDY_ROOTS; i++) {
		g_snprintf(name, sizeof(name), "%d", i);
		g_assert_cmpint(
			shmbuddy_setroot(region, name, shmbuddy_getroot(region, "0") ?: shmbuddy_malloc(region, 1)), ==,
			0);
	}
	buddy_close(region);
}

/* Whatever is free gets the lowest number: then a region would be what printf() writes to. */
static int open_without_standard(void *file)
{
	shmbuddy_t *region;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		close(fd);
	region = shmbuddy_open(file, NULL);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (!region || write(fd, "text", 4) >= 0 || errno != EBADF)
			return 1;
	return shmbuddy_close(region) != 0;
}

static void started_without_standard_descriptors(void)
{
	char *file = g_strdup(support_path("without-stdout"));

	support_run_child(open_without_standard, file); /* It makes the region, */
	support_run_child(open_without_standard, file); /* and it opens it. */
	g_free(file);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/processes/creation-races-of-32", creation_races);
	support_add("/shmbuddy/processes/creators-disagree", creators_disagree);
	support_add("/shmbuddy/processes/threads-race-init", threads_init);
	support_add("/shmbuddy/processes/flat", flat);
	support_add("/shmbuddy/processes/stacked", stacked);
	support_add("/shmbuddy/processes/crowded", crowded);
	support_add("/shmbuddy/processes/kills", kills);
	support_add("/shmbuddy/processes/fork", forks);
	support_add("/shmbuddy/processes/racing-roots", racing_roots);
	support_add("/shmbuddy/processes/without-standard-descriptors", started_without_standard_descriptors);
	return support_run();
}
