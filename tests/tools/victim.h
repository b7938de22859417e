/* SPDX-License-Identifier: BSD-3-Clause */
/* Command lines run in this process, and in children that are killed on the way. */
#ifndef MA_TESTS_TOOLS_VICTIM_H
#define MA_TESTS_TOOLS_VICTIM_H

#include "tests/support/support.h"

/* A command line of mapalloc, without the program's name; NULL ends it. */
typedef const char *victim_line[8];

/* Looks at nobody's /proc, whose calls of the kernel would be most of them and as many as there are processes. Skips: false. */
bool victim_begin(void);
/* Run it here. What it said is in victim_said until the next one. */
int victim_tool(const char *const *line);
extern char *victim_said;
/* The file that a traced one writes to. */
const char *victim_output(void);
/* The same, and the test fails when its status is another one. */
#define victim_expect(wanted, ...) victim_expect_is(wanted, (victim_line){ __VA_ARGS__, NULL }, __FILE__, __LINE__)
void victim_expect_is(int wanted, const char *const *line, const char *file, int line_number);

/* Victims are told that there is no /proc, so what they make has a temporary name. False: cannot; skips. */
bool victim_name_files(void);

/* A child that is about to run it, stopped. */
pid_t victim_start(const char *const *line);
/* On to the next way into or out of the kernel. False: it has come to its end, and waits there. */
struct __ptrace_syscall_info;
bool victim_next_call(pid_t pid, struct __ptrace_syscall_info *call);
/* One instruction. False: it has come to its end. */
bool victim_step(pid_t pid);
/* It was let run to its end: the status of the command. */
int victim_end(pid_t pid);
void victim_kill(pid_t pid);
/* Killed at its k-th way into or out of a call that may change files (of many calls of one kind in a row, the first few), from 1 on. False: it had come to its end. */
bool victim_killed_at(const char *const *line, size_t k);

#endif /* MA_TESTS_TOOLS_VICTIM_H */
