/* SPDX-License-Identifier: BSD-3-Clause */
/* See crash.h. */
#include "tests/crash/crash.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/crash/image.h"
#include "tests/crash/report.h"
#include "tests/support/support.h"
#include "tests/support/support_step.h"

#define AFTERWARDS_US     1000000u /* for whoever is left, to wait */
#define INSIDE_US         500u     /* until the second opener is inside its call */
#define SHORT             400u     /* instructions: every one is a real kill */
#define FEW               2u       /* of them, whatever the time */
#define KILLS             20u      /* of a longer call, at random, when all is swept */
#define MOST_STEPS        4000000u
#define STEPPING_SECONDS  (2 * SUPPORT_HUNG_SECONDS) /* A busy machine steps slowly. */
#define ENOUGH_VIOLATIONS 5u

/* In shared memory. */
struct stage {
	_Atomic int phase; /* 0 before the call, 1 in it, 2 after */
	_Atomic int no_ptrace;
	_Atomic pid_t forked; /* CRASH_FORKED: the victim */
	_Atomic int watched;  /* and we have it */
	_Atomic uintptr_t base;
	bool with_victim;
	bool newcomer;
};

struct job {
	const struct crash_library *library;
	const struct crash_scenario *scenario;
};

struct sweep {
	const struct crash_library *library;
	const struct crash_scenario *scenario;
	struct row row;
	struct image start;    /* before anybody came */
	struct image attached; /* with the survivor */
	struct image left;     /* by a real kill */
	struct states *states;
	GArray *trace;   /* where each instruction lies */
	GArray *covered; /* one byte a state */
	struct support_rand rand;
	bool all;
	uint64_t end;
};

static struct stage *stage;
static const char *path;
static int ready[2], go[2]; /* pipes: the survivor is attached; the victim is dead */
static const struct sweep *current;

const char *crash_path(void)
{
	return path;
}

void crash_set_base(const void *base)
{
	atomic_store(&stage->base, (uintptr_t)base);
}

bool crash_newcomer(void)
{
	return stage->newcomer;
}

void crash_call_ends(void)
{
	atomic_store(&stage->phase, 2);
	raise(SIGSTOP);
}

static bool has(const struct sweep *sweep, unsigned flag)
{
	return (sweep->scenario->flags | sweep->library->flags) & flag;
}

/* --- what the processes do --- */

static void pass(const int *pipe)
{
	g_assert_cmpint(write(pipe[1], "", 1), ==, 1);
}

static void await(const int *pipe)
{
	char byte;

	g_assert_cmpint(read(pipe[0], &byte, 1), ==, 1);
}

static void make_the_call(const struct sweep *sweep)
{
	atomic_store(&stage->phase, 1);
	sweep->library->call(sweep->scenario);
	crash_call_ends();
}

static int do_prepare(void *arg)
{
	const struct sweep *sweep = arg;

	sweep->library->prepare(sweep->scenario);
	if (has(sweep, CRASH_COPIED))
		image_copy_file(path);
	return 0;
}

static void fork_the_victim(const struct sweep *sweep)
{
	pid_t pid = fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&stage->forked, getpid());
	while (!atomic_load(&stage->watched))
		usleep(50);
	make_the_call(sweep);
	_exit(0);
}

static int be_survivor(void *arg)
{
	const struct sweep *sweep = arg;

	sweep->library->attach(sweep->scenario);
	if (stage->with_victim && has(sweep, CRASH_FORKED))
		fork_the_victim(sweep);
	pass(ready);
	await(go);
	sweep->library->survive(sweep->scenario);
	return 0;
}

static int be_opener(void *arg)
{
	const struct sweep *sweep = arg;

	sweep->library->reopen(sweep->scenario);
	return 0;
}

static bool be_traced(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		return true;
	atomic_store(&stage->no_ptrace, 1);
	return false;
}

static int be_victim(void *arg)
{
	const struct sweep *sweep = arg;

	if (!be_traced())
		return 0;
	sweep->library->warm_up(sweep->scenario);
	raise(SIGSTOP);
	make_the_call(sweep);
	return 0;
}

static int be_earlier(void *arg)
{
	const struct sweep *sweep = arg;

	if (!be_traced())
		return 0;
	sweep->library->earlier(sweep->scenario);
	raise(SIGSTOP);
	atomic_store(&stage->phase, 1);
	sweep->library->earlier_call(sweep->scenario);
	crash_call_ends();
	return 0;
}

/* --- setting the scene --- */

static pid_t start_survivor(struct sweep *sweep, bool with_victim)
{
	pid_t pid;

	stage->with_victim = with_victim;
	atomic_store(&stage->forked, 0);
	atomic_store(&stage->watched, 0);
	if (has(sweep, CRASH_ALONE))
		return 0;
	pid = support_fork(be_survivor, sweep);
	await(ready);
	return pid;
}

/* Step through its call until the library says that it is half done; kill it there. */
static void kill_earlier(struct sweep *sweep)
{
	pid_t pid = support_fork(be_earlier, sweep);
	struct states *states;

	support_wait(pid);
	if (atomic_load(&stage->no_ptrace))
		return;
	states = states_new(path, sweep->library->room);
	while (atomic_load(&stage->phase) == 0)
		g_assert_true(support_step_one(pid));
	for (size_t k = 1; atomic_load(&stage->phase) == 1; k++) {
		g_assert_true(support_step_one(pid));
		if (states_note(states, k, true) && sweep->library->half_done(sweep->scenario, states->view))
			break;
	}
	g_assert_cmpint(atomic_load(&stage->phase), ==, 1);
	states_free(states);
	kill(pid, SIGKILL);
	support_wait(pid);
	atomic_store(&stage->phase, 0);
}

/* Stopped, before its call. Tracees report stops without being asked to. */
static pid_t start_victim(struct sweep *sweep)
{
	pid_t pid;

	atomic_store(&stage->phase, 0);
	if (has(sweep, CRASH_DEAD_BEFORE))
		kill_earlier(sweep);
	if (has(sweep, CRASH_FORKED)) {
		while ((pid = atomic_load(&stage->forked)) == 0)
			usleep(50);
		if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) != 0) {
			atomic_store(&stage->no_ptrace, 1);
			return pid;
		}
		atomic_store(&stage->watched, 1);
	} else {
		pid = support_fork(be_victim, sweep);
	}
	support_wait(pid);
	if (has(sweep, CRASH_DEAD_DURING))
		kill_earlier(sweep);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	support_wait(pid);
}

/* It may wait for others a second, in all that it does; why it failed is on stderr. */
static bool comes_back(pid_t pid, const char *who)
{
	int status;

	if (!support_ends_within_us(pid, AFTERWARDS_US, &status)) {
		g_test_message("%s: %s waited for a second", current->row.name, who);
		support_say_where(pid);
		end(pid);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	g_test_message("%s: %s failed: see the assertion on stderr", current->row.name, who);
	return false;
}

static bool survivor_is_well(pid_t survivor)
{
	if (!survivor)
		return true;
	pass(go);
	return comes_back(survivor, "the survivor");
}

static bool opener_is_well(struct sweep *sweep, const struct image *image)
{
	image_put(image, path);
	return comes_back(support_fork(be_opener, sweep), "the process that opens the map afterwards");
}

/* --- the first victim is stepped all the way --- */

static void note(struct sweep *sweep, enum support_step_writes writes, uintptr_t where, size_t k)
{
	uintptr_t base = atomic_load(&stage->base);

	if (writes == SUPPORT_STEP_WRITES_THERE && base)
		states_note_at(sweep->states, k, base, where);
	else if (writes != SUPPORT_STEP_WRITES_NOTHING)
		states_note(sweep->states, k, writes == SUPPORT_STEP_CALLS_KERNEL);
}

static bool step_through(struct sweep *sweep, pid_t victim)
{
	GHashTable *known = g_hash_table_new(NULL, NULL);
	size_t k = 0;
	bool lives = true;

	while (lives && atomic_load(&stage->phase) == 0)
		lives = support_step_one(victim);
	sweep->states = states_new(path, sweep->library->room);
	while (lives && k < MOST_STEPS && atomic_load(&stage->phase) == 1) {
		uintptr_t at = support_step_at(victim), where = 0;
		enum support_step_writes writes = support_step_writes(victim, at, &where, known);

		g_array_append_val(sweep->trace, at);
		lives = support_step_one(victim);
		note(sweep, writes, where, ++k);
	}
	g_hash_table_destroy(known);
	states_note(sweep->states, k, true);
	sweep->row.instructions = k;
	return lives && k < MOST_STEPS;
}

/* False: we may not trace. */
static bool first_pass(struct sweep *sweep)
{
	pid_t survivor, victim;
	bool lives;

	image_put(&sweep->start, path);
	survivor = start_survivor(sweep, true);
	image_take(&sweep->attached, path);
	victim = start_victim(sweep);
	if (atomic_load(&stage->no_ptrace)) {
		if (survivor)
			end(survivor);
		return false;
	}
	lives = step_through(sweep, victim);
	if (lives)
		end(victim);
	sweep->row.states = sweep->states->distinct;
	if (!survivor_is_well(survivor) || !lives) {
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
	support_watchdog(STEPPING_SECONDS);
	return sweep->row.violations < ENOUGH_VIOLATIONS && (sweep->all || support_now_us() < sweep->end);
}

/* --- states, put into the file --- */

static void survive_state(struct sweep *sweep, size_t index, bool newcomer)
{
	struct image before = image_new(sweep->library->room);
	pid_t survivor;

	if (has(sweep, CRASH_ALONE))
		return;
	image_put(&sweep->start, path);
	survivor = start_survivor(sweep, false);
	image_take(&before, path);
	/* What the survivor knows must fit the bytes that it is going to see. */
	g_assert_true(image_equal(&before, &sweep->attached, sweep->library->varies));
	image_free(&before);
	image_put(states_image(sweep->states, index), path);
	stage->newcomer = newcomer;
	if (!survivor_is_well(survivor))
		violation(sweep, states_begin(sweep->states, index), newcomer ? "survivor, newcomer" : "survivor");
}

static void examine_state(struct sweep *sweep, size_t index)
{
	if (!states_is_repeated(sweep->states, index)) {
		if (sweep->all || index % 2)
			survive_state(sweep, index, false);
		if (sweep->all || index % 2 == 0)
			survive_state(sweep, index, true);
		if (!opener_is_well(sweep, states_image(sweep->states, index)))
			violation(sweep, states_begin(sweep->states, index), "cold");
	}
	g_array_index(sweep->covered, char, index) = 1;
}

static void examine_states(struct sweep *sweep)
{
	size_t count = states_count(sweep->states);
	size_t *order = g_new0(size_t, count);

	for (size_t i = 0; i < count; i++) {
		size_t j = sweep->all ? i : support_rand_below(&sweep->rand, i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	for (size_t i = 0; i < count && goes_on(sweep); i++)
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
		return support_step_into(victim, &stage->phase, k, NULL) != SIZE_MAX;
	/* Another way than the first victim's: done already. */
	return support_step_run_into(victim, trace, k, before) || atomic_load(&stage->phase) == 2;
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
		if (image_equal(&sweep->left, states_image(sweep->states, (index + i) % count), sweep->library->varies))
			return true;
	return has(sweep, CRASH_ABSENT | CRASH_DEAD_DURING | CRASH_ANYWHERE);
}

static void kill_at(struct sweep *sweep, size_t k)
{
	pid_t survivor, victim, opener = 0;

	image_put(&sweep->start, path);
	survivor = start_survivor(sweep, true);
	victim = start_victim(sweep);
	if (!bring_to(sweep, victim, k)) {
		if (survivor)
			end(survivor);
		violation(sweep, k, "died by itself");
		return;
	}
	if (has(sweep, CRASH_WAITED)) {
		opener = support_fork(be_opener, sweep);
		usleep(INSIDE_US);
	}
	end(victim);
	sweep->row.kills++;
	stage->newcomer = k % 2;
	if (opener) {
		if (!comes_back(opener, "the process that waited"))
			violation(sweep, k, "waiting, killed");
		g_array_index(sweep->covered, char, states_at(sweep->states, k)) = 1;
		return;
	}
	image_take(&sweep->left, path);
	if (!left_is_known(sweep, k))
		violation(sweep, k, "left bytes that the first victim never did");
	if (!survivor_is_well(survivor))
		violation(sweep, k, "survivor, killed");
	if (!opener_is_well(sweep, &sweep->left))
		violation(sweep, k, "cold, killed");
}

static void kill_really(struct sweep *sweep)
{
	size_t points = sweep->row.instructions + 1;

	for (size_t i = 0; has(sweep, CRASH_WAITED) && i < states_count(sweep->states) && goes_on(sweep); i++)
		kill_at(sweep, states_begin(sweep->states, i));
	if (points <= SHORT) {
		for (size_t k = 0; k < points && sweep->row.violations < ENOUGH_VIOLATIONS; k++)
			kill_at(sweep, k);
		return;
	}
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

static void sweep_scenario(struct sweep *sweep)
{
	const char *seconds = getenv("MA_CRASH_SECONDS"), *all = getenv("MA_CRASH_ALL");

	sweep->all = all && strcmp(all, "0") != 0;
	if (!first_pass(sweep)) {
		g_test_skip("ptrace is not allowed here");
		return;
	}
	sweep->end = support_now_us() + (uint64_t)((seconds ? strtod(seconds, NULL) : 0.5) * 1e6);
	if (!has(sweep, CRASH_WAITED))
		examine_states(sweep);
	kill_really(sweep);
	sweep->row.covered = count_covered(sweep);
	report_row(&sweep->row);
}

static void set_up(struct sweep *sweep)
{
	current = sweep;
	stage = support_shared(sizeof(*stage));
	g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
	g_assert_cmpint(pipe2(go, O_CLOEXEC), ==, 0);
	path = support_path(sweep->scenario->name);
	support_run_child(do_prepare, sweep);
	sweep->start = image_new(sweep->library->room);
	sweep->attached = image_new(sweep->library->room);
	sweep->left = image_new(sweep->library->room);
	image_take(&sweep->start, path);
	g_assert_true(sweep->start.exists == !has(sweep, CRASH_ABSENT));
	sweep->trace = g_array_new(FALSE, FALSE, sizeof(uintptr_t));
	sweep->covered = g_array_new(FALSE, TRUE, 1);
	support_rand_seed(&sweep->rand, g_str_hash(sweep->scenario->name));
}

static void tear_down(struct sweep *sweep)
{
	alarm(0);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	image_free(&sweep->start);
	image_free(&sweep->attached);
	image_free(&sweep->left);
	g_array_free(sweep->trace, TRUE);
	g_array_free(sweep->covered, TRUE);
	if (sweep->states)
		states_free(sweep->states);
	unlink(path);
}

static void run_scenario(gconstpointer data)
{
	const struct job *job = data;
	struct sweep sweep = { .library = job->library, .scenario = job->scenario };

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("single steps of Valgrind or a sanitizer are not those of the library");
		return;
	}
	sweep.row.name = job->scenario->name;
	support_watchdog(STEPPING_SECONDS);
	support_step_one_cpu();
	set_up(&sweep);
	sweep_scenario(&sweep);
	tear_down(&sweep);
	if (sweep.row.violations)
		g_test_fail(); /* and go on: the other rows tell more about what is wrong */
}

void crash_add(const struct crash_library *library, const struct crash_scenario *scenario)
{
	char *name = g_strdup_printf("/crash/%s/%s", library->name, scenario->name);
	struct job *job = g_new(struct job, 1);

	*job = (struct job){ library, scenario };
	g_test_add_data_func_full(name, job, run_scenario, g_free);
	g_free(name);
}

int crash_run(void)
{
	int result = support_run();

	report_table();
	return result;
}
