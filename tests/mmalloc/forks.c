/* SPDX-License-Identifier: BSD-3-Clause */
/* Children that fork's handlers know nothing of, and forks on a stack in a block of the heap. */
#include "tests/support/support_fork.h"
#include "tests/support/support_mmalloc.h"

static void *attach_with(unsigned flags)
{
	const struct mmalloc_options options = { .flags = flags };
	int fd = heap_file(support_path("heap"));
	void *md = mmalloc_attach(fd, NULL);

	g_assert_null(mmalloc_detach(md));
	md = mmalloc_attach_opt(fd, NULL, &options);
	g_assert_nonnull(md);
	close(fd);
	return md;
}

static void bare_shared(void)
{
	void *map = attach_with(0);

	bare_child_shares(&support_mmalloc_calls, map, 64);
	bare_child_shares(&support_mmalloc_calls, map, 0);
	heap_detach(map);
}

static void bare_private(void)
{
	void *map = attach_with(MMALLOC_PRIVATE);

	bare_child_copies(&support_mmalloc_calls, map);
	heap_detach(map);
}

static void bare_snapshot(void)
{
	void *map = attach_with(MMALLOC_FORK_SNAPSHOT);

	bare_child_has_no_snapshot(&support_mmalloc_calls, map);
	heap_detach(map);
}

static void on_stack(unsigned flags, void (*check)(const struct support_calls *calls, void *map))
{
	void *map;

	if (support_no_stack_in_block())
		return;
	map = attach_with(flags);
	check(&support_mmalloc_calls, map);
	heap_detach(map);
}

static void stack_shared(void)
{
	on_stack(0, child_on_shared_stack_is_told);
}

static void stack_snapshot(void)
{
	on_stack(MMALLOC_FORK_SNAPSHOT, child_on_shared_stack_is_told);
}

static void stack_private(void)
{
	on_stack(MMALLOC_PRIVATE, child_on_private_stack_lives);
}

static void memory(void)
{
	void *map = mmalloc_attach(-1, NULL);

	g_assert_nonnull(map);
	bare_child_copies(&support_mmalloc_calls, map);
	if (!support_valgrind() && !support_asan() && !support_tsan())
		child_on_private_stack_lives(&support_mmalloc_calls, map);
	heap_detach(map);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/forks/bare-shared", bare_shared);
	support_add("/mmalloc/forks/bare-private", bare_private);
	support_add("/mmalloc/forks/bare-snapshot", bare_snapshot);
	support_add("/mmalloc/forks/stack-shared", stack_shared);
	support_add("/mmalloc/forks/stack-snapshot", stack_snapshot);
	support_add("/mmalloc/forks/stack-private", stack_private);
	support_add("/mmalloc/forks/memory", memory);
	return support_run();
}
