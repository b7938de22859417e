/* SPDX-License-Identifier: BSD-3-Clause */
/* Guarded heaps and everybody else: programs that never called mmcheck(), reopening, views, threads, fork, kills. */
#include <mmalloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/support_mmalloc.h"

#define BLOCKS 60

static _Atomic unsigned aborts;

static void on_abort(void)
{
	atomic_fetch_add(&aborts, 1);
}

struct shared {
	struct support_sync sync;
	const char *path;
	char *blocks[BLOCKS];
	_Atomic int stop;
};

/* What mmcheck() guards, plain blocks between them, each full of its own number. */
static size_t size_of(size_t i)
{
	return 1 + i * i * 40;
}

static void fill(void *md, struct shared *s)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		s->blocks[i] = i % 3 ? mmalloc(md, size_of(i)) : mmemalign(md, (size_t)64 << i % 5, size_of(i));
		g_assert_nonnull(s->blocks[i]);
		memset(s->blocks[i], (int)i, size_of(i));
	}
}

static void check_bytes(const char *block, size_t i, size_t size)
{
	for (size_t at = 0; at < size; at++)
		g_assert_cmpint(block[at], ==, (char)i);
}

static int is_known(void *block, size_t size, void *arg)
{
	struct shared *s = arg;

	for (size_t i = 0; i < BLOCKS; i++)
		if (s->blocks[i] == block) {
			g_assert_cmpuint(size, ==, size_of(i));
			return 0;
		}
	g_error("%p of %zu bytes is none of the blocks", block, size);
	return 1;
}

static void look_at_all(void *md, struct shared *s)
{
	heap_check(md);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, BLOCKS);
	g_assert_cmpint(mmalloc_walk(md, is_known, s), ==, 0);
	for (size_t i = 0; i < BLOCKS; i++) {
		g_assert_cmpuint(mmalloc_usable_size(md, s->blocks[i]), ==, size_of(i));
		check_bytes(s->blocks[i], i, size_of(i));
	}
}

/* Frees, resizes, and takes blocks of its own, which have no guards: the heap is guarded elsewhere. */
static void use_all(void *md, struct shared *s)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		char *block = s->blocks[i], *own = mmalloc(md, 100);

		g_assert_cmpuint(mmalloc_usable_size(md, own), >=, 112);
		if (i % 2) {
			block = mrealloc(md, block, size_of(i) + 50);
			g_assert_nonnull(block);
			check_bytes(block, i, size_of(i));
		}
		errno = 0;
		mfree(md, block);
		mfree(md, own);
		g_assert_cmpint(errno, ==, 0);
		mfree(md, s->blocks[i]);
		g_assert_cmpint(errno, ==, EINVAL);
	}
	heap_check(md);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
}

static int never_called_mmcheck(void *arg)
{
	struct shared *s = arg;
	void *md = heap_attach(s->path);

	support_point(&s->sync, "attached");
	look_at_all(md, s);
	use_all(md, s);
	heap_detach(md);
	return 0;
}

static void another_process(void)
{
	struct shared *s = support_shared(sizeof(*s));
	void *md;
	pid_t pid;

	s->path = support_path("another");
	pid = support_fork(never_called_mmcheck, s); /* Attached before the heap was guarded. */
	support_await(&s->sync, "attached");
	md = heap_attach(s->path);
	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	fill(md, s);
	support_go(&s->sync, "attached");
	support_wait_ok(pid);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	g_assert_cmpuint(aborts, ==, 0);
	heap_detach(md);
}

static void reopened(void)
{
	struct shared *s = g_new0(struct shared, 1);
	struct mmalloc_options readonly = { .flags = MMALLOC_RDONLY }, own = { .flags = MMALLOC_PRIVATE };
	const char *path = support_path("reopened"), *copy = support_path("copied");
	void *md = heap_attach(path);
	int fd = heap_file(path);

	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	fill(md, s);
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &readonly);
	look_at_all(md, s);
	errno = 0;
	mfree(md, s->blocks[7]);
	g_assert_cmpint(errno, ==, EROFS);
	g_assert_null(mrealloc(md, s->blocks[7], 5));
	g_assert_cmpint(errno, ==, EROFS);
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &own);
	look_at_all(md, s);
	use_all(md, s);
	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	g_assert_cmpuint(mmalloc_usable_size(md, mmalloc(md, 33)), ==, 33);
	g_assert_null(mmalloc_detach(md));
	support_file_copy(path, copy);
	md = heap_attach(copy);
	look_at_all(md, s);
	heap_detach(md);
	md = heap_attach(path);
	look_at_all(md, s);
	use_all(md, s);
	heap_detach(md);
	close(fd);
	g_free(s);
}

/* Nobody is called where mmcheck() was not; the debug channel tells, and what is lost is not freed. */
static void damage_in_a_plain_process(void)
{
	const char *path = support_path("damage");
	char *after, *before, *lost, *text;
	void *md;

	if (!support_in_process_with("MMALLOC_DEBUG", "1"))
		return;
	md = heap_attach(path);
	g_assert_cmpint(mmcheck(md, on_abort), ==, 1);
	after = mmalloc(md, 100);
	before = mmalloc(md, 200);
	lost = mmalloc(md, 300);
	heap_detach(md);
	md = heap_attach(path);
	aborts = 0;
	after[100] = 0;
	before[-1] = 0;
	memset(lost - 16, 0, 16);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, -1);
	support_capture_begin();
	mfree(md, after);
	mfree(md, before);
	errno = 0;
	mfree(md, lost);
	g_assert_cmpint(errno, ==, EINVAL);
	text = support_capture_end();
	g_assert_nonnull(strstr(text, "the memory after block"));
	g_assert_nonnull(strstr(text, "the memory before block"));
	g_assert_nonnull(strstr(text, "or no block starts there"));
	g_free(text);
	g_assert_cmpuint(aborts, ==, 0);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 1);
	heap_detach(md);
}

/* ---- threads ---- */

struct caches {
	void *md;
	struct support_barrier *barrier;
};

static void take_and_give(void *md, struct support_rand *r, size_t rounds, bool guarded)
{
	char *blocks[50] = { 0 };
	size_t sizes[50] = { 0 };

	for (size_t i = 0; i < rounds; i++) {
		size_t at = support_rand_below(r, 50);

		if (blocks[at])
			check_bytes(blocks[at], at, MIN(sizes[at], 64));
		mfree(md, blocks[at]);
		sizes[at] = 1 + support_rand_below(r, i % 100 ? 1000 : 100000);
		blocks[at] = mmalloc(md, sizes[at]);
		g_assert_nonnull(blocks[at]);
		if (guarded)
			g_assert_cmpuint(mmalloc_usable_size(md, blocks[at]), ==, sizes[at]);
		memset(blocks[at], (int)at, sizes[at]);
	}
	for (size_t at = 0; at < 50; at++)
		mfree(md, blocks[at]);
}

static void had_a_cache(struct support_thread *self)
{
	struct caches *c = self->arg;
	struct support_rand r;
	char *early = mmalloc(c->md, 100);

	support_rand_seed(&r, self->index);
	take_and_give(c->md, &r, support_scale(3000), false);
	support_barrier_wait(c->barrier);
	support_barrier_wait(c->barrier); /* Meanwhile mmcheckf() came. */
	take_and_give(c->md, &r, support_scale(3000), true);
	mfree(c->md, early);
}

static void threads_that_were_there_before(void)
{
	struct support_thread threads[4];
	struct caches c = { .md = heap_attach(support_path("threads")), .barrier = support_barrier_new(5) };

	aborts = 0;
	support_threads_start(threads, 4, had_a_cache, &c);
	support_barrier_wait(c.barrier);
	g_assert_cmpint(mmcheckf(c.md, on_abort, 1), ==, 1);
	support_barrier_wait(c.barrier);
	for (size_t i = 0; i < support_scale(40); i++)
		heap_check(c.md);
	support_threads_join(threads, 4);
	g_assert_cmpuint(aborts, ==, 0);
	g_assert_cmpuint(mmstats(c.md).chunks_used, ==, 0);
	heap_detach(c.md);
}

/* mmcheckf() comes while threads are inside calls. */
static void keep_on(struct support_thread *self)
{
	struct support_rand r;

	support_rand_seed(&r, self->index);
	take_and_give(self->arg, &r, support_scale(20000), false);
}

static void threads_at_work(void)
{
	struct support_thread threads[3];
	void *md = heap_attach(support_path("at-work"));

	aborts = 0;
	support_threads_start(threads, 3, keep_on, md);
	support_sleep_us(3000);
	g_assert_cmpint(mmcheckf(md, on_abort, 1), ==, 1);
	support_threads_join(threads, 3);
	g_assert_cmpuint(aborts, ==, 0);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	heap_detach(md);
}

/* ---- fork ---- */

static int child_of_a_guard(void *arg)
{
	void *md = *(void **)arg;
	char *block = mmalloc(md, 50), *text;

	g_assert_cmpuint(mmalloc_usable_size(md, block), ==, 50);
	block[50] = 0;
	support_capture_begin();
	mfree(md, block);
	text = support_capture_end();
	g_assert_nonnull(strstr(text, "of 50 bytes was overwritten"));
	g_free(text);
	g_assert_cmpuint(aborts, ==, 1);
	g_assert_null(mmalloc_detach(md)); /* Or Valgrind reads all of its range. */
	return 0;
}

static void fork_children_guard_too(void)
{
	void *heaps[] = { heap_attach(support_path("fork")), mmalloc_attach(-1, NULL) };

	aborts = 0;
	for (size_t i = 0; i < G_N_ELEMENTS(heaps); i++) {
		char *block;

		g_assert_cmpint(mmcheck(heaps[i], on_abort), ==, 1);
		block = mmalloc(heaps[i], 10);
		support_run_child(child_of_a_guard, &heaps[i]);
		mfree(heaps[i], block);
		g_assert_cmpuint(mmstats(heaps[i]).chunks_used, ==, 0);
		heap_detach(heaps[i]);
	}
	g_assert_cmpuint(aborts, ==, 0);
}

/* ---- kills ---- */

static int work_until_killed(void *arg)
{
	struct shared *s = arg;
	void *md = heap_attach(s->path);
	struct support_rand r;

	g_assert_cmpint(mmcheckf(md, NULL, 1), ==, 1);
	support_rand_seed(&r, (uint64_t)getpid());
	while (!atomic_load(&s->stop)) /* It never comes. */
		take_and_give(md, &r, 100, true);
	return 0;
}

static int give_back(void *block, size_t size, void *arg)
{
	(void)size;
	errno = 0;
	mfree(arg, block);
	g_assert_cmpint(errno, ==, 0);
	return 0;
}

static void kills(void)
{
	struct shared *s = support_shared(sizeof(*s));
	struct support_rand r;
	void *md;

	support_rand_seed(&r, 3);
	s->path = support_path("kills");
	md = heap_attach(s->path);
	for (size_t round = 0; round < support_scale(100); round++) {
		pid_t pid = support_fork(work_until_killed, s);

		support_kill_after_us(pid, 1000 + (unsigned)support_rand_below(&r, 5000));
		heap_check(md); /* No guard is half made. */
		g_assert_cmpint(mmalloc_walk(md, give_back, md), ==, 0);
		g_assert_cmpuint(mmstats(md).chunks_used, ==, 0);
	}
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/check-shared/another-process", another_process);
	support_add("/mmalloc/check-shared/reopened", reopened);
	support_add("/mmalloc/check-shared/damage", damage_in_a_plain_process);
	support_add("/mmalloc/check-shared/threads-before", threads_that_were_there_before);
	support_add("/mmalloc/check-shared/threads-at-work", threads_at_work);
	support_add("/mmalloc/check-shared/fork", fork_children_guard_too);
	support_add("/mmalloc/check-shared/kills", kills);
	return support_run();
}
