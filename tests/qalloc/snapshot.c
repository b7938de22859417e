/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Snapshots: of maps at rest, the same objects at the same addresses; of busy maps, sound, with all that stood still. What
 * they replace, refuse, and leave behind when they are killed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/support/support_qalloc.h"

#define KEEP 60

struct node {
	struct node *next;
	uint64_t number;
	uint64_t check;
};

struct scene {
	const char *path, *copy;
	bool is_static;
	struct support_block keep[KEEP];
	_Atomic uint64_t published;
	_Atomic bool stop;
};

/* A map with blocks that stay, and more roots than the fixed table has places for. Item size 3000 when static. */
static struct scene *new_scene(bool is_static)
{
	struct scene *s = support_shared(sizeof(*s));
	char name[32];
	void *map;

	s->path = support_path("map");
	s->copy = support_path("copy");
	s->is_static = is_static;
	map = is_static ? (void *)support_stat(s->path, 8 * MIB, 3000, 2) : (void *)support_dyn(s->path, 64 * MIB, 2);
	for (size_t i = 0; i < KEEP; i++) {
		g_assert_true(support_take(map, &s->keep[i], is_static || i % 10 ? i * 50 : i * 10000, i));
		snprintf(name, sizeof(name), "root %zu", i);
		g_assert_cmpint(qalloc_setroot(map, name, s->keep[i].at), ==, 0);
	}
	for (size_t i = KEEP; i < 3 * KEEP; i++) {
		snprintf(name, sizeof(name), "root %zu", i);
		g_assert_cmpint(qalloc_setroot(map, name, s->keep[i % KEEP].at), ==, 0);
	}
	support_close(map);
	return s;
}

static void verify(const struct scene *s, void *map)
{
	char name[32];

	check_map(map);
	for (size_t i = 0; i < 3 * KEEP; i++) {
		snprintf(name, sizeof(name), "root %zu", i);
		g_assert_true(qalloc_getroot(map, name) == s->keep[i % KEEP].at);
	}
	for (size_t i = 0; i < KEEP; i++) {
		support_verify(&s->keep[i]);
		g_assert_cmpuint(qalloc_usable_size(map, s->keep[i].at), >=, s->keep[i].size);
	}
}

/* All that is free can be taken, and all that was taken, freed. */
static void use_up(void *map, size_t size)
{
	struct support_block *blocks = g_new(struct support_block, 200000);
	size_t count = support_fill_up(map, blocks, 200000, size);

	while (count)
		support_give(map, &blocks[--count]);
	check_map(map);
	g_free(blocks);
}

static void at_rest(bool is_static)
{
	struct scene *s = new_scene(is_static);
	void *map = support_load(s->path);
	size_t used = support_used(map), size;
	struct stat before, after;

	g_assert_cmpint(qalloc_snapshot(map, s->copy), ==, 0);
	support_close(map);
	g_assert_cmpint(stat(s->path, &before), ==, 0);
	g_assert_cmpint(stat(s->copy, &after), ==, 0);
	g_assert_cmpint(before.st_size, ==, after.st_size);
	g_assert_cmpuint(after.st_mode & 0777, ==, 0600);
	g_assert_cmpint(after.st_blocks, <=, before.st_blocks + 64);
	for (size_t round = 0; round < 2; round++) {
		map = support_load(round ? s->path : s->copy);
		verify(s, map);
		g_assert_cmpuint(support_used(map), ==, used);
		use_up(map, is_static ? 3000 : 20000);
		size = support_free_all(map);
		g_assert_cmpuint(size, ==, used);
		support_finish(map, round ? s->path : s->copy);
	}
}

static void dynamic_at_rest(void)
{
	at_rest(false);
}

static void static_at_rest(void)
{
	at_rest(true);
}

static void of_views(void)
{
	struct scene *s = new_scene(false);
	void *map = support_open(s->path, QALLOC_RDONLY);
	struct support_block own;

	g_assert_cmpint(qalloc_snapshot(map, s->copy), ==, 0);
	support_close(map);
	map = support_open(s->copy, QALLOC_RDONLY);
	verify(s, map);
	support_close(map);

	map = support_open(s->path, QALLOC_PRIVATE);
	g_assert_true(support_take(map, &own, 70000, 7));
	g_assert_cmpint(qalloc_setroot(map, "root 3", own.at), ==, 0);
	g_assert_cmpint(qalloc_snapshot(map, s->copy), ==, 0);
	support_close(map);
	map = support_load(s->copy);
	support_verify(&own);
	g_assert_true(qalloc_getroot(map, "root 3") == own.at);
	g_assert_cmpint(qalloc_setroot(map, "root 3", s->keep[3].at), ==, 0);
	verify(s, map);
	support_finish(map, s->copy);
}

/* --- busy maps --- */

static int churn(void *arg)
{
	struct scene *s = arg;
	struct support_block blocks[200] = { 0 };
	void *map = support_load(s->path);
	struct support_rand r;

	support_rand_seed(&r, (uint64_t)getpid());
	while (!atomic_load(&s->stop)) {
		struct support_block *block = &blocks[support_rand_below(&r, G_N_ELEMENTS(blocks))];
		size_t size = support_rand_below(&r, 20) ? support_rand_below(&r, 3000) : 200000;

		if (block->at)
			support_give(map, block);
		else
			support_take(map, block, s->is_static ? 3000 : size, size);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		if (blocks[i].at)
			support_give(map, &blocks[i]);
	support_close(map);
	return 0;
}

/* A list that only grows: each node is complete, and never changed, before the root leads to it. */
static int publish(void *arg)
{
	struct scene *s = arg;
	void *map = support_load(s->path);

	for (uint64_t number = 1; !atomic_load(&s->stop); number++) {
		struct node *node = qalloc_malloc(map, sizeof(*node));

		if (!node)
			break;
		*node = (struct node){ qalloc_getroot(map, "list"), number, number * 0x9e3779b97f4a7c15u };
		g_assert_cmpint(qalloc_setroot(map, "list", node), ==, 0);
		atomic_store(&s->published, number);
		support_sleep_us(100);
	}
	support_close(map);
	return 0;
}

static int verify_copy(void *arg)
{
	struct scene *s = arg;
	void *map = support_load(s->copy);
	struct node *node = qalloc_getroot(map, "list");
	uint64_t number = node ? node->number : 0;

	verify(s, map);
	g_assert_cmpuint(number, >=, s->published); /* As it was before the call. */
	for (; node; node = node->next, number--) {
		g_assert_cmpuint(node->number, ==, number);
		g_assert_cmpuint(node->check, ==, number * 0x9e3779b97f4a7c15u);
		g_assert_cmpuint(qalloc_usable_size(map, node), >=, sizeof(*node));
	}
	g_assert_cmpuint(number, ==, 0);
	use_up(map, s->is_static ? 3000 : 50000);
	support_free_all(map);
	check_map(map);
	support_close(map);
	return 0;
}

static void busy(bool is_static)
{
	struct scene *s = new_scene(is_static);
	struct scene *seen = support_shared(sizeof(*seen));
	pid_t workers[3];
	void *map;

	for (size_t i = 0; i < G_N_ELEMENTS(workers); i++)
		workers[i] = support_fork(i ? churn : publish, s);
	for (size_t round = 0; round < support_scale(20); round++) {
		map = support_load(s->path);
		memcpy(seen, s, sizeof(*seen));
		g_assert_cmpint(qalloc_snapshot(map, s->copy), ==, 0);
		support_close(map); /* The copy needs its addresses. */
		support_run_child(verify_copy, seen);
	}
	atomic_store(&s->stop, true);
	for (size_t i = 0; i < G_N_ELEMENTS(workers); i++)
		support_wait_ok(workers[i]);
	map = support_load(s->path);
	verify(s, map);
	support_finish(map, s->path);
}

static void dynamic_busy(void)
{
	busy(false);
}

static void static_busy(void)
{
	busy(true);
}

/* --- names --- */

static size_t leftovers(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t count = 0;

	g_assert_nonnull(dir);
	while ((entry = readdir(dir)))
		count += g_str_has_prefix(entry->d_name, ".snapshot-") ? 1 : 0;
	closedir(dir);
	return count;
}

static void refusals(void)
{
	struct scene *s = new_scene(false);
	char *folder = g_strconcat(s->copy, ".d", NULL), *gone = g_strconcat(s->copy, "/copy", NULL);
	void *map = support_load(s->path);

	g_assert_cmpint(mkdir(folder, 0700), ==, 0);
	g_assert_cmpint(mkfifo(s->copy, 0600), ==, 0);
	assert_minus1(qalloc_snapshot(map, NULL), EINVAL);
	assert_minus1(qalloc_snapshot(map, ""), EINVAL);
	assert_minus1(qalloc_snapshot(map, s->path), EINVAL);
	assert_minus1(qalloc_snapshot(map, s->copy), EINVAL);
	assert_minus1(qalloc_snapshot(map, folder), EISDIR);
	assert_minus1(qalloc_snapshot(map, gone), ENOTDIR);
	assert_minus1(qalloc_snapshot(map, "/nowhere/copy"), ENOENT);
	assert_minus1(qalloc_snapshot(NULL, s->copy), EBADF);
	g_assert_cmpuint(leftovers(support_dir()), ==, 0);
	support_finish(map, s->path);
	assert_minus1(qalloc_snapshot(map, s->copy), EBADF);
	unlink(s->copy);
	rmdir(folder);
	g_free(folder);
	g_free(gone);
}

static int take_them(void *arg)
{
	struct scene *s = arg;
	void *map = support_load(s->path);

	while (qalloc_snapshot(map, s->copy) == 0)
		;
	return 1; /* It is killed before. */
}

/* Whoever looks sees no copy, or a whole one; only a link made in the last instant may stay. */
static void killed(void)
{
	struct scene *s = new_scene(false);
	size_t rounds = support_scale(40);
	struct support_rand r;
	void *map;

	support_rand_seed(&r, 3);
	for (size_t round = 0; round < rounds; round++) {
		support_kill_after_us(support_fork(take_them, s), (unsigned)support_rand_below(&r, 20000));
		if (access(s->copy, F_OK) == 0) {
			map = support_load(s->copy);
			verify(s, map);
			support_close(map);
			if (round % 2)
				unlink(s->copy);
		}
	}
	if (support_nameless_files())
		g_assert_cmpuint(leftovers(support_dir()), <=, rounds / 10);
	map = support_load(s->path);
	verify(s, map);
	support_finish(map, s->path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/snapshot/dynamic", dynamic_at_rest);
	support_add("/qalloc/snapshot/static", static_at_rest);
	support_add("/qalloc/snapshot/views", of_views);
	support_add("/qalloc/snapshot/dynamic-busy", dynamic_busy);
	support_add("/qalloc/snapshot/static-busy", static_busy);
	support_add("/qalloc/snapshot/refusals", refusals);
	support_add("/qalloc/snapshot/killed", killed);
	return support_run();
}
