/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The shim that xmemory-run and mmalloc-run preload into a program: the C library's allocation calls (shim.c) and calls on
 * descriptors (descriptors.c), above, and a back end (shim_xmemory.c or shim_mmalloc.c), below.
 *
 * Calls come at any time: from the dynamic linker before the C library is set up, from within a back end that opens its
 * heap, from destructors after the last one of ours, in fork handlers. RAM is always there: the C library's own
 * allocator under the names that it exports for it, which no library interposes.
 */
#ifndef SHIM_H
#define SHIM_H

#include <signal.h>
#include <sys/types.h>

#include "common/base.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nmemb, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

#define SHIM_EXPORT __attribute__((visibility("default")))
#define SHIM_TLS    _Thread_local __attribute__((tls_model("initial-exec")))

/* ---- what a back end is; no size is 0, every alignment is a power of two ---- */

extern const char shim_name[]; /* Of the program that started this one. */
/* Before any other call, and cheap: there may be no environment yet. */
void shim_prepare(void);
/* Once, with an environment. Calls from within are served as those before. */
void shim_begin(void);

void *shim_new(size_t size);
void *shim_zeroed(size_t size);
void *shim_resize(void *ptr, size_t size);
void *shim_aligned(size_t alignment, size_t size);
void shim_give(void *ptr);
size_t shim_room(void *ptr); /* 0: it is no block of the back end. */

/* From here on malloc() and free() may try the fast path first (shim_fast.h): no call is counted. */
void shim_allow_fast(void);

/* Descriptors that are kept open, by number from 0 to SHIM_KEPT - 1: where its value is, or NULL. */
#define SHIM_KEPT       3
#define SHIM_KEPT_SPARE 2 /* The back end can do without this one: dup2() takes its number when no other number is free. */
int *shim_kept(unsigned i);
/* Does it still lead to the file that the back end had opened? System calls made by hand come past us. */
bool shim_kept_is_ours(unsigned i);
/*
 * The process is about to end, by exit or by a signal; perhaps in the middle of a call, and with other threads that go on for a moment.
 * Signal-safe. Blocks stay where they are; new ones are the C library's.
 */
void shim_end(void);
/* Does this address lie in memory of the back end that fork() copies? */
bool shim_holds(const void *address);
/* Can the copies be made now, for a child that fork's handlers know nothing of? Then shim_fork_end() follows in both. */
bool shim_fork_try(void);
void shim_fork_end(bool child);
/* Such a child without copies: its parent's memory is not to be changed. Signal-safe. */
void shim_fork_orphaned(void);
/* Is this thread in the back end's code, so that locks may be its own? */
bool shim_is_inside(void);

/*
 * What there was to be had, as text behind the program's name and the number of calls. Signal-safe: where _exit() interrupted a call of
 * ours in the same thread, there may be none: an empty text.
 */
void shim_figures(char *text, size_t size);

/* ---- what is behind ours (next.c) ---- */

struct shim_next {
	int (*close)(int fd);
	int (*close_range)(unsigned first, unsigned last, int flags);
	void (*closefrom)(int first);
	int (*dup2)(int from, int to);
	int (*dup3)(int from, int to, int flags);
	void (*_exit)(int status);
	void (*_Exit)(int status);
	int (*daemon)(int nochdir, int noclose);
	pid_t (*setsid)(void);
	void *(*dlopen)(const char *name, int flags);
	int (*sigaction)(int number, const struct sigaction *wanted, struct sigaction *was);
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t nmemb, size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void (*free)(void *ptr);
	void *(*memalign)(size_t alignment, size_t size);
	void *(*aligned_alloc)(size_t alignment, size_t size);
	int (*posix_memalign)(void **block, size_t alignment, size_t size);
	void *(*valloc)(size_t size);
	void *(*pvalloc)(size_t size);
	size_t (*malloc_usable_size)(void *ptr);
};
/* NULL: no library defines it, or it was not looked up yet. */
extern struct shim_next shim_next;
void shim_find_next(void);
/* The file that defines malloc() and its like beside us and the C library; NULL: none. */
const char *shim_other_allocator(void);

/* Ours, whatever else defines the names. */
void *shim_malloc(size_t size);
void *shim_calloc(size_t nmemb, size_t size);
void *shim_realloc(void *ptr, size_t size);
void shim_free(void *ptr);

/* ---- what shim.c has for the others ---- */

/* False: the program has an allocator of its own, and nothing of it is served. */
bool shim_is_served(void);
/* The program is done with its stderr, or has another one: we keep no copy of it then. */
void shim_stderr_changed(void);

/* This process as of start or fork; a child by vfork() has another one, and the same memory. */
bool shim_is_this_process(void);
/* Call shim_end() too when SIGTERM, SIGINT or SIGHUP ends the process (signals.c, where it is linked in). */
void shim_watch_signals(void);
/* One line on stderr, errno kept. */
void shim_say(const char *format, ...) MA_PRINTF(1, 2);
/* The same descriptor under a number that programs do not use. */
int shim_move(int fd);

#endif /* SHIM_H */
