/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_fault.h
 * @brief What goes wrong around a program: full disks, failing system calls. All of it in a child, which cannot go back.
 */
#ifndef MA_TESTS_SUPPORT_FAULT_H
#define MA_TESTS_SUPPORT_FAULT_H

#include "tests/support/support.h"

#define SUPPORT_CANNOT 77 /**< Exit status of a child that could not set up what it needs. */

/** Run @p fn in a child. Status 0: passed; #SUPPORT_CANNOT: the test is skipped, @p what says why; else it fails. */
void support_run_or_skip(support_child_fn *fn, const char *what);
/** Does @p fn succeed in a child? With #SUPPORT_CANNOT the test is skipped, @p what says why: false. */
bool support_can(support_child_fn *fn, const char *what);

/** From now on support_dir() is a tmpfs of its own with these mount options, e.g. "size=1m". False: cannot. */
bool support_small_disk(const char *options);
/** Turn the pages of zeros of a file into holes, in place, as fallocate --dig-holes and cp --sparse do. How many bytes of disk space that gave back. */
uint64_t support_dig(const char *path);
/** Fill the disk that @p path is on, with a file of that name. */
void support_fill_disk(const char *path);
/** Make it read-only. False: cannot. */
bool support_disk_readonly(void);
/** Cover /proc. False: cannot. */
bool support_no_proc(void);

/** From now on system call @p nr fails with @p error; when @p arg1 is not negative, only with that second argument. */
bool support_make_fail(long nr, int arg1, int error);

/** Called in the place of a system call. Returns its result, or -errno. support_real() makes the call itself. */
typedef long support_hook_fn(const long args[6]);
/** From now on @p hook is called for system call @p nr (one with at most five arguments). False: cannot. */
bool support_hook(long nr, support_hook_fn *hook);
long support_real(const long args[6]);

/**
 * Run @p fn in a child and kill the child on its @p k -th way into or out of the kernel between its calls of support_kernel_from() and
 * support_kernel_to(). False: it came to the latter before. Not under tools, which make system calls of their own.
 */
bool support_kill_in_kernel(support_child_fn *fn, void *arg, size_t k);
void support_kernel_from(void);
void support_kernel_to(void);

/* fn_in_child(): runs fn in a child, but not under tools, because of what they do. */
#define SUPPORT_CHILD_CASE(fn, tools, cannot)                               \
	static void fn##_in_child(void)                                     \
	{                                                                   \
		if (support_valgrind() || support_asan() || support_tsan()) \
			g_test_skip(tools);                                 \
		else                                                        \
			support_run_or_skip(fn, cannot);                    \
	}
#define SUPPORT_LOCKED_CASE(fn) SUPPORT_CHILD_CASE(fn, "tools do not lock memory", "memory cannot be locked here")
#define SUPPORT_FAULT_CASE(fn) \
	SUPPORT_CHILD_CASE(fn, "limits and failing system calls are the tool's too", "system calls cannot be made to fail")

#endif /* MA_TESTS_SUPPORT_FAULT_H */
