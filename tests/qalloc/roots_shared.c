/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Roots that many change at once: compare-and-set loses no change, find-or-create makes one block and no more, a walk shows all.
 */
#include <stdio.h>

#include "tests/support/support_qalloc.h"

#define CHILDREN 4u

struct note {
	struct note *next;
	uint64_t from;
};

/* ---- compare and set ---- */

static void cas_errors(void)
{
	const char *path = support_path("errors");
	void *map = support_dyn(path, MIB, 1), *inside = qalloc_malloc(map, 10), *expected = NULL;
	char outside, name[QALLOC_ROOT_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[QALLOC_ROOT_MAX + 1] = '\0';
	assert_minus1(qalloc_casroot(NULL, "it", &expected, inside), EBADF);
	assert_minus1(qalloc_casroot(map, NULL, &expected, inside), EINVAL);
	assert_minus1(qalloc_casroot(map, "", &expected, inside), EINVAL);
	assert_minus1(qalloc_casroot(map, name, &expected, inside), EINVAL);
	assert_minus1(qalloc_casroot(map, "it", NULL, inside), EINVAL);
	assert_minus1(qalloc_casroot(map, "it", &expected, &outside), EINVAL);
	assert_null(qalloc_getroot(map, "it"), ENOENT);
	support_close(map);
	assert_minus1(qalloc_casroot(map, "it", &expected, inside), EBADF);
	map = support_open(path, QALLOC_RDONLY);
	assert_minus1(qalloc_casroot(map, "it", &expected, NULL), EROFS);
	support_close(map);
	unlink(path);
}

static void cas_values(void)
{
	const char *path = support_path("values");
	void *map = support_dyn(path, MIB, 1), *expected = NULL;
	char *a = qalloc_malloc(map, 10), *b = qalloc_malloc(map, 10);

	errno = 0;
	expected = a;
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, b), ==, 0);
	g_assert_null(expected);
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, a), ==, 1);
	g_assert_null(expected);
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, b), ==, 0);
	g_assert_true(expected == a);
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, b), ==, 1);
	g_assert_true(expected == a && qalloc_getroot(map, "it") == b);
	expected = b;
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, NULL), ==, 1);
	assert_null(qalloc_getroot(map, "it"), ENOENT);
	expected = NULL;
	errno = 0;
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, NULL), ==, 1);
	g_assert_cmpint(qalloc_casroot(map, "it", &expected, b), ==, 1);
	g_assert_cmpint(errno, ==, 0);
	support_finish(map, path);
}

struct shared {
	const char *path;
	size_t rounds;
	_Atomic uint32_t created;
	_Atomic uint64_t inits;
	struct support_barrier *barrier;
};

static int push(void *map, uint64_t from)
{
	struct note *note = qalloc_malloc(map, sizeof(*note));
	void *head = qalloc_getroot(map, "notes");
	int done;

	g_assert_nonnull(note);
	note->from = from;
	do
		note->next = head;
	while ((done = qalloc_casroot(map, "notes", &head, note)) == 0);
	return done;
}

static void push_often(struct support_thread *self)
{
	void *map = self->arg;

	for (size_t i = 0; i < support_scale(2000); i++)
		g_assert_cmpint(push(map, self->index), ==, 1);
}

static size_t count_notes(void *map)
{
	size_t count = 0;

	for (const struct note *note = qalloc_getroot(map, "notes"); note; note = note->next)
		count++;
	return count;
}

static void threads_lose_nothing(void)
{
	const char *path = support_path("threads");
	void *map = support_dyn(path, 4 * MIB, 4);

	support_threads(CHILDREN, push_often, map);
	g_assert_cmpuint(count_notes(map), ==, CHILDREN * support_scale(2000));
	g_assert_cmpuint(support_used(map), ==, count_notes(map));
	support_finish(map, path);
}

static int push_in_process(void *arg)
{
	struct shared *s = arg;
	void *map = support_load(s->path);

	for (size_t i = 0; i < s->rounds; i++)
		g_assert_cmpint(push(map, i), ==, 1);
	support_close(map);
	return 0;
}

static struct shared *shared(const char *name)
{
	struct shared *s = support_shared(sizeof(*s));

	*s = (struct shared){ .path = support_path(name), .barrier = support_barrier_new(CHILDREN) };
	return s;
}

static void processes_lose_nothing(void)
{
	struct shared *s = shared("processes");
	void *map;

	s->rounds = support_scale(2000);
	support_close(support_dyn(s->path, 4 * MIB, 4));
	support_run_children(push_in_process, s, CHILDREN);
	map = support_load(s->path);
	g_assert_cmpuint(count_notes(map), ==, CHILDREN * s->rounds);
	g_assert_cmpuint(support_used(map), ==, count_notes(map));
	support_finish(map, s->path);
}

/* ---- find or create ---- */

static int fill(void *block, size_t size, void *arg)
{
	struct shared *s = arg;

	for (size_t i = 0; i < size; i++)
		g_assert_cmpint(((char *)block)[i], ==, 0);
	memset(block, 0x5a, size);
	if (s)
		atomic_fetch_add(&s->inits, 1);
	return 0;
}

static int fail_to_fill(void *block, size_t size, void *arg)
{
	(void)block, (void)size, (void)arg;
	errno = EMLINK;
	return 1;
}

static void create_values(void)
{
	const char *path = support_path("create");
	void *map = support_dyn(path, MIB, 1);
	int created = 2;
	char *it;

	assert_null(qalloc_find_or_create(NULL, "it", 10, NULL, NULL, NULL), EBADF);
	assert_null(qalloc_find_or_create(map, "", 10, NULL, NULL, &created), EINVAL);
	assert_null(qalloc_find_or_create(map, NULL, 10, NULL, NULL, &created), EINVAL);
	g_assert_cmpint(created, ==, 0);
	assert_null(qalloc_find_or_create(map, "it", 2 * MIB, NULL, NULL, &created), ENOMEM);
	created = 2;
	assert_null(qalloc_find_or_create(map, "it", 10, fail_to_fill, NULL, &created), EMLINK);
	g_assert_cmpint(created, ==, 0);
	g_assert_cmpuint(support_used(map), ==, 0);
	errno = 0;
	it = qalloc_find_or_create(map, "it", 10, fill, NULL, &created);
	g_assert_true(it && created == 1 && errno == 0 && it[0] == 0x5a && it[9] == 0x5a);
	g_assert_true(qalloc_find_or_create(map, "it", 10000, fail_to_fill, NULL, &created) == it);
	g_assert_true(created == 0 && errno == 0);
	g_assert_cmpuint(support_used(map), ==, 1);
	it = qalloc_find_or_create(map, "zeros", 100, NULL, NULL, NULL);
	for (int i = 0; i < 100; i++)
		g_assert_cmpint(it[i], ==, 0);
	check_map(map);
	support_close(map);
	map = support_open(path, QALLOC_RDONLY);
	g_assert_true(qalloc_find_or_create(map, "zeros", 1, NULL, NULL, &created) == it && created == 0);
	assert_null(qalloc_find_or_create(map, "none", 1, NULL, NULL, NULL), EROFS);
	support_close(map);
	unlink(path);
}

static void create_in_a_static_map(void)
{
	const char *path = support_path("static");
	void *map = support_stat(path, MIB, 64, 1);
	int created;

	assert_null(qalloc_find_or_create(map, "it", 65, NULL, NULL, &created), EINVAL);
	g_assert_nonnull(qalloc_find_or_create(map, "it", 64, fill, NULL, &created));
	g_assert_cmpint(created, ==, 1);
	g_assert_cmpuint(support_used(map), ==, 1);
	support_finish(map, path);
}

static int create_at_once(void *arg)
{
	struct shared *s = arg;
	void *map = support_load(s->path);
	char name[32];

	for (size_t i = 0; i < s->rounds; i++) {
		const char *it;
		int created;

		snprintf(name, sizeof(name), "counter %zu", i);
		support_barrier_wait(s->barrier);
		it = qalloc_find_or_create(map, name, 40, fill, s, &created);
		g_assert_true(it && it[0] == 0x5a && it[39] == 0x5a);
		atomic_fetch_add((_Atomic uint32_t *)(void *)(it + 16), 1);
		atomic_fetch_add(&s->created, (uint32_t)created);
	}
	support_close(map);
	return 0;
}

static int expect_all_came(const char *name, void *ptr, void *arg)
{
	size_t *count = arg;

	g_assert_true(g_str_has_prefix(name, "counter "));
	g_assert_cmpuint(((uint32_t *)ptr)[4], ==, 0x5a5a5a5a + CHILDREN);
	++*count;
	return 0;
}

static void one_creates(void)
{
	struct shared *s = shared("one");
	size_t count = 0;
	void *map;

	s->rounds = support_scale(200);
	support_close(support_dyn(s->path, 4 * MIB, 2));
	support_run_children(create_at_once, s, CHILDREN);
	map = support_load(s->path);
	g_assert_cmpuint(atomic_load(&s->created), ==, s->rounds);
	g_assert_cmpuint(support_used(map), ==, s->rounds);
	g_assert_cmpint(qalloc_walkroots(map, expect_all_came, &count), ==, 0);
	g_assert_cmpuint(count, ==, s->rounds);
	g_test_message("%lu blocks were filled for %zu roots", (unsigned long)atomic_load(&s->inits), s->rounds);
	support_finish(map, s->path);
}

/* ---- kills ---- */

/* Makes a root, adds a note to it, takes it away again: each step is one that others see whole. */
static G_GNUC_NORETURN int come_and_go(void *arg)
{
	struct shared *s = arg;
	void *map = support_load(s->path);

	for (;;) {
		char *it = qalloc_find_or_create(map, "it", 40, fill, NULL, NULL);
		void *expected = it;

		g_assert_nonnull(it);
		if (qalloc_casroot(map, "it", &expected, NULL) == 1)
			qalloc_free(it, map);
	}
}

static int count_root(const char *name, void *ptr, void *arg)
{
	(void)name, (void)ptr;
	++*(size_t *)arg;
	return 0;
}

static void killed_creators(void)
{
	struct shared *s = shared("killed");
	void *map = support_dyn(s->path, MIB, 2);
	size_t kills = support_scale(100), roots = 0;

	support_kill_at_random(come_and_go, s, CHILDREN, kills);
	g_assert_cmpint(qalloc_walkroots(map, count_root, &roots), ==, 0);
	g_assert_cmpuint(roots, <=, 1);
	/* At most one block for each killed thread, beside the root's own. */
	g_assert_cmpuint(support_used(map), <=, kills + CHILDREN + roots);
	g_test_message("%zu blocks after %zu kills", support_used(map), kills + CHILDREN);
	support_finish(map, s->path);
}

/* ---- walking ---- */

struct seen {
	char *block;
	uint64_t names; /* A bit for each length. */
	int most;
};

static int see(const char *name, void *ptr, void *arg)
{
	struct seen *seen = arg;
	size_t i = strlen(name);

	g_assert_true(ptr == seen->block + i);
	g_assert_true(strspn(name, "n") == i && !(seen->names >> i & 1));
	seen->names |= (uint64_t)1 << i;
	return --seen->most == 0 ? 17 : 0;
}

static void walk(void)
{
	const char *path = support_path("walk");
	void *map = support_dyn(path, MIB, 1);
	struct seen seen = { .block = qalloc_malloc(map, 100) };
	char name[QALLOC_ROOT_MAX + 1] = "";

	assert_minus1(qalloc_walkroots(NULL, see, &seen), EBADF);
	assert_minus1(qalloc_walkroots(map, NULL, &seen), EINVAL);
	g_assert_cmpint(qalloc_walkroots(map, see, &seen), ==, 0);
	g_assert_cmpuint(seen.names, ==, 0);
	for (size_t i = 1; i <= QALLOC_ROOT_MAX; i++) {
		name[i - 1] = 'n';
		g_assert_cmpint(qalloc_setroot(map, name, seen.block + i), ==, 0);
	}
	g_assert_cmpint(qalloc_setroot(map, "n", NULL), ==, 0);
	g_assert_cmpint(qalloc_walkroots(map, see, &seen), ==, 0);
	g_assert_cmpuint(seen.names, ==, UINT64_MAX - 3);
	seen = (struct seen){ .block = seen.block, .most = 5 };
	g_assert_cmpint(qalloc_walkroots(map, see, &seen), ==, 17);
	g_assert_cmpint(seen.most, ==, 0);
	support_finish(map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/roots-shared/cas-errors", cas_errors);
	support_add("/qalloc/roots-shared/cas-values", cas_values);
	support_add("/qalloc/roots-shared/threads-lose-nothing", threads_lose_nothing);
	support_add("/qalloc/roots-shared/processes-lose-nothing", processes_lose_nothing);
	support_add("/qalloc/roots-shared/create-values", create_values);
	support_add("/qalloc/roots-shared/create-in-a-static-map", create_in_a_static_map);
	support_add("/qalloc/roots-shared/one-creates", one_creates);
	support_add("/qalloc/roots-shared/killed-creators", killed_creators);
	support_add("/qalloc/roots-shared/walk", walk);
	return support_run();
}
