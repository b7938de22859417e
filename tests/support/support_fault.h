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

/* fn_in_child(): runs fn, which locks its memory, in a child. */
#define SUPPORT_LOCKED_CASE(fn)                                                  \
	static void fn##_in_child(void)                                          \
	{                                                                        \
		if (support_valgrind() || support_asan() || support_tsan())      \
			g_test_skip("tools do not lock memory");                 \
		else                                                             \
			support_run_or_skip(fn, "memory cannot be locked here"); \
	}

#endif /* MA_TESTS_SUPPORT_FAULT_H */
