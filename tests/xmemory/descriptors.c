/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that close descriptors which they did not open: small blocks, which share a VM file, and large ones, which have one each. */
#include "tests/support/support_fd.h"
#include "tests/support/support_xmemory.h"

#define SMALL 50 /* Without a way to the shared file each needs one of its own. */
#define LARGE 10

static const char *victim_path;
static bool by_hand, unprivileged;

static void choose(int way)
{
	by_hand = way % 2 != 0;
	unprivileged = way / 2 != 0;
	victim_path = support_path("victim");
}

/* VM files have no names: without privileges nothing leads to them. */
static void lose_descriptors(struct victim *victim)
{
	victim_moves_in(victim, victim_path, by_hand);
	if (unprivileged)
		fd_drop_capabilities();
}

struct blocks {
	char *small[SMALL];
	char *large[LARGE];
};

static struct blocks *take_all(unsigned mark)
{
	struct blocks *b = g_new0(struct blocks, 1);

	for (unsigned i = 0; i < SMALL; i++) {
		b->small[i] = take(8000);
		g_assert_nonnull(b->small[i]);
		fill(b->small[i], 8000, i + mark);
	}
	for (unsigned i = 0; i < LARGE; i++) {
		b->large[i] = take(300 * KIB);
		g_assert_nonnull(b->large[i]);
		fill(b->large[i], 300 * KIB, i + mark);
	}
	return b;
}

static void look_at_all(const struct blocks *b, unsigned mark)
{
	for (unsigned i = 0; i < SMALL; i++)
		check(b->small[i], 8000, i + mark);
	for (unsigned i = 0; i < LARGE; i++)
		check(b->large[i], 300 * KIB, i + mark);
}

static void give_all(struct blocks *b, unsigned mark)
{
	look_at_all(b, mark);
	for (unsigned i = 0; i < SMALL; i++)
		give(b->small[i]);
	for (unsigned i = 0; i < LARGE; i++)
		give(b->large[i]);
	g_free(b);
}

static int goes_on(void *arg)
{
	struct blocks *before, *after;
	struct victim victim;

	(void)arg;
	vm_begin(1);
	before = take_all(1);
	lose_descriptors(&victim);
	after = take_all(2);
	for (unsigned i = 0; i < LARGE; i++) {
		before->large[i] = retake(before->large[i], 500 * KIB);
		g_assert_nonnull(before->large[i]);
	}
	give_all(before, 1);
	victim_is_well(&victim);
	before = take_all(3);
	give_all(after, 2);
	give_all(before, 3);
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
	victim_is_well(&victim);
	return 0;
}

/* The child has its own copy of all blocks, and the parent's stay as they are. */
static int forks(void *arg)
{
	struct blocks *before, *more;
	struct victim victim;
	int status;
	pid_t pid;

	(void)arg;
	vm_begin(1);
	before = take_all(1);
	lose_descriptors(&victim);
	pid = fork();
	if (pid == 0) {
		look_at_all(before, 1);
		for (unsigned i = 0; i < SMALL; i++)
			memset(before->small[i], 0, 8000);
		more = take_all(5);
		give_all(more, 5);
		victim_is_well(&victim);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	more = take_all(6);
	give_all(before, 1);
	give_all(more, 6);
	victim_is_well(&victim);
	return 0;
}

/* A lock that the program has on a file stays when a part of the file becomes a block, and when it goes. */
static int keeps_locks(void *arg)
{
	const char *path = support_path("file");
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	char *block;

	(void)arg;
	g_assert_cmpint(ftruncate(fd, 10000), ==, 0);
	g_assert_cmpint(lockf(fd, F_LOCK, 100), ==, 0);
	for (unsigned i = 0; i < 20; i++) {
		block = map(path, 0, NULL);
		g_assert_nonnull(block);
		g_assert_null(map(path, 20000, NULL));
		xmemory_fdealloc(block, 0, 10000, __FILE__, __LINE__);
		g_assert_true(fd_is_locked(path));
	}
	g_assert_cmpint(lockf(fd, F_ULOCK, 100), ==, 0);
	g_assert_false(fd_is_locked(path));
	return 0;
}

static void keeps_locks_case(void)
{
	support_run_child(keeps_locks, NULL);
}

FD_CASE(goes_on, 4, choose)
FD_CASE(forks, 4, choose)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/descriptors/goes-on", goes_on_case);
	support_add("/xmemory/descriptors/forks", forks_case);
	support_add("/xmemory/descriptors/keeps-locks", keeps_locks_case);
	return support_run();
}
