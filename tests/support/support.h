/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support.h
 * @brief What all tests share: a directory for maps, children that get killed, barriers, seeded randomness.
 *
 * Nothing here knows a library; support_qalloc.h adds what needs libqalloc.
 *
 * Who runs a test program watches it (tests/support/watch.c): a program that makes no progress is ended, with the name of
 * the test. Waiting functions therefore have no time-out of their own. Children die with the test program.
 */
#ifndef MA_TESTS_SUPPORT_H
#define MA_TESTS_SUPPORT_H

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define KIB                  ((size_t)1024)
#define MIB                  (KIB * KIB)
#define GIB                  (KIB * MIB)
/** Seconds for which a step may stand still: nothing is printed, all processes are asleep. Time of work does not count. */
#define SUPPORT_HUNG_SECONDS 60u

/* --- the program ------------------------------------------------------------------------------------------- */

/** Call first in main(): g_test_init(), no core files, a seed. */
void support_init(int *argc, char ***argv);
/** Register a test. */
void support_add(const char *path, void (*test)(void));
/** Run all; the return value of main(). */
int support_run(void);
/**
 * The running test has finished a step. The next one may stand still for @p seconds, at least for what the watcher allows
 * (MA_TEST_HUNG, 120 s), and use MA_TEST_CPU seconds (200) of CPU time. Async-signal-safe; children may call it too.
 */
void support_watchdog(unsigned seconds);
/** A test of this name begins. support_add() does it. */
void support_runs(const char *name);

/* --- how much ---------------------------------------------------------------------------------------------- */

bool support_valgrind(void); /**< $MA_TEST_VALGRIND is set and not 0. */
bool support_tsan(void);
bool support_asan(void);
/**
 * A number of rounds: @p n, a quarter of it under ASan, a fortieth under Valgrind, never 0. A sixteenth under TSan, which sees a race
 * of two accesses whatever the moment at which they meet.
 */
size_t support_scale(size_t n);
/** Of a long series each @p n-th is tried, or each when $MA_CRASH_ALL is set and not 0: then this is 1. */
size_t support_stride(size_t n);
/** @p plain, or @p slow under Valgrind and TSan, where all takes ten times as long and more: for sizes of maps. */
size_t support_size(size_t plain, size_t slow);
/**
 * Bytes of a map that is larger than memory: 1 TiB. Less where pointers have 32 bits, where the address space is short of room
 * (TSan), where each unmapping clears an eighth of it in shadow memory (ASan), or where mapping takes its time (Valgrind).
 */
size_t support_huge(void);

/* --- randomness -------------------------------------------------------------------------------------------- */

struct support_rand {
	uint64_t state;
};

/** Start a sequence of its own for each @p salt, from $MA_TEST_SEED or the clock. */
void support_rand_seed(struct support_rand *r, uint64_t salt);
uint64_t support_rand_next(struct support_rand *r);
/** 0 to @p n - 1. */
size_t support_rand_below(struct support_rand *r, size_t n);
/** @p low to @p high, both included. */
size_t support_rand_between(struct support_rand *r, size_t low, size_t high);

/* --- files ------------------------------------------------------------------------------------------------- */

/** Directory for this program's files, in $MA_TEST_DIR or the current one; removed at exit and at abort. */
const char *support_dir(void);
/** Path of a file that does not exist yet, its name ending in @p name. Freed at exit. */
const char *support_path(const char *name);
/** Has the file system of support_dir() files without a name (O_TMPFILE)? */
bool support_nameless_files(void);
off_t support_file_size(const char *path);
/** Whole content, and a zero, to be freed with g_free(). @p size may be NULL. */
char *support_file_read(const char *path, size_t *size);
/** Make the file hold exactly this. The inode stays. */
void support_file_write(const char *path, const void *data, size_t size);
/** Copy, leaving holes where @p from has some. */
void support_file_copy(const char *from, const char *to);

/* --- stderr ------------------------------------------------------------------------------------------------ */

/** Send stderr to a file from here on. */
void support_capture_begin(void);
/** Give stderr back; what was printed, to be freed with g_free(). */
char *support_capture_end(void);
/**
 * Run the body of this test in a fresh process where $NAME is @p value (NULL: not set). True in that process.
 * The caller's process asserts that the other passed, and gets false.
 */
bool support_in_process_with(const char *name, const char *value);

/* --- processes --------------------------------------------------------------------------------------------- */

/** What a child does; its exit status. */
typedef int support_child_fn(void *arg);

/** CPU time of this thread, in ns. */
uint64_t support_cpu_ns(void);

/** Memory shared with all children, zeroed. Never given back. */
void *support_shared(size_t bytes);
pid_t support_fork(support_child_fn *fn, void *arg);
/** Reap; the status of waitpid(). */
int support_wait(pid_t pid);
/** Reap and assert exit status 0. */
void support_wait_ok(pid_t pid);
/** Fork, run, assert exit status 0. */
void support_run_child(support_child_fn *fn, void *arg);
/** Run it in so many children at once. */
void support_run_children(support_child_fn *fn, void *arg, unsigned count);
/** Run it in so many children, none of which ends by itself. One after the other, @p kills times, is killed and replaced; in the end all are killed. */
void support_kill_at_random(support_child_fn *fn, void *arg, unsigned count, size_t kills);
/** SIGKILL and reap. Asserts that the child was killed by us or had ended well; true when it was killed. */
bool support_kill(pid_t pid);
/** The same after @p usec microseconds. */
bool support_kill_after_us(pid_t pid, unsigned usec);
void support_sleep_us(unsigned usec);
uint64_t support_now_us(void);
/**
 * Wait for the end of a child; false: it has been asleep for so long in all, and goes on. What the machine does beside is not its
 * fault: to wait for a processor or a disk is not to sleep, and of two looks that lie far apart only a millisecond counts.
 */
bool support_ends_within_us(pid_t pid, uint64_t limit, int *status);
/** A message: where in the kernel it is, and in which call with which arguments. */
void support_say_where(pid_t pid);

/** Named points at which a child waits for its parent. In memory from support_shared(). */
struct support_sync {
	_Atomic(const char *) at;
	_Atomic(const char *) go;
};

/** Child: say that @p name is reached, wait for support_go() of the same name. */
void support_point(struct support_sync *sync, const char *name);
/** Parent: wait until the child is at @p name. */
void support_await(struct support_sync *sync, const char *name);
/** Parent: let the child go on from @p name. */
void support_go(struct support_sync *sync, const char *name);
/** Parent: await, then SIGKILL and reap. */
void support_kill_at(pid_t pid, struct support_sync *sync, const char *name);

/* --- starting together ------------------------------------------------------------------------------------- */

/** Reusable barrier for threads and processes. */
struct support_barrier {
	uint32_t members;
	_Atomic uint32_t arrived;
	_Atomic uint32_t round;
};

/** In shared memory, so that children forked later can use it too. */
struct support_barrier *support_barrier_new(unsigned members);
void support_barrier_wait(struct support_barrier *barrier);

struct support_thread {
	pthread_t id;
	unsigned index;
	void *arg;
	void (*run)(struct support_thread *self);
};

void support_threads_start(struct support_thread *threads, unsigned count, void (*run)(struct support_thread *self),
			   void *arg);
void support_threads_join(struct support_thread *threads, unsigned count);
/** Run @p fn in a thread with the smallest stack that POSIX allows. */
void support_small_stack(void (*fn)(void *arg), void *arg);
/** Start and join. */
void support_threads(unsigned count, void (*run)(struct support_thread *self), void *arg);

/* --- errors ------------------------------------------------------------------------------------------------ */

#define assert_errno_is(expected)                                                                        \
	do {                                                                                             \
		int errno_ = errno;                                                                      \
		if (errno_ != (expected))                                                                \
			g_error("%s:%d: errno is %d (%s), expected %d (%s)", __FILE__, __LINE__, errno_, \
				g_strerror(errno_), (expected), g_strerror(expected));                   \
	} while (0)

/** @p call returns NULL with this errno. */
#define assert_null(call, expected)        \
	do {                               \
		errno = 0;                 \
		g_assert_null(call);       \
		assert_errno_is(expected); \
	} while (0)

/** @p call returns -1 with this errno. */
#define assert_minus1(call, expected)            \
	do {                                     \
		errno = 0;                       \
		g_assert_cmpint((call), ==, -1); \
		assert_errno_is(expected);       \
	} while (0)

/** @p statement, which returns nothing, leaves this errno; 0 means that it leaves errno alone. */
#define assert_void(statement, expected)   \
	do {                               \
		errno = 0;                 \
		statement;                 \
		assert_errno_is(expected); \
	} while (0)

#endif /* MA_TESTS_SUPPORT_H */
