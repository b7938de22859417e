/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/support_step.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tests/support/support.h"
#include "tests/support/support_code.h"

/*
 * A single step is slow on some machines (14 us on ours), so only the first victim is stepped all the way; where it was
 * is written down, and the others run to a breakpoint there. Processors without the lines below step always.
 */
#ifdef __x86_64__
#define INT3 0xccL

uintptr_t support_step_at(pid_t victim)
{
	return (uintptr_t)ptrace(PTRACE_PEEKUSER, victim, offsetof(struct user_regs_struct, rip), NULL);
}

static void move_victim(pid_t victim, uintptr_t to)
{
	struct user_regs_struct regs;

	g_assert_cmpint(ptrace(PTRACE_GETREGS, victim, NULL, &regs), ==, 0);
	regs.rip = to;
	g_assert_cmpint(ptrace(PTRACE_SETREGS, victim, NULL, &regs), ==, 0);
}

static struct support_code code_at(pid_t victim, uintptr_t at)
{
	uint8_t bytes[SUPPORT_CODE_MOST];
	long words[2];

	errno = 0;
	words[0] = ptrace(PTRACE_PEEKTEXT, victim, at, NULL);
	words[1] = ptrace(PTRACE_PEEKTEXT, victim, at + 8, NULL);
	memcpy(bytes, words, sizeof(bytes));
	return errno ? support_code_unknown() : support_code_read(bytes);
}

static uintptr_t operand(pid_t victim, struct support_code code)
{
	struct user_regs_struct regs;

	g_assert_cmpint(ptrace(PTRACE_GETREGS, victim, NULL, &regs), ==, 0);
	return support_code_operand(code, &regs);
}

enum support_step_writes support_step_writes(pid_t victim, uintptr_t at, uintptr_t *where, GHashTable *known)
{
	gpointer value = g_hash_table_lookup(known, (gpointer)at);
	struct support_code code;

	_Static_assert(sizeof(code) == sizeof(value), "an entry of the table");
	if (!value) {
		code = code_at(victim, at);
		memcpy(&value, &code, sizeof(value));
		g_hash_table_insert(known, (gpointer)at, value);
	}
	memcpy(&code, &value, sizeof(code));
	if (code.writes == SUPPORT_STEP_WRITES_THERE)
		*where = operand(victim, code);
	return (enum support_step_writes)code.writes;
}
#else
#define INT3 0L

uintptr_t support_step_at(pid_t victim)
{
	(void)victim;
	return 0; /* all in one place: it pays never to run there */
}

static void move_victim(pid_t victim, uintptr_t to)
{
	(void)victim;
	(void)to;
}

enum support_step_writes support_step_writes(pid_t victim, uintptr_t at, uintptr_t *where, GHashTable *known)
{
	(void)victim;
	(void)at;
	(void)where;
	(void)known;
	return SUPPORT_STEP_CALLS_KERNEL; /* or anything else */
}
#endif

/* One instruction; false when the victim died of it. */
bool support_step_one(pid_t victim)
{
	int status;

	g_assert_cmpint(ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL), ==, 0);
	status = support_wait(victim);
	return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

/*
 * Steps into the call, at most @p most instructions; how many it took, SIZE_MAX when the victim died by itself.
 * Where each instruction lies is appended to @p trace unless that is NULL.
 */
size_t support_step_into(pid_t victim, _Atomic int *phase, size_t most, GArray *trace)
{
	size_t steps = 0;
	bool lives = true;

	while (lives && atomic_load(phase) == 0)
		lives = support_step_one(victim);
	while (lives && steps < most && atomic_load(phase) == 1) {
		if (trace) {
			uintptr_t at = support_step_at(victim);

			g_array_append_val(trace, at);
		}
		lives = support_step_one(victim);
		steps++;
	}
	return lives ? steps : SIZE_MAX;
}

/* Runs until the instruction at @p at is next. False when the victim came to its end, or died. */
bool support_step_run_to(pid_t victim, uintptr_t at)
{
	long code = ptrace(PTRACE_PEEKTEXT, victim, at, NULL);
	int status;

	ptrace(PTRACE_POKETEXT, victim, at, (code & ~0xffL) | INT3);
	g_assert_cmpint(ptrace(PTRACE_CONT, victim, NULL, NULL), ==, 0);
	status = support_wait(victim);
	if (!WIFSTOPPED(status))
		return false;
	ptrace(PTRACE_POKETEXT, victim, at, code);
	if (WSTOPSIG(status) != SIGTRAP)
		return false;
	move_victim(victim, at);
	return true;
}

/* To the k-th instruction of the trace: the n-th time that its place is reached. */
bool support_step_run_into(pid_t victim, const uintptr_t *trace, size_t k, size_t before)
{
	if (!support_step_run_to(victim, trace[0]))
		return false;
	if (trace[k] == trace[0])
		before--;
	else if (!support_step_run_to(victim, trace[k]))
		return false;
	while (before--)
		if (!support_step_one(victim) || !support_step_run_to(victim, trace[k]))
			return false;
	return true;
}

size_t support_step_times_before(const uintptr_t *trace, size_t k)
{
	size_t times = 0;

	for (size_t i = 0; i < k; i++)
		times += trace[i] == trace[k];
	return times;
}

/* On which one does the kernel wake us up, when it may choose? Others are stepping too. */
void support_step_one_cpu(void)
{
	static cpu_set_t all;
	cpu_set_t one;

	if (CPU_COUNT(&all) == 0)
		sched_getaffinity(0, sizeof(all), &all);
	sched_setaffinity(0, sizeof(all), &all);
	usleep(1000);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}
