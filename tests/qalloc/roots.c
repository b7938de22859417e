/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Named roots: any name of 1 to 63 bytes, changed atomically, seen by all processes, there after a reload.
 */
#include <stdio.h>

#include "tests/support/support_qalloc.h"

static void set(void *map, const char *name, void *ptr)
{
	if (qalloc_setroot(map, name, ptr) != 0)
		g_error("qalloc_setroot(%s): %s", name, g_strerror(errno));
}

static void names_of_every_length(void)
{
	const char *path = support_path("length");
	dynmapinfo_t *map = support_dyn(path, 4 * MIB, 1);
	char name[QALLOC_ROOT_MAX + 1] = "", *block = qalloc_dynmalloc(map, 100);

	for (int length = 1; length <= QALLOC_ROOT_MAX; length++) {
		memset(name, 'n', (size_t)length);
		set(map, name, block + length);
	}
	check_map(map);
	support_close(map);
	map = support_load(path);
	for (int length = 1; length <= QALLOC_ROOT_MAX; length++) {
		memset(name, 0, sizeof(name));
		memset(name, 'n', (size_t)length);
		g_assert_true(qalloc_getroot(map, name) == block + length);
	}
	support_finish(map, path);
}

static void names_of_any_bytes(void)
{
	static const char *const names[] = { " ", "a b", "\xff\xfe", "\n", "Größe", "/", "../x", "\x01", "A", "a" };
	const char *path = support_path("bytes");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	char *block = qalloc_dynmalloc(map, 100);

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		set(map, names[i], block + i);
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		g_assert_true(qalloc_getroot(map, names[i]) == block + i);
	support_finish(map, path);
}

static void every_byte_of_a_name_counts(void)
{
	const char *path = support_path("counts");
	dynmapinfo_t *map = support_dyn(path, 4 * MIB, 1);
	char name[QALLOC_ROOT_MAX + 1], *block = qalloc_dynmalloc(map, 100);

	for (size_t i = 0; i < QALLOC_ROOT_MAX; i++) {
		memset(name, 'a', sizeof(name));
		name[QALLOC_ROOT_MAX] = '\0';
		name[i] = 'b';
		set(map, name, block + i);
	}
	for (size_t i = 0; i < QALLOC_ROOT_MAX; i++) {
		memset(name, 'a', sizeof(name));
		name[QALLOC_ROOT_MAX] = '\0';
		name[i] = 'b';
		g_assert_true(qalloc_getroot(map, name) == block + i);
	}
	support_finish(map, path);
}

static void replacing_and_removing(void)
{
	const char *path = support_path("replace");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	char *block = qalloc_dynmalloc(map, 1000);

	for (int round = 0; round < 1000; round++) {
		set(map, "it", block + round % 100);
		g_assert_true(qalloc_getroot(map, "it") == block + round % 100);
	}
	set(map, "it", NULL);
	assert_null(qalloc_getroot(map, "it"), ENOENT);
	set(map, "it", NULL);
	set(map, "never", NULL);
	set(map, "it", block);
	g_assert_true(qalloc_getroot(map, "it") == block);
	support_finish(map, path);
}

/* Names that come and go, more in all than the table has places. */
static void places_are_used_again(void)
{
	const char *path = support_path("again");
	dynmapinfo_t *map = support_dyn(path, 192 * KIB, 1);
	void *block = qalloc_dynmalloc(map, 10);
	char name[32];

	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "name-%d", i);
		set(map, name, block);
		if (i >= 4) {
			snprintf(name, sizeof(name), "name-%d", i - 4);
			g_assert_true(qalloc_getroot(map, name) == block);
			set(map, name, NULL);
		}
	}
	support_finish(map, path);
}

static void number(char name[32], size_t i)
{
	snprintf(name, 32, "root number %u", (unsigned)i);
}

/* Set names from first on, until count are set or there is no room. Returns the first that is not set. */
static size_t set_numbers(void *map, char *block, size_t first, size_t count)
{
	char name[32];

	for (size_t i = first; i < first + count; i++) {
		number(name, i);
		errno = 0;
		if (qalloc_setroot(map, name, block + i % 64) != 0) {
			assert_errno_is(ENOSPC);
			return i;
		}
	}
	return first + count;
}

static void find_numbers(void *map, char *block, size_t first, size_t end)
{
	char name[32];

	for (size_t i = first; i < end; i++) {
		number(name, i);
		g_assert_true(qalloc_getroot(map, name) == block + i % 64);
	}
}

static void take_numbers_away(void *map, size_t first, size_t end)
{
	char name[32];

	for (size_t i = first; i < end; i++) {
		number(name, i);
		set(map, name, NULL);
		assert_null(qalloc_getroot(map, name), ENOENT);
	}
}

/* Tables of roots are no blocks: nobody meets one in a walk, and none can be freed. */
static void find_only_block(void *map, char *block)
{
	g_assert_cmpuint(support_count(map), ==, 1);
	for (char *at = block - (uintptr_t)block % 65536; at < support_end(map); at += 65536) {
		size_t usable = qalloc_usable_size(map, at);

		g_assert_true((usable > 0) == (at == block));
		if (at != block)
			qalloc_free(at, map);
	}
	check_map(map);
}

static void many_roots(void *map, const char *path, char *block, size_t count)
{
	g_assert_cmpuint(set_numbers(map, block, 0, count), ==, count);
	find_numbers(map, block, 0, count);
	find_only_block(map, block);
	take_numbers_away(map, 0, count / 2);
	support_close(map);
	map = support_load(path);
	find_numbers(map, block, count / 2, count);
	/* Other names take the places of those that went: no new table. */
	g_assert_cmpuint(set_numbers(map, block, count, count / 4), ==, count + count / 4);
	find_numbers(map, block, count / 2, count + count / 4);
	find_only_block(map, block);
	support_finish(map, path);
}

static void any_number(void)
{
	const char *path = support_path("any");
	dynmapinfo_t *map = support_dyn(path, 64 * MIB, 4);

	many_roots(map, path, qalloc_dynmalloc(map, 100), support_scale(100000));
}

static void any_number_in_a_static_map(void)
{
	static const size_t sizes[] = { 8, 24, 64, 1000, 300000 };

	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("static");
		mapinfo_t *map = support_stat(path, 32 * MIB, sizes[i], 3);
		char *block;

		/* Names need places to point to: 64 bytes of small items. */
		block = qalloc_statmalloc(map);
		many_roots(map, path, block, sizes[i] > 100000 ? 1000 : support_scale(10000));
	}
}

/* What a map promises even when it is full; then with room again. */
static void full_map(void *map, const char *path, size_t size, size_t promised, size_t again)
{
	char *block = qalloc_malloc(map, size), *other, name[32];
	size_t count, more;

	while (qalloc_malloc(map, size))
		;
	count = set_numbers(map, block, 0, 1000);
	g_assert_cmpuint(count, >=, promised);
	g_assert_cmpuint(count, <, 1000);
	find_numbers(map, block, 0, count);
	set(map, "root number 3", block + 50);
	set(map, "root number 4", NULL);
	set(map, "instead of 4", block);
	number(name, count);
	assert_minus1(qalloc_setroot(map, name, block), ENOSPC);
	check_map(map);
	support_free_all(map);
	other = qalloc_malloc(map, size);
	more = set_numbers(map, other, count, again);
	g_assert_cmpuint(more, ==, count + again);
	support_close(map);
	map = support_load(path);
	g_assert_true(qalloc_getroot(map, "root number 3") == block + 50);
	g_assert_true(qalloc_getroot(map, "instead of 4") == block);
	assert_null(qalloc_getroot(map, "root number 4"), ENOENT);
	find_numbers(map, other, count, more);
	support_finish(map, path);
}

static void full_maps(void)
{
	const char *path = support_path("full");

	full_map(support_dyn(path, 400 * KIB, 1), path, 65000, 64, 300);
	full_map(support_dyn(path, 4 * MIB, 4), path, 100, 64, 1000);
	full_map(support_stat(path, 64 * KIB, 64, 1), path, 64, 8, 150);
	full_map(support_stat(path, 8 * MIB, 200, 3), path, 200, 64, 1000);
}

/* A private view sees the roots of its beginning, has room for its own, and changes nothing in the file. */
static void private_view(void)
{
	const char *path = support_path("private");
	dynmapinfo_t *map = support_dyn(path, 4 * MIB, 2);
	char *block = qalloc_dynmalloc(map, 100);
	void *view;

	set_numbers(map, block, 0, 1000);
	support_close(map);
	view = qalloc_open(path, QALLOC_PRIVATE);
	g_assert_nonnull(view);
	find_numbers(view, block, 0, 1000);
	g_assert_cmpuint(set_numbers(view, block, 1000, 1000), ==, 2000);
	take_numbers_away(view, 0, 500);
	find_numbers(view, block, 500, 2000);
	check_map(view);
	support_close(view);
	map = support_load(path);
	find_numbers(map, block, 0, 1000);
	assert_null(qalloc_getroot(map, "root number 1500"), ENOENT);
	support_finish(map, path);
}

/* A root is a name, no more: the block can be freed under it, and any place in the user area can be named. */
static void roots_hold_no_blocks(void)
{
	const char *path = support_path("names");
	dynmapinfo_t *map = support_dyn(path, MIB, 1);
	char *block = qalloc_dynmalloc(map, 100);

	set(map, "freed", block);
	set(map, "last byte", (char *)((uintptr_t)block & ~(uintptr_t)65535) + support_stats(map).user_bytes - 1);
	qalloc_dynfree(block, map);
	g_assert_true(qalloc_getroot(map, "freed") == block);
	support_finish(map, path);
}

/* --- several processes --- */

struct shared_roots {
	const char *path;
	char *block;
	_Atomic unsigned index;
	unsigned start; /* of the names that come */
	_Atomic bool stop;
	struct support_barrier *barrier;
};

/* Sets names of its own, and one name that all set, to places that all know. */
static int set_many(void *arg)
{
	struct shared_roots *s = arg;
	void *map = support_load(s->path);
	unsigned self = atomic_fetch_add(&s->index, 1);
	char name[32];

	support_barrier_wait(s->barrier);
	for (size_t i = 0; i < support_scale(4000); i++) {
		snprintf(name, sizeof(name), "own %u-%zu", self, i % 5);
		set(map, name, i % 7 ? s->block + self : NULL);
		set(map, "common", s->block + (i & 1 ? 64 : 0));
	}
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "own %u-%d", self, i);
		set(map, name, s->block + self);
	}
	support_close(map);
	return 0;
}

static int read_many(void *arg)
{
	struct shared_roots *s = arg;
	void *map = support_load(s->path);

	support_barrier_wait(s->barrier);
	do { /* once at least, however busy the machine is */
		char *seen = qalloc_getroot(map, "common");

		g_assert_true(seen == s->block || seen == s->block + 64);
	} while (!atomic_load(&s->stop));
	support_close(map);
	return 0;
}

static void many_processes_set_and_read(void)
{
	enum { WRITERS = 4 };
	struct shared_roots *s = support_shared(sizeof(*s));
	dynmapinfo_t *map;
	pid_t writers[WRITERS], reader;
	char name[32];

	s->path = support_path("many");
	s->barrier = support_barrier_new(WRITERS + 1);
	map = support_dyn(s->path, 4 * MIB, 2);
	s->block = qalloc_dynmalloc(map, 1000);
	set(map, "common", s->block);
	support_close(map);
	for (int i = 0; i < WRITERS; i++)
		writers[i] = support_fork(set_many, s);
	reader = support_fork(read_many, s);
	for (int i = 0; i < WRITERS; i++)
		support_wait_ok(writers[i]);
	atomic_store(&s->stop, true);
	support_wait_ok(reader);
	map = support_load(s->path);
	for (unsigned i = 0; i < WRITERS * 5; i++) {
		snprintf(name, sizeof(name), "own %u-%u", i / 5, i % 5);
		g_assert_true(qalloc_getroot(map, name) == s->block + i / 5);
	}
	support_finish(map, s->path);
}

/* All race to be the first to set the same new names: each name is there once. */
static int set_the_same(void *arg)
{
	struct shared_roots *s = arg;
	void *map = support_load(s->path);
	char name[32];

	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "same %u", i);
		if (i % 10 == 0)
			support_barrier_wait(s->barrier);
		set(map, name, s->block + i);
	}
	support_close(map);
	return 0;
}

static void many_processes_set_the_same_new_name(void)
{
	enum { WRITERS = 4 };
	struct shared_roots *s = support_shared(sizeof(*s));
	dynmapinfo_t *map;
	pid_t writers[WRITERS];
	char name[32];

	s->path = support_path("same");
	s->barrier = support_barrier_new(WRITERS);
	map = support_dyn(s->path, 4 * MIB, 2);
	s->block = qalloc_dynmalloc(map, 1000);
	for (int i = 0; i < WRITERS; i++)
		writers[i] = support_fork(set_the_same, s);
	for (int i = 0; i < WRITERS; i++)
		support_wait_ok(writers[i]);
	check_map(map);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "same %u", i);
		g_assert_true(qalloc_getroot(map, name) == s->block + i);
		set(map, name, NULL);
		assert_null(qalloc_getroot(map, name), ENOENT);
	}
	support_finish(map, s->path);
}

/* Ever more names at first, so that tables are added; then the same ones come and go. */
static int set_until_killed(void *arg)
{
	struct shared_roots *s = arg;
	void *map = support_load(s->path);
	char name[32];

	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof(name), "comes %u", (i + s->start) % 3000);
		set(map, name, i % 3 ? s->block + 64 : NULL);
		set(map, "common", s->block + (i & 1 ? 64 : 0));
		atomic_store(&s->index, i + 1);
	}
	return 0;
}

static void wait_until_it_works(struct shared_roots *s)
{
	while (atomic_load(&s->index) == 0)
		support_sleep_us(20);
	atomic_store(&s->index, 0);
}

static void setters_get_killed(void)
{
	struct shared_roots *s = support_shared(sizeof(*s));
	struct support_rand r;
	dynmapinfo_t *map;

	support_rand_seed(&r, 1);
	s->path = support_path("killed");
	map = support_dyn(s->path, MIB, 2);
	s->block = qalloc_dynmalloc(map, 1000);
	set(map, "common", s->block);
	set(map, "quiet", s->block + 7);
	for (size_t round = 0; round < support_scale(300); round++) {
		pid_t pid;
		char *seen;

		s->start = (unsigned)round * 20;
		pid = support_fork(set_until_killed, s);

		wait_until_it_works(s);
		g_assert_true(support_kill_after_us(pid, (unsigned)support_rand_below(&r, 300)));
		seen = qalloc_getroot(map, "common");
		g_assert_true(seen == s->block || seen == s->block + 64);
		g_assert_true(qalloc_getroot(map, "quiet") == s->block + 7);
		set(map, "new", s->block);
		set(map, "new", NULL);
		check_map(map);
	}
	support_finish(map, s->path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/roots/every-length", names_of_every_length);
	support_add("/qalloc/roots/any-bytes", names_of_any_bytes);
	support_add("/qalloc/roots/every-byte-counts", every_byte_of_a_name_counts);
	support_add("/qalloc/roots/replace-and-remove", replacing_and_removing);
	support_add("/qalloc/roots/places-again", places_are_used_again);
	support_add("/qalloc/roots/any-number", any_number);
	support_add("/qalloc/roots/any-number-static", any_number_in_a_static_map);
	support_add("/qalloc/roots/full", full_maps);
	support_add("/qalloc/roots/private", private_view);
	support_add("/qalloc/roots/names-only", roots_hold_no_blocks);
	support_add("/qalloc/roots/processes", many_processes_set_and_read);
	support_add("/qalloc/roots/same-new-name", many_processes_set_the_same_new_name);
	support_add("/qalloc/roots/killed", setters_get_killed);
	return support_run();
}
