/* SPDX-License-Identifier: BSD-3-Clause */
/* Forks of threads whose stack, or control block, lies in a region. */
#include <shmbuddy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support.h"
#include "tests/support/support_stack.h"

#define CAPACITY ((uint64_t)4 << 20)

static shmbuddy_t *in_file(void)
{
	const struct shmbuddy_options options = { .capacity = CAPACITY, .smallest = 64, .largest = 1 << 20 };
	shmbuddy_t *region = shmbuddy_open(support_path("region"), &options);

	g_assert_nonnull(region);
	return region;
}

static shmbuddy_t *in_memory(int flags)
{
	const struct shmbuddy_options options = { .smallest = 64, .largest = 1 << 20 };
	void *memory = mmap(NULL, 2 * CAPACITY, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
	shmbuddy_t *region;

	g_assert_true(memory != MAP_FAILED);
	region = shmbuddy_format(memory, 2 * CAPACITY, &options);
	g_assert_nonnull(region);
	return region;
}

/* The child dies and is told so, or lives with its own stack; the region is as it was, and off that stack a child is as ever. */
static void fork_in(shmbuddy_t *region, enum support_stack_kind kind, bool dies)
{
	shm_offt block = shmbuddy_malloc(region, STACK_BYTES), other = shmbuddy_malloc(region, 100);
	struct support_forks f;
	pid_t pid;
	int status;

	g_assert_true(block && other);
	memset(shmbuddy_address(region, other), 7, 100);
	support_fork_on_stack(shmbuddy_address(region, block), kind, &f);
	support_forks_ended(&f, dies ? "fork() on a stack that lies in the region" : NULL);
	g_assert_cmpint(*((char *)shmbuddy_address(region, other) + 99), ==, 7);
	g_assert_cmpint(shmbuddy_check(region, NULL, NULL), ==, 0);
	pid = fork();
	if (pid == 0)
		_exit(*((char *)shmbuddy_address(region, other) + 99));
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(WEXITSTATUS(status), ==, 7);
	g_assert_cmpint(shmbuddy_free(region, block), ==, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

static void file(void)
{
	for (int kind = 0; kind < STACK_KINDS && !support_no_stack_in_block(); kind++)
		fork_in(in_file(), (enum support_stack_kind)kind, true);
}

static void shared_memory(void)
{
	for (int kind = 0; kind < STACK_KINDS && !support_no_stack_in_block(); kind++)
		fork_in(in_memory(MAP_SHARED), (enum support_stack_kind)kind, true);
}

static void private_memory(void)
{
	for (int kind = 0; kind < STACK_KINDS && !support_no_stack_in_block(); kind++)
		fork_in(in_memory(MAP_PRIVATE), (enum support_stack_kind)kind, false);
}

/* A region that was closed, in memory that the caller took back since, is not looked at. */
static void closed(void)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct support_forks f;

	if (support_no_stack_in_block())
		return;
	g_assert_cmpint(shmbuddy_close(in_file()), ==, 0);
	support_fork_on_stack(stack, STACK_CONTEXT, &f);
	support_forks_ended(&f, NULL);
	munmap(stack, STACK_BYTES);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/forks/stack-file", file);
	support_add("/shmbuddy/forks/stack-shared-memory", shared_memory);
	support_add("/shmbuddy/forks/stack-private-memory", private_memory);
	support_add("/shmbuddy/forks/closed", closed);
	return support_run();
}
