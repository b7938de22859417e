/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's own limits: the library's tables must not use up the memory that they serve, nor fail when that is used up.
 * What RLIMIT_DATA counts, private writable mappings, is also what overcommit_memory=2 counts: figures of it hold for both.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

enum { ALL, DATA = 5 };

static void limit(__rlimit_resource_t what, size_t bytes)
{
	const struct rlimit to = { bytes, bytes };

	g_assert_cmpint(setrlimit(what, &to), ==, 0);
}

/* Valgrind and the sanitizers have memory of their own, of another order. */
static bool is_plain(void)
{
	if (!support_valgrind() && !support_asan() && !support_tsan())
		return true;
	g_test_skip("the process's memory is not its own under Valgrind and the sanitizers");
	return false;
}

/* Case 84. */
static int blocks_beyond(void *arg)
{
	enum { BLOCKS = 200000 };
	void **blocks = mmap(NULL, BLOCKS * sizeof(void *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct xmemory_stats stats;

	(void)arg;
	limit(RLIMIT_DATA, 32 * MIB);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = take(300);
		g_assert_nonnull(blocks[i]);
		memset(blocks[i], (int)i, 300);
	}
	stats = figures();
	g_test_message("%zu KiB in RAM, %zu in VM files", (size_t)(stats.ram_bytes / KIB),
		       (size_t)(stats.vm_bytes / KIB));
	g_assert_cmpuint(stats.ram_bytes, >=, 16 * MIB);
	g_assert_cmpuint(stats.vm_bytes, >=, 16 * MIB);
	for (size_t i = 0; i < BLOCKS; i++) {
		const unsigned char *block = blocks[i];

		g_assert_cmpuint(block[0], ==, (unsigned char)i);
		g_assert_cmpuint(block[299], ==, (unsigned char)i);
		give(blocks[i]);
	}
	g_assert_cmpuint(figures().pointers, ==, 0);
	return 0;
}

static void rlimit_data(void)
{
	xmemory_settmpdir(support_dir());
	if (is_plain())
		support_run_child(blocks_beyond, NULL);
}

/* Private memory for blocks that are elsewhere: as many as make 64 MiB, each of this size. */
static void private_for(size_t size, size_t most)
{
	size_t count = 64 * MIB / size, before = statm_bytes(DATA), used;
	void **blocks = mmap(NULL, count * sizeof(void *), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; i < count; i++) {
		blocks[i] = take(size);
		g_assert_cmpint(xmemory_kind(blocks[i]), ==, XMEMORY_VMFILE);
	}
	used = statm_bytes(DATA) - before;
	g_test_message("%zu blocks of %zu bytes: %zu KiB of private memory", count, size, used / KIB);
	g_assert_cmpuint(used, <=, most);
	for (size_t i = 0; i < count; i++)
		give(blocks[i]);
	munmap(blocks, count * sizeof(void *));
}

static int small_tables(void *arg)
{
	(void)arg;
	vm_begin(1);
	private_for(64, 512 * KIB);
	private_for(4000, 64 * KIB);
	private_for(MIB, 64 * KIB);
	private_for(256 * KIB, 128 * KIB);
	return 0;
}

static void tables_of_vm_files(void)
{
	if (is_plain())
		support_run_child(small_tables, NULL);
}

/* No page of private memory is left, neither for mappings nor in the C library. */
static void use_all_up(void)
{
	for (size_t bytes = 16 * MIB; bytes >= 4096; bytes /= 2)
		while (mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			;
	for (size_t bytes = 4 * MIB; bytes >= 16; bytes /= 2)
		while (malloc(bytes))
			;
}

struct other {
	pthread_t thread;
	struct support_sync sync;
	void *blocks[100];
};

/* It gets its own part of the shared VM file only now. */
static void *other_thread(void *arg)
{
	struct other *other = arg;

	support_point(&other->sync, "all is used up");
	for (size_t i = 0; i < G_N_ELEMENTS(other->blocks); i++)
		other->blocks[i] = take(100);
	return NULL;
}

static int served_from_nothing(void *arg)
{
	static struct other other;
	void *blocks[1000], *large;

	(void)arg;
	give(take(1));
	g_assert_cmpint(pthread_create(&other.thread, NULL, other_thread, &other), ==, 0);
	support_await(&other.sync, "all is used up");
	limit(RLIMIT_DATA, statm_bytes(DATA) + 32 * MIB);
	use_all_up();
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		blocks[i] = take(1 + i * 50);
		if (!blocks[i])
			return 10;
		memset(blocks[i], (int)i, 1 + i * 50);
	}
	large = take(MIB);
	if (!large || xmemory_kind(large) != XMEMORY_VMFILE)
		return 11;
	memset(large, 1, MIB);
	support_go(&other.sync, "all is used up");
	pthread_join(other.thread, NULL);
	for (size_t i = 0; i < G_N_ELEMENTS(other.blocks); i++)
		if (!other.blocks[i])
			return 12;
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		if (((unsigned char *)blocks[i])[i * 50] != (unsigned char)i)
			return 13;
		give(blocks[i]);
	}
	give(large);
	return 0;
}

static void nothing_left(void)
{
	xmemory_settmpdir(support_dir());
	if (is_plain())
		support_run_child(served_from_nothing, NULL);
}

/* The shared VM file's range of addresses: not all that there are. */
static int addresses_left(void *arg)
{
	size_t left = GIB;
	void *blocks[2000], *other;

	(void)arg;
	vm_begin(1);
	limit(RLIMIT_AS, statm_bytes(ALL) + left);
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		blocks[i] = take(20000);
		g_assert_cmpint(xmemory_kind(blocks[i]), ==, XMEMORY_VMFILE);
	}
	g_test_message("%zu MiB of addresses for 40 MB of blocks", (statm_bytes(ALL) - statm_bytes(DATA)) / MIB);
	other = mmap(NULL, left * 2 / 5, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	g_assert_true(other != MAP_FAILED);
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		give(blocks[i]);
	return 0;
}

static void rlimit_as(void)
{
	if (is_plain())
		support_run_child(addresses_left, NULL);
}

/* xmemory_leaks() needs a table for a moment: that too is not counted. */
static int sum(const struct xmemory_leak *leak, void *arg)
{
	*(uint64_t *)arg += leak->blocks;
	return 0;
}

static int leaks_from_nothing(void *arg)
{
	uint64_t blocks = 0;

	(void)arg;
	for (int line = 1; line <= 1000; line++)
		xmemory_malloc(10, "leaks.c", line);
	limit(RLIMIT_DATA, statm_bytes(DATA) + MIB);
	use_all_up();
	return xmemory_leaks(sum, &blocks) == 0 && blocks == 1000 ? 0 : 10;
}

static void leaks(void)
{
	if (is_plain())
		support_run_child(leaks_from_nothing, NULL);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/limits/data", rlimit_data);
	support_add("/xmemory/limits/tables", tables_of_vm_files);
	support_add("/xmemory/limits/nothing-left", nothing_left);
	support_add("/xmemory/limits/addresses", rlimit_as);
	support_add("/xmemory/limits/leaks", leaks);
	return support_run();
}
