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
#include "tests/support/support_stack.h"

#define FORK_BLOCKS 300

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

static inline int family_look(void *arg)
{
	struct support_family *f = arg;
	struct support_block mine;

	family_verify(f->before);
	g_assert_true(support_take_by(f->calls, f->map, &mine, 64, 1));
	support_give_by(f->calls, f->map, &mine);
	return 0;
}

/* The fork's child dies and is told so, or lives on its own stack; the parent and the map are not touched. */
static inline void forks_on_stack(const struct support_calls *calls, void *map, const char *said)
{
	struct support_family *f = family_new(calls, map, 0);

	for (int kind = 0; kind < STACK_KINDS; kind++) {
		char *stack = calls->memalign(map, 4096, STACK_BYTES);
		struct support_forks forks;

		g_assert_nonnull(stack);
		support_fork_on_stack(stack, (enum support_stack_kind)kind, &forks);
		support_forks_ended(&forks, said);
		calls->free(map, stack);
		family_verify(f->before);
	}
	support_check_by(calls, map);
	support_run_child(family_look, f); /* Off that stack, a child is as ever. */
	family_give(f, f->before);
}

static inline void child_on_shared_stack_is_told(const struct support_calls *calls, void *map)
{
	forks_on_stack(calls, map, "fork() on a stack that lies in the map");
}

static inline void child_on_private_stack_lives(const struct support_calls *calls, void *map)
{
	forks_on_stack(calls, map, NULL);
}

#endif /* SUPPORT_FORK_H */
