/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that grow in memory, by descriptors and in copies; and what keeps one from growing. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/shmbuddy/ranges.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_fd.h"

static const char *shared_path;

/* --- memory --- */

static int grow_and_leave(void *arg)
{
	shmbuddy_t *region = shmbuddy_join(*(void **)arg);
	shm_offt block;

	g_assert_cmpint(shmbuddy_grow(region, 3 * MIB + 32), ==, 0);
	g_assert_cmpuint(buddy_fill(region, 32, blocks, MOST), ==, MOST);
	block = shmbuddy_malloc(region, 1024);
	strcpy(shmbuddy_address(region, block), "beyond");
	g_assert_cmpint(shmbuddy_setroot(region, "beyond", block), ==, 0);
	return 0;
}

static void memory(void)
{
	const struct shmbuddy_options options = { .capacity = 64 * KIB, .range = 4 * MIB };
	uint64_t size = shmbuddy_size_needed(&options);
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	shmbuddy_t *region;

	g_assert_cmpuint(size, >, 4 * MIB);
	buddy_fails(EINVAL, !shmbuddy_format(mem, size - 1, &options));
	memset(mem, 0xa5, size);
	region = shmbuddy_format(mem, size, &options);
	g_assert_nonnull(region);
	has(region, 64 * KIB);
	g_assert_cmpuint(buddy_stats(region).range, ==, 4 * MIB);
	support_run_child(grow_and_leave, &mem);
	g_assert_cmpstr(shmbuddy_address(region, shmbuddy_getroot(region, "beyond")), ==, "beyond");
	g_assert_cmpuint(buddy_stats(region).used_bytes, ==, MOST * 32 + 1024);
	buddy_free_all(region);
	g_assert_cmpuint(buddy_stats(region).capacity, ==, 3 * MIB + 32);
	g_assert_cmpint(shmbuddy_grow(region, 4 * MIB), ==, 0);
	buddy_fails(ENOMEM, shmbuddy_grow(region, 4 * MIB + 1) == -1);
	for (uint64_t have = 0; have < 4 * MIB; have += 1024)
		memset(shmbuddy_address(region, shmbuddy_malloc(region, 1024)), 1, 1024);
	buddy_close(region);
	/* Without a range it has all that there is. */
	region = shmbuddy_format(mem, MIB, NULL);
	buddy_fails(ENOMEM, shmbuddy_grow(region, MIB) == -1);
	buddy_close(region);
	munmap(mem, size);
}

/* The caller's mapping of a file ends where the file did: who joined it stays within that. */
static void joined_file(void)
{
	const char *path = support_path("joined");
	shmbuddy_t *region = open_range(path, 64 * KIB, MIB, 32, 1024), *joined;
	size_t size = (size_t)support_file_size(path);
	int fd = open(path, O_RDWR);
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	joined = shmbuddy_join(mem);
	buddy_fails(ENOMEM, shmbuddy_grow(joined, 65 * KIB) == -1);
	g_assert_cmpint(shmbuddy_grow(region, MIB), ==, 0);
	g_assert_cmpuint(buddy_fill(region, 32, blocks, MIB / 32 - 10), ==, MIB / 32 - 10);
	while (shmbuddy_malloc(joined, 1))
		;
	g_assert_cmpuint(buddy_stats(joined).capacity, ==, 64 * KIB);
	g_assert_cmpint(shmbuddy_check(joined, buddy_complain, NULL), ==, 0);
	g_assert_cmpint(shmbuddy_close(joined), ==, 0);
	munmap(mem, size);
	buddy_free_all(region);
	has(region, MIB);
	buddy_close(region);
}

static void descriptors(void)
{
	const struct shmbuddy_options options = { .capacity = 64 * KIB, .range = MIB };
	char name[64];
	int fds[2] = { memfd_create("grows", MFD_CLOEXEC | MFD_ALLOW_SEALING), -1 };

	g_snprintf(name, sizeof(name), "/mapalloc-grow-%d", getpid());
	fds[1] = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	shm_unlink(name);
	for (int i = 0; i < 2; i++) {
		shmbuddy_t *region = shmbuddy_open_fd(fds[i], &options);

		g_assert_nonnull(region);
		has(region, 64 * KIB);
		g_assert_cmpint(shmbuddy_grow(region, 300 * KIB), ==, 0);
		has(region, 300 * KIB);
		if (i == 0 && fcntl(fds[i], F_ADD_SEALS, F_SEAL_GROW) == 0) {
			buddy_fails(EPERM, shmbuddy_grow(region, MIB) == -1);
			has(region, 300 * KIB);
		}
		close(fds[i]);
		buddy_close(region);
	}
}

/* --- what is in the way --- */

static int on_a_full_disk(void *arg)
{
	static const char filler[4096];
	const char *path, *rest;
	shmbuddy_t *region;
	int fd;

	(void)arg;
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	path = support_path("full");
	region = open_range(path, 64 * KIB, 8 * MIB, 32, 1024);
	rest = support_path("filler");
	fd = open(rest, O_WRONLY | O_CREAT, 0600);
	while (write(fd, filler, sizeof(filler)) == (ssize_t)sizeof(filler))
		;
	close(fd);
	buddy_fails(ENOSPC, shmbuddy_grow(region, 128 * KIB) == -1);
	buddy_fails(ENOSPC, shmbuddy_grow(region, 4 * MIB) == -1);
	g_assert_cmpuint((uint64_t)support_file_size(path), ==, buddy_stats(region).region_bytes);
	has(region, 64 * KIB);
	unlink(rest);
	g_assert_cmpint(shmbuddy_grow(region, 128 * KIB), ==, 0);
	has(region, 128 * KIB);
	buddy_close(region);
	return 0;
}

static void full_disk(void)
{
	support_run_or_skip(on_a_full_disk, "no disk of its own can be mounted");
}

/* A handle that could map little works in that, beside one that has all of it. */
static int in_little_space(void *arg)
{
	struct rlimit limit;
	FILE *statm = fopen("/proc/self/statm", "r");
	unsigned long pages;
	shmbuddy_t *region;
	shm_offt beyond;

	(void)arg;
	if (!statm || fscanf(statm, "%lu", &pages) != 1)
		return SUPPORT_CANNOT;
	fclose(statm);
	limit.rlim_cur = limit.rlim_max = pages * 4096 + 64 * MIB;
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return SUPPORT_CANNOT;
	region = open_range(shared_path, 0, 0, 0, 0);
	buddy_fails(ENOMEM, shmbuddy_grow(region, (uint64_t)2 * GIB) == -1);
	g_assert_cmpint(shmbuddy_grow(region, 20 * MIB), ==, 0);
	support_point(((struct support_sync **)arg)[0], "small");
	beyond = shmbuddy_getroot(region, "beyond");
	g_assert_cmpuint(beyond, !=, SHM_NULL);
	buddy_fails(ENOMEM, !shmbuddy_address(region, beyond));
	buddy_fails(ENOMEM, !shmbuddy_realloc(region, beyond, 8 * MIB));
	g_assert_cmpuint(shmbuddy_usable_size(region, beyond), ==, MIB);
	g_assert_cmpint(shmbuddy_free(region, beyond), ==, 0);
	for (shm_offt block; (block = shmbuddy_malloc(region, 64 * KIB)) != SHM_NULL;)
		memset(shmbuddy_address(region, block), 1, 64 * KIB);
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpint(shmbuddy_check(region, buddy_complain, NULL), ==, 0);
	return 0;
}

static void little_space(void)
{
	struct support_sync *sync = support_shared(sizeof(*sync));
	shmbuddy_t *region;
	shm_offt block;
	int status;
	pid_t pid;

	if (support_valgrind() || support_asan() || support_tsan()) {
		g_test_skip("tools have their own address space to keep");
		return;
	}
	shared_path = support_path("little");
	region = open_range(shared_path, 8 * MIB, (uint64_t)4 * GIB, 4096, MIB);
	pid = support_fork(in_little_space, &sync);
	support_await(sync, "small");
	g_assert_cmpint(shmbuddy_grow(region, GIB), ==, 0);
	do
		block = shmbuddy_malloc(region, MIB);
	while (block && block < 200 * MIB);
	g_assert_cmpuint(block, !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_setroot(region, "beyond", block), ==, 0);
	support_go(sync, "small");
	status = support_wait(pid);
	g_assert_cmpint(status, ==, 0);
	buddy_check(region);
	buddy_free_all(region);
	for (uint64_t have = 0; have < GIB; have += MIB)
		g_assert_cmpuint(shmbuddy_malloc(region, MIB), !=, SHM_NULL);
	buddy_close(region);
}

/* The length in the header is longer than the file, before and after opening: no call reads beyond the file's end. */
static void lying_length(void)
{
	const char *path = support_path("lying");
	shmbuddy_t *region = open_range(path, 64 * KIB, 512 * KIB, 32, 1024), *other;
	uint64_t length = buddy_stats(region).region_bytes;
	const uint64_t lies[] = { length + 64 * KIB, length + 448 * KIB, length + 16, length - 32, 0,
				  UINT64_MAX,        length + 449 * KIB };
	int fd = open(path, O_RDWR);

	for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
		g_assert_cmpint(pwrite(fd, &lies[i], 8, LENGTH_AT), ==, 8);
		g_assert_cmpuint(buddy_stats(region).capacity, ==, 64 * KIB);
		for (shm_offt block; (block = shmbuddy_malloc(region, 1024)) != SHM_NULL;)
			memset(shmbuddy_address(region, block), 1, 1024);
		buddy_free_all(region);
		other = shmbuddy_open(path, NULL);
		g_assert_null(other);
		g_assert_true(errno == ENODATA || errno == EBADMSG || errno == EUCLEAN);
	}
	buddy_fails(EUCLEAN, shmbuddy_grow(region, 100 * KIB) == -1);
	g_assert_cmpint(pwrite(fd, &length, 8, LENGTH_AT), ==, 8);
	g_assert_cmpint(shmbuddy_grow(region, 200 * KIB), ==, 0);
	has(region, 200 * KIB);
	close(fd);
	buddy_close(region);
}

static int without_descriptors(void *arg)
{
	shmbuddy_t *region = open_range(shared_path, 0, 0, 0, 0);

	(void)arg;
	closefrom(3);
	fd_make_nameless(shared_path);
	buddy_fails(EBADF, shmbuddy_grow(region, 3 * MIB) == -1);
	support_point(((struct support_sync **)arg)[0], "closed");
	/* It sees what others did all the same. */
	g_assert_cmpuint(buddy_stats(region).capacity, ==, 3 * MIB);
	for (uint64_t have = 0; have < 3 * MIB; have += 64 * KIB)
		memset(shmbuddy_address(region, shmbuddy_malloc(region, 64 * KIB)), 1, 64 * KIB);
	return 0;
}

static void closed_descriptors(void)
{
	struct support_sync *sync = support_shared(sizeof(*sync));
	shmbuddy_t *region;
	pid_t pid;

	shared_path = support_path("closed");
	region = open_range(shared_path, 64 * KIB, 8 * MIB, 4096, 64 * KIB);
	pid = support_fork(without_descriptors, &sync);
	support_await(sync, "closed");
	g_assert_cmpint(shmbuddy_grow(region, 3 * MIB), ==, 0);
	support_go(sync, "closed");
	support_wait_ok(pid);
	buddy_free_all(region);
	buddy_close(region);
}

/* A copy of one that grew is as good. */
static void copies(void)
{
	const char *path = support_path("grown"), *copy = support_path("grown-copy");
	shmbuddy_t *region = open_range(path, 64 * KIB, 4 * MIB, 32, 64 * KIB);
	size_t count;

	g_assert_cmpint(shmbuddy_grow(region, 1 * MIB + 96), ==, 0);
	count = buddy_fill(region, 64 * KIB, blocks, MOST);
	g_assert_cmpuint(count, ==, 16);
	g_assert_cmpuint(shmbuddy_malloc(region, 64), !=, SHM_NULL);
	support_file_copy(path, copy);
	buddy_close(region);
	region = open_range(copy, 0, 0, 0, 0);
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 17);
	g_assert_cmpint(shmbuddy_grow(region, 1 * MIB + 256 * KIB), ==, 0);
	g_assert_cmpuint(buddy_fill(region, 64 * KIB, blocks, MOST), ==, 3);
	buddy_free_all(region);
	has(region, 1 * MIB + 256 * KIB);
	buddy_close(region);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/grow/memory", memory);
	support_add("/shmbuddy/grow/joined-file", joined_file);
	support_add("/shmbuddy/grow/descriptors", descriptors);
	support_add("/shmbuddy/grow/full-disk", full_disk);
	support_add("/shmbuddy/grow/little-space", little_space);
	support_add("/shmbuddy/grow/lying-length", lying_length);
	support_add("/shmbuddy/grow/closed-descriptors", closed_descriptors);
	support_add("/shmbuddy/grow/copies", copies);
	return support_run();
}
