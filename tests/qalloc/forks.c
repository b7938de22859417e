/* SPDX-License-Identifier: BSD-3-Clause */
/* Children that fork's handlers know nothing of, and forks on a stack in a block of the map. */
#include "tests/support/support_fork.h"
#include "tests/support/support_qalloc.h"

static void *open_with(unsigned flags)
{
	const char *path = support_path("map");

	support_close(support_dyn(path, 64 * MIB, 3));
	return support_open(path, flags);
}

static void bare_shared(void)
{
	for (int is_static = 0; is_static < 2; is_static++) {
		void *map = is_static ? (void *)support_stat(NULL, MIB, 64, 3) : (void *)support_dyn(NULL, 64 * MIB, 3);

		bare_child_shares(&support_qalloc_calls, map, 64);
		if (!is_static)
			bare_child_shares(&support_qalloc_calls, map, 0);
		support_close(map);
	}
}

static void bare_private(void)
{
	void *map = open_with(QALLOC_PRIVATE);

	bare_child_copies(&support_qalloc_calls, map);
	support_close(map);
}

static void bare_snapshot(void)
{
	void *map = open_with(QALLOC_FORK_SNAPSHOT);

	bare_child_has_no_snapshot(&support_qalloc_calls, map);
	support_close(map);
}

static void on_stack(void *(*open_map)(unsigned flags), unsigned flags,
		     void (*check)(const struct support_calls *calls, void *map))
{
	void *map;

	if (support_no_stack_in_block())
		return;
	map = open_map(flags);
	check(&support_qalloc_calls, map);
	support_close(map);
}

static void *shared_map(unsigned flags)
{
	(void)flags;
	return support_dyn(NULL, 64 * MIB, 3);
}

static void stack_shared(void)
{
	on_stack(shared_map, 0, child_on_shared_stack_is_told);
}

static void stack_snapshot(void)
{
	on_stack(open_with, QALLOC_FORK_SNAPSHOT, child_on_shared_stack_is_told);
}

static void stack_private(void)
{
	on_stack(open_with, QALLOC_PRIVATE, child_on_private_stack_lives);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/forks/bare-shared", bare_shared);
	support_add("/qalloc/forks/bare-private", bare_private);
	support_add("/qalloc/forks/bare-snapshot", bare_snapshot);
	support_add("/qalloc/forks/stack-shared", stack_shared);
	support_add("/qalloc/forks/stack-snapshot", stack_snapshot);
	support_add("/qalloc/forks/stack-private", stack_private);
	return support_run();
}
