/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/victim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_step.h"
#include "tools/processes.h"
#include "tools/tool.h"

#define MOST_IN_A_ROW 4 /* Of many writes to a file the first ones speak for the others. */

char *victim_said;

static bool names_files;
static _Atomic int *phase; /* 1: the command has begun. 2: it has come to its end. */

bool victim_begin(void)
{
	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the calls of the kernel, and most instructions, would be the tool's");
		return false;
	}
	processes_ask_proc = false;
	names_files = false;
	if (!phase)
		phase = support_shared(sizeof(*phase));
	return true;
}

static int run(const char *const *line, FILE *out)
{
	char *copy[8] = { NULL };
	int count = 0;

	for (; line[count]; count++)
		copy[count] = (char *)(uintptr_t)line[count];
	return (int)tool_run(out, out, count, copy);
}

int victim_tool(const char *const *line)
{
	size_t size;
	FILE *out;
	int status;

	free(victim_said);
	victim_said = NULL;
	out = open_memstream(&victim_said, &size);
	g_assert_nonnull(out);
	status = run(line, out);
	fclose(out);
	return status;
}

void victim_expect_is(int wanted, const char *const *line, const char *file, int line_number)
{
	int status = victim_tool(line);

	if (status != wanted)
		g_error("%s:%d: %s %s: status %d, not %d\n%s", file, line_number, line[0], line[1], status, wanted,
			victim_said);
}

bool victim_name_files(void)
{
#ifdef SYS_access
	names_files = true;
#else
	g_test_skip("there is no such call of the kernel here");
#endif
	return names_files;
}

static bool hide_proc(void)
{
#ifdef SYS_access
	return support_make_fail(SYS_access, X_OK, EACCES);
#else
	return false;
#endif
}

const char *victim_output(void)
{
	static char *name;

	if (!name)
		name = g_strconcat(support_dir(), "/said", NULL);
	return name;
}

static int child(void *arg)
{
	const char *const *line = arg;
	FILE *out = fopen(victim_output(), "we");
	int status;

	if (names_files && !hide_proc())
		return 97;
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	atomic_store(phase, 1);
	status = run(line, out);
	fflush(out);
	atomic_store(phase, 2);
	return status;
}

pid_t victim_start(const char *const *line)
{
	pid_t pid;

	atomic_store(phase, 0);
	pid = support_fork(child, (void *)(uintptr_t)line);
	g_assert_cmpint(waitpid(pid, NULL, WUNTRACED), ==, pid);
	g_assert_cmpint(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD), ==, 0);
	return pid;
}

/* These change no file: who is killed before one of them leaves what he leaves after it. */
static bool is_harmless(uint64_t nr)
{
	static const long harmless[] = {
		SYS_read,  SYS_pread64,  SYS_lseek,     SYS_fstat,  SYS_newfstatat, SYS_mmap,  SYS_munmap,
		SYS_brk,   SYS_mprotect, SYS_madvise,   SYS_fcntl,  SYS_getpid,     SYS_close, SYS_clock_gettime,
		SYS_futex, SYS_mremap,   SYS_getrandom, SYS_statfs, SYS_faccessat,
	};

	for (size_t i = 0; i < G_N_ELEMENTS(harmless); i++)
		if (nr == (uint64_t)harmless[i])
			return true;
	return false;
}

bool victim_next_call(pid_t pid, struct __ptrace_syscall_info *call)
{
	int status;

	do {
		g_assert_cmpint(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), ==, 0);
		g_assert_cmpint(waitpid(pid, &status, __WALL), ==, pid);
		if (!WIFSTOPPED(status))
			g_error("the victim came to its end by itself: %#x", (unsigned)status);
	} while (atomic_load(phase) == 0);
	g_assert_cmpint(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(*call), call), >, 0);
	return atomic_load(phase) == 1;
}

bool victim_step(pid_t pid)
{
	g_assert_true(support_step_one(pid));
	return atomic_load(phase) == 1;
}

int victim_end(pid_t pid)
{
	g_assert_cmpint(ptrace(PTRACE_DETACH, pid, NULL, NULL), ==, 0);
	return WEXITSTATUS(support_wait(pid));
}

void victim_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	support_wait(pid);
}

bool victim_killed_at(const char *const *line, size_t k)
{
	pid_t pid = victim_start(line);
	bool runs = true, counts = false;
	uint64_t last = UINT64_MAX;
	unsigned times = 0;

	for (size_t stops = 0; runs && stops < k;) {
		struct __ptrace_syscall_info call;

		runs = victim_next_call(pid, &call);
		if (call.op == PTRACE_SYSCALL_INFO_ENTRY && !is_harmless(call.entry.nr)) {
			times = call.entry.nr == last ? times + 1 : 0;
			last = call.entry.nr;
			counts = times < MOST_IN_A_ROW;
		} else if (call.op == PTRACE_SYSCALL_INFO_ENTRY) {
			counts = false;
		}
		stops += counts;
	}
	victim_kill(pid);
	return runs;
}
