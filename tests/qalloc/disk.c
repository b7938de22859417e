/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A full disk, a disk that fails, a file system without locks: errno, never SIGBUS.
 *
 * The full disk is a small tmpfs in a mount namespace of the child's own. The other two are system calls that a seccomp
 * filter makes fail. Where the machine allows neither, the tests are skipped and say so.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

static size_t fill_with(void *map, size_t size)
{
	size_t count = 0;
	struct support_block block;

	errno = 0;
	while (support_take(map, &block, size, count)) /* writes what it got: SIGBUS if there is no space behind it */
		count++;
	g_assert_true(errno == ENOSPC || errno == ENOMEM);
	return count;
}

static void use_full_disk(void *map, size_t size)
{
	size_t count = fill_with(map, size), again;

	g_assert_cmpuint(count, >, 0);
	g_assert_cmpuint(support_used(map), ==, count);
	check_map(map);
	g_assert_cmpuint(support_free_all(map), ==, count);
	again = fill_with(map, size);
	g_assert_cmpuint(again, >, 0);
	check_map(map);
	support_free_all(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_close(map);
}

static int fill_small_disk(void *arg)
{
	static const size_t sizes[] = { 64, 3000, 65536, 300000 };

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		const char *path = support_path("full");

		use_full_disk(support_dyn(path, 64 * MIB, 1), sizes[i]);
		unlink(path);
		use_full_disk(support_stat(path, 64 * MIB, sizes[i], 1), sizes[i]);
		unlink(path);
	}
	return 0;
}

static void full_disk_is_no_sigbus(void)
{
	support_run_or_skip(fill_small_disk, "no mount namespace here");
}

static int create_on_full_disk(void *arg)
{
	static char junk[65536];
	int fd;

	(void)arg;
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	fd = open(support_path("junk"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	g_assert_cmpint(fd, >=, 0);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	errno = 0;
	g_assert_null(qalloc_makedynmap((off_t)(64 * MIB), NULL, support_path("none"), 1));
	g_assert_true(errno == ENOSPC || errno == ENOMEM);
	errno = 0;
	g_assert_null(qalloc_makestatmap((off_t)(64 * MIB), NULL, support_path("none"), 8, 1));
	g_assert_true(errno == ENOSPC || errno == ENOMEM);
	close(fd);
	return 0;
}

static void creating_on_a_full_disk(void)
{
	support_run_or_skip(create_on_full_disk, "no mount namespace here");
}

static int fill_disk(const char *name)
{
	static char junk[65536];
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	while (write(fd, junk, 4096) > 0)
		;
	return fd;
}

/* A file that is longer needs no space by itself, but the tables of a new segment do. Nothing changes, and later it works. */
static int grow_on_full_disk(void *arg)
{
	const char *path = support_path("map"), *filler = support_path("filler");
	void *map;
	uint64_t had;

	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	map = arg ? (void *)support_stat(path, 256 * KIB, 64, 2) : (void *)support_dyn(path, 256 * KIB, 2);
	had = support_stats(map).file_bytes;
	close(fill_disk(filler));
	for (int i = 0; i < 3; i++) {
		errno = 0;
		g_assert_cmpint(qalloc_grow(map, 2 * MIB), ==, -1);
		assert_errno_is(ENOSPC);
		g_assert_cmpuint(support_stats(map).file_bytes, ==, had);
		g_assert_cmpint(support_file_size(path), ==, (off_t)had);
		check_map(map);
	}
	unlink(filler);
	g_assert_cmpint(qalloc_grow(map, 64 * MIB), ==, 0);
	check_map(map);
	use_full_disk(map, arg ? 64 : 3000); /* 64 MiB on a disk of 4 */
	return 0;
}

static void growing_on_a_full_disk(void)
{
	support_run_or_skip(grow_on_full_disk, "no mount namespace here");
}

static int grow_static_on_full_disk(void *arg)
{
	return grow_on_full_disk(&arg);
}

static void growing_a_static_map_on_a_full_disk(void)
{
	support_run_or_skip(grow_static_on_full_disk, "no mount namespace here");
}

/* Space that runs out and comes back: the map goes on. */
static int disk_gets_room_again(void *arg)
{
	static char junk[65536];
	const char *path, *filler;
	dynmapinfo_t *map;
	int fd;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	path = support_path("map");
	filler = support_path("filler");
	map = support_dyn(path, 64 * MIB, 1);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	g_assert_cmpint(close(fd), ==, 0);
	assert_null(qalloc_dynmalloc(map, 3 * MIB), ENOSPC);
	unlink(filler);
	g_assert_nonnull(qalloc_dynmalloc(map, 2 * MIB));
	support_finish(map, path);
	return 0;
}

static void room_comes_back(void)
{
	support_run_or_skip(disk_gets_room_again, "no mount namespace here");
}

/* The tables of a huge map are mostly holes, which a private view may not even read: that takes space. */
static int private_view_on_full_disk(void *arg)
{
	static char junk[65536];
	const char *path;
	dynmapinfo_t *map;
	uint64_t used;
	int fd;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	path = support_path("huge");
	map = support_dyn(path, 256 * 1024 * MIB, 3);
	g_assert_nonnull(qalloc_dynmalloc(map, 100));
	support_close(map);
	map = support_load(path);
	used = support_stats(map).disk_bytes; /* What is free was given back when the map was closed. */
	support_close(map);
	fd = open(support_path("junk"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	close(fd);
	map = support_open(path, QALLOC_PRIVATE);
	g_assert_nonnull(qalloc_dynmalloc(map, 100));
	g_assert_cmpuint(support_used(map), ==, 2);
	assert_void(qalloc_free(support_base(map) + 128 * 1024 * MIB, map), EINVAL);
	check_map(map);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(support_stats(map).disk_bytes, ==, used);
	support_close(map);
	return 0;
}

static void private_view_needs_no_disk(void)
{
	support_run_or_skip(private_view_on_full_disk, "no mount namespace here");
}

/* --- system calls that fail --- */

static int open_without_locks(void *arg)
{
	const char *path = support_path("nolock");

	(void)arg;
	support_close(support_dyn(path, MIB, 1));
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, ENOLCK) || !support_make_fail(SYS_fcntl, F_OFD_SETLKW, ENOLCK) ||
	    !support_make_fail(SYS_fcntl, F_OFD_GETLK, ENOLCK))
		return SUPPORT_CANNOT;
	assert_null(qalloc_loadmap(path), ENOLCK);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, support_path("new"), 1), ENOLCK);
	return 0;
}

static void file_system_without_locks(void)
{
	support_run_or_skip(open_without_locks, "no seccomp filter here");
}

static int open_on_old_kernel(void *arg)
{
	const char *path = support_path("nolock");

	(void)arg;
	support_close(support_dyn(path, MIB, 1));
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, EINVAL) || !support_make_fail(SYS_fcntl, F_OFD_SETLKW, EINVAL) ||
	    !support_make_fail(SYS_fcntl, F_OFD_GETLK, EINVAL))
		return SUPPORT_CANNOT;
	assert_null(qalloc_loadmap(path), ENOLCK);
	return 0;
}

static void kernel_without_ofd_locks(void)
{
	support_run_or_skip(open_on_old_kernel, "no seccomp filter here");
}

static int sync_fails(void *arg)
{
	dynmapinfo_t *map = support_dyn(NULL, MIB, 1);

	(void)arg;
	memset(qalloc_dynmalloc(map, 10000), 1, 10000);
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	assert_minus1(qalloc_sync(map), EIO);
	errno = 0;
	qalloc_checkpoint();
	assert_errno_is(EIO);
	g_assert_nonnull(qalloc_dynmalloc(map, 10));
	support_close(map);
	return 0;
}

static void failing_disk_is_eio(void)
{
	support_run_or_skip(sync_fails, "no seccomp filter here");
}

/* Where fallocate(2) is not known writes take the space. */
static int without_fallocate(void *arg)
{
	const char *path = support_path("nofalloc");
	struct support_block block;
	void *map;

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, EOPNOTSUPP))
		return SUPPORT_CANNOT;
	map = support_dyn(path, 16 * MIB, 1);
	g_assert_true(support_take(map, &block, 3 * MIB, 1));
	support_give(map, &block);
	g_assert_true(support_take(map, &block, 100, 1));
	support_give(map, &block);
	support_finish(map, path);
	map = support_stat(path, 16 * MIB, 100, 1);
	g_assert_true(support_take(map, &block, 100, 1));
	support_finish(map, path);
	return 0;
}

static void no_fallocate(void)
{
	support_run_or_skip(without_fallocate, "no seccomp filter here");
}

static int fallocate_finds_no_space(void *arg)
{
	const char *path = support_path("nospace");
	dynmapinfo_t *map;

	(void)arg;
	map = support_dyn(path, 64 * MIB, 1);
	if (!support_make_fail(SYS_fallocate, -1, ENOSPC))
		return SUPPORT_CANNOT;
	assert_null(qalloc_dynmalloc(map, 32 * MIB), ENOSPC);
	check_map(map);
	g_assert_cmpuint(support_used(map), ==, 0);
	support_close(map);
	return 0;
}

static void no_space_is_enospc(void)
{
	support_run_or_skip(fallocate_finds_no_space, "no seccomp filter here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/disk/full", full_disk_is_no_sigbus);
	support_add("/qalloc/disk/full-at-creation", creating_on_a_full_disk);
	support_add("/qalloc/disk/full-at-growing", growing_on_a_full_disk);
	support_add("/qalloc/disk/full-at-growing-static", growing_a_static_map_on_a_full_disk);
	support_add("/qalloc/disk/room-again", room_comes_back);
	support_add("/qalloc/disk/private", private_view_needs_no_disk);
	support_add("/qalloc/disk/enospc", no_space_is_enospc);
	support_add("/qalloc/disk/no-fallocate", no_fallocate);
	support_add("/qalloc/disk/no-locks", file_system_without_locks);
	support_add("/qalloc/disk/old-kernel", kernel_without_ofd_locks);
	support_add("/qalloc/disk/eio", failing_disk_is_eio);
	return support_run();
}
