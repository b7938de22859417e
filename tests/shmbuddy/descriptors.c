/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that close descriptors which they did not open: regions in files, in memory files, of several handles; and lockf() on the file. */
#include <sys/mman.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fd.h"

static const char *path, *victim_path;
static bool by_hand;

static void choose(int way)
{
	by_hand = way != 0;
	path = support_path("region");
	victim_path = support_path("victim");
}

static const struct shmbuddy_options growing = { .capacity = MIB, .range = 64 * MIB, .smallest = 4096, .largest = MIB };

/* Each block that there is, written to. */
static size_t fill_region(shmbuddy_t *region)
{
	size_t count = 0;

	for (shm_offt block; (block = shmbuddy_malloc(region, 64 * KIB)) != SHM_NULL; count++)
		memset(shmbuddy_address(region, block), 1, 64 * KIB);
	return count;
}

/* Grow, fill, close in order: the other handle's process finds it so. */
static void use(shmbuddy_t *region, uint64_t capacity)
{
	g_assert_cmpint(shmbuddy_grow(region, capacity), ==, 0);
	g_assert_cmpuint(fill_region(region), >, 0);
	buddy_free_all(region);
}

static int grows(void *arg)
{
	shmbuddy_t *region = shmbuddy_open(path, &growing);
	struct shmbuddy_opening opening;
	struct victim victim;

	(void)arg;
	g_assert_nonnull(region);
	victim_moves_in(&victim, victim_path, by_hand);
	use(region, 8 * MIB);
	use(region, 33 * MIB);
	victim_is_well(&victim);
	buddy_close(region);
	victim_is_well(&victim);
	region = shmbuddy_open(path, NULL);
	g_assert_cmpint(shmbuddy_opening(region, &opening), ==, 0);
	g_assert_cmpuint(opening.closed, ==, 1);
	buddy_close(region);
	victim_is_well(&victim);
	return 0;
}

/* Two handles, and descriptors of the program's own for the same file: each closes only its own. */
static int own_file(void *arg)
{
	shmbuddy_t *first = shmbuddy_open(path, &growing), *second;
	struct stat st, now;

	(void)arg;
	fd_close_all(by_hand);
	second = shmbuddy_open(path, NULL); /* It may well get the first one's number. */
	use(first, 8 * MIB);
	use(second, 16 * MIB);
	buddy_close(first);
	use(second, 24 * MIB);
	fd_take_numbers(path);
	g_assert_cmpint(stat(path, &st), ==, 0);
	buddy_close(second);
	for (int fd = VICTIM_FROM; fd < VICTIM_TO; fd++) {
		g_assert_cmpint(fstat(fd, &now), ==, 0);
		g_assert_cmpuint(now.st_ino, ==, st.st_ino);
	}
	return 0;
}

/* A region in memory has no name: with privileges the kernel's link leads there, without them it does not grow, and all else works. */
static int memory_file(void *arg)
{
	int fd = memfd_create("region", MFD_CLOEXEC);
	shmbuddy_t *region = shmbuddy_open_fd(fd, &growing);
	struct victim victim;

	(void)arg;
	g_assert_nonnull(region);
	victim_moves_in(&victim, victim_path, by_hand);
	if (geteuid() == 0)
		use(region, 8 * MIB);
	fd_close_all(by_hand);
	fd_take_numbers(victim_path);
	support_file_write(path, "", 0);
	fd_make_nameless(path); /* And no privileges. */
	buddy_fails(EBADF, shmbuddy_grow(region, 32 * MIB) == -1);
	g_assert_cmpuint(fill_region(region), >, 0);
	buddy_free_all(region);
	victim_is_well(&victim);
	buddy_close(region);
	victim_is_well(&victim);
	return 0;
}

static int children(void *arg)
{
	shmbuddy_t *region = shmbuddy_open(path, &growing);
	struct victim victim;
	int status;
	pid_t pid;

	(void)arg;
	victim_moves_in(&victim, victim_path, by_hand);
	pid = fork();
	if (pid == 0) {
		use(region, 8 * MIB);
		g_assert_cmpint(shmbuddy_close(region), ==, 0);
		victim_is_well(&victim);
		_exit(0);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	use(region, 16 * MIB);
	buddy_close(region);
	victim_is_well(&victim);
	return 0;
}

static int lockf_first(void *arg)
{
	shmbuddy_t *region = shmbuddy_open(path, &growing);
	int fd = open(path, O_RDWR);

	(void)arg;
	buddy_close(region);
	for (unsigned i = 0; i < 3; i++) {
		g_assert_cmpint(lockf(fd, F_LOCK, 0), ==, 0);
		assert_null(shmbuddy_open(path, NULL), EDEADLK);
		g_assert_true(fd_is_locked(path));
		assert_null(shmbuddy_open_fd(fd, NULL), EDEADLK);
		g_assert_true(fd_is_locked(path));
	}
	g_assert_cmpint(lockf(fd, F_ULOCK, 0), ==, 0);
	region = shmbuddy_open(path, NULL);
	g_assert_nonnull(region);
	buddy_close(region);
	return 0;
}

FD_CASE(grows, 2, choose)
FD_CASE(own_file, 2, choose)
FD_CASE(memory_file, 2, choose)
FD_CASE(children, 2, choose)
FD_CASE(lockf_first, 2, choose)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/descriptors/grows", grows_case);
	support_add("/shmbuddy/descriptors/own-file", own_file_case);
	support_add("/shmbuddy/descriptors/memory-file", memory_file_case);
	support_add("/shmbuddy/descriptors/children", children_case);
	support_add("/shmbuddy/descriptors/lockf-first", lockf_first_case);
	return support_run();
}
