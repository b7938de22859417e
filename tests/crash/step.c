/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Killed at every instruction. For each scenario and each k: a fresh copy of a prepared map, a survivor that is attached
 * to it, and a victim that attaches, warms up, and is single-stepped k instructions into one call of the library, then
 * SIGKILLed. The survivor then must, within one second: find the call to have happened wholly or not at all, find every
 * other block intact, allocate and free in the same and other classes, pass the full check, free everything, and have
 * the whole map again.
 *
 *     driver                      survivor                victim
 *     writes the map              loads, waits            loads, warms up, stops
 *     steps until phase is 1                              phase = 1; call begins
 *     steps or runs to the k-th, SIGKILL                  (dies)
 *     go                          works, checks, exits
 *
 * Calls of some hundred instructions are killed at every one. For longer ones the points are taken from coarse to fine
 * (halves, quarters, eighths ...) until the scenario's two seconds are up. MA_CRASH_STEP=n takes every n-th, however long
 * it takes; 1 is exhaustive.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/support/support_qalloc.h"
#include "tests/support/support_step.h"

#define MAP_BYTES         (2 * MIB)
#define KEEP              24 /* marked blocks in the prepared map */
#define LARGE             (200 * KIB)
#define SURVIVOR_US       1000000u
#define SCENARIO_US       2000000u /* of sampling, when MA_CRASH_STEP is not set */
#define MOST_STEPS        4000000u
#define ENOUGH_VIOLATIONS 5u

/* What a call may have done to the number of blocks when it was cut off. */
enum effect {
	KEEPS,
	TAKES,
	GIVES,
};

/* In shared memory. */
struct stage {
	_Atomic int phase; /* 0 before the call, 1 in it, 2 after */
	_Atomic int no_ptrace;
	_Atomic size_t before; /* live blocks before the call */
	_Atomic size_t after;  /* what the survivor found */
	struct support_block keep[KEEP];
	void *victims;  /* a block for the call to free, or NULL */
	size_t items;   /* of the whole static map, else 0 */
	size_t largest; /* of the empty map */
};

struct scenario {
	const char *name;
	bool is_static;
	enum effect effect;
	size_t victims;  /* size of the block that is prepared for the call to free, or 0 */
	bool loads;      /* the call is the loading itself */
	bool adds_table; /* the fixed table of roots is full before the call */
	void (*warm_up)(void *map);
	void (*call)(void *map);
};

static struct stage *stage;
static const char *path;
static int ready[2], go[2]; /* pipes: the survivor is attached; the victim is dead */
static void *scratch;       /* what the victim's warm-up leaves for its call */
static size_t total_points, total_violations;

/* --- the scenarios --- */

static void nothing(void *map)
{
	(void)map;
}

static void take_64(void *map)
{
	scratch = qalloc_malloc(map, 64);
}

static void take_64_often(void *map)
{
	for (int i = 0; i < 64; i++)
		scratch = qalloc_malloc(map, 64);
}

static void take_1000(void *map)
{
	scratch = qalloc_malloc(map, 1000);
}

static void take_5000(void *map)
{
	scratch = qalloc_malloc(map, 5000);
}

static void take_large(void *map)
{
	scratch = qalloc_malloc(map, LARGE);
}

static void take_aligned(void *map)
{
	scratch = qalloc_memalign(map, 4096, 3000);
}

static void free_scratch(void *map)
{
	qalloc_free(scratch, map);
}

static void free_prepared(void *map)
{
	qalloc_free(stage->victims, map);
}

static void grow_scratch(void *map)
{
	scratch = qalloc_realloc(map, scratch, 5000);
}

static void shrink_scratch(void *map)
{
	scratch = qalloc_realloc(map, scratch, 70 * KIB);
}

static void set_new_root(void *map)
{
	qalloc_setroot(map, "new", stage->keep[2].at);
}

static void replace_root(void *map)
{
	qalloc_setroot(map, "root", stage->keep[1].at);
}

static void remove_root(void *map)
{
	qalloc_setroot(map, "root", NULL);
}

static void close_map(void *map)
{
	qalloc_close(map);
}

static void load(void *map)
{
	(void)map;
	qalloc_loadmap(path);
}

static const struct scenario scenarios[] = {
	{ .name = "malloc-first-call", .effect = TAKES, .warm_up = nothing, .call = take_64 },
	{ .name = "malloc-from-cursor", .effect = TAKES, .warm_up = take_64, .call = take_64 },
	{ .name = "malloc-refill", .effect = TAKES, .warm_up = take_64_often, .call = take_64 },
	{ .name = "malloc-new-slab", .effect = TAKES, .warm_up = take_64, .call = take_1000 },
	{ .name = "malloc-new-slab-5000", .effect = TAKES, .warm_up = take_64, .call = take_5000 },
	{ .name = "malloc-large", .effect = TAKES, .warm_up = take_64, .call = take_large },
	{ .name = "memalign", .effect = TAKES, .warm_up = take_64, .call = take_aligned },
	{ .name = "free-own", .effect = GIVES, .warm_up = take_64, .call = free_scratch },
	{ .name = "free-of-the-dead", .effect = GIVES, .victims = 64, .warm_up = take_1000, .call = free_prepared },
	{ .name = "free-large", .effect = GIVES, .victims = LARGE, .warm_up = take_64, .call = free_prepared },
	{ .name = "realloc-moves", .effect = TAKES, .warm_up = take_64, .call = grow_scratch },
	{ .name = "realloc-shrinks-large", .effect = TAKES, .warm_up = take_large, .call = shrink_scratch },
	{ .name = "setroot-new", .effect = KEEPS, .warm_up = take_64, .call = set_new_root },
	{ .name = "setroot-new-table", .effect = KEEPS, .adds_table = true, .warm_up = take_64, .call = set_new_root },
	{ .name = "setroot-replace", .effect = KEEPS, .warm_up = take_64, .call = replace_root },
	{ .name = "setroot-remove", .effect = KEEPS, .warm_up = take_64, .call = remove_root },
	{ .name = "close", .effect = KEEPS, .warm_up = take_64, .call = close_map },
	{ .name = "load", .effect = KEEPS, .loads = true, .warm_up = nothing, .call = load },
	{ .name = "static-malloc-first-call", .is_static = true, .effect = TAKES, .warm_up = nothing, .call = take_64 },
	{ .name = "static-malloc", .is_static = true, .effect = TAKES, .warm_up = take_64, .call = take_64 },
	{ .name = "static-malloc-refill",
	  .is_static = true,
	  .effect = TAKES,
	  .warm_up = take_64_often,
	  .call = take_64 },
	{ .name = "static-setroot-new-table",
	  .is_static = true,
	  .effect = KEEPS,
	  .adds_table = true,
	  .warm_up = take_64,
	  .call = set_new_root },
	{ .name = "static-free",
	  .is_static = true,
	  .effect = GIVES,
	  .victims = 64,
	  .warm_up = take_64,
	  .call = free_prepared },
};

/* --- the prepared map --- */

struct snapshot {
	char *bytes;
	size_t size;
	size_t blocks;
};

static size_t take_all(void *map)
{
	size_t count = 0;

	while (qalloc_malloc(map, 64))
		count++;
	return count;
}

/* All room for runs of several chunks, in bytes: one of an odd number is left where a single chunk stands alone. */
static size_t take_runs(void *map)
{
	size_t sum = 0;
	void *block;

	for (size_t largest; (largest = support_largest(map)) > 64 * KIB; sum += qalloc_usable_size(map, block))
		block = qalloc_malloc(map, largest);
	while ((block = qalloc_memalign(map, 64 * KIB, 64 * KIB)))
		sum += 64 * KIB;
	return sum;
}

/* "root" is there already. */
static void fill_fixed_table(void *map, size_t places)
{
	char name[16];

	for (size_t i = 1; i < places; i++) {
		snprintf(name, sizeof(name), "fill %zu", i);
		g_assert_cmpint(qalloc_setroot(map, name, stage->keep[0].at), ==, 0);
	}
}

/* Blocks of all sorts, a root, and the block that the call is to free. Whoever made them is gone. */
static int prepare(void *arg)
{
	const struct scenario *s = arg;
	void *map =
		s->is_static ? (void *)support_stat(path, MAP_BYTES, 64, 2) : (void *)support_dyn(path, MAP_BYTES, 2);

	stage->items = s->is_static ? take_all(map) : 0;
	support_free_all(map);
	stage->largest = support_largest(map);
	for (size_t i = 0; i < KEEP; i++)
		g_assert_true(support_take(map, &stage->keep[i], s->is_static ? 64 : i % 2 ? 64 : 100, i));
	stage->victims = s->victims ? qalloc_malloc(map, s->victims) : NULL;
	g_assert_true(!s->victims || stage->victims);
	g_assert_cmpint(qalloc_setroot(map, "root", stage->keep[0].at), ==, 0);
	if (s->adds_table)
		fill_fixed_table(map, s->is_static ? MAP_BYTES / (64 * KIB) : 64);
	stage->before = support_count(map);
	support_close(map);
	return 0;
}

static struct snapshot take_snapshot(const struct scenario *s)
{
	struct snapshot snap;

	path = support_path("step");
	support_run_child(prepare, (void *)(uintptr_t)s);
	snap.bytes = support_file_read(path, &snap.size);
	snap.blocks = stage->before;
	return snap;
}

/* --- the survivor --- */

static void pass(const int *pipe)
{
	g_assert_cmpint(write(pipe[1], "", 1), ==, 1);
}

static void await(const int *pipe)
{
	char byte;

	g_assert_cmpint(read(pipe[0], &byte, 1), ==, 1);
}

static void find_it_done_or_not(const struct scenario *s, void *map)
{
	size_t before = stage->before, after = support_count(map);

	stage->after = after;
	if (after != before)
		g_assert_cmpuint(after, ==, s->effect == TAKES ? before + 1 : s->effect == GIVES ? before - 1 : before);
	for (size_t i = 0; i < KEEP; i++)
		support_verify(&stage->keep[i]);
}

static void find_the_roots(const struct scenario *s, void *map)
{
	void *root = qalloc_getroot(map, "root"), *new = qalloc_getroot(map, "new");

	g_assert_true(root == stage->keep[0].at || (s->call == replace_root && root == stage->keep[1].at) ||
		      (s->call == remove_root && !root));
	g_assert_true(!new || (s->call == set_new_root && new == stage->keep[2].at));
	g_assert_cmpint(qalloc_setroot(map, "root", stage->keep[3].at), ==, 0);
	g_assert_cmpint(qalloc_setroot(map, "new", NULL), ==, 0);
	g_assert_true(qalloc_getroot(map, "root") == stage->keep[3].at);
	/* Now there is a table below, whether the victim came so far or not, and only one. */
	if (s->adds_table)
		g_assert_cmpint(qalloc_setroot(map, "one more", stage->keep[3].at), ==, 0);
}

static void use_all_classes(void *map)
{
	static const size_t sizes[] = { 64, 64, 64, 1000, 1000, 5000, 5000, 70 * KIB, 100, 150 * KIB };
	struct support_block blocks[G_N_ELEMENTS(sizes) * 8];
	size_t count = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		size_t size = stage->items ? 64 : sizes[i % G_N_ELEMENTS(sizes)];

		if (size > 64 * KIB && i >= G_N_ELEMENTS(sizes))
			continue;
		g_assert_true(support_take(map, &blocks[count], size, i));
		count++;
	}
	for (size_t i = 0; i < KEEP; i++)
		support_verify(&stage->keep[i]);
	for (size_t i = 0; i < count; i++)
		support_give(map, &blocks[i]);
}

/* The whole map, but for one table of roots: a group, or a chunk that may lie anywhere. */
static void have_the_whole_map_again(const struct scenario *s, void *map)
{
	support_free_all(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	if (stage->items)
		g_assert_cmpuint(take_all(map), ==, stage->items - (s->adds_table ? 64 : 0));
	else if (s->adds_table)
		g_assert_cmpuint(take_runs(map) + 64 * KIB, ==, stage->largest);
	else
		g_assert_cmpuint(support_largest(map), ==, stage->largest);
	check_map(map);
}

static int survive(void *arg)
{
	const struct scenario *s = arg;
	void *map = support_load(path);

	qalloc_free(qalloc_malloc(map, 64), map);
	pass(ready);
	await(go);
	find_it_done_or_not(s, map);
	find_the_roots(s, map);
	check_map(map);
	use_all_classes(map);
	check_map(map);
	have_the_whole_map_again(s, map);
	support_close(map);
	return 0;
}

/* --- the victim --- */

static int be_victim(void *arg)
{
	const struct scenario *s = arg;
	void *map = NULL;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
		atomic_store(&stage->no_ptrace, 1);
		return 0;
	}
	if (!s->loads) {
		map = support_load(path);
		s->warm_up(map);
		stage->before = support_count(map);
	}
	raise(SIGSTOP);
	atomic_store(&stage->phase, 1);
	s->call(map);
	atomic_store(&stage->phase, 2);
	raise(SIGSTOP);
	return 0;
}

/* --- the driver --- */

/* Only the pages that the last victim and its survivor changed. */
static void restore(const struct snapshot *snap)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	const char *now = mmap(NULL, snap->size, PROT_READ, MAP_SHARED, fd, 0);

	g_assert_true(now != MAP_FAILED);
	for (size_t at = 0; at < snap->size; at += 4096) {
		size_t size = MIN(snap->size - at, 4096);

		if (memcmp(now + at, snap->bytes + at, size) != 0)
			g_assert_cmpint(pwrite(fd, snap->bytes + at, size, (off_t)at), ==, (gint64)size);
	}
	munmap((void *)(uintptr_t)now, snap->size);
	close(fd);
}

static void reset(const struct snapshot *snap)
{
	restore(snap);
	atomic_store(&stage->phase, 0);
	atomic_store(&stage->before, snap->blocks);
}

/* The survivor has a second to do everything; why it failed is on stderr. */
static bool survivor_is_well(pid_t survivor)
{
	uint64_t end = support_now_us() + SURVIVOR_US;
	int status;

	pass(go);
	while (waitpid(survivor, &status, WNOHANG) == 0) {
		if (support_now_us() > end) {
			g_test_message("the survivor is not done after a second");
			kill(survivor, SIGKILL);
			support_wait(survivor);
			return false;
		}
		usleep(50);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct sweep {
	const struct scenario *scenario;
	struct snapshot snap;
	size_t instructions;
	GArray *trace; /* where each lies */
	size_t points;
	size_t violations;
	size_t done; /* the first point at which the survivor found the call done */
};

/* Brings the victim to instruction @p k of the call and kills it there; false when it died on the way. */
static bool kill_at(struct sweep *sweep, pid_t victim, size_t k)
{
	const uintptr_t *trace = (const uintptr_t *)(void *)sweep->trace->data;
	size_t before = k < sweep->trace->len ? support_step_times_before(trace, k) : k;
	bool alive = true;

	if (!sweep->trace->len) {
		sweep->instructions = support_step_into(victim, &stage->phase, k, sweep->trace);
		alive = sweep->instructions != SIZE_MAX;
	} else if (before * 4 >= k) {
		alive = support_step_into(victim, &stage->phase, k, NULL) != SIZE_MAX;
	} else if (!support_step_run_into(victim, trace, k, before)) {
		alive = atomic_load(&stage->phase) == 2; /* another way than the first victim's: done already */
	}
	kill(victim, SIGKILL);
	if (alive)
		support_wait(victim);
	return alive;
}

static void try_point(struct sweep *sweep, size_t k)
{
	pid_t survivor, victim;
	bool alive = true;

	reset(&sweep->snap);
	survivor = support_fork(survive, (void *)(uintptr_t)sweep->scenario);
	await(ready);
	victim = support_fork(be_victim, (void *)(uintptr_t)sweep->scenario);
	support_wait(victim); /* its SIGSTOP: tracees report stops without being asked to */
	if (!atomic_load(&stage->no_ptrace))
		alive = kill_at(sweep, victim, k);
	sweep->points++;
	if (!survivor_is_well(survivor) || !alive) {
		g_test_message("%s: violation when killed at instruction %zu", sweep->scenario->name, k);
		sweep->violations++;
	}
	if (atomic_load(&stage->after) != atomic_load(&stage->before))
		sweep->done = MIN(sweep->done, k);
}

static bool goes_on(const struct sweep *sweep, uint64_t end)
{
	return sweep->violations < ENOUGH_VIOLATIONS && support_now_us() < end;
}

static void sweep_every(struct sweep *sweep, size_t every)
{
	for (size_t k = 0; k < sweep->instructions && goes_on(sweep, UINT64_MAX); k += every) {
		support_watchdog(SUPPORT_HUNG_SECONDS);
		try_point(sweep, k);
	}
}

/* Each point once: odd multiples of a stride that halves. */
static void sweep_finer_and_finer(struct sweep *sweep)
{
	uint64_t end = support_now_us() + SCENARIO_US;
	size_t stride = 1;

	while (stride < sweep->instructions)
		stride *= 2;
	try_point(sweep, 0);
	for (; stride; stride /= 2)
		for (size_t k = stride; k < sweep->instructions && goes_on(sweep, end); k += 2 * stride)
			try_point(sweep, k);
}

static void report(const struct sweep *sweep)
{
	char done[32] = "-";

	if (sweep->done != SIZE_MAX)
		g_snprintf(done, sizeof(done), "%zu", MIN(sweep->done, sweep->instructions));
	g_test_message("%-26s %7zu instructions, done from %6s, %6zu kill points, %zu violations",
		       sweep->scenario->name, sweep->instructions, done, sweep->points, sweep->violations);
	total_points += sweep->points;
	total_violations += sweep->violations;
}

static void run_scenario(gconstpointer data)
{
	struct sweep sweep = { .scenario = data, .done = SIZE_MAX };
	const char *every = getenv("MA_CRASH_STEP");

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("single steps of Valgrind or a sanitizer are not those of the library");
		return;
	}
	support_watchdog(SUPPORT_HUNG_SECONDS);
	support_step_one_cpu();
	stage = support_shared(sizeof(*stage));
	g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
	g_assert_cmpint(pipe2(go, O_CLOEXEC), ==, 0);
	sweep.snap = take_snapshot(sweep.scenario);
	sweep.trace = g_array_new(FALSE, FALSE, sizeof(uintptr_t));
	try_point(&sweep, MOST_STEPS);
	if (atomic_load(&stage->no_ptrace)) {
		g_test_skip("ptrace is not allowed here");
	} else {
		g_assert_cmpuint(sweep.instructions, <, MOST_STEPS);
		g_assert_cmpuint(sweep.instructions, >, 0);
		if (every && strtoul(every, NULL, 10))
			sweep_every(&sweep, strtoul(every, NULL, 10));
		else
			sweep_finer_and_finer(&sweep);
		report(&sweep);
	}
	alarm(0);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	g_free(sweep.snap.bytes);
	g_array_free(sweep.trace, TRUE);
	unlink(path);
	g_assert_cmpuint(sweep.violations, ==, 0);
}

int main(int argc, char **argv)
{
	int result;

	support_init(&argc, &argv);
	for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++) {
		char *name = g_strdup_printf("/crash/step/%s", scenarios[i].name);

		g_test_add_data_func(name, &scenarios[i], run_scenario);
		g_free(name);
	}
	result = support_run();
	printf("# crash: %zu kill points, %zu violations\n", total_points, total_violations);
	return result;
}
