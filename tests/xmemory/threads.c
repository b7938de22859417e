/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads at work in RAM and in VM files, handing blocks over; forks in the middle of it; what a fork child sees. */
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

#define THREADS 4
#define BOARD   256

struct shared {
	void *_Atomic board[BOARD];
	_Atomic bool stop;
};

struct block {
	size_t size;
	unsigned mark;
	unsigned char bytes[];
};

static void look(const struct block *b)
{
	g_assert_cmpuint(xmemory_size(b), ==, b->size);
	check(b->bytes, MIN(b->size - sizeof(*b), 100), b->mark);
}

static struct block *make(struct support_rand *r)
{
	size_t size = 200 + support_rand_below(r, support_rand_below(r, 50) ? 900 : 400000);
	struct block *b = take(size);

	g_assert_nonnull(b);
	b->size = size;
	b->mark = (unsigned)support_rand_next(r);
	fill(b->bytes, MIN(size - sizeof(*b), 100), b->mark);
	return b;
}

/* Put a block where another one was, and free that: most often another thread's. */
static void swap_blocks(struct support_thread *self)
{
	struct shared *s = self->arg;
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t i = 0; i < support_scale(8000); i++) {
		struct block *old = atomic_exchange(&s->board[support_rand_below(&r, BOARD)], make(&r));

		if (!old)
			continue;
		look(old);
		if (i % 8 == 0) {
			old = retake(old, 5000);
			check(old->bytes, MIN(old->size - sizeof(*old), 100), old->mark);
		}
		give(old);
		if (i % 1000 == 0) {
			char *mapped = map("/proc/self/exe", i, NULL);

			g_assert_nonnull(mapped);
			give(mapped);
		}
	}
}

static void clear(struct shared *s)
{
	for (size_t i = 0; i < BOARD; i++) {
		void *block = atomic_exchange(&s->board[i], NULL);

		if (block)
			give(block);
	}
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().bytes, ==, 0);
}

static void at_work(void)
{
	static const size_t limits[] = { SIZE_MAX, 100000, 1 };

	for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
		struct shared s = { .stop = false };

		vm_begin(limits[i]);
		support_threads(THREADS, swap_blocks, &s);
		clear(&s);
	}
	xmemory_setlimit(0);
}

/* ---- status and figures meanwhile ---- */

static void look_on(struct support_thread *self)
{
	struct shared *s = self->arg;

	while (!atomic_load(&s->stop)) {
		struct xmemory_stats f = figures();

		g_assert_cmpuint(f.vm_files, <, 1000000);
		xmemory_setlimit(f.pointers % 2 ? 100000 : 1000000);
		g_assert_cmpuint(xmemory_getlimit(), >, 0);
		xmemory_settmpdir(support_dir());
	}
}

/* What changes meanwhile is seen once, not at all, or at each place that it has been at. But what is seen is whole. */
static int look_at_leak(const struct xmemory_leak *leak, void *arg)
{
	(void)arg;
	g_assert_nonnull(strstr(leak->file, "threads.c"));
	g_assert_cmpuint(leak->bytes, >=, 200 * leak->blocks);
	return 0;
}

static void watched(void)
{
	struct support_thread watcher, workers[THREADS];
	struct shared s = { .stop = false };

	vm_begin(100000);
	support_threads_start(&watcher, 1, look_on, &s);
	support_threads_start(workers, THREADS, swap_blocks, &s);
	for (int i = 0; i < 3; i++)
		g_assert_cmpint(xmemory_leaks(look_at_leak, NULL), ==, 0);
	support_threads_join(workers, THREADS);
	atomic_store(&s.stop, true);
	support_threads_join(&watcher, 1);
	clear(&s);
	xmemory_setlimit(0);
}

/* What threads that ended had of the budget is there for others. */
static void take_and_end(struct support_thread *self)
{
	(void)self;
	for (int i = 0; i < 100; i++)
		give(take(1000));
}

static void ended(void)
{
	void *block;

	vm_begin(10 * MIB);
	for (int i = 0; i < 200; i++)
		support_threads(THREADS, take_and_end, NULL);
	block = take(10 * MIB - 200 * KIB);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
	give(block);
	xmemory_setlimit(0);
}

/* What threads keep of the blocks that they freed goes back to the C library when they end. */
#define KEPT_BLOCKS 900
#define KEPT_SIZE   1000

static void free_and_end(struct support_thread *self)
{
	static void *blocks[KEPT_BLOCKS];
	size_t *in_use = self->arg;

	for (size_t i = 0; i < KEPT_BLOCKS; i++)
		blocks[i] = take(KEPT_SIZE);
	for (size_t i = 0; i < KEPT_BLOCKS; i++)
		give(blocks[i]);
	*in_use = mallinfo2().uordblks;
	for (size_t i = 0; i < KEPT_BLOCKS; i++)
		blocks[i] = take(KEPT_SIZE);
	g_assert_cmpuint(mallinfo2().uordblks, <, *in_use + 100 * KIB);
	for (size_t i = 0; i < KEPT_BLOCKS; i++)
		give(blocks[i]);
}

static void kept(void)
{
	size_t before, in_use = 0;

	if (support_asan() || support_tsan() || support_valgrind()) {
		g_test_skip("under this tool nothing is kept");
		return;
	}
	vm_begin(SIZE_MAX);
	before = mallinfo2().uordblks;
	support_threads(1, free_and_end, &in_use);
	g_assert_cmpuint(in_use, >=, before + KEPT_BLOCKS * KEPT_SIZE);
	g_assert_cmpuint(mallinfo2().uordblks, <, before + 100 * KIB);
	xmemory_setlimit(0);
}

/* ---- fork ---- */

struct family {
	struct support_sync sync;
	char *blocks[6];
};

static const size_t family_sizes[6] = { 100, MIB, 300 * KIB, 16, 5000, 2 * MIB };

static int child_of_family(void *arg)
{
	struct family *f = arg;
	void *fresh;

	support_point(&f->sync, "born");
	for (unsigned i = 0; i < 6; i++) {
		check(f->blocks[i], family_sizes[i], i);
		g_assert_cmpuint(xmemory_size(f->blocks[i]), ==, family_sizes[i]);
		memset(f->blocks[i], 'c', family_sizes[i]);
	}
	support_point(&f->sync, "written");
	g_assert_cmpuint(figures().pointers, ==, 6);
	for (unsigned i = 0; i < 6; i++) {
		for (size_t at = 0; at < family_sizes[i]; at += 511)
			g_assert_cmpint(f->blocks[i][at], ==, 'c');
		f->blocks[i] = retake(f->blocks[i], family_sizes[i] + 300 * KIB);
		g_assert_nonnull(f->blocks[i]);
		g_assert_cmpint(f->blocks[i][family_sizes[i] - 1], ==, 'c');
	}
	fresh = take(MIB);
	memset(fresh, 'f', MIB);
	give(fresh);
	for (unsigned i = 0; i < 6; i++)
		give(f->blocks[i]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
	return 0;
}

/* The parent writes after the fork: the child sees what was. The child writes: the parent sees its own. */
static void each_sees_its_own(void)
{
	struct family *f = support_shared(sizeof(*f));
	pid_t pid;

	vm_begin(1);
	for (unsigned i = 0; i < 6; i++) {
		f->blocks[i] = take(family_sizes[i]);
		fill(f->blocks[i], family_sizes[i], i);
	}
	struct family mine = *f;
	pid = support_fork(child_of_family, f);
	support_await(&f->sync, "born");
	for (unsigned i = 0; i < 6; i++)
		memset(mine.blocks[i], 'p', family_sizes[i]);
	support_go(&f->sync, "born");
	support_await(&f->sync, "written");
	for (unsigned i = 0; i < 6; i++)
		for (size_t at = 0; at < family_sizes[i]; at++)
			g_assert_cmpint(mine.blocks[i][at], ==, 'p');
	support_go(&f->sync, "written");
	support_wait_ok(pid);
	for (unsigned i = 0; i < 6; i++) {
		g_assert_cmpint(mine.blocks[i][family_sizes[i] - 1], ==, 'p');
		mine.blocks[i] = retake(mine.blocks[i], family_sizes[i] + 5);
		give(mine.blocks[i]);
	}
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

static int grandchild(void *arg)
{
	char *block = arg;

	g_assert_cmpint(block[0], ==, '1');
	block[0] = '2';
	return 0;
}

static int generation(void *arg)
{
	char **blocks = arg;

	for (int i = 0; i < 2; i++) {
		g_assert_cmpint(blocks[i][0], ==, '0');
		blocks[i][0] = '1';
		support_run_child(grandchild, blocks[i]);
		g_assert_cmpint(blocks[i][0], ==, '1');
	}
	return 0;
}

static void generations(void)
{
	char *blocks[2];

	vm_begin(1);
	blocks[0] = take(MIB);
	blocks[1] = take(20);
	blocks[0][0] = blocks[1][0] = '0';
	for (int i = 0; i < 5; i++)
		support_run_child(generation, blocks);
	g_assert_cmpint(blocks[0][0], ==, '0');
	give(blocks[0]);
	give(blocks[1]);
	xmemory_setlimit(0);
}

/* How a fork child ends that reads a byte, or only frees the block and goes on in RAM. */
static int child_that(bool reads, char *block)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (reads)
			_exit(*(volatile char *)block == 0);
		xmemory_setlimit(SIZE_MAX);
		block = take(100);
		status = block == NULL;
		give(block);
		_exit(status);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	return status;
}

/* No room for copies: the parent goes on, and so does a child that does not touch them. One that does is killed: by SIGSEGV. */
static int fork_on_full_disk(void *arg)
{
	char *block, *said;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	vm_begin(1);
	block = take(5 * MIB / 2);
	fill(block, 5 * MIB / 2, 1);
	g_assert_cmpint(child_that(true, block), ==, SIGSEGV);
	g_setenv("XMEMORY_DEBUG", "1", TRUE);
	support_capture_begin();
	g_assert_cmpint(child_that(false, block), ==, 0);
	said = support_capture_end();
	g_setenv("XMEMORY_DEBUG", "0", TRUE);
	g_assert_nonnull(strstr(said, "has no copy of the block"));
	g_free(said);
	check(block, 5 * MIB / 2, 1);
	give(block);
	return 0;
}

/* The same of the shared VM file, for which there is room only where it lies. */
static int fork_on_full_disk_small(void *arg)
{
	enum { BLOCKS = 9000 };
	static char *blocks[BLOCKS];

	(void)arg;
	vm_begin(1);
	for (unsigned i = 0; i < BLOCKS; i++) {
		blocks[i] = take(400);
		g_assert_nonnull(blocks[i]);
		fill(blocks[i], 400, i);
	}
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	xmemory_settmpdir(support_dir());
	g_assert_cmpint(child_that(false, blocks[0]), ==, 0);
	g_assert_cmpint(child_that(true, blocks[0]), ==, SIGSEGV);
	for (unsigned i = 0; i < BLOCKS; i++) {
		check(blocks[i], 400, i);
		give(blocks[i]);
	}
	return 0;
}

static void no_room_for_shared_copy(void)
{
	support_run_or_skip(fork_on_full_disk_small, "no file system of our own here");
}

static void no_room_for_copies(void)
{
	support_run_or_skip(fork_on_full_disk, "no file system of our own here");
}

/* Threads of the child get what is left of its parent's. */
static void use_some(struct support_thread *self)
{
	void *blocks[300];

	(void)self;
	for (size_t turn = 0; turn < 3; turn++) {
		for (size_t i = 0; i < 300; i++) {
			blocks[i] = take(1 + i * 4);
			fill(blocks[i], 1 + i * 4, (unsigned)i);
		}
		for (size_t i = 0; i < 300; i++) {
			check(blocks[i], 1 + i * 4, (unsigned)i);
			give(blocks[i]);
		}
	}
}

static int use_all(void *arg)
{
	void *blocks[50];

	(void)arg;
	for (size_t i = 0; i < 50; i++) {
		blocks[i] = take(i % 5 ? 100 : 300 * KIB);
		g_assert_nonnull(blocks[i]);
		memset(blocks[i], 1, 100);
	}
	for (size_t i = 0; i < 50; i++)
		give(blocks[i]);
	support_threads(THREADS, use_some, NULL);
	return 0;
}

/* Other threads are anywhere in the library when this one forks. */
/* A block that another thread had got and put nowhere yet is lost in the child: Valgrind would say so at its end, so it has none. */
static int use_all_and_vanish(void *arg)
{
	int result = use_all(arg);

	if (result == 0)
		raise(SIGKILL);
	return result;
}

static void fork_at_work(void)
{
	static const size_t limits[] = { SIZE_MAX, 100000, 1 };
	struct support_thread workers[2];

	if (support_tsan()) {
		g_test_skip("TSan allows no threads' locks in a child of a program with threads");
		return;
	}
	for (size_t l = 0; l < G_N_ELEMENTS(limits); l++) {
		struct shared s = { .stop = false };

		vm_begin(limits[l]);
		support_threads_start(workers, 2, swap_blocks, &s);
		for (size_t i = 0; i < support_scale(40); i++)
			g_assert_cmpint(support_wait(support_fork(use_all_and_vanish, NULL)), ==, SIGKILL);
		support_threads_join(workers, 2);
		clear(&s);
	}
	xmemory_setlimit(0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/threads/at-work", at_work);
	support_add("/xmemory/threads/watched", watched);
	support_add("/xmemory/threads/ended", ended);
	support_add("/xmemory/threads/kept", kept);
	support_add("/xmemory/fork/own", each_sees_its_own);
	support_add("/xmemory/fork/generations", generations);
	support_add("/xmemory/fork/no-room-small", no_room_for_shared_copy);
	support_add("/xmemory/fork/no-room", no_room_for_copies);
	support_add("/xmemory/fork/at-work", fork_at_work);
	return support_run();
}
