/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests/qalloc/forks.c and tests/mmalloc/forks.c share: children of _Fork(), which runs no fork handlers, and forks of a thread
 * whose stack lies in a block.
 */
#ifndef SUPPORT_FORK_H
#define SUPPORT_FORK_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"
#include "tests/support/support_block.h"

#define FORK_BLOCKS 300
#define FORK_ROUNDS 20
#define FORK_STACK  ((size_t)256 << 10)

/* In memory that parent and child share: not in the map. */
struct support_family {
	const struct support_calls *calls;
	void *map;
	size_t size; /* Of each block; 0: they differ. */
	struct support_block before[FORK_BLOCKS], parent[FORK_BLOCKS], child[FORK_BLOCKS];
	struct support_sync sync;
};

static inline void family_take(struct support_family *f, struct support_block *blocks, uint64_t tag)
{
	for (size_t i = 0; i < FORK_BLOCKS; i++)
		g_assert_true(support_take_by(f->calls, f->map, &blocks[i],
					      f->size        ? f->size
					      : i % 40 == 39 ? i * 700
							     : 8 + i * 5,
					      tag + i));
}

static inline void family_give(struct support_family *f, struct support_block *blocks)
{
	for (size_t i = 0; i < FORK_BLOCKS; i++)
		support_give_by(f->calls, f->map, &blocks[i]);
}

static inline void family_verify(const struct support_block *blocks)
{
	for (size_t i = 0; i < FORK_BLOCKS; i++)
		g_assert_true(support_intact(blocks[i].at, blocks[i].size, blocks[i].tag));
}

static inline struct support_family *family_new(const struct support_calls *calls, void *map, size_t size)
{
	struct support_family *f = support_shared(sizeof(*f));

	f->calls = calls;
	f->map = map;
	f->size = size;
	family_take(f, f->before, 1);
	return f;
}

static inline pid_t family_bare_fork(struct support_family *f, int (*fn)(struct support_family *f))
{
	pid_t pid = _Fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid == 0)
		_exit(fn(f));
	return pid;
}

/* ---- _Fork() ---- */

static inline int family_share(struct support_family *f)
{
	family_verify(f->before);
	for (size_t i = 0; i < FORK_BLOCKS; i += 2)
		support_give_by(f->calls, f->map, &f->before[i]);
	support_point(&f->sync, "freed");
	family_take(f, f->child, 1000);
	return 0;
}

/* A shared map stays shared: the child acts on its own account, in no slot that its parent's thread had reserved. */
static inline void bare_child_shares(const struct support_calls *calls, void *map, size_t size)
{
	struct support_family *f = family_new(calls, map, size);
	pid_t pid = family_bare_fork(f, family_share);

	support_await(&f->sync, "freed");
	support_go(&f->sync, "freed");
	family_take(f, f->parent, 2000);
	support_wait_ok(pid);
	family_verify(f->child);
	family_verify(f->parent);
	g_assert_cmpuint(support_count_by(calls, map), ==, 2 * FORK_BLOCKS + FORK_BLOCKS / 2);
	support_check_by(calls, map);
	family_give(f, f->child);
	family_give(f, f->parent);
	for (size_t i = 1; i < FORK_BLOCKS; i += 2)
		support_give_by(calls, map, &f->before[i]);
	g_assert_cmpuint(support_count_by(calls, map), ==, 0);
}

static inline int family_change_all(struct support_family *f)
{
	struct support_block mine[FORK_BLOCKS], *before = g_memdup2(f->before, sizeof(f->before));

	support_point(&f->sync, "forked");
	family_verify(before);
	family_take(f, mine, 3000);
	family_give(f, before);
	family_verify(mine);
	g_assert_cmpuint(support_count_by(f->calls, f->map), ==, FORK_BLOCKS);
	support_check_by(f->calls, f->map);
	g_free(before);
	return 0;
}

/* A private map becomes the child's own copy. */
static inline void bare_child_copies(const struct support_calls *calls, void *map)
{
	struct support_family *f = family_new(calls, map, 0);
	pid_t pid = family_bare_fork(f, family_change_all);

	support_await(&f->sync, "forked");
	family_take(f, f->parent, 2000);
	support_go(&f->sync, "forked");
	support_wait_ok(pid);
	family_verify(f->before);
	family_verify(f->parent);
	g_assert_cmpuint(support_count_by(calls, map), ==, 2 * FORK_BLOCKS);
	support_check_by(calls, map);
	family_give(f, f->before);
	family_give(f, f->parent);
}

static inline int family_is_closed(struct support_family *f)
{
	errno = 0;
	g_assert_null(f->calls->malloc(f->map, 64));
	g_assert_cmpint(errno, ==, EBADF);
	f->calls->free(f->map, f->before[0].at);
	return 0;
}

/* With a snapshot for each child, a child that none was made for is told so at its first call, and changes nothing. */
static inline void bare_child_has_no_snapshot(const struct support_calls *calls, void *map)
{
	struct support_family *f = family_new(calls, map, 64);

	support_wait_ok(family_bare_fork(f, family_is_closed));
	family_take(f, f->parent, 2000);
	family_verify(f->before);
	g_assert_cmpuint(support_count_by(calls, map), ==, 2 * FORK_BLOCKS);
	support_check_by(calls, map);
	family_give(f, f->before);
	family_give(f, f->parent);
}

/* ---- on a stack in a block ---- */

struct support_stack {
	struct support_family *family;
	int status[FORK_ROUNDS];
};

static inline void *fork_on_stack(void *arg)
{
	struct support_stack *s = arg;
	volatile unsigned char local[500];

	for (int round = 0; round < FORK_ROUNDS; round++) {
		pid_t pid;

		for (size_t i = 0; i < sizeof(local); i++)
			local[i] = (unsigned char)(i + (size_t)round);
		pid = fork();
		for (size_t i = 0; i < sizeof(local); i++)
			if (local[i] != (unsigned char)(i + (size_t)round))
				_exit(3);
		if (pid == 0) {
			memset((void *)(uintptr_t)local, 5, sizeof(local));
			family_verify(s->family->before);
			_exit(0);
		}
		g_assert_cmpint(waitpid(pid, &s->status[round], 0), ==, pid);
	}
	return NULL;
}

/* A thread on a stack in a block forks. Returns what was printed, to be freed with g_free(). */
static inline char *stack_in_block(struct support_family *f, struct support_stack *s)
{
	char *stack = f->calls->memalign(f->map, 4096, FORK_STACK), *said;
	pthread_attr_t attributes;
	pthread_t thread;

	g_assert_nonnull(stack);
	*s = (struct support_stack){ .family = f };
	pthread_attr_init(&attributes);
	g_assert_cmpint(pthread_attr_setstack(&attributes, stack, FORK_STACK), ==, 0);
	support_capture_begin();
	g_assert_cmpint(pthread_create(&thread, &attributes, fork_on_stack, s), ==, 0);
	pthread_join(thread, NULL);
	said = support_capture_end();
	pthread_attr_destroy(&attributes);
	f->calls->free(f->map, stack);
	return said;
}

static inline bool no_stack_in_block(void)
{
	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("the tool has its own idea of stacks");
		return true;
	}
	return false;
}

static inline int family_look(void *arg)
{
	struct support_family *f = arg;
	struct support_block mine;

	family_verify(f->before);
	g_assert_true(support_take_by(f->calls, f->map, &mine, 64, 1));
	support_give_by(f->calls, f->map, &mine);
	return 0;
}

/* Parent and child would write to the same stack: the child dies, and a line says so; the parent and the map are not touched. */
static inline void child_on_shared_stack_is_told(const struct support_calls *calls, void *map)
{
	struct support_family *f = family_new(calls, map, 0);
	struct support_stack s;
	char *said = stack_in_block(f, &s);

	for (int round = 0; round < FORK_ROUNDS; round++)
		g_assert_true(WIFSIGNALED(s.status[round]) && WTERMSIG(s.status[round]) == SIGSEGV);
	g_assert_nonnull(strstr(said, "fork() on a stack that lies in the map"));
	g_free(said);
	family_verify(f->before);
	g_assert_cmpuint(support_count_by(calls, map), ==, FORK_BLOCKS);
	support_check_by(calls, map);
	support_run_child(family_look, f); /* Off that stack, a child is as ever. */
	family_give(f, f->before);
}

/* Its own copy of the map has the stack, too. */
static inline void child_on_private_stack_lives(const struct support_calls *calls, void *map)
{
	struct support_family *f = family_new(calls, map, 0);
	struct support_stack s;
	char *said = stack_in_block(f, &s);

	for (int round = 0; round < FORK_ROUNDS; round++)
		g_assert_cmpint(s.status[round], ==, 0);
	g_assert_cmpstr(said, ==, "");
	g_free(said);
	family_verify(f->before);
	family_give(f, f->before);
	support_check_by(calls, map);
}

#endif /* SUPPORT_FORK_H */
