/* SPDX-License-Identifier: BSD-3-Clause */
/* What a fork child sees of its parent's blocks, and the other way round; on a disk that has no room for the copies. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

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

static int make_disk(void *arg)
{
	(void)arg;
	return support_small_disk("size=1m") ? 0 : SUPPORT_CANNOT;
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
	support_capture_begin();
	g_assert_cmpint(child_that(false, block), ==, 0);
	said = support_capture_end();
	g_assert_nonnull(strstr(said, "has no copy of 1 block"));
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
	if (support_can(make_disk, "no file system of our own here") && support_in_process_with("XMEMORY_DEBUG", "1"))
		support_run_child(fork_on_full_disk, NULL);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/fork/own", each_sees_its_own);
	support_add("/xmemory/fork/generations", generations);
	support_add("/xmemory/fork/no-room-small", no_room_for_shared_copy);
	support_add("/xmemory/fork/no-room", no_room_for_copies);
	return support_run();
}
