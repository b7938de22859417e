/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies for a fork child where there is little left to make them of, and stacks that lie in a block. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/support/support_stack.h"
#include "tests/support/support_xmemory.h"

#define BLOCKS 4
#define BYTES  (4 * MIB)

static char *blocks[BLOCKS];

static void fill_all(void)
{
	vm_begin(1);
	for (unsigned i = 0; i < BLOCKS; i++)
		fill(blocks[i] = take(BYTES), BYTES, i);
}

/* Its own copies, which are not its parent's. */
static int look_and_change(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < BLOCKS; i++) {
		check(blocks[i], BYTES, i);
		memset(blocks[i], 99, BYTES);
		give(blocks[i]);
	}
	return 0;
}

static void child_has_copies(void)
{
	support_run_child(look_and_change, NULL);
	for (unsigned i = 0; i < BLOCKS; i++)
		check(blocks[i], BYTES, i);
}

static void limit(__rlimit_resource_t what, rlim_t value)
{
	const struct rlimit most = { value, value };

	g_assert_cmpint(setrlimit(what, &most), ==, 0);
}

/* Each block's file is allowed, but none for all of them. */
static int with_short_files(void *arg)
{
	(void)arg;
	limit(RLIMIT_FSIZE, 6 * MIB);
	fill_all();
	child_has_copies();
	return 0;
}

/* None is: the copies are in memory. */
static int with_shorter_files(void *arg)
{
	(void)arg;
	fill_all();
	limit(RLIMIT_FSIZE, MIB);
	child_has_copies();
	return 0;
}

static int without_descriptors(void *arg)
{
	(void)arg;
	fill_all();
	limit(RLIMIT_NOFILE, 3);
	child_has_copies();
	return 0;
}

static void file_size(void)
{
	support_run_child(with_short_files, NULL);
	support_run_child(with_shorter_files, NULL);
}

static void descriptors(void)
{
	if (support_valgrind()) {
		g_test_skip("the tool needs descriptors of its own");
		return;
	}
	support_run_child(without_descriptors, NULL);
}

/* The directory is gone: new blocks are in memory, and a child has copies. */
static int with_directory_gone(void *arg)
{
	const char *dir = support_path("gone");
	char *more;

	(void)arg;
	g_assert_cmpint(mkdir(dir, 0700), ==, 0);
	fill_all();
	xmemory_settmpdir(dir);
	give(take(BYTES));
	g_assert_cmpint(rmdir(dir), ==, 0);
	g_assert_nonnull(more = take(BYTES));
	fill(more, BYTES, 7);
	child_has_copies();
	check(more, BYTES, 7);
	return 0;
}

static void directory_gone(void)
{
	support_run_child(with_directory_gone, NULL);
}

/* ---- a stack in a block ---- */

static ucontext_t here, there;
static int status;

static void fork_here(void)
{
	volatile char local[200] = { 5 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(local[0]);
	waitpid(pid, &status, 0);
	g_assert_cmpint(local[0], ==, 5);
}

/* The child cannot live there, and one line says so; the parent is not touched. */
static void stack_in_a_block(void)
{
	char *said;

	if (support_valgrind()) {
		g_test_skip("Valgrind knows no stack in a block");
		return;
	}
	fill_all();
	getcontext(&there);
	there.uc_stack.ss_sp = blocks[0];
	there.uc_stack.ss_size = BYTES;
	there.uc_link = &here;
	makecontext(&there, fork_here, 0);
	support_capture_begin();
	swapcontext(&here, &there);
	said = support_capture_end();
	if (support_asan() || support_tsan()) /* Which catch it, and end the child in a way of their own. */
		g_assert_cmpint(status, !=, 0);
	else
		g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	g_assert_nonnull(strstr(said, "fork() on a stack that lies in a block"));
	g_free(said);
	for (unsigned i = 1; i < BLOCKS; i++)
		check(blocks[i], BYTES, i);
	fill(blocks[0], BYTES, 0);
	child_has_copies(); /* Of that one too, from another stack. */
	for (unsigned i = 0; i < BLOCKS; i++)
		give(blocks[i]);
}

/* The other ways to be there; a stack in a small block, too. */
static void stacks_in_blocks(void)
{
	struct support_forks f;

	if (support_no_stack_in_block())
		return;
	fill_all();
	for (int kind = 0; kind < STACK_KINDS; kind++) {
		support_fork_on_stack(blocks[0], (enum support_stack_kind)kind, &f);
		support_forks_ended(&f, "fork() on a stack that lies in a block");
	}
	fill(blocks[0], BYTES, 0);
	child_has_copies();
	for (unsigned i = 0; i < BLOCKS; i++)
		give(blocks[i]);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/forks/file-size", file_size);
	support_add("/xmemory/forks/descriptors", descriptors);
	support_add("/xmemory/forks/directory-gone", directory_gone);
	support_add("/xmemory/forks/stack", stack_in_a_block);
	support_add("/xmemory/forks/stacks", stacks_in_blocks);
	return support_run();
}
