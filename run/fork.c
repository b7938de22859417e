/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork() and _Fork(). The back ends copy their memory for a child in fork's handlers. That leaves four cases:
 *
 * - The stack lies in that memory, which parent and child share until the child maps its copy. So the fork itself happens on a stack of
 *   its own, which is private memory; both return from it to the stack as it was, or to its copy.
 * - The thread's control block lies there too, at the end of a stack that pthread_attr_setstack() got. The C library writes to it in
 *   the child, and so in the parent: such a fork fails, and one line says so.
 * - _Fork() calls no handlers: what they do is done here, if no lock is in the way.
 * - A signal handler interrupted the back end's code, whose locks are then this thread's own: the child has no copy, and one line says so.
 */
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)256 << 10)

typedef pid_t fork_fn(void);

pid_t __fork(void);

static fork_fn *next_fork, *next_plain;

/* Another preloaded library's, or the C library's. */
__attribute__((constructor)) static void find_next(void)
{
	next_fork = (fork_fn *)dlsym(RTLD_NEXT, "fork");
	next_plain = (fork_fn *)dlsym(RTLD_NEXT, "_Fork");
}

static pid_t fork_as_always(void)
{
	return next_fork ? next_fork() : __fork();
}

static pid_t plain(void)
{
	if (next_plain)
		return next_plain();
	errno = ENOSYS;
	return -1;
}

static pid_t fail(void)
{
	shim_say("fork() of a thread whose stack pthread_attr_setstack() got from malloc(): it fails (ENOTSUP); use a "
		 "stack from mmap(2)");
	errno = ENOTSUP;
	return -1;
}

static bool shares_this_thread(void)
{
	return shim_holds((const void *)(uintptr_t)pthread_self());
}

/* One fork at a time of each thread: nothing else of the thread runs meanwhile but signal handlers, which have their own. */
struct errand {
	ucontext_t back, there;
	fork_fn *fork;
	pid_t pid;
	int error;
};

static void run_errand(unsigned high, unsigned low)
{
	struct errand *errand = (struct errand *)(uintptr_t)((uint64_t)high << 32 | low);

	errand->pid = errand->fork();
	errand->error = errno;
}

static pid_t fork_elsewhere(fork_fn *fork)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	struct errand *errand = (struct errand *)(void *)stack;
	pid_t pid;
	int error;

	if (stack == MAP_FAILED) {
		errno = ENOMEM;
		return -1;
	}
	errand->fork = fork;
	getcontext(&errand->there);
	errand->there.uc_stack.ss_sp = stack + ma_up(sizeof(*errand), MA_PAGE);
	errand->there.uc_stack.ss_size = STACK_BYTES - ma_up(sizeof(*errand), MA_PAGE);
	errand->there.uc_link = &errand->back;
	makecontext(&errand->there, (void (*)(void))run_errand, 2, (unsigned)((uintptr_t)errand >> 32),
		    (unsigned)(uintptr_t)errand);
	swapcontext(&errand->back, &errand->there);
	pid = errand->pid;
	error = errand->error;
	munmap(stack, STACK_BYTES);
	errno = error;
	return pid;
}

/* A child without a copy cannot return to a stack that lies there. */
static pid_t fork_bare(void)
{
	bool whole = !shim_is_inside() && shim_fork_try();
	pid_t pid = plain();
	int saved = errno;

	if (whole)
		shim_fork_end(pid == 0);
	else if (pid == 0)
		shim_fork_orphaned();
	errno = saved;
	return pid;
}

SHIM_EXPORT pid_t _Fork(void)
{
	if (shares_this_thread())
		return fail();
	return shim_holds(__builtin_frame_address(0)) ? fork_elsewhere(fork_bare) : fork_bare();
}

SHIM_EXPORT pid_t fork(void)
{
	if (shim_is_inside())
		return _Fork();
	if (shares_this_thread())
		return fail();
	return shim_holds(__builtin_frame_address(0)) ? fork_elsewhere(fork_as_always) : fork_as_always();
}
