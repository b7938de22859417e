/* SPDX-License-Identifier: BSD-3-Clause */
/* Data behind a lock, which a process that dies leaves half changed; for the tests of locks. */
#ifndef MA_TESTS_QALLOC_LOCKS_H
#define MA_TESTS_QALLOC_LOCKS_H

#include "tests/support/support_qalloc.h"

#define THREADS 4u

struct guarded {
	struct qalloc_lock lock;
	uint64_t before, after; /* Equal when the lock is free. */
	_Atomic uint32_t deaths;
};

static inline struct guarded *make_guarded(void *map)
{
	struct guarded *g = qalloc_find_or_create(map, "guarded", sizeof(*g), NULL, NULL, NULL);

	g_assert_nonnull(g);
	return g;
}

static inline void change(void *map, struct guarded *g)
{
	int error = qalloc_lock(map, &g->lock);

	g_assert_true(error == 0 || error == EOWNERDEAD);
	if (error == EOWNERDEAD)
		g->after = g->before;
	g_assert_cmpuint(g->before, ==, g->after);
	g->before++;
	g->after++;
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
}

struct child {
	const char *path;
	size_t rounds;
	struct support_sync sync;
};

static inline struct child *start_child(const char *name)
{
	struct child *c = support_shared(sizeof(*c));

	*c = (struct child){ .path = support_path(name) };
	return c;
}

#endif /* MA_TESTS_QALLOC_LOCKS_H */
