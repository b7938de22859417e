/* SPDX-License-Identifier: BSD-3-Clause */
/* See crash.h. */
#include "tests/crash/crash.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/crash/cast.h"
#include "tests/crash/image.h"
#include "tests/crash/report.h"
#include "tests/support/support.h"
#include "tests/support/support_step.h"

#define INSIDE_US         500u /* until the second opener is inside its call */
#define SHORT             400u /* instructions: every one is a real kill */
#define FEW               2u   /* of them, whatever the time */
#define KILLS             20u  /* of a longer call, at random, when all is swept */
#define MOST_STEPS        4000000u
#define ENOUGH_VIOLATIONS 5u
#define BUDGET            3.0 /* MA_CRASH_CPU */
#define SOME_STEPS        1024u

struct sweep {
	struct cast cast;
	struct row row;
	struct image start;    /* before anybody came */
	struct image attached; /* with the survivor */
	struct image left;     /* by a real kill */
	struct states *states;
	GArray *trace;   /* where each instruction lies */
	GArray *covered; /* one byte a state */
	struct support_rand rand;
	bool all;
	bool cut; /* Not stepped through to the end: where threads begin, other runs come further with as many instructions. */
	double end; /* of cpu_now(), when not all is swept */
};

static unsigned scenarios_left;
/* Seconds of CPU time that are left, for all scenarios, when not all is swept: the first passes have one and a half times as much. */
static double stepping_left, budget_left;

/* Seconds of CPU time: ours, and of children that have ended. A busy machine takes longer, and does not do less. */
static double cpu_now(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec + children.ru_utime.tv_sec +
			children.ru_stime.tv_sec) +
	       (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec + children.ru_utime.tv_usec +
			children.ru_stime.tv_usec) /
		       1e6;
}

/* Of a child that lives, which cpu_now() does not count yet: each step of a victim is the kernel's work, and most of a first pass. */
static double cpu_of(pid_t child)
{
	struct timespec used = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(child, &clock) == 0)
		clock_gettime(clock, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* --- the first victim is stepped all the way --- */

/* A scenario that is not swept whole is not stepped through for ever either: the victim dies where it is then. */
static bool steps_on(const struct sweep *sweep, pid_t victim, size_t k)
{
	if (k % SOME_STEPS)
		return true;
	support_watchdog(SUPPORT_HUNG_SECONDS);
	return k < MOST_STEPS && (sweep->all || k == 0 || cpu_now() + cpu_of(victim) < sweep->end);
}

static bool step_through(struct sweep *sweep, pid_t victim)
{
	struct cast_steps steps;
	double begin = cpu_now();
	size_t k = 0;
	bool lives = true, changed;

	sweep->end = begin + stepping_left / MAX(scenarios_left, 1);
	while (lives && atomic_load(&cast_stage->phase) == 0)
		lives = support_step_one(victim);
	sweep->states = states_new(crash_path(), sweep->cast.library->room);
	cast_steps_begin(&steps, victim, sweep->states);
	while (lives && steps_on(sweep, victim, k) && atomic_load(&cast_stage->phase) == 1) {
		uintptr_t at = support_step_at(victim);

		g_array_append_val(sweep->trace, at);
		lives = cast_step(&steps, at, ++k, &changed);
	}
	stepping_left = MAX(stepping_left - (cpu_now() + cpu_of(victim) - begin), 0);
	cast_steps_end(&steps);
	states_note(sweep->states, k, true);
	sweep->row.instructions = k;
	sweep->cut = atomic_load(&cast_stage->phase) == 1;
	if (sweep->cut)
		g_test_message("%s: stepped through its first %zu instructions only", sweep->row.name, k);
	return lives && k < MOST_STEPS;
}

/* False: we may not trace. */
static bool first_pass(struct sweep *sweep)
{
	pid_t survivor, victim;
	bool lives;

	image_put(&sweep->start, crash_path());
	survivor = cast_survivor(&sweep->cast, true);
	image_take(&sweep->attached, crash_path());
	victim = cast_victim(&sweep->cast);
	if (atomic_load(&cast_stage->no_ptrace)) {
		if (survivor)
			cast_end(survivor);
		return false;
	}
	lives = step_through(sweep, victim);
	if (lives)
		cast_end(victim);
	sweep->row.states = sweep->states->distinct;
	if (!cast_survivor_is_well(survivor) || !lives) {
		g_test_message("%s: violation when killed after the call, or dead in it", sweep->row.name);
		sweep->row.violations++;
	}
	g_array_set_size(sweep->covered, (guint)states_count(sweep->states));
	g_assert_cmpuint(sweep->row.instructions, >, 0);
	return true;
}

/* --- what went wrong, and where --- */

static void violation(struct sweep *sweep, size_t k, const char *how)
{
	char *where = report_place(k < sweep->trace->len ? g_array_index(sweep->trace, uintptr_t, k) : 0);

	sweep->row.violations++;
	g_test_message("%s: VIOLATION when killed before instruction %zu of %zu (%s): %s", sweep->row.name, k,
		       sweep->row.instructions, where, how);
	g_free(where);
}

static bool goes_on(const struct sweep *sweep)
{
	support_watchdog(SUPPORT_HUNG_SECONDS);
	return sweep->row.violations < ENOUGH_VIOLATIONS && (sweep->all || cpu_now() < sweep->end);
}

/* --- states, put into the file --- */

static void survive_state(struct sweep *sweep, size_t index, bool newcomer)
{
	struct image before = image_new(sweep->cast.library->room);
	size_t difference;
	pid_t survivor;

	if (cast_has(&sweep->cast, CRASH_ALONE))
		return;
	image_put(&sweep->start, crash_path());
	survivor = cast_survivor(&sweep->cast, false);
	image_take(&before, crash_path());
	/* What the survivor knows must fit the bytes that it is going to see. */
	difference = image_difference(&before, &sweep->attached, sweep->cast.library->varies);
	if (difference != IMAGE_EQUAL)
		g_error("%s: the survivor is attached to other bytes than the first one was, at offset %#zx: do they "
			"vary?",
			sweep->row.name, difference);
	image_free(&before);
	image_put(states_image(sweep->states, index), crash_path());
	cast_stage->newcomer = newcomer;
	if (!cast_survivor_is_well(survivor))
		violation(sweep, states_begin(sweep->states, index), newcomer ? "survivor, newcomer" : "survivor");
}

static void examine_state(struct sweep *sweep, size_t index)
{
	if (!states_is_repeated(sweep->states, index)) {
		if (sweep->all || index % 2)
			survive_state(sweep, index, false);
		if (sweep->all || index % 2 == 0)
			survive_state(sweep, index, true);
		if (!cast_opener_is_well(&sweep->cast, states_image(sweep->states, index)))
			violation(sweep, states_begin(sweep->states, index), "cold");
	}
	g_array_index(sweep->covered, char, index) = 1;
}

/* When not all is swept. */
static size_t *random_order(struct sweep *sweep, size_t count)
{
	size_t *order = g_new0(size_t, count);

	for (size_t i = 0; i < count; i++) {
		size_t j = sweep->all ? i : support_rand_below(&sweep->rand, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	return order;
}

static void examine_states(struct sweep *sweep)
{
	size_t count = states_count(sweep->states);
	size_t *order = random_order(sweep, count);

	for (size_t i = 0; i < count && (i < FEW || goes_on(sweep)); i++)
		examine_state(sweep, order[i]);
	g_free(order);
}

/* --- real kills --- */

/* Brings the victim to instruction @p k of the call; false when it died on the way. */
static bool bring_to(struct sweep *sweep, pid_t victim, size_t k)
{
	const uintptr_t *trace = (const uintptr_t *)(void *)sweep->trace->data;
	size_t before = k < sweep->trace->len ? support_step_times_before(trace, k) : k;

	if (before * 4 >= k)
		return support_step_into(victim, &cast_stage->phase, k, NULL) != SIZE_MAX;
	/* Another way than the first victim's: done already. */
	return support_step_run_into(victim, trace, k, before) || atomic_load(&cast_stage->phase) == 2;
}

/*
 * The state of its instruction; or of another one, for a victim whose clock is just being set takes some more to read it.
 * Of files made anew nearly all varies: where they lie in memory is left to chance. And who waits for a dead one's lock may
 * wake up more or less often.
 */
static bool left_is_known(struct sweep *sweep, size_t k)
{
	size_t count = states_count(sweep->states), index = states_at(sweep->states, k);

	for (size_t i = 0; i < count; i++)
		if (image_equal(&sweep->left, states_image(sweep->states, (index + i) % count),
				sweep->cast.library->varies))
			return true;
	return sweep->cut || cast_has(&sweep->cast, CRASH_ABSENT | CRASH_DEAD_DURING | CRASH_ANYWHERE);
}

static void kill_at(struct sweep *sweep, size_t k)
{
	pid_t survivor, victim, opener = 0;

	image_put(&sweep->start, crash_path());
	survivor = cast_survivor(&sweep->cast, true);
	victim = cast_victim(&sweep->cast);
	if (!bring_to(sweep, victim, k)) {
		if (survivor)
			cast_end(survivor);
		violation(sweep, k, "died by itself");
		return;
	}
	if (cast_has(&sweep->cast, CRASH_WAITED)) {
		opener = cast_opener(&sweep->cast);
		usleep(INSIDE_US);
	}
	cast_end(victim);
	sweep->row.kills++;
	cast_stage->newcomer = k % 2;
	if (opener) {
		if (!cast_comes_back(opener, "the process that waited"))
			violation(sweep, k, "waiting, killed");
		g_array_index(sweep->covered, char, states_at(sweep->states, k)) = 1;
		return;
	}
	image_take(&sweep->left, crash_path());
	if (!left_is_known(sweep, k))
		violation(sweep, k, "left bytes that the first victim never did");
	if (!cast_survivor_is_well(survivor))
		violation(sweep, k, "survivor, killed");
	if (!cast_opener_is_well(&sweep->cast, &sweep->left))
		violation(sweep, k, "cold, killed");
}

static void kill_everywhere(struct sweep *sweep, size_t points)
{
	size_t *order = random_order(sweep, points);

	for (size_t i = 0; i < points && (i < FEW || goes_on(sweep)); i++)
		kill_at(sweep, order[i]);
	g_free(order);
}

static void kill_really(struct sweep *sweep)
{
	size_t points = sweep->row.instructions + 1;

	for (size_t i = 0; cast_has(&sweep->cast, CRASH_WAITED) && i < states_count(sweep->states) && goes_on(sweep);
	     i++)
		kill_at(sweep, states_begin(sweep->states, i));
	if (points <= SHORT)
		kill_everywhere(sweep, points);
	else
		for (size_t i = 0; (!sweep->all || i < KILLS) && (i < FEW || goes_on(sweep)); i++)
			kill_at(sweep, support_rand_below(&sweep->rand, points));
}

/* --- a scenario, and the table --- */

static size_t count_covered(const struct sweep *sweep)
{
	size_t sum = 0, end = sweep->row.instructions + 1;

	for (size_t i = states_count(sweep->states); i-- > 0; end = states_begin(sweep->states, i))
		if (g_array_index(sweep->covered, char, i))
			sum += end - states_begin(sweep->states, i);
	return sum;
}

/* Half of its share for states, the rest for real kills. What a scenario does not use, or uses too much, the others share. */
static void sweep_states(struct sweep *sweep)
{
	double begin = cpu_now(), share = budget_left / MAX(scenarios_left, 1);

	sweep->end = begin + share / 2;
	if (!cast_has(&sweep->cast, CRASH_WAITED))
		examine_states(sweep);
	sweep->end = begin + share;
	kill_really(sweep);
	budget_left = MAX(budget_left - (cpu_now() - begin), 0);
}

static void sweep_scenario(struct sweep *sweep)
{
	sweep->all = support_stride(2) == 1;
	if (!first_pass(sweep)) {
		g_test_skip("ptrace is not allowed here");
		return;
	}
	sweep_states(sweep);
	sweep->row.covered = count_covered(sweep);
	report_row(&sweep->row);
}

static void set_up(struct sweep *sweep)
{
	cast_set_up(&sweep->cast);
	sweep->start = image_new(sweep->cast.library->room);
	sweep->attached = image_new(sweep->cast.library->room);
	sweep->left = image_new(sweep->cast.library->room);
	image_take(&sweep->start, crash_path());
	g_assert_true(sweep->start.exists == !cast_has(&sweep->cast, CRASH_ABSENT));
	sweep->trace = g_array_new(FALSE, FALSE, sizeof(uintptr_t));
	sweep->covered = g_array_new(FALSE, TRUE, 1);
	support_rand_seed(&sweep->rand, g_str_hash(sweep->cast.scenario->name));
}

static void tear_down(struct sweep *sweep)
{
	image_free(&sweep->start);
	image_free(&sweep->attached);
	image_free(&sweep->left);
	g_array_free(sweep->trace, TRUE);
	g_array_free(sweep->covered, TRUE);
	if (sweep->states)
		states_free(sweep->states);
	cast_tear_down();
}

static void run_scenario(gconstpointer data)
{
	const struct cast *cast = data;
	struct sweep sweep = { .cast = *cast };

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("single steps of Valgrind or a sanitizer are not those of the library");
		return;
	}
	sweep.row.name = cast->scenario->name;
	support_runs(cast->scenario->name);
	support_step_one_cpu();
	set_up(&sweep);
	sweep_scenario(&sweep);
	tear_down(&sweep);
	scenarios_left--;
	if (sweep.row.violations)
		g_test_fail(); /* and go on: the other rows tell more about what is wrong */
}

/* By MA_CRASH_PART several runs share the scenarios. */
static bool is_of_this_run(void)
{
	static unsigned count;
	const char *given = getenv("MA_CRASH_PART");
	unsigned part, parts;

	return !given || sscanf(given, "%u/%u", &part, &parts) != 2 || count++ % MAX(parts, 1) == part;
}

void crash_add(const struct crash_library *library, const struct crash_scenario *scenario)
{
	char *name;
	struct cast *cast;

	if (!is_of_this_run())
		return;
	name = g_strdup_printf("/crash/%s/%s", library->name, scenario->name);
	cast = g_new(struct cast, 1);
	*cast = (struct cast){ library, scenario };
	scenarios_left++;
	g_test_add_data_func_full(name, cast, run_scenario, g_free);
	g_free(name);
}

int crash_run(void)
{
	const char *given = getenv("MA_CRASH_CPU");
	int result;

	budget_left = given ? strtod(given, NULL) : BUDGET;
	stepping_left = budget_left * 3 / 2;
	/* A fixed threshold: large zeroed memory of the library comes from the kernel, and no memset() of it is stepped through. */
	mallopt(M_MMAP_THRESHOLD, 128 * KIB);
	result = support_run();
	report_table();
	return result;
}
