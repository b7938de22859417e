/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/mmalloc_scene.h"

#include <stdio.h>

#include "common/map.h"

struct scene *scene;

static struct mmalloc_stats stats(void *md)
{
	struct mmalloc_stats figures;

	g_assert_cmpint(mmalloc_stats(md, &figures), ==, 0);
	return figures;
}

/* --- before --- */

void *scene_attach(const struct scenario *s)
{
	struct mmalloc_options options = { .streams = s->streams ? s->streams : 2,
					   .reserve = s->reserve ? s->reserve : SCENE_RESERVE };
	int fd = heap_file(crash_path());
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	close(fd);
	return md;
}

/* A descriptor is a struct ma_image. */
uint64_t scene_length(const void *md)
{
	return ma_load(&((const struct ma_image *)md)->header->length);
}

static void *take_chunk(void *md)
{
	return mmemalign(md, 64 * KIB, 64 * KIB);
}

/* The own stream is filled first: what is given back last lies in the other one. */
static void fill_own_stream(void *md)
{
	size_t count = 0;

	while ((scene->filler[count] = mmalloc(md, 128 * KIB)))
		g_assert_cmpuint(++count, <, G_N_ELEMENTS(scene->filler));
	for (int i = 0; i < 6; i++)
		assert_void(mfree(md, scene->filler[--count]), 0);
	scene->fillers = count;
}

static int free_unless_kept(void *block, size_t size, void *md)
{
	(void)size;
	for (size_t i = 0; i < scene->blocks.kept; i++)
		if (scene->blocks.keep[i].at == block)
			return 0;
	mfree(md, block);
	return 0;
}

/* "root" is there already. */
static void fill_fixed_table(void *md)
{
	char name[16];

	for (size_t i = 1; i < 64; i++) {
		snprintf(name, sizeof(name), "fill %zu", i);
		g_assert_cmpint(mmalloc_setroot(md, name, scene->blocks.keep[0].at), ==, 0);
	}
}

static void furnish(const struct scenario *s, void *md)
{
	const struct support_calls *calls = &support_mmalloc_calls;

	scene->blocks.kept = SCENE_KEEP;
	for (size_t i = 0; i < SCENE_KEEP; i++)
		g_assert_true(support_take_by(calls, md, &scene->blocks.keep[i], i % 2 ? 64 : 100, i));
	scene->victims = mmalloc(md, s->victims);
	g_assert_true(!s->victims || scene->victims);
	support_fill(scene->victims, s->victims, SCENE_TAG);
	g_assert_cmpint(mmalloc_setroot(md, "root", scene->blocks.keep[0].at), ==, 0);
	g_assert_cmpint(mmalloc_setkey(md, SCENE_KEY, scene->blocks.keep[0].at), ==, 1);
	if (s->adds_table)
		fill_fixed_table(md);
	if (s->prepared == OWN_IS_FULL)
		fill_own_stream(md);
	if (s->prepared == EMPTY_SLABS) {
		while (mmalloc(md, 64))
			;
		mmalloc_walk(md, free_unless_kept, md);
	}
}

/* Blocks of all sorts, a root, a key, and the block that the call is to free. Whoever made them is gone. */
void scene_prepare(const struct scenario *s)
{
	void *md, *all;

	memset(scene, 0, sizeof(*scene));
	if (s->prepared == NOT_THERE)
		return;
	md = scene_attach(s);
	if (s->prepared != FRESH) {
		all = mmalloc(md, stats(md).user_bytes);
		g_assert_nonnull(all);
		mfree(md, all);
	}
	furnish(s, md);
	scene->blocks.before = support_count_by(&support_mmalloc_calls, md);
	heap_detach(md);
}

/* --- after --- */

/* What the call changes is one of the two: keep[1] and keep[2] are what the calls set. */
static void find_the_roots(const struct scenario *s, void *md)
{
	const struct support_block *keep = scene->blocks.keep;
	void *root = mmalloc_getroot(md, "root"), *new = mmalloc_getroot(md, SCENE_NEW);
	const char *name = s->base.name;

	g_assert_true(root == keep[0].at || (strstr(name, "setroot-replace") && root == keep[1].at) ||
		      (strstr(name, "setroot-remove") && !root));
	g_assert_true(!new || (strstr(name, "setroot-") && new == keep[2].at));
	/* Its setter died before, half-way; the beginning of the new name. */
	g_assert_null(mmalloc_getroot(md, "lost"));
	g_assert_null(mmalloc_getroot(md, "new name, of sev"));
	g_assert_cmpint(mmalloc_setroot(md, "root", keep[3].at), ==, 0);
	g_assert_cmpint(mmalloc_setroot(md, SCENE_NEW, NULL), ==, 0);
	g_assert_true(mmalloc_getroot(md, "root") == keep[3].at);
	/* Now there is a table below, whether the victim came so far or not, and only one. */
	if (s->adds_table)
		g_assert_cmpint(mmalloc_setroot(md, "one more", keep[3].at), ==, 0);
}

static void find_the_keys(const struct scenario *s, void *md)
{
	const struct support_block *keep = scene->blocks.keep;
	bool sets = strstr(s->base.name, "setkey-");

	for (int key = 0; key < MMALLOC_KEYS; key++) {
		void *is = mmalloc_getkey(md, key), *was = key == SCENE_KEY ? keep[0].at : NULL;

		g_assert_true(is == was || (sets && key == SCENE_KEY && is == keep[1].at) ||
			      (sets && key == SCENE_NEW_KEY && is == keep[2].at));
	}
	g_assert_cmpint(mmalloc_setkey(md, SCENE_KEY, keep[3].at), ==, 1);
	g_assert_true(mmalloc_getkey(md, SCENE_KEY) == keep[3].at);
}

/* All room for runs, in bytes. */
static size_t take_runs(void *md)
{
	size_t sum = 0;
	void *block;

	for (size_t largest; (largest = stats(md).largest_free) > 0; sum += mmalloc_usable_size(md, block)) {
		block = largest > 64 * KIB ? mmalloc(md, largest) : take_chunk(md);
		g_assert_nonnull(block);
	}
	return sum;
}

/*
 * The whole range in one piece: every chunk came back, and the file can grow to its end. A table of roots stays, in a chunk
 * that may lie anywhere.
 */
static void have_the_whole_heap_again(const struct scenario *s, void *md)
{
	size_t whole = stats(md).user_bytes;
	char *all;

	support_free_all_by(&support_mmalloc_calls, md);
	g_assert_cmpuint(stats(md).used_blocks, ==, 0);
	all = mmalloc(md, whole);
	if (s->adds_table) {
		g_assert_null(all); /* but what is empty was collected for it */
		g_assert_cmpuint(take_runs(md) + 64 * KIB, ==, whole);
	} else {
		g_assert_nonnull(all);
		all[0] = all[whole - 1] = 1;
		assert_null(mmalloc(md, 64), ENOMEM);
	}
	heap_check(md);
	g_assert_cmpuint((size_t)support_file_size(crash_path()), >=, scene_length(md));
}

/* No key, root or block lies in a part of the file that is not there. */
void scene_examine(const struct scenario *s, void *md)
{
	const struct support_calls *calls = &support_mmalloc_calls;
	char *base = stats(md).base;

	g_assert_cmpuint((size_t)support_file_size(crash_path()), >=, scene_length(md));
	scene_done_or_not(calls, md, &scene->blocks, s->effect, s->moves);
	/* Not freed: then nothing of it was given back to the disk. */
	if (s->victims && mmalloc_usable_size(md, scene->victims) > 0)
		g_assert_true(support_intact(scene->victims, s->victims, SCENE_TAG));
	heap_check(md);
	if (scene->blocks.kept) {
		find_the_roots(s, md);
		find_the_keys(s, md);
	}
	heap_check(md);
	for (size_t i = 0; i < scene->fillers; i++)
		assert_void(mfree(md, scene->filler[i]), 0);
	scene_use_all_classes(calls, md, base, base + SCENE_RESERVE, &scene->blocks, 0);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	heap_check(md);
	have_the_whole_heap_again(s, md);
}
