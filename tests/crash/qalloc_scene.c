/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/qalloc_scene.h"

#include <stdio.h>

struct scene *scene;

/* --- before --- */

static void *make(const struct scenario *s, const char *path)
{
	size_t streams = s->streams ? s->streams : 2;
	size_t bytes = s->bytes ? s->bytes : SCENE_BYTES;

	if (s->is_static)
		return support_stat(path, bytes, 64, streams);
	return support_dyn(path, bytes, streams);
}

void *scene_open(const struct scenario *s)
{
	return s->prepared == NOT_THERE ? make(s, crash_path()) : support_load(crash_path());
}

static size_t take_all(void *map)
{
	size_t count = 0;

	while (qalloc_malloc(map, 64))
		count++;
	return count;
}

static void measure(const struct scenario *s, void *map)
{
	scene->items = s->is_static ? take_all(map) : 0;
	support_free_all(map);
	scene->largest = support_largest(map);
}

/* By a map of the same shape, which is gone then. */
static void measure_another(const struct scenario *s)
{
	const char *path = support_path("measure");
	void *map = make(s, path);

	if (s->grows)
		g_assert_cmpint(qalloc_grow(map, s->grows), ==, 0);
	measure(s, map);
	support_close(map);
	unlink(path);
}

static void *take_one(const struct scenario *s, void *map)
{
	return s->is_static ? qalloc_malloc(map, 64) : qalloc_memalign(map, 64 * KIB, 64 * KIB);
}

/* The own stream is filled first: what is given back last lies in the other one. */
static void fill_own_stream(const struct scenario *s, void *map)
{
	void *blocks[32768];
	size_t count = 0, keep;

	while (count < G_N_ELEMENTS(blocks) && (blocks[count] = take_one(s, map)))
		count++;
	g_assert_cmpuint(count, <, G_N_ELEMENTS(blocks));
	keep = s->is_static ? count / 2 + count / 4 : count - 12;
	while (count > keep)
		assert_void(qalloc_free(blocks[--count], map), 0);
	if (s->is_static)
		return;
	g_assert_cmpuint(count, <=, G_N_ELEMENTS(scene->filler));
	memcpy(scene->filler, blocks, count * sizeof(void *));
	scene->fillers = count;
}

static int free_unless_kept(void *block, size_t size, void *map)
{
	(void)size;
	for (size_t i = 0; i < scene->blocks.kept; i++)
		if (scene->blocks.keep[i].at == block)
			return 0;
	if (block != scene->victims)
		qalloc_free(block, map);
	return 0;
}

/* "root" is there already. */
static void fill_fixed_table(void *map, size_t places)
{
	char name[32];

	for (size_t i = 1; i < places; i++) {
		snprintf(name, sizeof(name), "fill %zu", i);
		g_assert_cmpint(qalloc_setroot(map, name, scene->blocks.keep[0].at), ==, 0);
	}
}

static void furnish(const struct scenario *s, void *map)
{
	scene->blocks.kept = SCENE_KEEP;
	for (size_t i = 0; i < SCENE_KEEP; i++)
		g_assert_true(support_take(map, &scene->blocks.keep[i], s->is_static ? 64 : i % 2 ? 64 : 100, i));
	scene->victims = s->victims ? qalloc_malloc(map, s->victims) : NULL;
	g_assert_true(!s->victims || scene->victims);
	g_assert_cmpint(qalloc_setroot(map, "root", scene->blocks.keep[0].at), ==, 0);
	if (s->adds_table)
		fill_fixed_table(map, s->is_static ? SCENE_BYTES / (64 * KIB) : 64);
	if (s->one_place) {
		fill_fixed_table(map, 64);
		g_assert_cmpint(qalloc_setroot(map, "fill 63", NULL), ==, 0);
	}
	if (s->prepared == OWN_IS_FULL)
		fill_own_stream(s, map);
	if (s->prepared == EMPTY_SLABS) {
		take_all(map);
		qalloc_walk(map, free_unless_kept, map);
	}
}

/* Blocks of all sorts, a root, and the block that the call is to free. Whoever made them is gone. */
void scene_prepare(const struct scenario *s)
{
	void *map;

	memset(scene, 0, sizeof(*scene));
	if (s->prepared == FRESH || s->prepared == NOT_THERE || s->grows)
		measure_another(s);
	scene->grows = s->grows;
	if (s->prepared == NOT_THERE)
		return;
	map = make(s, crash_path());
	if (s->prepared != FRESH && !s->grows)
		measure(s, map);
	furnish(s, map);
	scene->blocks.before = support_count(map);
	if (s->is_durable)
		g_assert_cmpint(qalloc_durable(map), ==, 0);
	support_close(map);
}

/* --- after --- */

/* A root that the call changes is one of the two: keep[1] and keep[2] are what the calls set. */
static void find_the_roots(const struct scenario *s, void *map)
{
	void *root = qalloc_getroot(map, "root"), *new = qalloc_getroot(map, SCENE_NEW);
	bool replaces = strstr(s->base.name, "setroot-replace"), removes = strstr(s->base.name, "setroot-remove");
	bool adds = strstr(s->base.name, "setroot-new") || strstr(s->base.name, "setroot-inherits") || s->one_place;
	/* Its setter died before, half-way; taken away, or never there; the beginnings of the new name. */
	static const char *const absent[] = { "lost", "fill 63", "new name", "new name, of sev" };

	g_assert_true(root == scene->blocks.keep[0].at || (replaces && root == scene->blocks.keep[1].at) ||
		      (removes && !root));
	g_assert_true(!new || (adds && new == scene->blocks.keep[2].at));
	for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
		g_assert_true((s->adds_table && i == 1) || !qalloc_getroot(map, absent[i]));
	g_assert_cmpint(qalloc_setroot(map, "root", scene->blocks.keep[3].at), ==, 0);
	g_assert_cmpint(qalloc_setroot(map, SCENE_NEW, NULL), ==, 0);
	g_assert_true(qalloc_getroot(map, "root") == scene->blocks.keep[3].at);
	/* Now there is a table below, whether the victim came so far or not, and only one. */
	if (s->adds_table)
		g_assert_cmpint(qalloc_setroot(map, "one more", scene->blocks.keep[3].at), ==, 0);
}

/* There is none, or a complete one. */
static void find_the_created_root(const struct scenario *s, void *map)
{
	const char *created = qalloc_getroot(map, SCENE_CREATED);

	if (!created)
		return;
	g_assert_nonnull(strstr(s->base.name, "find-or-create"));
	for (size_t i = 0; i < SCENE_CREATED_BYTES; i++)
		g_assert_cmpint(created[i], ==, SCENE_TAG);
	g_assert_cmpint(qalloc_setroot(map, SCENE_CREATED, NULL), ==, 0);
}

/* Whoever held it is dead. The first call comes upon what was in the block: any word will do. */
static void have_the_lock(const struct scenario *s, void *map)
{
	int error;

	if (!scene->victims || !strstr(s->base.name, "lock"))
		return;
	error = qalloc_lock(map, scene->victims);
	g_assert_true(error == 0 || error == EOWNERDEAD);
	g_assert_cmpint(qalloc_trylock(map, scene->victims), ==, EBUSY);
	g_assert_cmpint(qalloc_unlock(map, scene->victims), ==, 0);
	g_assert_cmpint(qalloc_lock(map, scene->victims), ==, 0);
	g_assert_cmpint(qalloc_unlock(map, scene->victims), ==, 0);
}

/* All room for runs of several chunks, in bytes: one of an odd number is left where a single chunk stands alone. */
static size_t take_runs(void *map)
{
	size_t sum = 0;
	void *block;

	for (size_t largest; (largest = support_largest(map)) > 64 * KIB; sum += qalloc_usable_size(map, block))
		block = qalloc_malloc(map, largest);
	while ((block = qalloc_memalign(map, 64 * KIB, 64 * KIB)))
		sum += 64 * KIB;
	return sum;
}

/* The whole map, but for one table of roots: a group, or a chunk that may lie anywhere. */
static void have_the_whole_map_again(const struct scenario *s, void *map)
{
	support_free_all(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	if (scene->items)
		g_assert_cmpuint(take_all(map), ==, scene->items - (s->adds_table ? 64 : 0));
	else if (s->adds_table)
		g_assert_cmpuint(take_runs(map) + 64 * KIB, ==, scene->largest);
	else
		g_assert_cmpuint(support_largest(map), ==, scene->largest);
	check_map(map);
}

/* It grew or it did not, and whoever comes next can do it (again). */
static void grown_or_not(const struct scenario *s, void *map)
{
	uint64_t length = support_stats(map).file_bytes;

	g_assert_true(length == s->bytes || length == s->grows);
	g_assert_cmpint(qalloc_grow(map, s->grows), ==, 0);
	check_map(map);
}

void scene_examine(const struct scenario *s, void *map)
{
	scene_done_or_not(&support_qalloc_calls, map, &scene->blocks, s->effect, s->moves);
	check_map(map);
	if (s->grows)
		grown_or_not(s, map);
	if (scene->blocks.kept)
		find_the_roots(s, map);
	find_the_created_root(s, map);
	have_the_lock(s, map);
	check_map(map);
	if (s->is_durable)
		g_assert_cmpint(qalloc_sync(map), ==, 0);
	for (size_t i = 0; i < scene->fillers; i++)
		assert_void(qalloc_free(scene->filler[i], map), 0);
	scene_use_all_classes(&support_qalloc_calls, map, support_base(map), support_end(map), &scene->blocks,
			      scene->items ? 64 : 0);
	check_map(map);
	have_the_whole_map_again(s, map);
}
