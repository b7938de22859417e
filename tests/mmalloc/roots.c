/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys and roots that many change at once, and locks for the program's own data. What all of it rests on is libqalloc's as well: tests/qalloc/
 * locks and roots_shared go deeper; here it is each call, on heaps of each kind, and what only this library has.
 */
#include "tests/support/support_mmalloc.h"

#define CHILDREN 4u

struct box {
	struct mmalloc_lock lock;
	uint64_t before, after;
};

#define fails(call, result, error)                   \
	do {                                         \
		errno = 0;                           \
		g_assert_true((call) == (result));   \
		g_assert_cmpint(errno, ==, (error)); \
	} while (0)

static void keys(void)
{
	void *md = heap_attach(support_path("keys")), *expected = NULL;
	char *a = mmalloc(md, 10), *b = mmalloc(md, 10);

	fails(mmalloc_caskey(md, -1, &expected, a), -1, EINVAL);
	g_assert_cmpint(mmalloc_errno(md), ==, EINVAL);
	fails(mmalloc_caskey(md, MMALLOC_KEYS, &expected, a), -1, EINVAL);
	fails(mmalloc_caskey(md, 3, NULL, a), -1, EINVAL);
	errno = 0;
	g_assert_cmpint(mmalloc_caskey(md, 3, &expected, a), ==, 1);
	g_assert_cmpint(mmalloc_caskey(md, 3, &expected, b), ==, 0);
	g_assert_true(expected == a && mmalloc_getkey(md, 3) == a);
	g_assert_cmpint(mmalloc_caskey(md, 3, &expected, b), ==, 1);
	g_assert_true(mmalloc_getkey(md, 3) == b && !mmalloc_getkey(md, 2) && !mmalloc_getkey(md, 4));
	g_assert_cmpint(errno, ==, 0);
	heap_detach(md);
	fails(mmalloc_caskey(md, 3, &expected, a), -1, EBADF);
}

static int fail_to_fill(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	errno = EMLINK;
	return 1;
}

static int fill(void *block, size_t size, void *arg)
{
	(void)arg;
	memset(block, 0x5a, size);
	return 0;
}

static int count_root(const char *name, void *ptr, void *arg)
{
	g_assert_nonnull(name);
	g_assert_nonnull(ptr);
	return ++*(int *)arg == 100 ? 7 : 0;
}

static size_t used(void *md)
{
	struct mmalloc_stats stats;

	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	return stats.used_blocks;
}

static void roots_of(void *md)
{
	void *expected = NULL;
	int created = 2, count = 0;
	char *it;

	fails(mmalloc_casroot(md, "", &expected, NULL), -1, EINVAL);
	g_assert_cmpint(mmalloc_errno(md), ==, EINVAL);
	fails(mmalloc_find_or_create(md, "it", 10, fail_to_fill, NULL, &created), NULL, EMLINK);
	g_assert_true(created == 0 && used(md) == 0);
	it = mmalloc_find_or_create(md, "it", 10, fill, NULL, &created);
	g_assert_true(it && created == 1 && it[9] == 0x5a);
	g_assert_true(mmalloc_find_or_create(md, "it", 10, fail_to_fill, NULL, &created) == it && created == 0);
	g_assert_nonnull(mmalloc_find_or_create(md, "nothing", 0, NULL, NULL, NULL));
	g_assert_cmpint(mmalloc_casroot(md, "it", &expected, NULL), ==, 0);
	g_assert_true(expected == it);
	g_assert_cmpint(mmalloc_walkroots(md, count_root, &count), ==, 0);
	g_assert_cmpint(count, ==, 2);
	count = 99;
	g_assert_cmpint(mmalloc_walkroots(md, count_root, &count), ==, 7);
	fails(mmalloc_walkroots(md, NULL, NULL), -1, EINVAL);
	g_assert_cmpint(mmalloc_casroot(md, "it", &expected, NULL), ==, 1);
	mfree(md, it);
	expected = mmalloc_getroot(md, "nothing");
	g_assert_cmpint(mmalloc_casroot(md, "nothing", &expected, NULL), ==, 1);
	mfree(md, expected);
	g_assert_cmpuint(used(md), ==, 0);
}

static void roots(void)
{
	void *md = heap_attach(support_path("roots"));

	roots_of(md);
	heap_detach(md);
	md = mmalloc_attach(-1, NULL);
	g_assert_nonnull(md);
	roots_of(md);
	heap_detach(md);
	roots_of(NULL);
}

/* The new block has guards, and a loser's is freed with them. */
static void guarded_roots(void)
{
	void *md = heap_attach(support_path("guarded"));

	g_assert_cmpint(mmcheck(md, NULL), ==, 1);
	roots_of(md);
	heap_detach(md);
}

/* ---- locks ---- */

static void locks_of(void *md)
{
	struct box *box = mmalloc_find_or_create(md, "box", sizeof(*box), NULL, NULL, NULL);
	struct mmalloc_lock elsewhere = { 0 };

	g_assert_nonnull(box);
	fails(mmalloc_unlock(md, &box->lock), EPERM, EPERM);
	g_assert_cmpint(mmalloc_errno(md), ==, EPERM);
	fails(mmalloc_lock(md, &elsewhere), EINVAL, EINVAL);
	fails(mmalloc_lock(md, NULL), EINVAL, EINVAL);
	g_assert_cmpint(mmalloc_lock(md, &box->lock), ==, 0);
	fails(mmalloc_lock(md, &box->lock), EDEADLK, EDEADLK);
	fails(mmalloc_timedlock(md, &box->lock, 1), EDEADLK, EDEADLK);
	fails(mmalloc_trylock(md, &box->lock), EBUSY, EBUSY);
	g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
	g_assert_cmpint(mmalloc_timedlock(md, &box->lock, 0), ==, 0);
	g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
	g_assert_cmpuint(box->lock.word, ==, 0);
}

static void locks(void)
{
	static const struct mmalloc_options look = { .flags = MMALLOC_RDONLY };
	const char *path = support_path("locks");
	void *md = heap_attach(path);
	struct box *box;
	int fd;

	locks_of(md);
	heap_detach(md);
	fails(mmalloc_lock(md, NULL), EBADF, EBADF);
	fd = heap_file(path);
	md = mmalloc_attach_opt(fd, NULL, &look);
	close(fd);
	box = mmalloc_getroot(md, "box");
	fails(mmalloc_lock(md, &box->lock), EROFS, EROFS);
	fails(mmalloc_unlock(md, &box->lock), EROFS, EROFS);
	g_assert_null(mmalloc_detach(md));
	md = mmalloc_attach(-1, NULL);
	locks_of(md);
	heap_detach(md);
	locks_of(NULL);
}

static void expect_dead_once(void *md, struct box *box)
{
	g_assert_cmpint(mmalloc_lock(md, &box->lock), ==, EOWNERDEAD);
	g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
	g_assert_cmpint(mmalloc_lock(md, &box->lock), ==, 0);
	g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
}

static int child_of_memory(void *md)
{
	struct box *box = mmalloc_getroot(md, "box");

	fails(mmalloc_unlock(md, &box->lock), EPERM, EPERM);
	expect_dead_once(md, box);
	return 0;
}

/* The child's heap is its own, and nobody in it holds the lock. */
static void fork_of_memory(void)
{
	void *md = mmalloc_attach(-1, NULL);
	struct box *box = mmalloc_find_or_create(md, "box", sizeof(*box), NULL, NULL, NULL);

	g_assert_cmpint(mmalloc_lock(md, &box->lock), ==, 0);
	support_run_child(child_of_memory, md);
	g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
	heap_detach(md);
}

static int open_copy(void *arg)
{
	void *md = heap_attach(arg);

	expect_dead_once(md, mmalloc_getroot(md, "box"));
	heap_detach(md);
	return 0;
}

static void copies(void)
{
	const char *path = support_path("original"), *copy = support_path("copied"), *shot = support_path("shot");
	void *md = heap_attach(path);
	struct box *box = mmalloc_find_or_create(md, "box", sizeof(*box), NULL, NULL, NULL);

	g_assert_cmpint(mmalloc_lock(md, &box->lock), ==, 0);
	g_assert_cmpint(mmalloc_snapshot(md, shot), ==, 0);
	support_file_copy(path, copy);
	g_assert_null(mmalloc_detach(md));
	open_copy((void *)(uintptr_t)shot);
	open_copy((void *)(uintptr_t)copy);
	open_copy((void *)(uintptr_t)path); /* Whoever held it detached. */
}

struct shared {
	const char *path;
	_Atomic uint32_t deaths;
};

static G_GNUC_NORETURN int change_for_ever(void *arg)
{
	struct shared *s = arg;
	void *md = heap_attach(s->path);
	struct box *box = mmalloc_find_or_create(md, "box", sizeof(*box), NULL, NULL, NULL);

	for (;;) {
		int error = mmalloc_lock(md, &box->lock);

		g_assert_true(error == 0 || error == EOWNERDEAD);
		if (error) {
			atomic_fetch_add(&s->deaths, 1);
			box->after = box->before;
		}
		g_assert_cmpuint(box->before, ==, box->after);
		box->before++;
		atomic_signal_fence(memory_order_seq_cst);
		box->after++;
		g_assert_cmpint(mmalloc_unlock(md, &box->lock), ==, 0);
	}
}

static void random_kills(void)
{
	struct shared *s = support_shared(sizeof(*s));
	size_t kills = support_scale(100);

	s->path = support_path("kills");
	support_kill_at_random(change_for_ever, s, CHILDREN, kills);
	g_assert_cmpuint(atomic_load(&s->deaths), <=, kills);
	g_test_message("%u of %zu kills met a holder", atomic_load(&s->deaths), kills);
	heap_detach(heap_attach(s->path));
}

static void change_key_often(struct support_thread *self)
{
	for (size_t i = 0; i < support_scale(2000); i++) {
		void *seen = mmalloc_getkey(self->arg, 0);

		while (mmalloc_caskey(self->arg, 0, &seen, (char *)seen + 1) == 0)
			;
	}
}

static void threads_lose_nothing(void)
{
	void *md = heap_attach(support_path("threads"));

	support_threads(CHILDREN, change_key_often, md);
	g_assert_cmpuint((uintptr_t)mmalloc_getkey(md, 0), ==, CHILDREN * support_scale(2000));
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/roots/keys", keys);
	support_add("/mmalloc/roots/roots", roots);
	support_add("/mmalloc/roots/guarded", guarded_roots);
	support_add("/mmalloc/roots/threads-lose-nothing", threads_lose_nothing);
	support_add("/mmalloc/locks/locks", locks);
	support_add("/mmalloc/locks/fork-of-memory", fork_of_memory);
	support_add("/mmalloc/locks/copies", copies);
	support_add("/mmalloc/locks/random-kills", random_kills);
	return support_run();
}
