/* SPDX-License-Identifier: BSD-3-Clause */
/* What a thread keeps of the blocks that it freed (libxmemory/src/kept.h). */
#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include <kept.h>
#include "tests/support/support.h"

#define THREADS     4
#define FIRST_CLASS 2
#define ROUNDS      40

static void *take(size_t size)
{
	void *block = xmemory_malloc(size, __FILE__, __LINE__);

	g_assert_nonnull(block);
	return block;
}

static void give(void *block)
{
	xmemory_free(block, __FILE__, __LINE__);
}

/* ---- records ---- */

struct records {
	struct support_barrier *all; /* So that no thread ends, and leaves its record to another one. */
	struct xmemory__thread *of[THREADS];
};

static void allocate(struct support_thread *self)
{
	struct records *records = self->arg;

	give(take(100));
	records->of[self->index] = xmemory__self;
	support_barrier_wait(records->all);
}

/* Each call writes to the thread's record: in a line of two threads it would be in one processor's cache, and then in the other's. */
static void records_share_no_line(void)
{
	struct records records = { .all = support_barrier_new(THREADS) };

	support_threads(THREADS, allocate, &records);
	for (size_t i = 0; i < THREADS; i++)
		for (size_t k = 0; k < i; k++) {
			uintptr_t a = (uintptr_t)records.of[i], b = (uintptr_t)records.of[k];

			g_assert_cmpuint(MAX(a, b) / MA_LINE, >,
					 (MIN(a, b) + sizeof(struct xmemory__thread) - 1) / MA_LINE);
		}
}

/* ---- the room of a thread ---- */

static size_t kept_of(size_t class)
{
	size_t count = 0;
	void *block = xmemory__self->kept[class];

	while (block) {
		count++;
		block = (void *)(uintptr_t)ma_load(xmemory__place(block, xmemory__class_is_wide(class)));
	}
	return count;
}

/* The largest size of a class. */
static size_t size_of(size_t class)
{
	return 16 * class - 8;
}

/*
 * A thread that frees more than it may keep passes blocks on, and has some of each class all the time: else its next call for that class
 * would fetch from the store what it passed on before.
 */
static void keeps_some_of_each_class(void)
{
	static void *block[ROUNDS][XMEMORY__KEPT_CLASSES];
	const size_t end = xmemory__kept_class(XMEMORY__KEPT_MAX) + 1;

	if (!xmemory__keeps) {
		g_test_skip("nothing is kept under a tool");
		return;
	}
	for (size_t i = 0; i < ROUNDS; i++)
		for (size_t class = FIRST_CLASS; class < end; class ++)
			block[i][class] = take(MIN(size_of(class), XMEMORY__KEPT_MAX));
	for (size_t i = 0; i < ROUNDS; i++)
		for (size_t class = FIRST_CLASS; class < end; class ++) {
			give(block[i][class]);
			g_assert_cmpuint(kept_of(class), >=, MIN(i + 1, 7));
		}
	g_assert_cmpint(xmemory__kept_shared(), >, 0);
	for (size_t class = FIRST_CLASS; class < end; class ++)
		g_assert_cmpuint(kept_of(class), >=, 7);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	xmemory_setlimit((size_t)4 << 30); /* A thread may keep 1 MiB of it. */
	support_add("/xmemory/kept/records", records_share_no_line);
	support_add("/xmemory/kept/each-class", keeps_some_of_each_class);
	return support_run();
}
