/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_step.h
 * @brief Single-stepping a child (ptrace) to any instruction of a call, to be killed there.
 *
 * The child calls PTRACE_TRACEME, stops itself, sets its phase to 1, makes the call, and sets its phase to 2.
 */
#ifndef MA_TESTS_SUPPORT_STEP_H
#define MA_TESTS_SUPPORT_STEP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** Where the victim's next instruction lies; 0 on processors that we do not know. */
uintptr_t support_step_at(pid_t victim);
/** What the victim's next instruction can change in memory, its stack apart. */
enum support_step_writes {
	SUPPORT_STEP_WRITES_NOTHING = 1, /**< Certainly. */
	SUPPORT_STEP_WRITES_THERE,       /**< At most SUPPORT_STEP_MOST bytes at *where. */
	SUPPORT_STEP_MAY_WRITE,
	SUPPORT_STEP_CALLS_KERNEL, /**< Which may also change the length of files, or their names. */
};
/** More than any instruction writes that names its operand; and what the place may be too low by. */
#define SUPPORT_STEP_MOST 4096u
/** The one at @p at, which is the next. @p known remembers what is where: an empty table of direct keys, at first. */
enum support_step_writes support_step_writes(pid_t victim, uintptr_t at, uintptr_t *where, GHashTable *known);
/** One instruction; false when the victim died of it. */
bool support_step_one(pid_t victim);
/**
 * Step into the call (phase 1), at most @p most instructions; how many it took, SIZE_MAX when the victim died by itself.
 * Where each instruction lies is appended to @p trace unless that is NULL.
 */
size_t support_step_into(pid_t victim, _Atomic int *phase, size_t most, GArray *trace);
/** Run until the instruction at @p at is next. False when the victim came to its end, or died. */
bool support_step_run_to(pid_t victim, uintptr_t at);
/** Run to the k-th instruction of the trace, whose place was reached @p before times before. */
bool support_step_run_into(pid_t victim, const uintptr_t *trace, size_t k, size_t before);
/** How often the place of the k-th instruction stands in the trace before it. */
size_t support_step_times_before(const uintptr_t *trace, size_t k);
/** Driver and victim take turns at every instruction: waking up another CPU would be most of the work. */
void support_step_one_cpu(void);

#endif /* MA_TESTS_SUPPORT_STEP_H */
