/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that lock their memory, with a limit of locked memory, before the first block is in a VM file. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

#define LIMIT (8 * MIB)
#define COUNT 1000

/* The limit binds those without CAP_IPC_LOCK. */
static bool limit_locked_memory(void)
{
	const struct rlimit limit = { LIMIT, LIMIT };

	g_assert_cmpint(chmod(support_dir(), 0777), ==, 0);
	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && (geteuid() != 0 || setuid(65534) == 0) &&
	       mlockall(MCL_FUTURE) == 0;
}

/* The addresses that small blocks and their tables reserve in advance do not count. */
static int small_blocks(void *arg)
{
	static char *block[COUNT];

	(void)arg;
	if (!limit_locked_memory())
		return SUPPORT_CANNOT;
	vm_begin(1);
	for (int i = 0; i < COUNT; i++) {
		block[i] = take(1000);
		if (!block[i])
			g_error("block %d: %s", i, xmemory_errmsg());
		g_assert_cmpint(xmemory_kind(block[i]), ==, XMEMORY_VMFILE);
		fill(block[i], 1000, (unsigned)i);
	}
	for (int i = 0; i < COUNT; i++) {
		check(block[i], 1000, (unsigned)i);
		give(block[i]);
	}
	return 0;
}

/* A file of its own for such a block would count; the shared one has it, and it is not locked. */
static int large_blocks(void *arg)
{
	char *block;

	(void)arg;
	if (!limit_locked_memory())
		return SUPPORT_CANNOT;
	vm_begin(1);
	block = take(MIB);
	if (!block)
		g_error("a block of 1 MiB: %s", xmemory_errmsg());
	fill(block, MIB, 1);
	block = retake(block, 4 * LIMIT);
	if (!block)
		g_error("a block of four times the limit: %s", xmemory_errmsg());
	check(block, MIB, 1);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	give(block);
	return 0;
}

/* The program itself has locked all that it may: the sentence names the limit. */
static int nothing_left(void *arg)
{
	(void)arg;
	if (!limit_locked_memory())
		return SUPPORT_CANNOT;
	vm_begin(1);
	for (size_t bytes = LIMIT; bytes >= 4096; bytes /= 2)
		while (mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
			;
	errno = 0;
	g_assert_null(take(MIB));
	g_assert_cmpint(errno, ==, EAGAIN);
	g_assert_true(strstr(xmemory_errmsg(), "RLIMIT_MEMLOCK") || strstr(xmemory_errmsg(), "ulimit -l"));
	return 0;
}

SUPPORT_LOCKED_CASE(small_blocks)
SUPPORT_LOCKED_CASE(large_blocks)
SUPPORT_LOCKED_CASE(nothing_left)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/locked/small-blocks", small_blocks_in_child);
	support_add("/xmemory/locked/large-blocks", large_blocks_in_child);
	support_add("/xmemory/locked/nothing-left", nothing_left_in_child);
	return support_run();
}
