/* SPDX-License-Identifier: BSD-3-Clause */
/* The pointer table: any number of pointers, and what a call takes does not depend on how many there are. */
#include <stdlib.h>

#include "tests/support/support_trap.h"
#include "tests/support/support_xmemory.h"

#define FEW  1000
#define MANY 2000000

static volatile size_t instructions;

static void count(int sig)
{
	(void)sig;
	instructions++;
}

static void *volatile block;

static void take_and_give(void)
{
	block = take(100);
	give(block);
}

static void look_up(void)
{
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_RAM);
}

static void do_not_know(void)
{
	g_assert_cmpint(xmemory_kind((char *)block + 16), ==, XMEMORY_UNKNOWN);
}

/* The least of some turns: now and then the thread gets more of the budget. */
static size_t steps_of(void (*call)(void))
{
	size_t least = SIZE_MAX;

	for (int turn = 0; turn < 10; turn++) {
		instructions = 0;
		support_trap_on();
		call();
		support_trap_off();
		least = MIN(least, instructions);
	}
	return least;
}

static void any_number(void)
{
	static void (*const calls[])(void) = { take_and_give, look_up, do_not_know };
	static const char *const names[] = { "malloc and free", "a look", "a look at none" };
	void **blocks;
	size_t few[3];

	if (!support_trap_begin(count))
		return;
	blocks = g_new(void *, MANY);
	vm_begin(SIZE_MAX);
	for (size_t i = 0; i < FEW; i++)
		blocks[i] = take(1 + i % 200);
	for (size_t c = 0; c < 3; c++) {
		block = blocks[FEW / 2];
		few[c] = steps_of(calls[c]);
	}
	for (size_t i = FEW; i < MANY; i++)
		blocks[i] = take(1 + i % 200);
	g_assert_cmpuint(figures().ram_pointers, ==, MANY);
	for (size_t c = 0; c < 3; c++) {
		size_t many;

		block = blocks[MANY / 2];
		many = steps_of(calls[c]);
		g_test_message("%s: %zu instructions with %d blocks, %zu with %d", names[c], few[c], FEW, many, MANY);
		g_assert_cmpuint(many, <=, few[c] + 50);
	}
	for (size_t i = 0; i < MANY; i++) {
		g_assert_cmpuint(xmemory_size(blocks[i]), ==, 1 + i % 200);
		give(blocks[i]);
	}
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_free(blocks);
	xmemory_setlimit(0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/table/any-number", any_number);
	return support_run();
}
