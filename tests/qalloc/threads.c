/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many threads on one map: random replacement, frees of each other's blocks, reserves that come back, streams that help
 * each other out.
 */
#include <sched.h>

#include "tests/support/support_qalloc.h"

#define THREADS 4u

/* --- each its own blocks --- */

static void replace_at_random(struct support_thread *self)
{
	struct support_block blocks[100] = { 0 };
	bool is_static = support_stats(self->arg).is_static;
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t round = 0; round < support_scale(80000); round++) {
		struct support_block *block = &blocks[support_rand_below(&r, 100)];
		size_t size = is_static                    ? 64
			      : support_rand_below(&r, 30) ? support_rand_below(&r, 1500)
							   : support_rand_below(&r, 150000);

		if (block->at)
			support_give(self->arg, block);
		if (!support_take(self->arg, block, size, (uint64_t)self->index << 32 | round))
			assert_errno_is(ENOMEM);
	}
	for (size_t i = 0; i < 100; i++)
		if (blocks[i].at)
			support_give(self->arg, &blocks[i]);
}

static void replace_with(void *map, unsigned threads)
{
	size_t largest = support_largest(map);

	support_threads(threads, replace_at_random, map);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	check_map(map);
	support_close(map);
}

static void threads_share_a_dynamic_map(void)
{
	replace_with(support_dyn(NULL, 32 * MIB, 1), THREADS);
	replace_with(support_dyn(NULL, 32 * MIB, 4), THREADS);
	replace_with(support_dyn(NULL, 32 * MIB, 16), 2 * THREADS);
}

static void threads_share_a_static_map(void)
{
	replace_with(support_stat(NULL, MIB, 64, 1), THREADS);
	replace_with(support_stat(NULL, MIB, 64, 7), 2 * THREADS);
}

/* --- each other's blocks --- */

#define SWAPS 512

struct swap {
	void *map;
	bool is_static;
	_Atomic(struct support_block *) place[SWAPS];
};

/* Blocks travel through shared places; whoever gets one verifies and frees it. */
static void swap_blocks(struct support_thread *self)
{
	struct swap *swap = self->arg;
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t round = 0; round < support_scale(60000); round++) {
		size_t size = swap->is_static              ? 64
			      : support_rand_below(&r, 50) ? support_rand_below(&r, 1500)
							   : support_rand_below(&r, 100000);
		struct support_block *mine = g_new(struct support_block, 1), *other;

		if (!support_take(swap->map, mine, size, support_rand_next(&r))) {
			assert_errno_is(ENOMEM);
			g_free(mine);
			mine = NULL;
		}
		other = atomic_exchange(&swap->place[support_rand_below(&r, SWAPS)], mine);
		if (other)
			support_give(swap->map, other);
		g_free(other);
	}
}

static void remote_frees_with(void *map)
{
	struct swap *swap = g_new0(struct swap, 1);
	size_t largest = support_largest(map);

	swap->map = map;
	swap->is_static = support_stats(map).is_static;
	support_threads(THREADS, swap_blocks, swap);
	check_map(map);
	for (size_t i = 0; i < SWAPS; i++) {
		struct support_block *block = atomic_load(&swap->place[i]);

		if (block)
			support_give(map, block);
		g_free(block);
	}
	g_free(swap);
	g_assert_cmpuint(support_used(map), ==, 0);
	g_assert_cmpuint(support_largest(map), ==, largest);
	support_close(map);
}

static void remote_frees(void)
{
	remote_frees_with(support_dyn(NULL, 64 * MIB, 3));
	remote_frees_with(support_stat(NULL, MIB, 64, 3));
}

/* All free the same block at the same time: one succeeds. */
struct same {
	struct support_barrier *barrier;
	void *map;
	_Atomic(void *) block;
	_Atomic unsigned freed;
	_Atomic unsigned refused;
};

static void free_the_same(struct support_thread *self)
{
	struct same *same = self->arg;

	for (size_t round = 0; round < support_scale(2000); round++) {
		if (self->index == 0)
			atomic_store(&same->block, qalloc_malloc(same->map, round % 50 ? round % 1000 : 100000));
		support_barrier_wait(same->barrier);
		if (self->index) {
			errno = 0;
			qalloc_free(atomic_load(&same->block), same->map);
			atomic_fetch_add(errno ? &same->refused : &same->freed, 1);
		}
		support_barrier_wait(same->barrier);
	}
}

static void double_frees_at_once_leave_the_map_sound(void)
{
	struct same same = { .barrier = support_barrier_new(3), .map = support_dyn(NULL, 16 * MIB, 2) };
	unsigned rounds = (unsigned)support_scale(2000);

	support_threads(3, free_the_same, &same);
	g_assert_cmpuint(atomic_load(&same.freed) + atomic_load(&same.refused), ==, 2 * rounds);
	g_assert_cmpuint(atomic_load(&same.freed), >=, rounds);
	g_assert_cmpuint(support_used(same.map), ==, 0);
	check_map(same.map);
	support_close(same.map);
}

/* --- reserves --- */

struct reserve {
	void *map;
	struct support_sync sync;
	_Atomic unsigned done;
};

static void take_one(struct support_thread *self)
{
	struct reserve *reserve = self->arg;

	g_assert_nonnull(qalloc_malloc(reserve->map, 64));
}

static void take_one_and_stay(struct support_thread *self)
{
	struct reserve *reserve = self->arg;

	g_assert_nonnull(qalloc_malloc(reserve->map, 64));
	support_point(&reserve->sync, "took one");
}

static size_t take_all(void *map, size_t size)
{
	size_t count = 0;

	while (qalloc_malloc(map, size))
		count++;
	assert_errno_is(ENOMEM);
	return count;
}

static void ended_threads_give_their_reserve_back(void)
{
	struct reserve reserve = { .map = support_stat(NULL, 4 * MIB, 64, 8) };
	size_t all = support_stats(reserve.map).user_bytes / 64;

	for (unsigned i = 0; i < 20; i++)
		support_threads(1, take_one, &reserve);
	support_threads(20, take_one, &reserve);
	g_assert_cmpuint(take_all(reserve.map, 64), ==, all - 40);
	check_map(reserve.map);
	support_close(reserve.map);
}

static void ended_threads_give_their_chunks_back(void)
{
	struct reserve reserve = { .map = support_dyn(NULL, 4 * MIB, 8) };
	size_t all = take_all(reserve.map, 65536), left;

	support_free_all(reserve.map);
	for (unsigned i = 0; i < 20; i++)
		support_threads(1, take_one, &reserve);
	left = take_all(reserve.map, 65536);
	g_assert_cmpuint(left, >=, all - 8); /* twenty small blocks of one size need one chunk per stream */
	support_free_all(reserve.map);
	g_assert_cmpuint(take_all(reserve.map, 65536), ==, all);
	support_close(reserve.map);
}

static void take_pairs_of_chunks(struct support_thread *self)
{
	struct reserve *reserve = self->arg;
	size_t pairs = take_all(reserve->map, 100000);

	g_assert_cmpuint(pairs * 2 * 65536, >=, support_stats(reserve->map).user_bytes / 2);
	g_assert_cmpint(qalloc_check(reserve->map, NULL, NULL), ==, 0);
}

/* One that took all of a small map, freed it and now sleeps does not keep it from the others. */
static void idle_threads_hold_little(void)
{
	static const size_t sizes[] = { 100, 5000, 60000 };

	for (size_t mib = 1; mib <= 16; mib *= 2)
		for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
			struct reserve reserve = { .map = support_dyn(NULL, mib * MIB, 1) };

			take_all(reserve.map, sizes[i]);
			support_free_all(reserve.map);
			support_threads(1, take_pairs_of_chunks, &reserve);
			support_close(reserve.map);
		}
}

/* --- a slab that is freed while it stands in a queue --- */

#define SLABS     3
#define A_SLAB    64 /* Blocks of 1000 bytes. */
#define QUEUED_OF 1000

struct queued {
	void *map;
	void *blocks[SLABS * A_SLAB];
};

static void leave_slabs(struct support_thread *self)
{
	struct queued *q = self->arg;

	for (size_t i = 0; i < SLABS * A_SLAB; i++)
		g_assert_nonnull(q->blocks[i] = qalloc_malloc(q->map, QUEUED_OF));
}

static void leave_one_of_another_size(struct support_thread *self)
{
	g_assert_nonnull(qalloc_malloc(self->arg, 500));
}

/* Its place in the queue leads to the others even when its chunk serves another size, and stands in another queue. */
static void slabs_behind_a_freed_one_are_found(void)
{
	struct queued q = { .map = support_dyn(NULL, 4 * MIB, 1) };
	uint64_t largest = support_stats(q.map).largest_free;

	support_threads(1, leave_slabs, &q);
	for (size_t i = 0; i < SLABS * A_SLAB; i++)
		if (i < A_SLAB || i % 2)
			qalloc_free(q.blocks[i], q.map);
	assert_null(qalloc_malloc(q.map, largest), ENOMEM); /* looks for what is empty */
	support_threads(1, leave_one_of_another_size, q.map);
	largest = support_stats(q.map).largest_free;
	for (size_t i = 0; i < A_SLAB / 2; i++)
		g_assert_nonnull(qalloc_malloc(q.map, QUEUED_OF));
	g_assert_cmpuint(support_stats(q.map).largest_free, ==, largest);
	check_map(q.map);
	support_close(q.map);
}

/* "at most 1/16 of the map a thread" */
static void live_threads_hold_at_most_a_sixteenth(void)
{
	struct reserve reserve[4];
	struct support_thread threads[4];
	void *map = support_stat(NULL, 4 * MIB, 64, 4);
	size_t all = support_stats(map).user_bytes / 64;

	memset(reserve, 0, sizeof(reserve));
	for (unsigned i = 0; i < 4; i++) {
		reserve[i].map = map;
		support_threads_start(&threads[i], 1, take_one_and_stay, &reserve[i]);
		support_await(&reserve[i].sync, "took one");
	}
	g_assert_cmpuint(take_all(map, 64), >=, all - 4 * (all / 16) - 4);
	for (unsigned i = 0; i < 4; i++)
		support_go(&reserve[i].sync, "took one");
	support_threads_join(threads, 4);
	take_all(map, 64);
	g_assert_cmpuint(support_used(map), ==, all);
	check_map(map);
	support_close(map);
}

/* --- streams --- */

static void take_until_full(struct support_thread *self)
{
	take_all(self->arg, 64);
}

static void exhausted_streams_take_from_others(void)
{
	static const size_t streams[] = { 1, 2, 16, 64 };

	for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
		mapinfo_t *map = support_stat(NULL, support_size(4, 1) * MIB, 64, streams[i]);
		size_t all = support_stats(map).user_bytes / 64;

		support_threads(THREADS, take_until_full, map);
		take_all(map, 64);
		g_assert_cmpuint(support_used(map), ==, all);
		check_map(map);
		g_assert_cmpuint(support_free_all(map), ==, all);
		support_close(map);
	}
}

static void dynamic_streams_take_from_others(void)
{
	static const size_t streams[] = { 1, 2, 16 };
	size_t first = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
		dynmapinfo_t *map = support_dyn(NULL, support_size(8, 4) * MIB, streams[i]);
		size_t count;

		support_threads(THREADS, take_until_full, map);
		take_all(map, 64);
		count = support_used(map);
		first = first ? first : count;
		g_assert_cmpuint(count, >=, first - first / 8);
		check_map(map);
		g_assert_cmpuint(support_free_all(map), ==, count);
		support_close(map);
	}
}

/* More threads, one after the other and at once, than there are streams or owner records at hand. */
static void take_and_give(struct support_thread *self)
{
	struct support_block block;

	for (size_t i = 0; i < 10; i++) {
		g_assert_true(support_take(self->arg, &block, i * 30, self->index));
		support_give(self->arg, &block);
	}
}

static void thousands_of_threads(void)
{
	dynmapinfo_t *map = support_dyn(NULL, 64 * MIB, 2);

	for (size_t round = 0; round < support_scale(120); round++)
		support_threads(32, take_and_give, map);
	g_assert_cmpuint(support_used(map), ==, 0);
	check_map(map);
	support_close(map);
}

/* A thread that used the map ends after the map was closed. */
static void use_and_wait(struct support_thread *self)
{
	struct reserve *reserve = self->arg;

	g_assert_nonnull(qalloc_malloc(reserve->map, 64));
	support_point(&reserve->sync, "used");
	assert_null(qalloc_malloc(reserve->map, 64), EBADF);
}

static void threads_outlive_the_map(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		struct reserve reserve = { .map = is_static ? (void *)support_stat(NULL, MIB, 64, 1)
							    : (void *)support_dyn(NULL, MIB, 1) };
		struct support_thread thread;

		support_threads_start(&thread, 1, use_and_wait, &reserve);
		support_await(&reserve.sync, "used");
		support_close(reserve.map);
		support_go(&reserve.sync, "used");
		support_threads_join(&thread, 1);
	}
}

/* Threads that are done with the map end at the very moment when it is closed: the end of a thread is no call. */
static void use_and_end(struct support_thread *self)
{
	struct reserve *reserve = self->arg;
	void *blocks[20];

	for (size_t i = 0; i < 20; i++)
		blocks[i] = qalloc_malloc(reserve->map, i * 64);
	for (size_t i = 0; i < 20; i++)
		qalloc_free(blocks[i], reserve->map);
	atomic_fetch_add(&reserve->done, 1);
}

static void threads_end_while_the_map_closes(void)
{
	const char *path = support_path("ends");
	struct support_thread threads[4];
	struct support_rand r;
	void *map;

	support_rand_seed(&r, 6);
	support_close(support_dyn(path, 4 * MIB, 2));
	for (size_t round = 0; round < support_scale(1500); round++) {
		struct reserve reserve = { .map = support_load(path) };

		support_threads_start(threads, 4, use_and_end, &reserve);
		while (atomic_load(&reserve.done) < 4)
			sched_yield();
		support_sleep_us((unsigned)support_rand_below(&r, 20));
		support_close(reserve.map);
		support_threads_join(threads, 4);
	}
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_finish(map, path);
}

/* And one that goes on in the same file, loaded again. */
static void use_again(struct support_thread *self)
{
	struct reserve *reserve = self->arg;

	g_assert_nonnull(qalloc_malloc(reserve->map, 64));
	support_point(&reserve->sync, "used");
	for (int i = 0; i < 1000; i++)
		g_assert_nonnull(qalloc_malloc(reserve->map, 64));
}

static void threads_go_on_after_a_reload(void)
{
	const char *path = support_path("again");
	struct reserve reserve = { .map = support_dyn(path, MIB, 1) };
	struct support_thread thread;

	support_threads_start(&thread, 1, use_again, &reserve);
	support_await(&reserve.sync, "used");
	support_close(reserve.map);
	reserve.map = support_load(path);
	support_go(&reserve.sync, "used");
	support_threads_join(&thread, 1);
	g_assert_cmpuint(support_used(reserve.map), ==, 1001);
	support_finish(reserve.map, path);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/threads/dynamic", threads_share_a_dynamic_map);
	support_add("/qalloc/threads/static", threads_share_a_static_map);
	support_add("/qalloc/threads/remote-free", remote_frees);
	support_add("/qalloc/threads/double-free", double_frees_at_once_leave_the_map_sound);
	support_add("/qalloc/threads/reserve-back", ended_threads_give_their_reserve_back);
	support_add("/qalloc/threads/chunks-back", ended_threads_give_their_chunks_back);
	support_add("/qalloc/threads/idle", idle_threads_hold_little);
	support_add("/qalloc/threads/queue-whole", slabs_behind_a_freed_one_are_found);
	support_add("/qalloc/threads/reserve-limit", live_threads_hold_at_most_a_sixteenth);
	support_add("/qalloc/threads/streams-static", exhausted_streams_take_from_others);
	support_add("/qalloc/threads/streams-dynamic", dynamic_streams_take_from_others);
	support_add("/qalloc/threads/thousands", thousands_of_threads);
	support_add("/qalloc/threads/outlive", threads_outlive_the_map);
	support_add("/qalloc/threads/end-while-closing", threads_end_while_the_map_closes);
	support_add("/qalloc/threads/reloaded", threads_go_on_after_a_reload);
	return support_run();
}
