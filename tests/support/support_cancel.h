/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_cancel.h
 * @brief Deferred cancellation: calls that must not be cancellation points, and threads that are cancelled in loops of calls.
 */
#ifndef MA_TESTS_SUPPORT_CANCEL_H
#define MA_TESTS_SUPPORT_CANCEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/support/support.h"

/** The call that the pending thread makes. */
static const char *_Atomic support_call;

/** A call, and its name for the message. */
#define CALL(call) (atomic_store(&support_call, #call), (call))

/** What walks and creations call: a cancellation point of the program's own. */
static inline int cancel_see_block(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	pthread_testcancel();
	return 0;
}

static inline int cancel_see_root(const char *name, void *ptr, void *arg)
{
	(void)name, (void)ptr, (void)arg;
	pthread_testcancel();
	return 0;
}

static inline int cancel_set_up(void *block, size_t size, void *arg)
{
	(void)arg;
	memset(block, 7, size);
	pthread_testcancel();
	return 0;
}

struct support_pending {
	void (*fn)(void *arg);
	void *arg;
};

static inline void *support_pending_thread(void *arg)
{
	const struct support_pending *pending = arg;
	int state = -1;

	pthread_cancel(pthread_self());
	pending->fn(pending->arg);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	g_assert_cmpint(state, ==, PTHREAD_CANCEL_ENABLE); /* The library put it back. */
	atomic_store(&support_call, NULL);
	return NULL;
}

/** Run fn(arg) in a thread that has a cancellation pending from its beginning: each of its CALL()s must return. */
static inline void support_with_cancel_pending(void (*fn)(void *arg), void *arg)
{
	struct support_pending pending = { fn, arg };
	pthread_t thread;
	void *result;

	g_assert_cmpint(pthread_create(&thread, NULL, support_pending_thread, &pending), ==, 0);
	g_assert_cmpint(pthread_join(thread, &result), ==, 0);
	if (result == PTHREAD_CANCELED)
		g_error("cancelled in %s", atomic_load(&support_call));
}

struct support_loop {
	void (*fn)(void *arg);
	void *arg;
	_Atomic uint64_t rounds;
};

static inline void *support_loop_thread(void *arg)
{
	struct support_loop *loop = arg;

	for (;;) {
		loop->fn(loop->arg);
		atomic_fetch_add(&loop->rounds, 1);
		pthread_testcancel();
	}
	return NULL;
}

/** Threads that loop over fn(arg), three at a time, are cancelled at any moment of it. */
static inline void support_cancel_in_loops(void (*fn)(void *arg), void *arg, unsigned times)
{
	struct support_loop loop = { fn, arg, 0 };
	struct support_rand r;
	pthread_t threads[3];
	void *result;

	support_rand_seed(&r, 15);
	for (unsigned i = 0; i < times; i++) {
		uint64_t until = atomic_load(&loop.rounds) + 1 + support_rand_below(&r, 8);

		support_watchdog(0);
		for (size_t k = 0; k < G_N_ELEMENTS(threads); k++)
			g_assert_cmpint(pthread_create(&threads[k], NULL, support_loop_thread, &loop), ==, 0);
		while (atomic_load(&loop.rounds) < until)
			support_sleep_us(10);
		for (size_t k = 0; k < G_N_ELEMENTS(threads); k++)
			pthread_cancel(threads[k]);
		for (size_t k = 0; k < G_N_ELEMENTS(threads); k++) {
			g_assert_cmpint(pthread_join(threads[k], &result), ==, 0);
			g_assert_true(result == PTHREAD_CANCELED);
		}
	}
}

#endif /* MA_TESTS_SUPPORT_CANCEL_H */
