/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/support_step.h"

#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "tests/support/support.h"

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
/* With the ModRM byte given: the operand that it names is a register, or is only read. */
static bool spares_memory(uint8_t op, uint8_t modrm)
{
	unsigned part = modrm >> 3 & 7;

	if (modrm >> 6 == 3)
		return (op < 0x40 && (op & 7) < 2) || (op >= 0x80 && op <= 0x89) || op == 0xc0 || op == 0xc1 ||
		       (op >= 0xd0 && op <= 0xd3) || op >= 0xf6;
	return ((op == 0x80 || op == 0x81 || op == 0x83) && part == 7) || ((op == 0xf6 || op == 0xf7) && part == 0) ||
	       (op == 0xff && part != 0 && part != 1);
}

static bool spares_memory_0f(uint8_t op, uint8_t modrm)
{
	return (op >= 0x40 && op < 0x50) || (op >= 0x80 && op < 0x90) || op == 0x1e || op == 0x1f || op == 0xaf ||
	       op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf || (op >= 0x90 && op < 0xa0 && modrm >> 6 == 3);
}

/* A list of the frequent ones, by their first byte; what is not in it may write. The stack is not memory that counts. */
static bool is_harmless(const uint8_t *code)
{
	static const uint8_t harmless[] = { 0x63, 0x69, 0x6b, 0x84, 0x85, 0x8a, 0x8b, 0x8d, 0x90, 0x98, 0x99,
					    0xa8, 0xa9, 0xc3, 0xe8, 0xe9, 0xeb, 0x38, 0x39, 0x3a, 0x3b };

	while (*code == 0x66 || *code == 0x64 || *code == 0xf2)
		code++;
	if (*code >= 0x40 && *code < 0x50)
		code++;
	if (*code == 0x0f)
		return spares_memory_0f(code[1], code[2]);
	for (size_t i = 0; i < sizeof(harmless); i++)
		if (*code == harmless[i])
			return true;
	if ((*code >= 0x50 && *code < 0x60) || (*code >= 0x70 && *code < 0x80) || (*code >= 0xb8 && *code < 0xc0))
		return true;
	if (*code < 0x40 && (*code & 7) >= 2 && (*code & 7) <= 5) /* arithmetic into a register */
		return true;
	return spares_memory(*code, code[1]);
}

static enum support_step_writes classify(pid_t victim, uintptr_t at)
{
	uint8_t code[16];
	long words[2];

	words[0] = ptrace(PTRACE_PEEKTEXT, victim, at, NULL);
	words[1] = ptrace(PTRACE_PEEKTEXT, victim, at + 8, NULL); /* -1 at the end of the text: may write */
	memcpy(code, words, sizeof(code));
	if (code[0] == 0x0f && code[1] == 0x05)
		return SUPPORT_STEP_CALLS_KERNEL;
	if ((code[0] == 0xf3 || code[0] == 0xf2) && ((code[1] & 0xfe) == 0xaa || (code[1] & 0xfe) == 0xa4))
		return SUPPORT_STEP_WRITES_THERE; /* rep stos, rep movs: one turn */
	return is_harmless(code) ? SUPPORT_STEP_WRITES_NOTHING : SUPPORT_STEP_MAY_WRITE;
}

enum support_step_writes support_step_writes(pid_t victim, uintptr_t at, uintptr_t *where, GHashTable *known)
{
	gpointer kind = g_hash_table_lookup(known, (gpointer)at);

	if (!kind) {
		kind = GINT_TO_POINTER(classify(victim, at));
		g_hash_table_insert(known, (gpointer)at, kind);
	}
	if (GPOINTER_TO_INT(kind) == SUPPORT_STEP_WRITES_THERE)
		*where = (uintptr_t)ptrace(PTRACE_PEEKUSER, victim, offsetof(struct user_regs_struct, rdi), NULL);
	return (enum support_step_writes)GPOINTER_TO_INT(kind);
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

/* Driver and victim take turns at every instruction: waking up another CPU would be most of the work. */
void support_step_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}
