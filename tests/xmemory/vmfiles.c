/* SPDX-License-Identifier: BSD-3-Clause */
/* VM files: nothing is left of them, their space comes back, and what goes wrong with them is an errno. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

static const char *own_dir(const char *name)
{
	const char *path = support_path(name);

	g_assert_cmpint(mkdir(path, 0700), ==, 0);
	xmemory_settmpdir(path);
	return path;
}

static void directories(void)
{
	const char *dir = own_dir("dir");
	char *long_name = g_strnfill(5000, 'x');

	g_assert_cmpstr(xmemory_gettmpdir(), ==, dir);
	errno = 0;
	xmemory_settmpdir(long_name);
	g_assert_cmpint(errno, ==, ENAMETOOLONG);
	g_assert_cmpstr(xmemory_gettmpdir(), ==, dir);
	xmemory_settmpdir("");
	g_assert_cmpstr(xmemory_gettmpdir(), ==, ".");
	xmemory_settmpdir(NULL);
	g_assert_cmpstr(xmemory_gettmpdir(), ==, g_getenv("XMEMORY_TMPDIR") ? g_getenv("XMEMORY_TMPDIR") : ".");
	g_free(long_name);
}

static void directory_from_environment(void)
{
	if (!support_in_process_with("XMEMORY_TMPDIR", "/nowhere/at/all"))
		return;
	g_assert_cmpstr(xmemory_gettmpdir(), ==, "/nowhere/at/all");
	xmemory_setlimit(1);
	errno = 0;
	g_assert_null(take(MIB));
	g_assert_cmpint(errno, ==, ENOENT);
	errno = 0;
	g_assert_null(take(10));
	g_assert_cmpint(errno, ==, ENOENT);
}

/* Mapped shared, of whole pages, nameless; the number alone tells which it is. */
static void what_they_are(void)
{
	const char *dir = own_dir("what");
	char *maps, *line, *at;
	unsigned first, second;
	void *block, *other;

	xmemory_setlimit(1);
	block = take(300001);
	other = take(300001);
	first = xmemory_vmfile_id(block);
	second = xmemory_vmfile_id(other);
	g_assert_cmpuint(first, >, 0);
	g_assert_cmpuint(second, >, first);
	g_assert_cmpuint(names_in(dir), ==, 0);
	maps = proc_text("/proc/self/maps");
	line = g_strdup_printf("%lx-%lx rw-s", (unsigned long)block, (unsigned long)block + 303104);
	at = strstr(maps, line);
	if (!support_valgrind())
		g_assert_nonnull(at);
	give(block);
	block = take(300001);
	g_assert_cmpuint(xmemory_vmfile_id(block), >, second);
	give(block);
	give(other);
	errno = 0;
	g_assert_cmpuint(xmemory_vmfile_id(dir), ==, 0);
	g_assert_cmpint(errno, ==, EINVAL);
	g_free(line);
	g_free(maps);
	xmemory_setlimit(0);
}

static void sizes_at_the_edges(void)
{
	static const size_t sizes[] = { 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, MIB - 1, MIB, MIB + 1, 1, 64 * KIB };
	void *blocks[G_N_ELEMENTS(sizes)];

	vm_begin(1);
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		blocks[i] = take(sizes[i]);
		fill(blocks[i], sizes[i], (unsigned)i);
		g_assert_cmpint(xmemory_kind(blocks[i]), ==, XMEMORY_VMFILE);
		g_assert_cmpuint(xmemory_size(blocks[i]), ==, sizes[i]);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		check(blocks[i], sizes[i], (unsigned)i);
		give(blocks[i]);
	}
	xmemory_setlimit(0);
}

/* More than descriptors are kept for: some grow in place, the others move; the contents stay. */
static void growing(void)
{
	enum { BLOCKS = 100 };
	char *blocks[BLOCKS];
	size_t size = 300 * KIB;

	vm_begin(1);
	for (unsigned i = 0; i < BLOCKS; i++) {
		blocks[i] = take(size);
		fill(blocks[i], size, i);
	}
	for (unsigned round = 1; round < 4; round++)
		for (unsigned i = 0; i < BLOCKS; i++) {
			blocks[i] = retake(blocks[i], size + round * 100 * KIB);
			g_assert_nonnull(blocks[i]);
			check(blocks[i], size - 1, i);
			g_assert_cmpint(blocks[i][size + round * 100 * KIB - 1], ==, 0);
		}
	for (unsigned i = 0; i < BLOCKS; i++) {
		blocks[i] = retake(blocks[i], i % 2 ? 290 * KIB : 1000);
		check(blocks[i], 1000, i);
		give(blocks[i]);
	}
	g_assert_cmpuint(figures().vm_bytes, ==, 0);
	xmemory_setlimit(0);
}

/* A daemon closes all that it did not open, and opens files of its own under the same numbers. */
static int descriptors_closed(void *arg)
{
	const char *path = support_path("daemon");
	char *block, *other;
	struct stat st;

	(void)arg;
	vm_begin(1);
	block = take(300 * KIB);
	fill(block, 300 * KIB, 9);
	for (int fd = 3; fd < 200; fd++)
		close(fd);
	for (int i = 0; i < 100; i++)
		g_assert_cmpint(open(path, O_RDWR | O_CREAT, 0600), >=, 0);
	block = retake(block, 400 * KIB);
	check(block, 300 * KIB - 1, 9);
	other = take(300 * KIB);
	give(block);
	give(other);
	g_assert_cmpint(fstat(50, &st), ==, 0); /* Nobody closed it, nor changed it. */
	g_assert_cmpint(st.st_size, ==, 0);
	return 0;
}

static void closed_behind_us(void)
{
	if (support_valgrind())
		g_test_skip("Valgrind lets no program close its descriptors");
	else
		support_run_child(descriptors_closed, NULL);
}

/* ---- full disks, in a file system of our own ---- */

static int full_disk(void *arg)
{
	char *blocks[64], *said;
	size_t count = 0;
	uint64_t before;

	(void)arg;
	if (!support_small_disk("size=16m"))
		return SUPPORT_CANNOT;
	vm_begin(1);
	before = disk_free();
	support_capture_begin();
	errno = 0;
	while (count < 64 && (blocks[count] = take(MIB)) != NULL)
		memset(blocks[count++], 1, MIB);
	g_assert_cmpint(errno, ==, ENOSPC);
	g_assert_cmpuint(count, >=, 14);
	errno = 0;
	g_assert_null(retake(blocks[0], 8 * MIB));
	g_assert_cmpint(errno, ==, ENOSPC);
	g_assert_cmpint(blocks[0][MIB - 1], ==, 1);
	said = support_capture_end();
	g_assert_nonnull(strstr(said, "No space left"));
	g_assert_nonnull(strstr(said, "ENOSPC"));
	g_free(said);
	give(blocks[--count]);
	g_assert_cmpuint(disk_free(), >=, MIB); /* At once. */
	while (count > 0)
		give(blocks[--count]);
	g_assert_cmpuint(disk_free(), ==, before);
	g_assert_cmpuint(figures().pointers, ==, 0);
	return 0;
}

static int make_disk(void *arg)
{
	(void)arg;
	return support_small_disk("size=1m") ? 0 : SUPPORT_CANNOT;
}

static void full(void)
{
	if (support_can(make_disk, "no file system of our own here") && support_in_process_with("XMEMORY_DEBUG", "1"))
		support_run_child(full_disk, NULL);
}

/* Small blocks: each store is to space that is there. */
static int full_disk_small(void *arg)
{
	void **first = NULL;
	uint64_t before, taken = 0;

	(void)arg;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	vm_begin(1);
	before = disk_free();
	errno = 0;
	for (void **block; (block = take(48)) != NULL; first = block) {
		memset(block, 7, 48);
		*block = first;
		taken += 48;
	}
	g_assert_cmpint(errno, ==, ENOSPC);
	g_assert_cmpuint(taken, >=, before / 2);
	while (first) {
		void **next = *first;

		give(first);
		first = next;
	}
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(disk_free(), >=, before - MIB);
	for (int i = 0; i < 1000; i++)
		g_assert_nonnull(take(48));
	return 0;
}

static void full_small(void)
{
	support_run_or_skip(full_disk_small, "no file system of our own here");
}

static int readonly_disk(void *arg)
{
	(void)arg;
	if (!support_small_disk("size=1m") || !support_disk_readonly())
		return SUPPORT_CANNOT;
	vm_begin(1);
	errno = 0;
	g_assert_null(take(300 * KIB));
	g_assert_cmpint(errno, ==, EROFS);
	errno = 0;
	g_assert_null(take(10));
	g_assert_cmpint(errno, ==, EROFS);
	return 0;
}

static void unwritable(void)
{
	support_run_or_skip(readonly_disk, "no file system of our own here");
}

static int no_permission(void *arg)
{
	const char *dir = own_dir("noperm");
	char *said;

	(void)arg;
	g_assert_cmpint(chmod(support_dir(), 0755), ==, 0);
	g_assert_cmpint(chmod(dir, 0555), ==, 0);
	if (geteuid() == 0 && setuid(65534) < 0)
		return SUPPORT_CANNOT;
	xmemory_setlimit(1);
	support_capture_begin();
	errno = 0;
	g_assert_null(take(300 * KIB));
	g_assert_cmpint(errno, ==, EACCES);
	said = support_capture_end();
	g_assert_nonnull(strstr(said, "cannot make a VM file in the directory "));
	g_assert_nonnull(strstr(said, "(EACCES)"));
	g_free(said);
	return 0;
}

static int become_another(void *arg)
{
	(void)arg;
	return geteuid() == 0 && setuid(65534) < 0 ? SUPPORT_CANNOT : 0;
}

static void not_permitted(void)
{
	if (support_can(become_another, "cannot become another user") && support_in_process_with("XMEMORY_DEBUG", "1"))
		support_run_child(no_permission, NULL);
}

static void not_a_directory(void)
{
	const char *path = support_path("file");

	support_file_write(path, "x", 1);
	xmemory_settmpdir(path);
	xmemory_setlimit(1);
	errno = 0;
	g_assert_null(take(300 * KIB));
	g_assert_cmpint(errno, ==, ENOTDIR);
	xmemory_setlimit(0);
}

static int over_file_limit(void *arg)
{
	struct rlimit limit = { 100 * KIB, 100 * KIB };

	(void)arg;
	vm_begin(1);
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	errno = 0;
	g_assert_null(take(300 * KIB));
	g_assert_cmpint(errno, ==, EFBIG);
	return 0;
}

static void file_limit(void)
{
	support_run_child(over_file_limit, NULL);
}

static int over_descriptors(void *arg)
{
	struct rlimit limit = { 3, 3 };

	(void)arg;
	vm_begin(1);
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	errno = 0;
	g_assert_null(take(300 * KIB));
	g_assert_cmpint(errno, ==, EMFILE);
	return 0;
}

static void descriptor_limit(void)
{
	if (support_valgrind() || support_asan() || support_tsan())
		g_test_skip("the tool needs descriptors of its own");
	else
		support_run_child(over_descriptors, NULL);
}

/* ---- file systems that can less ---- */

static long refuse_nameless(const long args[6])
{
	if ((args[2] & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP;
	return support_real(args);
}

/* No O_TMPFILE: a file by name, which is gone before anybody can look. */
static int by_name(void *arg)
{
	const char *dir = own_dir("named");
	void *blocks[10];

	(void)arg;
	if (!support_hook(SYS_openat, refuse_nameless))
		return SUPPORT_CANNOT;
	xmemory_setlimit(1);
	for (size_t i = 0; i < 10; i++) {
		blocks[i] = take(i % 2 ? 300 * KIB : 30);
		fill(blocks[i], i % 2 ? 300 * KIB : 30, (unsigned)i);
		g_assert_cmpuint(names_in(dir), ==, 0);
	}
	for (size_t i = 0; i < 10; i++) {
		check(blocks[i], 30, (unsigned)i);
		give(blocks[i]);
	}
	return 0;
}

static void named(void)
{
	support_run_or_skip(by_name, "system calls cannot be caught here");
}

static long seen_flags, seen_mode;
static long occupy_names(const long args[6])
{
	if ((args[2] & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP;
	if (args[2] & O_CREAT) {
		seen_flags = args[2];
		seen_mode = args[3];
	}
	return support_real(args);
}

/* Somebody put links where our names would be: they are not followed, and do not hinder us. */
static int names_taken(void *arg)
{
	const char *dir = own_dir("taken");
	char name[5000];
	const char *victim = support_path("victim");
	void *block;

	(void)arg;
	support_file_write(victim, "precious", 8);
	for (unsigned id = 0; id < 50; id++) {
		snprintf(name, sizeof(name), "%s/vmswap_%d_%u", dir, (int)getpid(), id);
		g_assert_cmpint(symlink(victim, name), ==, 0);
	}
	if (!support_hook(SYS_openat, occupy_names))
		return SUPPORT_CANNOT;
	xmemory_setlimit(1);
	block = take(300 * KIB);
	g_assert_nonnull(block);
	memset(block, 'x', 300 * KIB);
	g_assert_cmpint(support_file_size(victim), ==, 8);
	g_assert_cmpint(seen_flags & (O_EXCL | O_NOFOLLOW | O_CLOEXEC), ==, O_EXCL | O_NOFOLLOW | O_CLOEXEC);
	g_assert_cmpint(seen_mode, ==, 0600);
	g_assert_cmpuint(names_in(dir), ==, 50);
	return 0;
}

static void taken_names(void)
{
	support_run_or_skip(names_taken, "system calls cannot be caught here");
}

static int without_fallocate(void *arg)
{
	char *block;

	(void)arg;
	vm_begin(1);
	if (!support_make_fail(SYS_fallocate, -1, EOPNOTSUPP))
		return SUPPORT_CANNOT;
	block = take(300 * KIB);
	g_assert_nonnull(block);
	fill(block, 300 * KIB, 1);
	block = retake(block, 500 * KIB);
	check(block, 300 * KIB - 1, 1);
	g_assert_cmpint(block[500 * KIB - 1], ==, 0);
	give(block);
	block = take(100);
	g_assert_nonnull(block);
	give(block);
	return 0;
}

static void no_fallocate(void)
{
	support_run_or_skip(without_fallocate, "system calls cannot be made to fail here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	/* The shared VM file lies where it was first needed: so these come before it is. */
	support_add("/xmemory/vmfiles/full-small", full_small);
	support_add("/xmemory/vmfiles/read-only", unwritable);
	support_add("/xmemory/vmfiles/directory", directories);
	support_add("/xmemory/vmfiles/environment", directory_from_environment);
	support_add("/xmemory/vmfiles/what", what_they_are);
	support_add("/xmemory/vmfiles/sizes", sizes_at_the_edges);
	support_add("/xmemory/vmfiles/growing", growing);
	support_add("/xmemory/vmfiles/closed", closed_behind_us);
	support_add("/xmemory/vmfiles/full", full);
	support_add("/xmemory/vmfiles/no-permission", not_permitted);
	support_add("/xmemory/vmfiles/no-directory", not_a_directory);
	support_add("/xmemory/vmfiles/file-limit", file_limit);
	support_add("/xmemory/vmfiles/descriptor-limit", descriptor_limit);
	support_add("/xmemory/vmfiles/named", named);
	support_add("/xmemory/vmfiles/names-taken", taken_names);
	support_add("/xmemory/vmfiles/no-fallocate", no_fallocate);
	return support_run();
}
