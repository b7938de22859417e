/* SPDX-License-Identifier: BSD-3-Clause */
/* See cast.h. They meet on a stage in shared memory, and wait for each other at pipes. */
#include "tests/crash/cast.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/header.h"
#include "tests/support/support.h"
#include "tests/support/support_step.h"

#define AFTERWARDS_US 1000000u /* for whoever is left, to wait */

struct cast_stage *cast_stage;
static const char *path;
static int ready[2], go[2]; /* pipes: the survivor is attached; the victim is dead */
static const struct cast *current;

const char *crash_path(void)
{
	return path;
}

bool crash_newcomer(void)
{
	return cast_stage->newcomer;
}

void crash_call_ends(void)
{
	atomic_store(&cast_stage->phase, 2);
	raise(SIGSTOP);
}

bool cast_has(const struct cast *cast, unsigned flag)
{
	return (cast->scenario->flags | cast->library->flags) & flag;
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

static void make_the_call(struct cast *cast)
{
	atomic_store(&cast_stage->phase, 1);
	cast->library->call(cast->scenario);
	crash_call_ends();
}

static void say_synced(void)
{
	const uint32_t state = MA_STATE_SYNCED;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, &state, sizeof(state), offsetof(struct ma_header, state)), ==, sizeof(state));
	close(fd);
}

static int do_prepare(void *arg)
{
	struct cast *cast = arg;

	cast->library->prepare(cast->scenario);
	if (cast_has(cast, CRASH_COPIED))
		image_copy_file(path);
	if (cast_has(cast, CRASH_SYNCED))
		say_synced();
	return 0;
}

static void fork_the_victim(struct cast *cast)
{
	pid_t pid = fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_store(&cast_stage->forked, getpid());
	while (!atomic_load(&cast_stage->watched))
		usleep(50);
	make_the_call(cast);
	_exit(0);
}

static int be_survivor(void *arg)
{
	struct cast *cast = arg;

	cast->library->attach(cast->scenario);
	if (cast_stage->with_victim && cast_has(cast, CRASH_FORKED))
		fork_the_victim(cast);
	pass(ready);
	await(go);
	cast->library->survive(cast->scenario);
	return 0;
}

static int be_opener(void *arg)
{
	struct cast *cast = arg;

	cast->library->reopen(cast->scenario);
	return 0;
}

static bool be_traced(void)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
		return true;
	atomic_store(&cast_stage->no_ptrace, 1);
	return false;
}

static int be_victim(void *arg)
{
	struct cast *cast = arg;

	if (!be_traced())
		return 0;
	cast->library->warm_up(cast->scenario);
	raise(SIGSTOP);
	make_the_call(cast);
	return 0;
}

static int be_earlier(void *arg)
{
	struct cast *cast = arg;

	if (!be_traced())
		return 0;
	cast->library->earlier(cast->scenario);
	raise(SIGSTOP);
	atomic_store(&cast_stage->phase, 1);
	cast->library->earlier_call(cast->scenario);
	crash_call_ends();
	return 0;
}

/* --- setting the scene --- */

pid_t cast_survivor(struct cast *cast, bool with_victim)
{
	pid_t pid;

	cast_stage->with_victim = with_victim;
	atomic_store(&cast_stage->forked, 0);
	atomic_store(&cast_stage->watched, 0);
	if (cast_has(cast, CRASH_ALONE))
		return 0;
	pid = support_fork(be_survivor, cast);
	await(ready);
	return pid;
}

void cast_steps_begin(struct cast_steps *steps, pid_t pid, struct states *states)
{
	*steps = (struct cast_steps){
		.pid = pid,
		.states = states,
		.known = g_hash_table_new(NULL, NULL),
		.mapped = g_array_new(FALSE, FALSE, sizeof(struct mapped_part)),
	};
	mapped_read(steps->mapped, pid);
}

void cast_steps_end(struct cast_steps *steps)
{
	g_hash_table_destroy(steps->known);
	g_array_free(steps->mapped, TRUE);
}

/* An instruction that can have changed @p bytes at @p where. A mapping of another file may become one of ours, by rename(2). */
static bool note_store(struct cast_steps *steps, size_t k, uintptr_t where, size_t bytes)
{
	const struct mapped_part *part = mapped_find(steps->mapped, where, bytes);

	if (!part)
		return false;
	if (part->ino != states_inode(steps->states) || where < part->begin)
		return states_note(steps->states, k, false);
	return states_note_at(steps->states, k, part->offset + (where - part->begin), bytes);
}

/* A look at the whole file is due where the kernel may have changed it. What it finds before was missed by the rule for stores. */
static bool note_call(struct cast_steps *steps, size_t k)
{
	mapped_read(steps->mapped, steps->pid);
	return states_note(steps->states, k, true);
}

/* Only what may have changed the file makes it worth a look, and only where it may have. */
bool cast_step(struct cast_steps *steps, uintptr_t at, size_t k, bool *changed)
{
	uintptr_t where = 0;
	enum support_step_writes writes = support_step_writes(steps->pid, at, &where, steps->known);
	bool lives;

	if (writes == SUPPORT_STEP_CALLS_KERNEL && states_note(steps->states, k - 1, false))
		g_error("%s: one of the %zu instructions before wrote where it was not expected to",
			current->scenario->name, k);
	lives = support_step_one(steps->pid);
	if (writes == SUPPORT_STEP_WRITES_NOTHING)
		*changed = false;
	else if (writes == SUPPORT_STEP_WRITES_THERE)
		*changed = note_store(steps, k, where, SUPPORT_STEP_MOST);
	else if (writes == SUPPORT_STEP_CALLS_KERNEL && lives)
		*changed = note_call(steps, k);
	else
		*changed = states_note(steps->states, k, writes == SUPPORT_STEP_CALLS_KERNEL);
	return lives;
}

/* Step through its call until the library says that it is half done; kill it there. */
static void kill_earlier(struct cast *cast)
{
	pid_t pid = support_fork(be_earlier, cast);
	struct cast_steps steps;
	struct states *states;
	bool changed;

	support_wait(pid);
	if (atomic_load(&cast_stage->no_ptrace))
		return;
	states = states_new(path, cast->library->room);
	while (atomic_load(&cast_stage->phase) == 0)
		g_assert_true(support_step_one(pid));
	cast_steps_begin(&steps, pid, states);
	for (size_t k = 1; atomic_load(&cast_stage->phase) == 1; k++) {
		g_assert_true(cast_step(&steps, support_step_at(pid), k, &changed));
		if (changed && cast->library->half_done(cast->scenario, states->view))
			break;
	}
	g_assert_cmpint(atomic_load(&cast_stage->phase), ==, 1);
	cast_steps_end(&steps);
	states_free(states);
	kill(pid, SIGKILL);
	support_wait(pid);
	atomic_store(&cast_stage->phase, 0);
}

/* Stopped, before its call. Tracees report stops without being asked to. */
pid_t cast_victim(struct cast *cast)
{
	pid_t pid;

	atomic_store(&cast_stage->phase, 0);
	if (cast_has(cast, CRASH_DEAD_BEFORE))
		kill_earlier(cast);
	if (cast_has(cast, CRASH_FORKED)) {
		while ((pid = atomic_load(&cast_stage->forked)) == 0)
			usleep(50);
		if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) != 0) {
			atomic_store(&cast_stage->no_ptrace, 1);
			return pid;
		}
		atomic_store(&cast_stage->watched, 1);
	} else {
		pid = support_fork(be_victim, cast);
	}
	support_wait(pid);
	if (cast_has(cast, CRASH_DEAD_DURING))
		kill_earlier(cast);
	return pid;
}

pid_t cast_opener(struct cast *cast)
{
	return support_fork(be_opener, cast);
}

void cast_end(pid_t pid)
{
	kill(pid, SIGKILL);
	support_wait(pid);
}

/* It may wait for others a second, in all that it does; why it failed is on stderr. */
bool cast_comes_back(pid_t pid, const char *who)
{
	int status;

	if (!support_ends_within_us(pid, AFTERWARDS_US, &status)) {
		g_test_message("%s: %s waited for a second", current->scenario->name, who);
		support_say_where(pid);
		cast_end(pid);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	g_test_message("%s: %s failed with status %#x: see the assertion on stderr", current->scenario->name, who, (unsigned)status);
	return false;
}

bool cast_survivor_is_well(pid_t survivor)
{
	if (!survivor)
		return true;
	pass(go);
	return cast_comes_back(survivor, "the survivor");
}

bool cast_opener_is_well(struct cast *cast, const struct image *image)
{
	image_put(image, path);
	return cast_comes_back(cast_opener(cast), "the process that opens the map afterwards");
}
/* --- begin and end --- */

void cast_set_up(struct cast *cast)
{
	current = cast;
	if (!cast_stage)
		cast_stage = support_shared(sizeof(*cast_stage));
	memset(cast_stage, 0, sizeof(*cast_stage));
	g_assert_cmpint(pipe2(ready, O_CLOEXEC), ==, 0);
	g_assert_cmpint(pipe2(go, O_CLOEXEC), ==, 0);
	path = support_path(cast->scenario->name);
	support_run_child(do_prepare, cast);
}

void cast_tear_down(void)
{
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
	unlink(path);
}
