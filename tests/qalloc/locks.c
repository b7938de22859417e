/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locks for the program's own data: each error, exclusion among threads and processes, and every way in which a holder can be gone:
 * EOWNERDEAD once, and then the lock is as good as new.
 */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/qalloc/locks.h"

/* The next one is told, and only the next one. */
static void expect_dead_once(void *map, struct guarded *g)
{
	g_assert_cmpint(qalloc_lock(map, &g->lock), ==, EOWNERDEAD);
	g_assert_cmpint(qalloc_trylock(map, &g->lock), ==, EBUSY);
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	g_assert_cmpint(qalloc_lock(map, &g->lock), ==, 0);
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	g_assert_cmpint(qalloc_trylock(map, &g->lock), ==, 0);
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	g_assert_cmpuint(g->lock.word, ==, 0);
}

#define assert_error(call, expected)                     \
	do {                                             \
		errno = 0;                               \
		g_assert_cmpint((call), ==, (expected)); \
		g_assert_cmpint(errno, ==, (expected));  \
	} while (0)

static void all_errors(void *map, struct qalloc_lock *lock, int expected)
{
	assert_error(qalloc_lock(map, lock), expected);
	assert_error(qalloc_trylock(map, lock), expected);
	assert_error(qalloc_timedlock(map, lock, 1), expected);
	assert_error(qalloc_unlock(map, lock), expected);
}

static void errors(void)
{
	const char *path = support_path("errors");
	void *map = support_dyn(path, MIB, 1);
	struct guarded *g = make_guarded(map);
	struct qalloc_lock elsewhere = { 0 };

	all_errors(map, NULL, EINVAL);
	all_errors(map, &elsewhere, EINVAL);
	all_errors(map, (struct qalloc_lock *)(void *)((char *)g + 4), EINVAL);
	all_errors(map, (struct qalloc_lock *)(void *)support_base(map), EINVAL);
	all_errors(map, (struct qalloc_lock *)(void *)support_end(map), EINVAL);
	all_errors(NULL, &g->lock, EBADF);
	assert_error(qalloc_unlock(map, &g->lock), EPERM);
	errno = 0;
	g_assert_cmpint(qalloc_lock(map, &g->lock), ==, 0);
	g_assert_cmpint(errno, ==, 0);
	assert_error(qalloc_lock(map, &g->lock), EDEADLK);
	assert_error(qalloc_timedlock(map, &g->lock, 0), EDEADLK);
	assert_error(qalloc_trylock(map, &g->lock), EBUSY);
	errno = 0;
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	g_assert_cmpint(errno, ==, 0);
	assert_error(qalloc_unlock(map, &g->lock), EPERM);
	check_map(map);
	support_close(map);
	all_errors(map, &g->lock, EBADF);
	map = support_open(path, QALLOC_RDONLY);
	all_errors(map, qalloc_getroot(map, "guarded"), EROFS);
	support_close(map);
	unlink(path);
}

static void static_maps(void)
{
	const char *path = support_path("static");
	void *map = support_stat(path, MIB, 64, 1);
	struct guarded *g = make_guarded(map);

	change(map, g);
	g_assert_cmpuint(g->before, ==, 1);
	support_finish(map, path);
}

/* Words that no holder left: the lock can be had. */
static void any_word(void)
{
	static const uint64_t words[] = {
		1, 2, 3, UINT64_MAX, UINT64_MAX - 1, (uint64_t)1 << 63, (uint64_t)0xffff << 1, (uint64_t)1 << 53 | 2
	};
	const char *path = support_path("word");
	void *map = support_dyn(path, MIB, 1);
	struct guarded *g = make_guarded(map);

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
		g->lock.word = words[i];
		g_assert_cmpint(qalloc_timedlock(map, &g->lock, 1000), ==, words[i] == 1 ? 0 : EOWNERDEAD);
		g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	}
	support_finish(map, path);
}

/* ---- threads ---- */

struct threads {
	void *map;
	struct guarded *g;
	size_t rounds;
	uint64_t word;
};

static void change_often(struct support_thread *self)
{
	struct threads *t = self->arg;

	for (size_t i = 0; i < t->rounds; i++)
		change(t->map, t->g);
}

static void threads(void)
{
	const char *path = support_path("threads");
	struct threads t = { .map = support_dyn(path, MIB, 1), .rounds = support_scale(20000) };

	t.g = make_guarded(t.map);
	support_threads(THREADS, change_often, &t);
	g_assert_cmpuint(t.g->before, ==, THREADS * t.rounds);
	g_assert_cmpuint(t.g->lock.word & ~(uint64_t)1, ==, 0);
	support_finish(t.map, path);
}

static void meet_a_held_one(struct support_thread *self)
{
	struct threads *t = self->arg;

	assert_error(qalloc_trylock(t->map, &t->g->lock), EBUSY);
	assert_error(qalloc_timedlock(t->map, &t->g->lock, 0), ETIMEDOUT);
	assert_error(qalloc_timedlock(t->map, &t->g->lock, 30), ETIMEDOUT);
	assert_error(qalloc_unlock(t->map, &t->g->lock), EPERM);
}

static void wait_for_it(struct support_thread *self)
{
	struct threads *t = self->arg;

	g_assert_cmpint(qalloc_timedlock(t->map, &t->g->lock, 60000), ==, 0);
	g_assert_cmpuint(t->g->before, ==, 1);
	g_assert_cmpint(qalloc_unlock(t->map, &t->g->lock), ==, 0);
}

static void held_by_another_thread(void)
{
	const char *path = support_path("held");
	struct threads t = { .map = support_dyn(path, MIB, 1) };
	struct support_thread waiter;

	t.g = make_guarded(t.map);
	g_assert_cmpint(qalloc_lock(t.map, &t.g->lock), ==, 0);
	support_threads(1, meet_a_held_one, &t);
	support_threads_start(&waiter, 1, wait_for_it, &t);
	while (!(*(volatile uint64_t *)&t.g->lock.word & 1)) /* It waits. */
		support_sleep_us(100);
	t.g->before = 1;
	g_assert_cmpint(qalloc_unlock(t.map, &t.g->lock), ==, 0);
	support_threads_join(&waiter, 1);
	support_finish(t.map, path);
}

static void lock_and_end(struct support_thread *self)
{
	struct threads *t = self->arg;

	int error = qalloc_lock(t->map, &t->g->lock);

	g_assert_true(error == 0 || error == EOWNERDEAD);
}

static void thread_ends(void)
{
	const char *path = support_path("ends");
	struct threads t = { .map = support_dyn(path, MIB, 1) };

	t.g = make_guarded(t.map);
	for (int i = 0; i < 3; i++) {
		support_threads(1, lock_and_end, &t);
		expect_dead_once(t.map, t.g);
	}
	support_finish(t.map, path);
}

/* ---- processes ---- */

static int change_in_process(void *arg)
{
	struct child *c = arg;
	void *map = support_load(c->path);

	for (size_t i = 0; i < c->rounds; i++)
		change(map, make_guarded(map));
	support_close(map);
	return 0;
}

static void processes(void)
{
	struct child *c = support_shared(sizeof(*c));
	pid_t pid[THREADS];
	void *map;

	*c = (struct child){ .path = support_path("processes"), .rounds = support_scale(5000) };
	map = support_dyn(c->path, MIB, 1);
	make_guarded(map);
	for (unsigned i = 0; i < THREADS; i++)
		pid[i] = support_fork(change_in_process, c);
	for (unsigned i = 0; i < THREADS; i++)
		support_wait_ok(pid[i]);
	g_assert_cmpuint(make_guarded(map)->before, ==, THREADS * c->rounds);
	support_finish(map, c->path);
}

static int hold(void *arg)
{
	struct child *c = arg;
	void *map = support_load(c->path);

	g_assert_cmpint(qalloc_lock(map, &make_guarded(map)->lock), ==, 0);
	support_point(&c->sync, "holds");
	return 0;
}

/* Whoever comes next in the dead one's place in the table of processes must not look like the holder. */
static int come_and_stay(void *arg)
{
	struct child *c = arg;
	void *map = support_load(c->path);

	g_assert_nonnull(qalloc_malloc(map, 100));
	support_point(&c->sync, "came");
	support_point(&c->sync, "may go");
	return 0;
}

static void killed_holder(void)
{
	struct child *c = start_child("killed"), *other = support_shared(sizeof(*other));
	void *map = support_dyn(c->path, MIB, 1);
	struct guarded *g = make_guarded(map);
	pid_t newcomer;

	support_kill_at(support_fork(hold, c), &c->sync, "holds");
	expect_dead_once(map, g);
	memset(&c->sync, 0, sizeof(c->sync));
	support_kill_at(support_fork(hold, c), &c->sync, "holds");
	*other = *c;
	memset(&other->sync, 0, sizeof(other->sync));
	newcomer = support_fork(come_and_stay, other);
	support_await(&other->sync, "came");
	expect_dead_once(map, g);
	support_kill(newcomer);
	support_finish(map, c->path);
}

static void nobody_survives(void)
{
	struct child *c = start_child("nobody");
	void *map = support_dyn(c->path, MIB, 1);

	make_guarded(map);
	support_close(map);
	support_kill_at(support_fork(hold, c), &c->sync, "holds");
	map = support_load(c->path);
	expect_dead_once(map, make_guarded(map));
	support_finish(map, c->path);
}

static void closed_while_held(void)
{
	const char *path = support_path("closed");
	void *map = support_dyn(path, MIB, 1);

	for (int i = 0; i < 3; i++) {
		g_assert_cmpint(qalloc_lock(map, &make_guarded(map)->lock), ==, 0);
		support_close(map);
		map = support_load(path);
		expect_dead_once(map, make_guarded(map));
	}
	support_finish(map, path);
}

/* ---- copies: case 72 ---- */

static int open_copy(void *arg)
{
	void *map;

	qalloc_cleanup(); /* The parent's map lies where the copy belongs. */
	map = support_load(arg);
	expect_dead_once(map, make_guarded(map));
	support_finish(map, (const char *)arg);
	return 0;
}

static void copies(void)
{
	const char *path = support_path("original"), *copy = support_path("copied"), *shot = support_path("shot");
	void *map = support_dyn(path, MIB, 1);
	struct guarded *g = make_guarded(map);

	g_assert_cmpint(qalloc_lock(map, &g->lock), ==, 0);
	g_assert_cmpint(qalloc_snapshot(map, shot), ==, 0);
	support_file_copy(path, copy);
	support_run_child(open_copy, (void *)(uintptr_t)shot);
	support_run_child(open_copy, (void *)(uintptr_t)copy);
	assert_error(qalloc_trylock(map, &g->lock), EBUSY);
	g_assert_cmpint(qalloc_unlock(map, &g->lock), ==, 0);
	support_finish(map, path);
}

/* The word names a record as it was, or will be, in another file: no thread of this one is taken for the holder. */
static void meet_a_foreign_word(struct support_thread *self)
{
	struct threads *t = self->arg;

	t->g->lock.word = t->word;
	g_assert_cmpint(qalloc_trylock(t->map, &t->g->lock), ==, EOWNERDEAD);
	g_assert_cmpint(qalloc_unlock(t->map, &t->g->lock), ==, 0);
}

static int open_torn_copy(void *arg)
{
	struct threads t;

	qalloc_cleanup();
	t.map = support_load(arg);
	t.g = make_guarded(t.map);
	t.word = t.g->lock.word;
	g_assert_cmpuint(t.word, !=, 0);
	g_assert_nonnull(qalloc_malloc(t.map, 8)); /* Takes the first record, as there: threads get the next one. */
	for (int i = 0; i < 30; i++)
		support_threads(1, meet_a_foreign_word, &t);
	support_finish(t.map, (const char *)arg);
	return 0;
}

/* The tables were copied first, and the block with the lock much later. */
static void torn_copy_after(int threads_before)
{
	const char *path = support_path("torn"), *copy = support_path("torn-copy");
	struct threads t = { .map = support_dyn(path, MIB, 1) };
	char *early, *late;
	size_t size, offset;

	t.g = make_guarded(t.map);
	offset = (size_t)((char *)t.g - support_base(t.map));
	for (int i = 0; i < threads_before; i++)
		support_threads(1, lock_and_end, &t);
	early = support_file_read(path, &size);
	for (int i = 0; i < 5; i++)
		support_threads(1, lock_and_end, &t);
	late = support_file_read(path, &size);
	memcpy(early + offset, late + offset, sizeof(*t.g));
	support_file_write(copy, early, size);
	g_free(early);
	g_free(late);
	support_run_child(open_torn_copy, (void *)(uintptr_t)copy);
	support_finish(t.map, path);
}

static void torn_copy(void)
{
	torn_copy_after(0);
	torn_copy_after(3);
}

static void private_view(void)
{
	struct child *c = start_child("private");
	void *map = support_dyn(c->path, MIB, 1);
	pid_t holder;

	make_guarded(map);
	support_close(map);
	holder = support_fork(hold, c);
	support_await(&c->sync, "holds");
	map = support_open(c->path, QALLOC_PRIVATE);
	expect_dead_once(map, make_guarded(map));
	support_close(map);
	map = support_load(c->path);
	assert_error(qalloc_trylock(map, &make_guarded(map)->lock), EBUSY);
	support_go(&c->sync, "holds");
	support_wait_ok(holder);
	expect_dead_once(map, make_guarded(map));
	support_finish(map, c->path);
}

/* ---- fork ---- */

static int child_of_holder(void *arg)
{
	struct threads *t = arg;

	assert_error(qalloc_trylock(t->map, &t->g->lock), EBUSY);
	assert_error(qalloc_unlock(t->map, &t->g->lock), EPERM);
	assert_error(qalloc_timedlock(t->map, &t->g->lock, 10), ETIMEDOUT);
	return 0;
}

static int child_with_a_copy(void *arg)
{
	struct threads *t = arg;

	assert_error(qalloc_unlock(t->map, &t->g->lock), EPERM);
	expect_dead_once(t->map, t->g);
	return 0;
}

static void fork_while_held(void)
{
	const char *path = support_path("fork");
	struct threads t = { .map = support_dyn(path, MIB, 1) };

	t.g = make_guarded(t.map);
	g_assert_cmpint(qalloc_lock(t.map, &t.g->lock), ==, 0);
	support_run_child(child_of_holder, &t);
	g_assert_cmpint(qalloc_unlock(t.map, &t.g->lock), ==, 0);
	support_close(t.map);
	t.map = support_open(path, QALLOC_PRIVATE);
	t.g = make_guarded(t.map);
	g_assert_cmpint(qalloc_lock(t.map, &t.g->lock), ==, 0);
	support_run_child(child_with_a_copy, &t);
	assert_error(qalloc_lock(t.map, &t.g->lock), EDEADLK);
	g_assert_cmpint(qalloc_unlock(t.map, &t.g->lock), ==, 0);
	support_close(t.map);
	unlink(path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/locks/errors", errors);
	support_add("/qalloc/locks/static-maps", static_maps);
	support_add("/qalloc/locks/any-word", any_word);
	support_add("/qalloc/locks/threads", threads);
	support_add("/qalloc/locks/held-by-another-thread", held_by_another_thread);
	support_add("/qalloc/locks/thread-ends", thread_ends);
	support_add("/qalloc/locks/processes", processes);
	support_add("/qalloc/locks/killed-holder", killed_holder);
	support_add("/qalloc/locks/nobody-survives", nobody_survives);
	support_add("/qalloc/locks/closed-while-held", closed_while_held);
	support_add("/qalloc/locks/copies", copies);
	support_add("/qalloc/locks/torn-copy", torn_copy);
	support_add("/qalloc/locks/private-view", private_view);
	support_add("/qalloc/locks/fork", fork_while_held);
	return support_run();
}
