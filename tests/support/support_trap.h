/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_trap.h
 * @brief A signal after each instruction of this thread: the processor's trap flag, which the kernel turns into SIGTRAP. The
 * handler itself runs without.
 */
#ifndef MA_TESTS_SUPPORT_TRAP_H
#define MA_TESTS_SUPPORT_TRAP_H

#include <signal.h>

#include "tests/support/support.h"

#if defined(__x86_64__)
#define SUPPORT_TRAP       1
#define support_trap_on()  __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc")
#define support_trap_off() __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc")
#elif defined(__i386__)
#define SUPPORT_TRAP       1
#define support_trap_on()  __asm__ volatile("pushfl; orl $0x100, (%%esp); popfl" ::: "memory", "cc")
#define support_trap_off() __asm__ volatile("pushfl; andl $~0x100, (%%esp); popfl" ::: "memory", "cc")
#else
#define SUPPORT_TRAP 0
#define support_trap_on()
#define support_trap_off()
#endif

/** Call @p handler for each SIGTRAP from now on. False: not here, and the test is skipped with a reason. */
static inline bool support_trap_begin(void (*handler)(int))
{
	struct sigaction act = { .sa_handler = handler };

	if (!SUPPORT_TRAP || support_valgrind() || support_tsan() || support_asan()) {
		g_test_skip("single steps: only on x86, and neither under Valgrind nor with a sanitizer in each "
			    "instruction");
		return false;
	}
	sigemptyset(&act.sa_mask);
	g_assert_cmpint(sigaction(SIGTRAP, &act, NULL), ==, 0);
	return true;
}

#endif /* MA_TESTS_SUPPORT_TRAP_H */
