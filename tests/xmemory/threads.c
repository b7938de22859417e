/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads at work in RAM and in VM files, handing blocks over; forks in the middle of it. */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

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
	const char *dirs[] = { support_dir(), support_path("second") };
	struct shared *s = self->arg;
	unsigned turn = 0;

	g_assert_cmpint(mkdir(dirs[1], 0700), ==, 0);

	while (!atomic_load(&s->stop)) {
		struct xmemory_stats f = figures();

		g_assert_cmpuint(f.vm_files, <, 1000000);
		xmemory_setlimit(f.pointers % 2 ? 100000 : 1000000);
		g_assert_cmpuint(xmemory_getlimit(), >, 0);
		xmemory_settmpdir(dirs[turn++ % 2]);
	}
}

/* Descriptors of this process that name a folder are the library's own: one at most, for the folder that is set. */
static unsigned folders_open(void)
{
	GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
	unsigned count = 0;
	const char *name;

	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		int flags = fcntl(atoi(name), F_GETFL);

		count += flags >= 0 && flags & O_PATH;
	}
	g_dir_close(dir);
	return count;
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
	g_assert_cmpuint(folders_open(), <=, 1);
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

/* What a thread keeps of the blocks that it freed is for other threads when it ends, and for the C library after two seconds. */
#define KEPT_BLOCKS 900
#define KEPT_SIZE   1000
#define KEPT_BYTES  ((size_t)KEPT_BLOCKS * KEPT_SIZE)

static void *kept_blocks[KEPT_BLOCKS];

static size_t in_use(void)
{
	return mallinfo2().uordblks;
}

static void take_kept_blocks(void)
{
	for (size_t i = 0; i < KEPT_BLOCKS; i++) {
		kept_blocks[i] = take(KEPT_SIZE);
		fill(kept_blocks[i], KEPT_SIZE, (unsigned)i);
	}
}

static void give_kept_blocks(struct support_thread *self)
{
	(void)self;
	for (size_t i = 0; i < KEPT_BLOCKS; i++) {
		check(kept_blocks[i], KEPT_SIZE, (unsigned)i);
		give(kept_blocks[i]);
	}
}

static void free_and_end(struct support_thread *self)
{
	size_t *while_kept = self->arg;

	take_kept_blocks();
	give_kept_blocks(self);
	*while_kept = in_use();
	take_kept_blocks();
	g_assert_cmpuint(in_use(), <, *while_kept + 100 * KIB);
	give_kept_blocks(self);
}

static bool blocks_are_kept(void)
{
	if (!support_asan() && !support_tsan() && !support_valgrind())
		return true;
	g_test_skip("under this tool nothing is kept");
	return false;
}

static void kept(void)
{
	size_t before, while_kept = 0;

	if (!blocks_are_kept())
		return;
	vm_begin(SIZE_MAX);
	before = in_use();
	for (int i = 0; i < 2; i++) {
		support_threads(1, free_and_end, &while_kept);
		g_assert_cmpuint(while_kept, >=, before + KEPT_BYTES);
		g_assert_cmpuint(while_kept, <, before + KEPT_BYTES + 200 * KIB);
		g_assert_cmpuint(in_use(), >=, before + KEPT_BYTES);
	}
	support_sleep_us(2100000);
	give(take(2 * MIB));
	g_assert_cmpuint(in_use(), <, before + 100 * KIB);
	support_threads(1, free_and_end, &while_kept);
	xmemory_setlimit(0);
	g_assert_cmpuint(in_use(), <, before + 100 * KIB);
}

/* One thread allocates, another one, which only frees, does it: the blocks go round. */
static void handed_back(void)
{
	size_t before;

	if (!blocks_are_kept())
		return;
	vm_begin(SIZE_MAX);
	take_kept_blocks();
	before = in_use();
	for (int i = 0; i < 20; i++) {
		support_threads(1, give_kept_blocks, NULL);
		g_assert_cmpuint(in_use(), >=, before - 100 * KIB);
		take_kept_blocks();
		g_assert_cmpuint(in_use(), <, before + 100 * KIB);
	}
	give_kept_blocks(NULL);
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

/* ---- fork ---- */

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
	if (support_asan()) { /* Its locks are not held across a fork: a thread that the child starts waits for one for ever, now and then. */
		g_test_skip("ASan's own locks stay with threads that a fork child does not have");
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

/* ---- small stacks ---- */

/* The limit is looked up anew ten times a second, by the thread that allocates. */
static void take_and_give(void *arg)
{
	void *blocks[40];

	(void)arg;
	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < 40; i++)
			blocks[i] = take(i % 2 ? 100 : 300000);
		support_sleep_us(120000);
		for (size_t i = 0; i < 40; i++)
			give(retake(blocks[i], 400000));
		xmemory_setlimit(round == 0 ? 1 : 0);
	}
	xmemory_settmpdir("/no/such/directory");
	xmemory_setlimit(1);
	g_assert_null(take(300000));
}

static int smallest_stack(void *arg)
{
	vm_begin(0);
	support_small_stack(take_and_give, arg);
	return 0;
}

static void small_stack(void)
{
	support_run_child(smallest_stack, NULL);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/threads/at-work", at_work);
	support_add("/xmemory/threads/watched", watched);
	support_add("/xmemory/threads/ended", ended);
	support_add("/xmemory/threads/kept", kept);
	support_add("/xmemory/threads/handed-back", handed_back);
	support_add("/xmemory/fork/at-work", fork_at_work);
	support_add("/xmemory/threads/small-stack", small_stack);
	return support_run();
}
