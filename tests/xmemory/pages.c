/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks in VM files on machines with larger pages (support_machine.h): small ones and large ones, resized, copied for a fork child, freed. */
#include "tests/support/support_machine.h"
#include "tests/support/support_xmemory.h"

#define BLOCKS 600

static const uintptr_t pages[] = { 16384, 65536 };
static uintptr_t wanted;

static char *blocks[BLOCKS];
static size_t sizes[BLOCKS];

/* Around the pages of both kinds, and the sizes from which on a block has a file of its own. */
static size_t size_of(struct support_rand *r)
{
	static const size_t around[] = { 4096, 16384, 65536, 128 * KIB, 256 * KIB, MIB };

	if (support_rand_below(r, 3))
		return support_rand_between(r, 1, 3000);
	return around[support_rand_below(r, G_N_ELEMENTS(around))] - 20 + support_rand_below(r, 40);
}

static void fill_all(struct support_rand *r)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		sizes[i] = size_of(r);
		blocks[i] = i % 5 == 0   ? xmemory_calloc(1, sizes[i], __FILE__, __LINE__)
			    : i % 7 == 0 ? xmemory_memalign(wanted, sizes[i], __FILE__, __LINE__)
					 : take(sizes[i]);
		g_assert_nonnull(blocks[i]);
		if (i % 5 && i % 7 == 0)
			g_assert_cmpuint((uintptr_t)blocks[i] % wanted, ==, 0u);
		for (size_t k = 0; i % 5 == 0 && k < sizes[i]; k = next_place(k))
			g_assert_cmpint(blocks[i][k], ==, 0);
		fill(blocks[i], sizes[i], i);
	}
}

static void resize_all(struct support_rand *r)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		size_t size = size_of(r);

		blocks[i] = retake(blocks[i], size);
		g_assert_nonnull(blocks[i]);
		check(blocks[i], MIN(size, sizes[i]), i);
		sizes[i] = size;
		fill(blocks[i], size, i);
	}
}

static void check_all(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		check(blocks[i], sizes[i], i);
}

static void give_all(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		give(blocks[i]);
}

static int look_and_change(void *arg)
{
	check_all();
	resize_all(arg);
	for (unsigned i = 0; i < BLOCKS; i++)
		memset(blocks[i], 99, sizes[i]);
	give_all();
	return 0;
}

static int on_large_pages(void *arg)
{
	struct support_rand r;

	(void)arg;
	page = wanted;
	support_rand_seed(&r, wanted);
	vm_begin(1);
	for (int round = 0; round < 2; round++) {
		fill_all(&r);
		check_all();
		support_run_child(look_and_change, &r);
		check_all();
		resize_all(&r);
		support_run_child(look_and_change, &r);
		check_all();
		give_all();
		g_assert_cmpuint(figures().pointers, ==, 0);
	}
	return 0;
}

static void blocks_in_files(void)
{
	if (support_valgrind()) {
		g_test_skip("Valgrind does not know what the simulated mremap() does");
		return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(pages); i++) {
		wanted = pages[i];
		support_run_child(on_large_pages, NULL);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/pages/blocks", blocks_in_files);
	return support_run();
}
