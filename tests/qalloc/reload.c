/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A map comes back as it was: in the same process, in another, in another program, from a copy; always at its base.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/support/support_qalloc.h"

#define LENGTH 2000

struct node {
	struct node *next;
	struct node *self;
	size_t number;
	char text[];
};

/* A list with plain pointers, its nodes of all sizes, some of them large. */
static void build(void *map)
{
	struct node *head = NULL;

	for (size_t i = 0; i < LENGTH; i++) {
		size_t text = i % 200 == 7 ? 100000 : i % 300;
		struct node *node = qalloc_malloc(map, sizeof(*node) + text);

		g_assert_nonnull(node);
		*node = (struct node){ head, node, i };
		support_fill(node->text, text, i);
		head = node;
	}
	g_assert_cmpint(qalloc_setroot(map, "list", head), ==, 0);
}

static void verify(void *map)
{
	size_t number = LENGTH;

	for (const struct node *node = qalloc_getroot(map, "list"); node; node = node->next) {
		size_t i = --number, text = i % 200 == 7 ? 100000 : i % 300;

		g_assert_true(node->self == node);
		g_assert_cmpuint(node->number, ==, i);
		g_assert_true(support_intact(node->text, text, i));
	}
	g_assert_cmpuint(number, ==, 0);
	g_assert_cmpuint(support_used(map), ==, LENGTH);
	check_map(map);
}

/* What was there can be freed, and its space used. */
static void take_apart(void *map)
{
	struct node *node = qalloc_getroot(map, "list"), *next;

	for (; node; node = next) {
		next = node->next;
		assert_void(qalloc_free(node, map), 0);
	}
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
}

static const char *new_list(void)
{
	const char *path = support_path("list");
	dynmapinfo_t *map = support_dyn(path, 16 * MIB, 2);

	build(map);
	support_close(map);
	return path;
}

static void same_process(void)
{
	const char *path = new_list();
	void *map, *base = NULL;

	for (int round = 0; round < 20; round++) {
		map = support_load(path);
		g_assert_true(round == 0 || support_base(map) == base);
		base = support_base(map);
		verify(map);
		support_close(map);
	}
	map = support_load(path);
	take_apart(map);
	support_finish(map, path);
}

static int load_and_verify(void *arg)
{
	void *map = support_load(arg);

	verify(map);
	support_close(map);
	return 0;
}

static int load_and_take_apart(void *arg)
{
	void *map = support_load(arg);

	verify(map);
	take_apart(map);
	return 0; /* without closing */
}

static void other_processes(void)
{
	const char *path = new_list();
	void *map;

	for (int round = 0; round < 10; round++)
		support_run_child(load_and_verify, (void *)(uintptr_t)path);
	support_run_child(load_and_take_apart, (void *)(uintptr_t)path);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

static void fresh_program(void)
{
	if (g_test_subprocess()) {
		load_and_verify(getenv("MA_RELOAD"));
		return;
	}
	setenv("MA_RELOAD", new_list(), 1);
	for (int round = 0; round < 5; round++) {
		g_test_trap_subprocess(NULL, 0, 0);
		g_test_trap_assert_passed();
	}
}

static void at_a_chosen_base(void)
{
	const char *path = support_path("base");
	void *at = mmap(NULL, 64 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *map;

	munmap(at, 64 * MIB);
	map = qalloc_makedynmap((off_t)(16 * MIB), at, path, 1);
	g_assert_nonnull(map);
	build(map);
	support_close(map);
	map = qalloc_makedynmap((off_t)(16 * MIB), NULL, path, 1);
	g_assert_nonnull(map);
	g_assert_true(support_base(map) == at);
	verify(map);
	support_finish(map, path);
}

/* Something lies where the map belongs: refused, not moved, and nothing of the file changes. */
static void never_elsewhere(void)
{
	const char *path = new_list();
	void *map = support_load(path), *base = support_base(map), *there;
	size_t size, after_size;
	char *before, *after;

	support_close(map);
	before = support_file_read(path, &size);
	there = mmap((char *)base + 8 * MIB, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	g_assert_true(there == (char *)base + 8 * MIB);
	assert_null(qalloc_loadmap(path), EADDRINUSE);
	assert_null(qalloc_open(path, QALLOC_RDONLY), EADDRINUSE);
	assert_null(qalloc_open(path, QALLOC_PRIVATE), EADDRINUSE);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 2), EADDRINUSE);
	after = support_file_read(path, &after_size);
	g_assert_cmpuint(size, ==, after_size);
	g_assert_cmpint(memcmp(before, after, size), ==, 0);
	g_assert_cmpint(munmap(there, 4096), ==, 0);
	map = support_load(path);
	verify(map);
	support_finish(map, path);
	g_free(before);
	g_free(after);
}

/*
 * Maps made apart do not want one address. There are 17,500 places: two of eight meet in one run of 600, and two such pairs in one
 * of a million.
 */
static void maps_made_apart_fit_together(void)
{
	enum { MAPS = 8 };
	const char *paths[MAPS];
	void *maps[MAPS];
	int clashes = 0;

	for (int i = 0; i < MAPS; i++) {
		paths[i] = support_path("apart");
		support_close(support_dyn(paths[i], 64 * MIB, 1));
	}
	for (int i = 0; i < MAPS; i++) {
		maps[i] = qalloc_loadmap(paths[i]);
		g_assert_true(maps[i] || errno == EADDRINUSE);
		clashes += !maps[i];
	}
	g_assert_cmpint(clashes, <=, 1);
	for (int i = 0; i < MAPS; i++) {
		if (!maps[i])
			maps[i] = support_load(paths[i]);
		g_assert_nonnull(qalloc_malloc(maps[i], 100));
		support_finish(maps[i], paths[i]);
	}
}

static void another_name_for_the_file(void)
{
	const char *path = new_list(), *soft = support_path("soft"), *hard = support_path("hard");
	const char *moved = support_path("moved");
	void *map = support_load(path);

	g_assert_cmpint(symlink(path, soft), ==, 0);
	g_assert_cmpint(link(path, hard), ==, 0);
	g_assert_true(support_load(soft) == map);
	g_assert_true(support_load(hard) == map);
	for (int i = 0; i < 3; i++)
		support_close(map);
	g_assert_cmpint(qalloc_close(map), ==, -1);
	g_assert_cmpint(rename(path, moved), ==, 0);
	map = support_load(moved);
	verify(map);
	support_finish(map, moved);
}

static void copy_of_a_closed_map(void)
{
	const char *path = new_list(), *copy = support_path("copy");
	void *map;

	support_file_copy(path, copy);
	map = support_load(copy);
	verify(map);
	take_apart(map);
	support_finish(map, copy);
	map = support_load(path);
	verify(map);
	support_finish(map, path);
}

/* Carries owners, locks and slots of a process that does not hold the copy. */
static void copy_of_a_live_map(void)
{
	const char *path = support_path("live"), *copy = support_path("copy");
	void *map = support_dyn(path, 16 * MIB, 2);

	build(map);
	support_file_copy(path, copy);
	support_close(map);
	map = support_load(copy);
	verify(map);
	take_apart(map);
	support_finish(map, copy);
}

static void copy_beside_its_original(void)
{
	const char *path = new_list(), *copy = support_path("copy");
	void *map = support_load(path);

	support_file_copy(path, copy);
	assert_null(qalloc_loadmap(copy), EADDRINUSE);
	verify(map);
	support_finish(map, path);
}

/* The file goes while it is mapped: the map lives on, and the name is free for a new one. */
static void unlinked_file(void)
{
	const char *path = new_list();
	void *map = support_load(path), *other;

	g_assert_cmpint(unlink(path), ==, 0);
	verify(map);
	other = support_dyn(path, MIB, 1);
	g_assert_true(other != map);
	g_assert_cmpuint(support_used(other), ==, 0);
	take_apart(map);
	support_close(map);
	support_finish(other, path);
}

/* A file that never had a name, or has lost it, is opened through its descriptor's. */
static void nameless_file(void)
{
	int fd = memfd_create("nameless", MFD_CLOEXEC);
	char path[64];
	void *map;

	g_assert_cmpint(fd, >=, 0);
	g_snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	map = support_dyn(path, 16 * MIB, 2);
	build(map);
	support_close(map);
	map = support_load(path);
	verify(map);
	check_map(map);
	support_close(map);
	close(fd);
}

static void static_map(void)
{
	const char *path = support_path("static");
	mapinfo_t *map = support_stat(path, MIB, 40, 3);
	struct support_block items[1000];

	for (size_t i = 0; i < 1000; i++)
		g_assert_true(support_take(map, &items[i], 40, i));
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 1000);
	for (size_t i = 0; i < 1000; i++)
		support_give(map, &items[i]);
	support_finish(map, path);
}

/* Loading and closing thousands of times leaks no descriptor and no address. */
static void again_and_again(void)
{
	const char *path = new_list();
	int first = open("/dev/null", O_RDONLY | O_CLOEXEC), last;

	close(first);
	for (size_t round = 0; round < support_scale(2000); round++) {
		void *map = support_load(path), *block = qalloc_malloc(map, 10);

		g_assert_nonnull(block);
		qalloc_free(block, map);
		support_close(map);
	}
	last = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(last);
	g_assert_cmpint(last, ==, first);
	load_and_verify((void *)(uintptr_t)path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/reload/same-process", same_process);
	support_add("/qalloc/reload/other-processes", other_processes);
	support_add("/qalloc/reload/fresh-program", fresh_program);
	support_add("/qalloc/reload/chosen-base", at_a_chosen_base);
	support_add("/qalloc/reload/never-elsewhere", never_elsewhere);
	support_add("/qalloc/reload/apart", maps_made_apart_fit_together);
	support_add("/qalloc/reload/other-names", another_name_for_the_file);
	support_add("/qalloc/reload/copy-closed", copy_of_a_closed_map);
	support_add("/qalloc/reload/copy-live", copy_of_a_live_map);
	support_add("/qalloc/reload/copy-beside", copy_beside_its_original);
	support_add("/qalloc/reload/unlinked", unlinked_file);
	support_add("/qalloc/reload/nameless", nameless_file);
	support_add("/qalloc/reload/static", static_map);
	support_add("/qalloc/reload/again-and-again", again_and_again);
	return support_run();
}
