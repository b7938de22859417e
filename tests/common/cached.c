/* SPDX-License-Identifier: BSD-3-Clause */
/* Cached runs: the thread that freed a run allocates it again without a lock, and other threads and processes allocate it when they need it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/heap_cache.h"
#include "common/map.h"
#include "tests/support/support_qalloc.h"

#define BYTES  (8 * MIB)   /* Threads cache 7 chunks of such a map. */
#define SIZE   (200 * KIB) /* 4 chunks. */
#define CHUNKS 4

static struct ma_image *image_of(void *map)
{
	return map;
}

static uint64_t chunk_of(void *map, const void *block)
{
	return (uint64_t)((const char *)block - image_of(map)->user) / MA_CHUNK;
}

static enum ma_chunk_kind kind_of(void *map, const void *block)
{
	return ma_word_kind(ma_chunk_load(image_of(map), chunk_of(map, block)));
}

static size_t cached_in(struct ma_image *map)
{
	size_t n = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		for (uint64_t i = 0; i < ma_range_used(map, s); i++)
			n += ma_word_kind(ma_chunk_load(map, ma_range_first(map, s) + i)) == MA_CACHED;
	return n;
}

static void *take_large(void *map)
{
	void *block = qalloc_malloc(map, SIZE);

	g_assert_nonnull(block);
	g_assert_cmpint(kind_of(map, block), ==, MA_RUN);
	return block;
}

/* One run that this thread has cached. */
static void *leave_cached(void *map)
{
	void *block = take_large(map);

	assert_void(qalloc_free(block, map), 0);
	g_assert_cmpint(kind_of(map, block), ==, MA_CACHED);
	return block;
}

/* All free chunks can be allocated: the largest block is as large as in a new map. */
static void assert_all_free(void *map)
{
	void *fresh = support_dyn(support_path("fresh"), BYTES, 1);
	size_t largest = support_largest(fresh);

	support_close(fresh);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_stats(map).largest_free, ==, largest);
	g_assert_cmpuint(support_largest(map), ==, largest);
	g_assert_cmpuint(cached_in(map), ==, 0);
}

/* ---- the thread's own ---- */

/* While another thread holds the stream's lock: a call that took it would wait for ever. */
static void comes_back(void)
{
	const char *path = support_path("back");
	void *map = support_dyn(path, BYTES, 1);
	void *block = leave_cached(map);

	g_assert_true(ma_stream_lock(image_of(map), 0));
	for (int i = 0; i < 100; i++) {
		g_assert_true(qalloc_malloc(map, SIZE) == block);
		assert_void(qalloc_free(block, map), 0);
	}
	ma_stream_unlock(image_of(map), 0);
	assert_all_free(map);
	support_finish(map, path);
}

/* Of other lengths there are none, and a longer block takes no cached one. */
static void only_of_its_length(void)
{
	const char *path = support_path("length");
	void *map = support_dyn(path, BYTES, 1);
	void *block = leave_cached(map), *other = qalloc_malloc(map, SIZE - MA_CHUNK);

	g_assert_true(other != block && kind_of(map, block) == MA_CACHED);
	g_assert_true(qalloc_memalign(map, 2 * MA_CHUNK, SIZE) != block);
	g_assert_cmpint(kind_of(map, block), ==, MA_CACHED);
	support_finish(map, path);
}

static void is_free(void)
{
	const char *path = support_path("free");
	void *map = support_dyn(path, BYTES, 1);
	void *block = leave_cached(map);

	assert_void(qalloc_free(block, map), EINVAL);
	assert_void(qalloc_free((char *)block + MA_CHUNK, map), EINVAL);
	assert_null(qalloc_realloc(map, block, 10), EINVAL);
	g_assert_cmpuint(qalloc_usable_size(map, block), ==, 0);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_count(map), ==, 0);
	g_assert_true(qalloc_malloc(map, SIZE) == block);
	assert_void(qalloc_free(block, map), 0);
	assert_all_free(map);
	support_finish(map, path);
}

/* A thread caches a part of the map at most, nothing of a small one, and nothing when the map is nearly full. */
static void is_little(void)
{
	const char *path = support_path("little"), *small = support_path("small");
	void *map = support_dyn(path, BYTES, 1), *tiny = support_dyn(small, MIB, 1), *blocks[40];
	size_t count = 0;

	while (count < G_N_ELEMENTS(blocks) && (blocks[count] = qalloc_malloc(map, SIZE)))
		count++;
	g_assert_cmpuint(count, >, 20);
	assert_void(qalloc_free(blocks[--count], map), 0);
	g_assert_cmpuint(cached_in(map), ==, 0);
	while (count > 0)
		assert_void(qalloc_free(blocks[--count], map), 0);
	g_assert_cmpuint(cached_in(map), ==, 1);
	assert_all_free(map);
	support_finish(map, path);

	assert_void(qalloc_free(take_large(tiny), tiny), 0);
	g_assert_cmpuint(cached_in(tiny), ==, 0);
	support_finish(tiny, small);
}

/* ---- what others need ---- */

static void *use_up(void *map)
{
	struct qalloc_stats stats = support_stats(map);

	g_assert_nonnull(qalloc_malloc(map, stats.largest_free));
	return NULL;
}

/* A block that no other place is long enough for, by another thread and by the same one. */
static void serves_all(void)
{
	for (int own = 0; own < 2; own++) {
		const char *path = support_path("all");
		void *map = support_dyn(path, BYTES, 1);
		pthread_t thread;

		leave_cached(map);
		if (own) {
			use_up(map);
		} else {
			g_assert_cmpint(pthread_create(&thread, NULL, use_up, map), ==, 0);
			pthread_join(thread, NULL);
		}
		g_assert_cmpuint(cached_in(map), ==, 0);
		support_free_all(map);
		assert_all_free(map);
		support_finish(map, path);
	}
}

static void goes_to_the_disk(void)
{
	const char *path = support_path("disk");
	void *map = support_dyn(path, BYTES, 1);

	leave_cached(map);
	g_assert_cmpint(qalloc_trim(map), >=, SIZE);
	g_assert_cmpuint(cached_in(map), ==, 0);
	support_finish(map, path);
}

/* Any call on the slow path collects cached runs, once per second. */
static void is_collected_by_age(void)
{
	const char *path = support_path("age");
	void *map = support_dyn(path, BYTES, 1);
	struct ma_stream *st = ma_stream(image_of(map), 0);

	leave_cached(map);
	ma_store(&st->aged, UINT32_MAX);
	ma_heap_age_seconds = 1;
	ma_heap_age(image_of(map), NULL);
	ma_heap_age_seconds = 0;
	g_assert_cmpuint(cached_in(map), ==, 0);
	support_finish(map, path);
}

static void *leave_some(void *map)
{
	void *one = take_large(map), *two = qalloc_malloc(map, 2 * MA_CHUNK);

	assert_void(qalloc_free(one, map), 0);
	assert_void(qalloc_free(two, map), 0);
	g_assert_cmpuint(cached_in(map), ==, 2);
	return NULL;
}

static void ends_with_its_thread(void)
{
	const char *path = support_path("thread");
	void *map = support_dyn(path, BYTES, 1);
	pthread_t thread;

	g_assert_cmpint(pthread_create(&thread, NULL, leave_some, map), ==, 0);
	pthread_join(thread, NULL);
	g_assert_cmpuint(cached_in(map), ==, 0);
	leave_some(map);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(cached_in(map), ==, 0);
	assert_all_free(map);
	support_finish(map, path);
}

/* The thread's cache serves one map after the other. */
static void ends_with_its_map(void)
{
	const char *path = support_path("first"), *second = support_path("second");
	void *map = support_dyn(path, BYTES, 1), *other;
	struct ma_tcache *tc;

	leave_cached(map);
	tc = ma_tcache_of(image_of(map));
	tc->barren_ns = UINT64_MAX; /* It would not ask which processes died. */
	support_close(map);
	other = support_dyn(second, BYTES, 1);
	g_assert_nonnull(qalloc_malloc(other, SIZE));
	g_assert_true(ma_tcache_of(image_of(other)) == tc);
	g_assert_cmpuint(tc->barren_ns, ==, 0);
	g_assert_cmpuint(tc->cached_chunks, ==, 0);
	check_map(other);
	support_finish(other, second);
	unlink(path);
}

/* ---- deaths, forks, copies ---- */

static int die_with_cached(void *path)
{
	void *map = support_load(path);

	leave_some(map);
	kill(getpid(), SIGKILL);
	return 1;
}

/* Also when it had not said so: its last instruction was the compare-exchange. */
static void outlives_its_process(void)
{
	for (int users = 0; users < 3; users++) {
		const char *path = support_path("dead");
		void *map = support_dyn(path, BYTES, 1);
		int status;

		qalloc_free(qalloc_malloc(map, 64), map);
		if (users == 0)
			support_close(map);
		status = support_wait(
			support_fork(die_with_cached, (void *)path)); /* It kills itself, with all blocks free. */
		g_assert_true(WIFSIGNALED(status));
		if (users == 0)
			map = support_load(path);
		if (users == 2)
			ma_store(&ma_stream(image_of(map), 0)->cached, 0);
		check_map(map);
		assert_all_free(map);
		support_finish(map, path);
	}
}

static int cache_in_child(void *map)
{
	g_assert_cmpuint(cached_in(map), ==, 1);
	take_large(map);
	g_assert_cmpuint(cached_in(map), ==, 1);
	return 0;
}

/* A fork child knows nothing of its parent's. */
static void stays_with_its_process(void)
{
	const char *path = support_path("fork");
	void *map = support_dyn(path, BYTES, 1), *block = leave_cached(map);

	support_run_child(cache_in_child, map);
	g_assert_true(qalloc_malloc(map, SIZE) == block);
	support_finish(map, path);
}

static void is_free_in_copies(void)
{
	const char *path = support_path("original"), *copy = support_path("copy");
	void *map = support_dyn(path, BYTES, 1), *other;

	leave_cached(map);
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_close(map);
	other = support_load(copy);
	g_assert_cmpuint(cached_in(other), ==, 0);
	assert_all_free(other);
	support_finish(other, copy);
	unlink(path);
}

struct later {
	struct support_sync *sync;
	const char *path;
};

static int look_privately_later(void *arg)
{
	const struct later *later = arg;
	void *view;

	support_point(later->sync, "ready");
	view = support_open(later->path, QALLOC_PRIVATE);
	g_assert_cmpuint(support_used(view), ==, 0);
	g_assert_cmpuint(cached_in(view), ==, 0);
	g_assert_nonnull(qalloc_malloc(view, support_stats(view).largest_free));
	support_close(view);
	return 0;
}

/* In a process that has not mapped it yet. */
static void is_free_in_views(void)
{
	const char *path = support_path("view");
	struct support_sync *sync = support_shared(sizeof(*sync));
	pid_t pid = support_fork(look_privately_later, &(struct later){ sync, path });
	void *map = support_dyn(path, BYTES, 1);

	leave_cached(map);
	support_await(sync, "ready");
	support_go(sync, "ready");
	support_wait_ok(pid);
	g_assert_cmpuint(cached_in(map), ==, 1);
	support_finish(map, path);
}

/* ---- damage ---- */

static void is_checked(void)
{
	const char *path = support_path("check");
	void *map = support_dyn(path, BYTES, 1), *block = leave_cached(map);
	_Atomic uint64_t *word = ma_chunk(image_of(map), chunk_of(map, block));

	check_map(map);
	ma_store(word, ma_word(MA_CACHED, 0, 3));
	g_assert_cmpuint(support_violations(map), ==, 1); /* The last chunk belongs to nothing. */
	ma_store(word, ma_word(MA_CACHED, 0, 1000));
	g_assert_cmpuint(support_violations(map), >, 0);
	/* The word is not the one that the thread stored, so the thread does not allocate the run. */
	g_assert_true(qalloc_malloc(map, SIZE) != block);
	ma_store(word, ma_word(MA_CACHED, 0, CHUNKS));
	check_map(map);
	assert_void(qalloc_trim(map), 0);
	support_free_all(map);
	assert_all_free(map);
	support_finish(map, path);
}

/* A block may grow over it. */
static void makes_room_behind(void)
{
	const char *path = support_path("behind");
	void *map = support_dyn(path, BYTES, 1), *first = take_large(map), *second = take_large(map);
	void *low = MIN(first, second), *high = MAX(first, second);

	assert_void(qalloc_free(high, map), 0);
	g_assert_cmpuint(cached_in(map), ==, 1);
	g_assert_true(qalloc_realloc(map, low, (CHUNKS + 2) * MA_CHUNK) == low);
	g_assert_cmpuint(cached_in(map), ==, 0);
	assert_void(qalloc_free(low, map), 0);
	assert_all_free(map);
	support_finish(map, path);
}

/* ---- all at once ---- */

#define THREADS 4

static struct {
	void *map;
	size_t steps;
	_Atomic bool ends;
} race;

static size_t a_size(struct support_rand *r)
{
	return (1 + support_rand_below(r, 3)) * MA_CHUNK + 1;
}

/* Each block has its owner's mark as long as it is allocated. */
static void *take_and_give(void *arg)
{
	uint64_t *blocks[4] = { 0 }, mark = (uint64_t)(uintptr_t)arg;
	struct support_rand r;

	support_rand_seed(&r, mark);
	for (size_t i = 0; i < race.steps; i++) {
		uint64_t **block = &blocks[support_rand_below(&r, G_N_ELEMENTS(blocks))];

		if (*block) {
			g_assert_cmpuint((*block)[0], ==, mark);
			assert_void(qalloc_free(*block, race.map), 0);
			*block = NULL;
		} else {
			*block = qalloc_malloc(race.map, a_size(&r));
			if (*block)
				(*block)[0] = mark;
		}
	}
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		qalloc_free(blocks[i], race.map);
	return NULL;
}

static void *collect(void *arg)
{
	(void)arg;
	while (!ma_load(&race.ends)) {
		struct ma_image *map = race.map;

		g_assert_true(ma_stream_lock(map, 0));
		ma_cache_collect(map, 0);
		ma_stream_unlock(map, 0);
		sched_yield();
	}
	return NULL;
}

static void races(void)
{
	const char *path = support_path("races");
	pthread_t threads[THREADS], collector;

	race.map = support_dyn(path, BYTES, 1);
	race.steps = support_scale(20000);
	g_assert_cmpint(pthread_create(&collector, NULL, collect, NULL), ==, 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		g_assert_cmpint(pthread_create(&threads[i], NULL, take_and_give, (void *)(i + 1)), ==, 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ma_store(&race.ends, true);
	pthread_join(collector, NULL);
	check_map(race.map);
	assert_all_free(race.map);
	support_finish(race.map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	ma_heap_age_seconds = 0; /* Only where a test says so are runs collected by age. */
	support_add("/common/cached/comes-back", comes_back);
	support_add("/common/cached/only-of-its-length", only_of_its_length);
	support_add("/common/cached/is-free", is_free);
	support_add("/common/cached/is-little", is_little);
	support_add("/common/cached/serves-all", serves_all);
	support_add("/common/cached/goes-to-the-disk", goes_to_the_disk);
	support_add("/common/cached/by-age", is_collected_by_age);
	support_add("/common/cached/thread-ends", ends_with_its_thread);
	support_add("/common/cached/map-ends", ends_with_its_map);
	support_add("/common/cached/process-dies", outlives_its_process);
	support_add("/common/cached/fork", stays_with_its_process);
	support_add("/common/cached/copies", is_free_in_copies);
	support_add("/common/cached/views", is_free_in_views);
	support_add("/common/cached/checked", is_checked);
	support_add("/common/cached/behind", makes_room_behind);
	support_add("/common/cached/races", races);
	return g_test_run();
}
