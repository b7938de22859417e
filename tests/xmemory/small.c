/* SPDX-License-Identifier: BSD-3-Clause */
/* Small blocks over budget share a VM file: what they take there, what comes back, what is known of them. */
#include <stdlib.h>

#include "tests/support/support_xmemory.h"

static void contents(void)
{
	enum { BLOCKS = 2000 };
	static void *blocks[BLOCKS];
	static size_t sizes[BLOCKS];
	struct support_rand r;

	support_rand_seed(&r, 2);
	vm_begin(1);
	for (size_t i = 0; i < support_scale(100000); i++) {
		size_t at = support_rand_below(&r, BLOCKS), size = 1 + support_rand_below(&r, i % 100 ? 600 : 250000);

		if (blocks[at]) {
			g_assert_cmpint(xmemory_kind(blocks[at]), ==, XMEMORY_VMFILE);
			g_assert_cmpuint(xmemory_size(blocks[at]), ==, sizes[at]);
			check(blocks[at], MIN(sizes[at], 200), (unsigned)at);
		}
		if (i % 4 == 0 && blocks[at]) {
			blocks[at] = retake(blocks[at], size);
			check(blocks[at], MIN(MIN(sizes[at], size), 200), (unsigned)at);
		} else {
			if (blocks[at])
				give(blocks[at]);
			blocks[at] = take(size);
		}
		g_assert_nonnull(blocks[at]);
		fill(blocks[at], MIN(size, 200), (unsigned)at);
		sizes[at] = size;
	}
	for (size_t at = 0; at < BLOCKS; at++)
		if (blocks[at])
			give(blocks[at]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

static void each_size_is_known(void)
{
	void *blocks[2001];

	vm_begin(1);
	for (size_t size = 1; size <= 2000; size++)
		blocks[size] = xmemory_malloc(size, "sizes.c", (int)size);
	for (size_t size = 1; size <= 2000; size++)
		g_assert_cmpuint(xmemory_size(blocks[size]), ==, size);
	g_assert_cmpuint(figures().vm_bytes, ==, 2000 * 2001 / 2);
	for (size_t size = 1; size <= 2000; size++)
		give(blocks[size]);
	xmemory_setlimit(0);
}

/* Of the bytes of the blocks themselves, not of the twice as many that the C library would take. */
static void space(size_t count)
{
	void **first = NULL;
	uint64_t disk;

	vm_begin(1);
	give(take(16));
	for (size_t i = 0; i < count; i++) {
		void **block = take(16);

		g_assert_nonnull(block);
		block[0] = first;
		block[1] = (void *)i;
		first = block;
	}
	disk = figures().vm_disk_bytes;
	g_test_message("%zu blocks of 16 bytes: %.3f of their bytes", count, (double)disk / (double)(16 * count));
	g_assert_cmpuint(disk, <=, 16 * count * 13 / 10);
	g_assert_cmpuint(figures().vm_bytes, ==, 16 * count);
	g_assert_cmpuint(figures().ram_pointers, ==, 0);
	for (size_t i = count; i-- > 0;) {
		void **next = first[0];

		g_assert_cmpuint((size_t)first[1], ==, i);
		give(first);
		first = next;
		if (i == count / 20) /* Not only when all are gone. */
			g_assert_cmpuint(figures().vm_disk_bytes, <=, disk / 3);
	}
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
	g_assert_cmpuint(figures().vm_disk_bytes, <=, 2 * MIB);
	xmemory_setlimit(0);
}

/* What is of a fixed size, about 1 MiB, hides the ratio with fewer. */
static void ten_million(void)
{
	if (support_valgrind()) {
		g_test_skip("too few blocks for the ratio in the time that Valgrind takes");
		return;
	}
	support_watchdog(120);
	space(support_asan() || support_tsan() ? 4000000 : 10000000);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/small/contents", contents);
	support_add("/xmemory/small/sizes", each_size_is_known);
	support_add("/xmemory/small/space", ten_million);
	return support_run();
}
