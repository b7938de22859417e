/* SPDX-License-Identifier: BSD-3-Clause */
/* One heap, many users: processes, threads, growth while all are attached, fork, kills. */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/support_mmalloc.h"

struct shared {
	const char *path;
	char *_Atomic block;
	_Atomic unsigned turn;
};

/* Attached before the file grew: the new part is there all the same. */
static int look_on(void *arg)
{
	struct shared *s = arg;
	void *md = heap_attach(s->path);
	char *block;

	atomic_store(&s->turn, 1);
	while (!(block = atomic_load(&s->block)))
		sched_yield();
	g_assert_cmpint(block[0], ==, 'g');
	g_assert_cmpint(block[(200 << 20) - 1], ==, 'r');
	mfree(md, block);
	heap_detach(md);
	return 0;
}

static void growth_is_seen_by_all(void)
{
	struct shared *s = support_shared(sizeof(*s));
	void *md;
	pid_t pid;
	char *block;

	s->path = support_path("growth");
	pid = support_fork(look_on, s);
	md = heap_attach(s->path);
	while (atomic_load(&s->turn) == 0)
		sched_yield();
	block = mmalloc(md, 200 << 20);
	g_assert_nonnull(block);
	block[0] = 'g';
	block[(200 << 20) - 1] = 'r';
	atomic_store(&s->block, block);
	support_wait_ok(pid);
	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, 0); /* The other one freed it. */
	heap_detach(md);
}

static int work(void *arg)
{
	struct shared *s = arg;
	void *md = heap_attach(s->path), *blocks[100] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, atomic_fetch_add(&s->turn, 1));
	for (size_t i = 0; i < support_scale(20000); i++) {
		size_t at = support_rand_below(&r, 100), size = 1 + support_rand_below(&r, i % 50 ? 2000 : 300000);

		mfree(md, blocks[at]);
		blocks[at] = mmalloc(md, size);
		g_assert_nonnull(blocks[at]);
		memset(blocks[at], (int)at, MIN(size, 64));
		if (size > 1000)
			blocks[at] = mrealloc(md, blocks[at], size * 2);
		g_assert_cmpint(*(char *)blocks[at], ==, (char)at);
	}
	for (size_t at = 0; at < 100; at++)
		mfree(md, blocks[at]);
	heap_detach(md);
	return 0;
}

static void processes_share_a_heap(void)
{
	struct shared *s = support_shared(sizeof(*s));
	pid_t pids[4];
	void *md;

	s->path = support_path("processes");
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		pids[i] = support_fork(work, s); /* They race to make it. */
	for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
		support_wait_ok(pids[i]);
	md = heap_attach(s->path);
	heap_check(md);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	heap_detach(md);
}

static void killed_at_work(void)
{
	struct shared *s = support_shared(sizeof(*s));
	struct support_rand r;
	void *md;

	support_rand_seed(&r, 1);
	s->path = support_path("killed");
	md = heap_attach(s->path);
	for (size_t round = 0; round < support_scale(60); round++) {
		pid_t pid = support_fork(work, s);

		support_kill_after_us(pid, 500 + (unsigned)support_rand_below(&r, 3000));
		g_assert_nonnull(mmalloc(md, 5000));
		heap_check(md);
	}
	heap_detach(md);
}

static void *use_default(void *arg)
{
	void *blocks[200];

	(void)arg;
	for (size_t round = 0; round < support_scale(200); round++) {
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			g_assert_nonnull(blocks[i] = mmalloc(NULL, 1 + i * 13));
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			mfree(NULL, blocks[i]);
	}
	return NULL;
}

static void threads_use_the_default_heap(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		g_assert_cmpint(pthread_create(&threads[i], NULL, use_default, NULL), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
		pthread_join(threads[i], NULL);
	heap_check(NULL);
}

static int use_copy(void *arg)
{
	char *block = arg;

	g_assert_cmpint(*block, ==, 'p');
	*block = 'c';
	use_default(NULL);
	mfree(NULL, block);
	heap_check(NULL);
	return 0;
}

static void a_child_has_its_own_default_heap(void)
{
	char *block = mmalloc(NULL, 100);

	*block = 'p';
	support_run_child(use_copy, block);
	g_assert_cmpint(*block, ==, 'p');
	g_assert_cmpuint(mmalloc_usable_size(NULL, block), >=, 100);
	mfree(NULL, block);
	heap_check(NULL);
}

/* --- one thread, and more blocks than its stream has room for --- */

#define MANY ((size_t)1500000)

/* CPU time of replacing blocks at random, once the heap is in a state that lasts. */
static uint64_t time_of_replacing(unsigned streams)
{
	const struct mmalloc_options options = { .streams = streams, .reserve = (size_t)2 << 30 };
	void *md = mmalloc_attach_opt(-1, NULL, &options);
	void **blocks = g_new(void *, MANY);
	struct support_rand r;
	uint64_t begin = 0;

	support_rand_seed(&r, 1);
	for (size_t i = 0; i < MANY; i++)
		blocks[i] = mmalloc(md, 64);
	for (size_t i = 0; i < 2 * MANY; i++) {
		size_t k = (size_t)support_rand_below(&r, MANY);

		if (i == MANY)
			begin = support_cpu_ns();
		mfree(md, blocks[k]);
		blocks[k] = mmalloc(md, 64);
		g_assert_nonnull(blocks[k]);
	}
	begin = support_cpu_ns() - begin;
	g_free(blocks);
	mmalloc_detach(md);
	return begin;
}

/* It asks its neighbours for slabs with room, rather than to search its own for every block: that took twenty times as long. */
static void full_stream_asks_its_neighbours(void)
{
	uint64_t alone, beside;

	if (support_valgrind() || support_tsan() || support_asan()) {
		g_test_skip("millions of blocks take a tool too long");
		return;
	}
	alone = time_of_replacing(1);
	beside = time_of_replacing(4);
	g_test_message("%.2f", (double)beside / (double)alone);
	g_assert_cmpuint(beside, <, 4 * alone);
}

static void open_and_use(void *arg)
{
	int fd = open(arg, O_RDWR | O_CREAT | O_TRUNC, 0600);
	void *md = mmalloc_attach(fd, NULL);

	for (size_t bytes = 1; md && bytes < 10 * MIB; bytes *= 3) {
		mfree(md, mmalloc(md, bytes));
		mfree(NULL, mmalloc(NULL, bytes));
	}
	if (!md || mmalloc(md, SIZE_MAX / 2) || mmalloc_snapshot(md, support_path("copy")) < 0 || mmalloc_detach(md))
		g_error("on a small stack: %s", mmalloc_errmsg());
	md = mmalloc_attach(fd, NULL);
	if (!md || mmalloc_check(md, NULL, NULL) != 0 || mmalloc_detach(md) || mmalloc_attach(9999, NULL))
		g_error("on a small stack: %s", mmalloc_errmsg());
	close(fd);
}

static void smallest_stack(void)
{
	support_small_stack(open_and_use, (void *)(uintptr_t)support_path("small-stack"));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/shared/growth", growth_is_seen_by_all);
	support_add("/mmalloc/shared/processes", processes_share_a_heap);
	support_add("/mmalloc/shared/killed", killed_at_work);
	support_add("/mmalloc/shared/threads", threads_use_the_default_heap);
	support_add("/mmalloc/shared/fork", a_child_has_its_own_default_heap);
	support_add("/mmalloc/shared/full-stream", full_stream_asks_its_neighbours);
	support_add("/mmalloc/shared/small-stack", smallest_stack);
	return support_run();
}
