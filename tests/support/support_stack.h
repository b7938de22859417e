/* SPDX-License-Identifier: BSD-3-Clause */
/* Forks on a stack that lies in a block. */
#ifndef SUPPORT_STACK_H
#define SUPPORT_STACK_H

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/support/support.h"

#define STACK_BYTES  ((size_t)256 << 10)
#define STACK_ROUNDS 5

enum support_stack_kind {
	STACK_THREAD,        /* Of a thread, by pthread_attr_setstack(): with its control block. */
	STACK_CONTEXT,       /* By makecontext(), of this thread: the stack alone. */
	STACK_CONTROL_BLOCK, /* A thread's own, but the thread is on another one when it forks. */
	STACK_KINDS
};

struct support_forks {
	int status[STACK_ROUNDS]; /* Of the children; 0 when they live. */
	char *said;
};

/* The one call on stacks at a time. */
static struct {
	struct support_forks *forks;
	ucontext_t back, there;
} support_stack;

static inline void support_stack_fork(void)
{
	for (int round = 0; round < STACK_ROUNDS; round++) {
		volatile unsigned char local[500];
		pid_t pid;

		for (size_t i = 0; i < sizeof(local); i++)
			local[i] = (unsigned char)(i + (size_t)round);
		pid = fork();
		for (size_t i = 0; i < sizeof(local); i++)
			if (local[i] != (unsigned char)(i + (size_t)round))
				_exit(3);
		if (pid == 0) {
			memset((void *)(uintptr_t)local, 5, sizeof(local));
			_exit(0);
		}
		g_assert_cmpint(waitpid(pid, &support_stack.forks->status[round], 0), ==, pid);
		/* The C library would have written the child's id where this thread has its own. */
		g_assert_cmpint(pthread_kill(pthread_self(), 0), ==, 0);
		g_assert_cmpint(raise(SIGURG), ==, 0);
	}
}

static inline void support_stack_on(void *stack)
{
	getcontext(&support_stack.there);
	support_stack.there.uc_stack.ss_sp = stack;
	support_stack.there.uc_stack.ss_size = STACK_BYTES;
	support_stack.there.uc_link = &support_stack.back;
	makecontext(&support_stack.there, support_stack_fork, 0);
	swapcontext(&support_stack.back, &support_stack.there);
}

static inline void *support_stack_thread(void *elsewhere)
{
	if (elsewhere)
		support_stack_on(elsewhere);
	else
		support_stack_fork();
	return NULL;
}

static inline void support_stack_run(void *stack, void *elsewhere)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	g_assert_cmpint(pthread_attr_setstack(&attributes, stack, STACK_BYTES), ==, 0);
	g_assert_cmpint(pthread_create(&thread, &attributes, support_stack_thread, elsewhere), ==, 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

/* Fork a few times with this stack, of STACK_BYTES. */
static inline void support_fork_on_stack(void *stack, enum support_stack_kind kind, struct support_forks *forks)
{
	char *elsewhere = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	g_assert_true(elsewhere != MAP_FAILED);
	*forks = (struct support_forks){ 0 };
	support_stack.forks = forks;
	support_capture_begin();
	if (kind == STACK_CONTEXT)
		support_stack_on(stack);
	else
		support_stack_run((void *)(((uintptr_t)stack + 15) & ~(uintptr_t)15),
				  kind == STACK_CONTROL_BLOCK ? elsewhere : NULL);
	forks->said = support_capture_end();
	munmap(elsewhere, STACK_BYTES);
}

/* Parent and child would write to the same stack: each child died, and a line says so. said is NULL: they lived, and there is no line. */
static inline void support_forks_ended(struct support_forks *forks, const char *said)
{
	for (int round = 0; round < STACK_ROUNDS; round++) {
		if (said)
			g_assert_true(WIFSIGNALED(forks->status[round]) && WTERMSIG(forks->status[round]) == SIGSEGV);
		else
			g_assert_cmpint(forks->status[round], ==, 0);
	}
	if (said)
		g_assert_nonnull(strstr(forks->said, said));
	else
		g_assert_cmpstr(forks->said, ==, "");
	g_free(forks->said);
}

static inline bool support_no_stack_in_block(void)
{
	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the tool has its own idea of stacks");
		return true;
	}
	return false;
}

#endif /* SUPPORT_STACK_H */
