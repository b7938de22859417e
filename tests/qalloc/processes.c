/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several processes at once on one map: allocating, freeing each other's blocks, loading, and racing to create it.
 */
#include "tests/support/support_qalloc.h"

#define PROCESSES 32u

struct race {
	const char *path;
	size_t bytes;
	bool is_static;
	struct support_barrier *barrier;
	_Atomic unsigned next;
	_Atomic uintptr_t base;
	_Atomic(void *) block[PROCESSES];
};

static struct race *new_race(bool is_static, unsigned members)
{
	struct race *race = support_shared(sizeof(*race));

	race->path = support_path("race");
	race->bytes = 16 * MIB;
	race->is_static = is_static;
	race->barrier = support_barrier_new(members);
	return race;
}

static void run_all(struct race *race, support_child_fn *fn, unsigned count)
{
	pid_t pids[PROCESSES];

	for (unsigned i = 0; i < count; i++)
		pids[i] = support_fork(fn, race);
	for (unsigned i = 0; i < count; i++)
		support_wait_ok(pids[i]);
}

/* --- random replacement, each process its own blocks --- */

static int replace_at_random(void *arg)
{
	struct race *race = arg;
	unsigned self = atomic_fetch_add(&race->next, 1);
	struct support_block blocks[100] = { 0 };
	struct support_rand r;
	void *map = support_load(race->path);

	support_rand_seed(&r, self);
	support_barrier_wait(race->barrier);
	for (size_t round = 0; round < support_scale(60000); round++) {
		struct support_block *block = &blocks[support_rand_below(&r, 100)];
		size_t size = race->is_static              ? 64
			      : support_rand_below(&r, 30) ? support_rand_below(&r, 1500)
							   : support_rand_below(&r, 150000);

		if (block->at)
			support_give(map, block);
		if (!support_take(map, block, size, (uint64_t)self << 32 | round))
			assert_errno_is(ENOMEM);
	}
	for (size_t i = 0; i < 100; i++)
		if (blocks[i].at && i % 2)
			support_give(map, &blocks[i]);
		else if (blocks[i].at)
			support_verify(&blocks[i]);
	support_close(map);
	return 0;
}

static void replace_in_several_processes(bool is_static)
{
	struct race *race = new_race(is_static, 4);
	void *map =
		is_static ? (void *)support_stat(race->path, MIB, 64, 3) : (void *)support_dyn(race->path, 32 * MIB, 3);
	size_t largest = support_largest(map);

	run_all(race, replace_at_random, 4);
	check_map(map);
	g_assert_cmpuint(support_used(map), <=, 200);
	g_assert_cmpuint(support_count(map), ==, support_used(map));
	support_free_all(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	support_finish(map, race->path);
}

static void processes_share_a_dynamic_map(void)
{
	replace_in_several_processes(false);
}

static void processes_share_a_static_map(void)
{
	replace_in_several_processes(true);
}

/* --- one allocates, the other frees --- */

#define RING 256

struct ring {
	const char *path;
	bool is_static;
	size_t count;
	_Atomic(void *) at[RING];
	struct support_block sent[RING];
};

static size_t ring_size(const struct ring *ring, size_t i)
{
	return ring->is_static ? 48 : i % 61 == 0 ? 70000 + i % 7 * 30000 : i % 1200;
}

static int produce(void *arg)
{
	struct ring *ring = arg;
	void *map = support_load(ring->path);

	for (size_t i = 0; i < ring->count; i++) {
		struct support_block *sent = &ring->sent[i % RING];

		while (atomic_load(&ring->at[i % RING]))
			support_sleep_us(1);
		while (!support_take(map, sent, ring_size(ring, i), i))
			support_sleep_us(10);
		atomic_store(&ring->at[i % RING], sent->at);
	}
	support_close(map);
	return 0;
}

static int consume(void *arg)
{
	struct ring *ring = arg;
	void *map = support_load(ring->path);

	for (size_t i = 0; i < ring->count; i++) {
		while (!atomic_load(&ring->at[i % RING]))
			support_sleep_us(1);
		g_assert_cmpuint(ring->sent[i % RING].tag, ==, i);
		support_give(map, &ring->sent[i % RING]);
		atomic_store(&ring->at[i % RING], NULL);
	}
	support_close(map);
	return 0;
}

static void one_takes_the_other_frees(bool is_static)
{
	struct ring *ring = support_shared(sizeof(*ring));
	void *map;
	size_t largest;
	pid_t producer, consumer;

	ring->path = support_path("ring");
	ring->is_static = is_static;
	ring->count = support_scale(60000);
	map = is_static ? (void *)support_stat(ring->path, 256 * KIB, 48, 2)
			: (void *)support_dyn(ring->path, 8 * MIB, 2);
	largest = support_largest(map);
	producer = support_fork(produce, ring);
	consumer = support_fork(consume, ring);
	support_wait_ok(producer);
	support_wait_ok(consumer);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	support_finish(map, ring->path);
}

static void remote_frees(void)
{
	one_takes_the_other_frees(false);
}

static void remote_frees_of_items(void)
{
	one_takes_the_other_frees(true);
}

/* --- many load, many create --- */

static int load_at_once(void *arg)
{
	struct race *race = arg;
	unsigned self = atomic_fetch_add(&race->next, 1);
	void *map;

	support_barrier_wait(race->barrier);
	map = support_load(race->path);
	g_assert_true((uintptr_t)support_base(map) == atomic_load(&race->base));
	atomic_store(&race->block[self], qalloc_malloc(map, 100 + self));
	g_assert_nonnull(atomic_load(&race->block[self]));
	support_fill(atomic_load(&race->block[self]), 100 + self, self);
	support_barrier_wait(race->barrier);
	for (unsigned i = 0; i < PROCESSES; i++)
		g_assert_true(support_intact(atomic_load(&race->block[i]), 100 + i, i));
	support_barrier_wait(race->barrier);
	assert_void(qalloc_free(atomic_load(&race->block[(self + 1) % PROCESSES]), map), 0);
	support_close(map);
	return 0;
}

static void thirty_two_processes_load(void)
{
	struct race *race = new_race(false, PROCESSES);
	void *map;

	map = support_dyn(race->path, race->bytes, 4);
	atomic_store(&race->base, (uintptr_t)support_base(map));
	support_close(map);
	run_all(race, load_at_once, PROCESSES);
	map = support_load(race->path);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, race->path);
}

static int create_at_once(void *arg)
{
	struct race *race = arg;
	unsigned self = atomic_fetch_add(&race->next, 1);
	uintptr_t base = 0, mine;
	void *map;

	support_barrier_wait(race->barrier);
	map = race->is_static ? (void *)support_stat(race->path, race->bytes, 200, 4)
			      : (void *)support_dyn(race->path, race->bytes, 4);
	mine = (uintptr_t)support_base(map);
	g_assert_true(atomic_compare_exchange_strong(&race->base, &base, mine) || base == mine);
	atomic_store(&race->block[self], qalloc_malloc(map, 100 + self));
	g_assert_nonnull(atomic_load(&race->block[self]));
	support_fill(atomic_load(&race->block[self]), 100 + self, self);
	support_barrier_wait(race->barrier);
	for (unsigned i = 0; i < PROCESSES; i++)
		g_assert_true(support_intact(atomic_load(&race->block[i]), 100 + i, i));
	return 0; /* some close, some just end */
}

static void create_race(bool is_static, bool file_exists)
{
	struct race *race = new_race(is_static, PROCESSES);
	void *map;

	if (file_exists)
		support_file_write(race->path, "", 0);
	run_all(race, create_at_once, PROCESSES);
	g_assert_cmpint(support_file_size(race->path), ==, (gint64)race->bytes);
	map = support_load(race->path);
	g_assert_cmpuint(support_used(map), ==, PROCESSES);
	for (unsigned i = 0; i < PROCESSES; i++)
		assert_void(qalloc_free(atomic_load(&race->block[i]), map), 0);
	support_finish(map, race->path);
}

static void thirty_two_processes_create(void)
{
	for (size_t round = 0; round < support_scale(20); round++) {
		create_race(round % 2, round % 4 >= 2);
		if (round % 5 == 0)
			support_watchdog(SUPPORT_HUNG_SECONDS);
	}
}

/* Threads of one process race too: all get the same handle. */
static void create_in_a_thread(struct support_thread *self)
{
	struct race *race = self->arg;

	support_barrier_wait(race->barrier);
	atomic_store(&race->block[self->index], support_dyn(race->path, race->bytes, 4));
}

static void threads_create(void)
{
	for (size_t round = 0; round < support_scale(50); round++) {
		struct race *race = new_race(false, 8);

		support_threads(8, create_in_a_thread, race);
		for (int i = 0; i < 8; i++) {
			g_assert_true(atomic_load(&race->block[i]) == atomic_load(&race->block[0]));
			support_close(atomic_load(&race->block[i]));
		}
		assert_minus1(qalloc_close(atomic_load(&race->block[0])), EBADF);
		unlink(race->path);
	}
}

/* --- the creator dies --- */

struct creation {
	const char *path;
	bool is_static;
	_Atomic bool ready; /* the child is about to create */
	_Atomic bool go;
	_Atomic uint64_t took; /* microseconds */
};

static void *create(const struct creation *c)
{
	if (c->is_static)
		return support_stat(c->path, 4 * MIB, 100, 3);
	return support_dyn(c->path, 4 * MIB, 3);
}

static int create_and_die(void *arg)
{
	struct creation *c = arg;
	uint64_t begin;

	atomic_store(&c->ready, true);
	while (!atomic_load(&c->go))
		;
	begin = support_now_us();
	g_assert_nonnull(qalloc_malloc(create(c), 100));
	atomic_store(&c->took, support_now_us() - begin);
	return 0;
}

/* A child that begins to create now: what fork takes is not counted. */
static pid_t start_creator(struct creation *c)
{
	pid_t pid;

	atomic_store(&c->ready, false);
	atomic_store(&c->go, false);
	pid = support_fork(create_and_die, c);
	while (!atomic_load(&c->ready))
		support_sleep_us(1);
	atomic_store(&c->go, true);
	return pid;
}

/* Microseconds that a creation takes here, the fastest of some. */
static unsigned creation_time(struct creation *c)
{
	uint64_t fastest = UINT64_MAX;

	for (int i = 0; i < 10; i++) {
		support_wait_ok(start_creator(c));
		fastest = MIN(fastest, atomic_load(&c->took));
		unlink(c->path);
	}
	return (unsigned)fastest;
}

/* Where the machine is busy, the killer is late: there are as many rounds as it takes to be in time once, up to a limit. */
static void creator_killed_halfway(void)
{
	struct creation *c = support_shared(sizeof(*c));
	struct support_rand r;
	size_t killed = 0, rounds = support_scale(300), round = 0;
	unsigned time;

	c->path = support_path("halfway");
	time = creation_time(c);
	support_rand_seed(&r, 1);
	for (; round < rounds || (!killed && round < 100 * rounds); round++) {
		pid_t pid;
		void *map;

		c->is_static = round % 2;
		pid = start_creator(c);
		killed += support_kill_after_us(pid, (unsigned)support_rand_below(&r, 2 * time + 1));
		map = create(c);
		g_assert_cmpint(support_file_size(c->path), ==, 4 * MIB);
		g_assert_cmpuint(support_used(map), <=, 1);
		g_assert_nonnull(qalloc_malloc(map, 100));
		support_finish(map, c->path);
	}
	g_test_message("%zu of %zu creators killed, one creation takes %u us", killed, round, time);
	g_assert_cmpuint(killed, >, 0);
}

/* Another process waits for the creator at the very moment when it is killed. */
static int create_after(void *arg)
{
	struct creation *c = arg;
	void *map = create(c);

	g_assert_nonnull(qalloc_malloc(map, 100));
	check_map(map);
	support_close(map);
	return 0;
}

static void others_wait_for_a_killed_creator(void)
{
	struct creation *c = support_shared(sizeof(*c));
	struct support_rand r;
	unsigned time;

	c->path = support_path("waiting");
	time = creation_time(c);
	support_rand_seed(&r, 2);
	for (size_t round = 0; round < support_scale(100); round++) {
		pid_t creator = start_creator(c), others[3];

		for (int i = 0; i < 3; i++)
			others[i] = support_fork(create_after, c);
		support_kill_after_us(creator, (unsigned)support_rand_below(&r, 2 * time + 1));
		for (int i = 0; i < 3; i++)
			support_wait_ok(others[i]);
		unlink(c->path);
	}
}

/* Whatever is free gets the lowest number: then a map would be what printf() writes to. */
static int create_without_standard(void *arg)
{
	struct creation *c = arg;
	void *map;

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		close(fd);
	map = create(c);
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (!map || write(fd, "text", 4) >= 0 || errno != EBADF)
			return 1;
	return support_used(map) != 0 || qalloc_close(map) != 0;
}

static void started_without_standard_descriptors(void)
{
	struct creation *c = support_shared(sizeof(*c));

	c->path = support_path("without-stdout");
	support_run_child(create_without_standard, c); /* It makes the map, */
	support_run_child(create_without_standard, c); /* and it opens it. */
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/processes/dynamic", processes_share_a_dynamic_map);
	support_add("/qalloc/processes/static", processes_share_a_static_map);
	support_add("/qalloc/processes/remote-free", remote_frees);
	support_add("/qalloc/processes/remote-free-static", remote_frees_of_items);
	support_add("/qalloc/processes/load-by-32", thirty_two_processes_load);
	support_add("/qalloc/processes/create-by-32", thirty_two_processes_create);
	support_add("/qalloc/processes/create-by-threads", threads_create);
	support_add("/qalloc/processes/creator-killed", creator_killed_halfway);
	support_add("/qalloc/processes/creator-killed-others-wait", others_wait_for_a_killed_creator);
	support_add("/qalloc/processes/without-standard", started_without_standard_descriptors);
	return support_run();
}
