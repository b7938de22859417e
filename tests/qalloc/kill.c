/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGKILL at random moments. Survivors go on, the account is right, and everything that was only reserved comes back.
 * tests/stress/soak.c does the same for longer; tests/crash/qalloc.c at every instruction.
 */
#include "tests/support/support_ledger.h"
#include "tests/support/support_qalloc.h"

#define SLOTS 500

struct scene {
	const char *path;
	struct ledger *ledger;
	void *map;      /* the survivor's handle */
	size_t size;    /* of blocks, where all have one size */
	uint64_t next;  /* incarnation of the next victim */
	bool inherited; /* the victim uses its parent's handle */
	unsigned threads;
	_Atomic uint64_t steps; /* of the present victim */
};

static struct scene *new_scene(bool is_static, size_t bytes)
{
	struct scene *s = support_shared(sizeof(*s));

	s->path = support_path("kill");
	s->map = is_static ? (void *)support_stat(s->path, bytes, 128, 3) : (void *)support_dyn(s->path, bytes, 3);
	s->ledger = ledger_init(support_shared(ledger_bytes(SLOTS)), SLOTS, is_static ? 128 : bytes / 64);
	s->ledger->one_size = is_static;
	s->threads = 1;
	return s;
}

/* A victim's own view of the scene: its handle differs when it loaded the map itself. */
struct crew {
	struct scene *scene;
	void *map;
	uint64_t incarnation;
};

static void work(struct support_thread *self)
{
	struct crew *crew = self->arg;
	struct ledger_worker worker;

	ledger_worker_init(&worker, &support_qalloc_calls, crew->scene->ledger, crew->map,
			   ledger_id(crew->incarnation, self->index));
	for (;;) {
		ledger_step(&worker);
		atomic_fetch_add(&crew->scene->steps, 1);
	}
}

static int victim(void *arg)
{
	struct crew *crew = arg;
	unsigned threads = crew->scene->threads;

	if (!crew->scene->inherited) {
		if (crew->map)
			support_close(crew->map);
		crew->map = support_load(crew->scene->path);
	}
	if (threads == 1)
		work(&(struct support_thread){ .arg = crew });
	support_threads(threads, work, crew);
	return 0;
}

/* One victim: let it work for a while, kill it, sweep. What may be lost is added up. */
static size_t kill_one(struct scene *s, struct support_rand *r)
{
	struct crew crew = { s, s->map, ++s->next };
	pid_t pid;

	s->inherited = s->map && support_rand_below(r, 2);
	atomic_store(&s->steps, 0);
	pid = support_fork(victim, &crew);
	while (atomic_load(&s->steps) < 1)
		support_sleep_us(10);
	g_assert_true(support_kill_after_us(pid, (unsigned)support_rand_below(r, 1500)));
	return ledger_sweep(s->ledger, s->next);
}

static void survivor_works(struct scene *s, size_t steps)
{
	struct ledger_worker worker;

	ledger_worker_init(&worker, &support_qalloc_calls, s->ledger, s->map, ledger_id(++s->next, 0));
	while (steps--)
		ledger_step(&worker);
}

/* Everything comes back: free all, known or not, and the map is as it was when it was new. */
static void everything_comes_back(struct scene *s, size_t largest, size_t items)
{
	size_t taken = 0;

	support_free_all(s->map);
	g_assert_cmpuint(support_used(s->map), ==, 0);
	check_map(s->map);
	if (!items) {
		g_assert_cmpuint(support_largest(s->map), ==, largest);
		return;
	}
	while (qalloc_malloc(s->map, 1))
		taken++;
	g_assert_cmpuint(taken, ==, items);
}

static void kill_many(bool is_static, unsigned threads, size_t rounds)
{
	struct scene *s = new_scene(is_static, is_static ? MIB : 32 * MIB);
	size_t largest = support_largest(s->map), items = 0, allowed = 0;
	struct support_rand r;

	if (is_static)
		items = support_stats(s->map).user_bytes / 128;
	s->threads = threads;
	support_rand_seed(&r, threads);
	for (size_t round = 0; round < rounds; round++) {
		allowed += kill_one(s, &r);
		survivor_works(s, 50);
		check_map(s->map);
	}
	g_test_message("%zu kills of processes with %u threads", rounds, threads);
	g_assert_cmpuint(allowed, <=, 2 * rounds * threads);
	ledger_settle(&support_qalloc_calls, s->ledger, s->map, NULL, allowed);
	everything_comes_back(s, largest, items);
	support_finish(s->map, s->path);
}

static void survivor_of_a_dynamic_map(void)
{
	kill_many(false, 1, support_scale(200));
}

static void survivor_of_a_static_map(void)
{
	kill_many(true, 1, support_scale(150));
}

static void victims_with_threads(void)
{
	kill_many(false, 3, support_scale(75));
	kill_many(true, 3, support_scale(50));
}

/* --- nobody survives: the next attacher finds a correct map --- */

static void kill_all(bool is_static)
{
	struct scene *s = new_scene(is_static, is_static ? MIB : 32 * MIB);
	size_t largest = support_largest(s->map), items = 0, allowed = 0;
	size_t rounds = support_scale(200);
	struct support_rand r;

	if (is_static)
		items = support_stats(s->map).user_bytes / 128;
	support_close(s->map);
	support_rand_seed(&r, 5);
	s->map = NULL;
	for (size_t round = 0; round < rounds; round++)
		allowed += kill_one(s, &r);
	s->map = support_load(s->path);
	ledger_settle(&support_qalloc_calls, s->ledger, s->map, NULL, allowed);
	everything_comes_back(s, largest, items);
	support_finish(s->map, s->path);
}

static void nobody_survives(void)
{
	kill_all(false);
	kill_all(true);
}

/* --- a victim that dies between calls --- */

static int take_and_wait(void *arg)
{
	struct scene *s = arg;
	void *map = support_load(s->path);

	for (size_t i = 0; i < SLOTS; i++) {
		struct support_block block;

		g_assert_true(support_take(map, &block, s->size, i));
		s->ledger->slot[i].block = block.at;
		s->ledger->slot[i].size = block.size;
		s->ledger->slot[i].tag = i;
	}
	atomic_store(&s->steps, 1);
	for (;;)
		pause();
	return 0;
}

static void blocks_of_the_dead_stay(void)
{
	static const size_t sizes[] = { 1, 100, 1000, 2049, 20000 };

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		struct scene *s = new_scene(false, 64 * MIB);
		size_t largest = support_largest(s->map);
		pid_t pid;

		s->size = sizes[i];
		support_close(s->map);
		atomic_store(&s->steps, 0);
		pid = support_fork(take_and_wait, s);
		while (!atomic_load(&s->steps))
			support_sleep_us(10);
		g_assert_true(support_kill(pid));
		s->map = support_load(s->path);
		g_assert_cmpuint(support_used(s->map), ==, SLOTS);
		ledger_settle(&support_qalloc_calls, s->ledger, s->map, NULL, 0);
		everything_comes_back(s, largest, 0);
		support_finish(s->map, s->path);
	}
}

/* What a dead process merely had in reserve comes to a survivor that runs short. */
static int hold_reserve(void *arg)
{
	struct scene *s = arg;

	g_assert_nonnull(qalloc_malloc(s->map, 1));
	atomic_fetch_add(&s->steps, 1);
	for (;;)
		pause();
	return 0;
}

static void reserve_of_the_dead_comes_back(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		struct scene *s = new_scene(is_static, support_size(4, 1) * MIB);
		size_t all, taken = 0;

		while (qalloc_malloc(s->map, 1))
			taken++;
		all = taken;
		support_free_all(s->map);
		for (int i = 0; i < 10; i++) {
			pid_t pid = support_fork(hold_reserve, s);

			while (atomic_load(&s->steps) <= (uint64_t)i)
				support_sleep_us(10);
			g_assert_true(support_kill(pid));
		}
		/* Who looks at a process in /proc as it dies holds its mappings, and so its locks, for a moment longer. */
		taken = 0;
		for (int round = 0; round < 1000 && taken < all - 10; round++) {
			while (qalloc_malloc(s->map, 1))
				taken++;
			support_sleep_us(1000);
		}
		g_assert_cmpuint(taken, ==, all - 10);
		support_finish(s->map, s->path);
	}
}

/* Many die at once while many go on. */
static void massacre(void)
{
	enum { VICTIMS = 12 };
	struct scene *s = new_scene(false, 64 * MIB);
	size_t largest = support_largest(s->map), allowed = 0;

	s->inherited = true;
	for (size_t round = 0; round < support_scale(15); round++) {
		uint64_t first = s->next + 1;
		pid_t pids[VICTIMS];

		atomic_store(&s->steps, 0);
		for (int i = 0; i < VICTIMS; i++) {
			struct crew crew = { s, s->map, ++s->next };

			pids[i] = support_fork(victim, &crew);
		}
		while (atomic_load(&s->steps) < 200)
			support_sleep_us(10);
		for (int i = 0; i < VICTIMS; i++)
			g_assert_true(support_kill(pids[i]));
		for (uint64_t i = first; i <= s->next; i++)
			allowed += ledger_sweep(s->ledger, i);
		survivor_works(s, 200);
		check_map(s->map);
	}
	ledger_settle(&support_qalloc_calls, s->ledger, s->map, NULL, allowed);
	everything_comes_back(s, largest, 0);
	support_finish(s->map, s->path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/kill/dynamic", survivor_of_a_dynamic_map);
	support_add("/qalloc/kill/static", survivor_of_a_static_map);
	support_add("/qalloc/kill/threads", victims_with_threads);
	support_add("/qalloc/kill/nobody-survives", nobody_survives);
	support_add("/qalloc/kill/blocks-stay", blocks_of_the_dead_stay);
	support_add("/qalloc/kill/reserve-back", reserve_of_the_dead_comes_back);
	support_add("/qalloc/kill/massacre", massacre);
	return support_run();
}
