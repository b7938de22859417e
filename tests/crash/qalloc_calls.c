/* SPDX-License-Identifier: BSD-3-Clause */
/* See qalloc_calls.h. */
#include "tests/crash/qalloc_calls.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "common/heap.h"
#include "tests/crash/qalloc_scene.h"

void *handle;
static void *scratch; /* what the victim's warm-up leaves for its call */

void nothing(void *map)
{
	(void)map;
}

void take_64(void *map)
{
	scratch = qalloc_malloc(map, 64);
}

void take_64_often(void *map)
{
	for (int i = 0; i < 64; i++)
		scratch = qalloc_malloc(map, 64);
}

void take_marked(void *map)
{
	scratch = qalloc_malloc(map, 64);
	support_fill(scratch, 64, SCENE_TAG);
}

void take_65(void *map)
{
	take_64(map);
	take_64_often(map);
}

/* All that a stream's own area has allocation bytes for, so that the next slab needs another area. */
void take_16_until_the_area_is_full(void *map)
{
	for (size_t i = 0; i < 15 * 4096; i++)
		scratch = qalloc_malloc(map, 16);
}

void take_16(void *map)
{
	scratch = qalloc_malloc(map, 16);
}

/* A slab with allocation bytes in a second area, and nothing in it but free slots. */
void empty_the_second_area(void *map)
{
	void **blocks = g_new(void *, 16 * 4096);
	size_t count = 16 * 4096;

	for (size_t i = 0; i < count; i++)
		blocks[i] = qalloc_malloc(map, 16);
	while (count)
		qalloc_free(blocks[--count], map);
	g_free(blocks);
}

void take_a_million(void *map)
{
	scratch = qalloc_malloc(map, MIB);
}

void take_1000(void *map)
{
	scratch = qalloc_malloc(map, 1000);
}

void take_5000(void *map)
{
	scratch = qalloc_malloc(map, 5000);
}

void take_large(void *map)
{
	scratch = qalloc_malloc(map, SCENE_LARGE);
}

/* A run of this size is in the thread's cache then. */
void leave_cached(void *map)
{
	take_large(map);
	qalloc_free(scratch, map);
	take_64(map);
}

#define GAP   ((size_t)9 * 64 * KIB)
#define OTHER ((size_t)6 * 64 * KIB)

/* The same, and the run is part of a gap in a full map. The other gaps are shorter than this one, and longer than what is left of it. */
void leave_cached_in_gap(void *map)
{
	void *gap, *others[CRASH_CACHES / OTHER];
	size_t count = 0;

	take_64(map);
	gap = qalloc_malloc(map, GAP);
	while ((others[count] = qalloc_malloc(map, OTHER)) != NULL && qalloc_malloc(map, 70 * KIB))
		count++;
	while (count > 0)
		qalloc_free(others[--count], map);
	qalloc_free(gap, map);
	take_large(map);
	g_assert_true(scratch == gap);
	qalloc_free(scratch, map);
}

/* It needs the cached run. The other gaps are for the survivor. */
void take_gap(void *map)
{
	scratch = qalloc_malloc(map, GAP);
}

void take_over_bounds(void *map)
{
	scratch = qalloc_malloc(map, 10 * 64 * KIB);
}

void take_large_marked(void *map)
{
	take_large(map);
	support_fill(scratch, 64, SCENE_TAG);
}

void take_aligned(void *map)
{
	scratch = qalloc_memalign(map, 4096, 3000);
}

void take_large_aligned(void *map)
{
	scratch = qalloc_memalign(map, 256 * KIB, 100 * KIB);
}

void grow(void *map)
{
	qalloc_grow(map, scene->grows);
}

/* The next item lies in the new part. */
void grow_when_full(void *map)
{
	while (qalloc_malloc(map, 64))
		continue;
	grow(map);
}

static void *take_and_stay(void *arg)
{
	void **taken = arg;

	*taken = qalloc_malloc(handle, 64);
	pause();
	return NULL;
}

/* A block in the slab of another thread of the victim, which lives as long as it does. */
void have_a_thread_take(void *map)
{
	static void *volatile taken;
	pthread_t thread;

	(void)map;
	g_assert_cmpint(pthread_create(&thread, NULL, take_and_stay, (void *)(uintptr_t)&taken), ==, 0);
	while (!taken)
		usleep(50);
	scratch = taken;
	take_1000(map);
}

void free_scratch(void *map)
{
	qalloc_free(scratch, map);
}

void free_prepared(void *map)
{
	qalloc_free(scene->victims, map);
}

void free_remote(void *map)
{
	qalloc_free(scene->remote, map);
}

void grow_scratch(void *map)
{
	scratch = qalloc_realloc(map, scratch, 5000);
}

void fit_scratch(void *map)
{
	scratch = qalloc_realloc(map, scratch, 50);
}

void grow_large(void *map)
{
	scratch = qalloc_realloc(map, scratch, 300 * KIB);
}

void shrink_large(void *map)
{
	scratch = qalloc_realloc(map, scratch, 70 * KIB);
}

void set_new_root(void *map)
{
	qalloc_setroot(map, SCENE_NEW, scene->blocks.keep[2].at);
}

void set_lost_root(void *map)
{
	qalloc_setroot(map, "lost", scene->blocks.keep[2].at);
}

void replace_root(void *map)
{
	qalloc_setroot(map, "root", scene->blocks.keep[1].at);
}

void remove_root(void *map)
{
	qalloc_setroot(map, "root", NULL);
}

void cas_new_root(void *map)
{
	void *expected = NULL;

	qalloc_casroot(map, SCENE_NEW, &expected, scene->blocks.keep[2].at);
}

void cas_root(void *map)
{
	void *expected = scene->blocks.keep[0].at;

	qalloc_casroot(map, "root", &expected, scene->blocks.keep[1].at);
}

static int fill_created(void *block, size_t size, void *arg)
{
	(void)arg;
	memset(block, SCENE_TAG, size);
	return 0;
}

void find_or_create(void *map)
{
	qalloc_find_or_create(map, SCENE_CREATED, SCENE_CREATED_BYTES, fill_created, NULL, NULL);
}

/* The prepared block is a lock. */
void make_lock(void *map)
{
	memset(scene->victims, 0, sizeof(struct qalloc_lock));
	take_64(map);
}

void make_lock_of_the_dead(void *map)
{
	make_lock(map);
	((struct qalloc_lock *)scene->victims)->word = 16 << 1;
}

void lock_it(void *map)
{
	qalloc_lock(map, scene->victims);
}

void make_lock_and_lock_it(void *map)
{
	make_lock(map);
	lock_it(map);
}

void unlock_it(void *map)
{
	qalloc_unlock(map, scene->victims);
}

void close_map(void *map)
{
	qalloc_close(map);
}

void checkpoint(void *map)
{
	(void)map;
	qalloc_checkpoint();
}

void make_durable(void *map)
{
	qalloc_durable(map);
}

void checkpoint_and_take_64(void *map)
{
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	take_64(map);
}

void take_64_and_capture(void *map)
{
	take_64(map);
	g_assert_cmpint(qalloc_capture(map), ==, 0);
}

void capture(void *map)
{
	qalloc_capture(map);
}

void commit(void *map)
{
	qalloc_commit(map);
}

void cleanup(void *map)
{
	(void)map;
	qalloc_cleanup();
}

void load(void *map)
{
	(void)map;
	qalloc_loadmap(crash_path());
}

void create(void *map)
{
	(void)map;
	qalloc_makedynmap(SCENE_BYTES, NULL, crash_path(), 2);
}

void create_static(void *map)
{
	(void)map;
	qalloc_makestatmap(SCENE_BYTES, NULL, crash_path(), 64, 2);
}

static void take_two(void *map)
{
	take_64(map);
	take_1000(map);
}

void watch_the_end(void *map)
{
	scene_watch_the_end(map, take_two);
}
