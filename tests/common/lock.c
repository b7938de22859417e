/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks, process slots and owner tags: mutual exclusion, and what is left by the dead. */
#include "common/lock.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "common/body.h"
#include "common/map.h"
#include "common/owner.h"
#include <qalloc.h>
#include "tests/support/support.h"

static struct ma_image *new_map(const char **path)
{
	struct ma_image *map;

	*path = support_path("lock.map");
	map = (struct ma_image *)qalloc_makedynmap((off_t)(4 * MIB), NULL, *path, 2);
	g_assert_nonnull(map);
	return map;
}

struct counted {
	struct ma_image *map;
	uint64_t count; /* Plain: the lock is what keeps it right. */
};

static void count_up(struct support_thread *self)
{
	struct counted *c = self->arg;

	for (size_t i = 0; i < support_scale(100000); i++) {
		g_assert_true(ma_stream_lock(c->map, 0));
		c->count++;
		ma_stream_unlock(c->map, 0);
	}
}

static void excludes_threads(void)
{
	const char *path;
	struct counted c = { .map = new_map(&path) };

	support_threads(4, count_up, &c);
	g_assert_cmpuint(c.count, ==, 4 * support_scale(100000));
	g_assert_cmpint(qalloc_close(c.map), ==, 0);
}

struct shared {
	struct support_sync sync, heir;
	struct support_barrier *barrier;
	struct ma_image *map;
	uint64_t *block;
	const char *path;
};

static int count_in_process(void *arg)
{
	struct shared *s = arg;

	support_barrier_wait(s->barrier);
	for (size_t i = 0; i < support_scale(50000); i++) {
		if (!ma_stream_lock(s->map, 1))
			return 1;
		++*s->block;
		ma_stream_unlock(s->map, 1);
	}
	return 0;
}

static void excludes_processes(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t pid[4];

	s->map = new_map(&s->path);
	s->block = qalloc_calloc(s->map, 1, 8);
	s->barrier = support_barrier_new(4);
	for (int i = 0; i < 4; i++)
		pid[i] = support_fork(count_in_process, s);
	for (int i = 0; i < 4; i++)
		support_wait_ok(pid[i]);
	g_assert_cmpuint(*s->block, ==, 4 * support_scale(50000));
	g_assert_cmpint(qalloc_close(s->map), ==, 0);
}

static int die_holding(void *arg)
{
	struct shared *s = arg;

	if (!ma_stream_lock(s->map, 0) || !ma_stream_lock(s->map, 1) ||
	    ma_lock_take(s->map, &ma_body(s->map)->root_lock, ma_body_slot(s->map)) != MA_LOCK_TAKEN)
		return 1;
	support_point(&s->sync, "holding");
	return 1;
}

static int inherit(void *arg)
{
	struct shared *s = arg;

	qalloc_free(qalloc_malloc(s->map, 10), s->map); /* Its slot is taken before the other's dies. */
	support_point(&s->heir, "attached");
	g_assert_true(ma_stream_lock(s->map, 0));
	ma_stream_unlock(s->map, 0);
	g_assert_cmpint(qalloc_setroot(s->map, "after", qalloc_malloc(s->map, 100000)), ==, 0);
	return 0;
}

/* A live waiter inherits each lock, and is asleep for less than a second in all. */
static void is_inherited_from_the_dead(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t pid, heir;
	int status;

	s->map = new_map(&s->path);
	g_assert_nonnull(qalloc_malloc(s->map, 10)); /* The parent's slot is taken before the child's. */
	heir = support_fork(inherit, s);
	support_await(&s->heir, "attached");
	pid = support_fork(die_holding, s);
	support_kill_at(pid, &s->sync, "holding");
	support_go(&s->heir, "attached");
	g_assert_true(support_ends_within_us(heir, 1000000, &status));
	g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	g_assert_cmpint(qalloc_check(s->map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(s->map), ==, 0);
}

static int use_map(void *arg)
{
	struct shared *s = arg;
	void *block = qalloc_malloc(s->map, 100000);

	qalloc_free(block, s->map);
	return block && ma_load(&ma_stream(s->map, 0)->lock.word) >> 16 ? 0 : 1;
}

/* The dead man's slot goes to the next process: it must not look as if the new one held the locks. */
static void does_not_mistake_a_new_process_for_the_dead(void)
{
	struct shared *s = support_shared(sizeof(*s));
	struct ma_process *process;
	pid_t pid;

	s->map = new_map(&s->path);
	g_assert_nonnull(qalloc_malloc(s->map, 10));
	pid = support_fork(die_holding, s);
	support_kill_at(pid, &s->sync, "holding");
	process = (struct ma_process *)(void *)(s->map->base + s->map->lay.process_off);
	for (uint32_t i = 0; i < s->map->lay.processes; i++) /* Or it would be given one that nobody had. */
		if (ma_load(&process[i].pid) == 0)
			ma_store(&process[i].pid, (uint32_t)getpid());
	ma_store(&ma_body(s->map)->process_hint, 1);
	support_run_child(use_map, s);
	g_assert_cmpuint(ma_load(&ma_stream(s->map, 0)->lock.word) & MA_LOCK_SLOT, ==, 0);
	g_assert_cmpint(qalloc_close(s->map), ==, 0);
}

#define CANNOT 77

/* Process 1 of a pid namespace of its own: takes a slot, waits to be let go; or takes the locks and is gone. */
static int be_process_one(struct shared *s, bool dies)
{
	if (getpid() != 1 || !qalloc_malloc(s->map, 10))
		return 1;
	if (dies)
		return ma_stream_lock(s->map, 0) && ma_stream_lock(s->map, 1) ? 0 : 1;
	support_point(&s->sync, "alive");
	return 0;
}

static int in_namespace(struct shared *s, bool dies)
{
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWPID) != 0)
		return CANNOT;
	pid = fork();
	if (pid == 0)
		_exit(be_process_one(s, dies));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int live_in_namespace(void *arg)
{
	return in_namespace(arg, false);
}

static int die_in_namespace(void *arg)
{
	return in_namespace(arg, true);
}

/* Two processes with one pid, as in two containers: one is dead, and the other does not make it look alive. */
static void does_not_mistake_one_container_for_another(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t living;
	int status;

	s->map = new_map(&s->path);
	g_assert_nonnull(qalloc_malloc(s->map, 10));
	status = support_wait(support_fork(die_in_namespace, s));
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT) {
		g_test_skip("no pid namespaces for us here");
		g_assert_cmpint(qalloc_close(s->map), ==, 0);
		return;
	}
	g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	g_assert_cmpuint(ma_load(&ma_stream(s->map, 0)->lock.word) & MA_LOCK_SLOT, !=, 0);
	living = support_fork(live_in_namespace, s);
	support_await(&s->sync, "alive");
	g_assert_true(ma_stream_lock(s->map, 0));
	g_assert_true(ma_stream_lock(s->map, 1));
	ma_stream_unlock(s->map, 1);
	ma_stream_unlock(s->map, 0);
	support_go(&s->sync, "alive");
	support_wait_ok(living);
	g_assert_cmpint(qalloc_check(s->map, NULL, NULL), ==, 0);
	g_assert_cmpint(qalloc_close(s->map), ==, 0);
}

static void survives_an_impossible_word(void)
{
	const char *path;
	struct ma_image *map = new_map(&path);

	g_assert_nonnull(qalloc_malloc(map, 10));
	ma_store(&ma_stream(map, 0)->lock.word, 0x80007777u);                          /* No such slot. */
	ma_store(&ma_stream(map, 1)->lock.word, MA_LOCK_WAITERS | map->lay.processes); /* A slot nobody holds. */
	g_assert_true(ma_stream_lock(map, 0));
	g_assert_true(ma_stream_lock(map, 1));
	ma_stream_unlock(map, 0);
	ma_stream_unlock(map, 1);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static int take_tag(void *arg)
{
	struct shared *s = arg;

	s->block[0] = ma_owner_take(s->map, ma_body_slot(s->map));
	support_point(&s->sync, "tagged");
	return 1;
}

static void tags_die_with_their_process(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t pid;

	s->map = new_map(&s->path);
	s->block = qalloc_calloc(s->map, 1, 8);
	pid = support_fork(take_tag, s);
	support_await(&s->sync, "tagged");
	g_assert_cmpuint(s->block[0], !=, 0);
	g_assert_true(ma_owner_alive(s->map, s->block[0]));
	support_kill_at(pid, &s->sync, "tagged");
	g_assert_false(ma_owner_alive(s->map, s->block[0]));
	g_assert_cmpint(qalloc_close(s->map), ==, 0);
}

static void tags_are_never_given_twice(void)
{
	const char *path;
	struct ma_image *map = new_map(&path);
	uint64_t first = ma_owner_take(map, ma_body_slot(map));
	uint64_t second;

	ma_owner_give(map, first);
	g_assert_false(ma_owner_alive(map, first));
	second = ma_owner_take(map, ma_body_slot(map));
	g_assert_cmphex(second, !=, first);
	g_assert_true(ma_owner_alive(map, second));
	ma_owner_give(map, first); /* An old tag gives nothing up. */
	g_assert_true(ma_owner_alive(map, second));
	g_assert_false(ma_owner_alive(map, 0));
	g_assert_false(ma_owner_alive(map, 0xffff));
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void all_records_can_be_taken(void)
{
	const char *path;
	struct ma_image *map = new_map(&path);
	uint32_t n = 0;

	while (ma_owner_take(map, ma_body_slot(map)))
		n++;
	g_assert_cmpint(errno, ==, EUSERS);
	g_assert_cmpuint(n, ==, map->lay.owners);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/lock/excludes-threads", excludes_threads);
	support_add("/lock/excludes-processes", excludes_processes);
	support_add("/lock/is-inherited-from-the-dead", is_inherited_from_the_dead);
	support_add("/lock/does-not-mistake-a-new-process-for-the-dead", does_not_mistake_a_new_process_for_the_dead);
	support_add("/lock/does-not-mistake-one-container-for-another", does_not_mistake_one_container_for_another);
	support_add("/lock/survives-an-impossible-word", survives_an_impossible_word);
	support_add("/owner/tags-die-with-their-process", tags_die_with_their_process);
	support_add("/owner/tags-are-never-given-twice", tags_are_never_given_twice);
	support_add("/owner/all-records-can-be-taken", all_records_can_be_taken);
	return support_run();
}
