/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be wrong with a name, a process's limits, a file system, a kernel: the errno that shmbuddy.h documents, nothing left behind, and
 * a region that goes on. tests/README.md has the table; full disks are in regions.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "tests/support/support_buddy.h"
#include "tests/support/support_fault.h"

#define NOBODY 65534

static const struct shmbuddy_options usual, look = { .flags = SHMBUDDY_RDONLY },
					    existing = { .flags = SHMBUDDY_EXISTING }, new = { .flags = SHMBUDDY_NEW };
static const struct shmbuddy_options *const ways[] = { &usual, &look, &existing, &new };

static void refused(const char *path, int error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		buddy_fails(error, !shmbuddy_open(path, ways[i]));
}

/* --- names --- */

static void names(void)
{
	char *long_name = g_strnfill(300, 'x');
	const char *loop = support_path("loop"), *nowhere = support_path("nowhere"), *file = support_path("file");

	refused("", ENOENT);
	refused(long_name, ENAMETOOLONG);
	g_assert_cmpint(symlink(loop, loop), ==, 0);
	refused(loop, ELOOP);
	g_assert_cmpint(symlink("/proc/nonexistent/region", nowhere), ==, 0);
	refused(nowhere, ENOENT);
	support_file_write(file, "", 0);
	buddy_fails(EMEDIUMTYPE, !shmbuddy_open(file, &look));
	buddy_fails(EMEDIUMTYPE, !shmbuddy_open(file, &existing));
	support_file_write(file, "#!/bin/sh\necho what somebody else wrote\n", 39);
	refused(file, EMEDIUMTYPE);
	g_assert_cmpint(support_file_size(file), ==, 39);
	buddy_goes_on(buddy_open(support_path("sound"), 64 * KIB, 32, 1024));
	buddy_fails(ENOENT, shmbuddy_unlink(nowhere) == -1);
	buddy_fails(EINVAL, shmbuddy_unlink(NULL) == -1);
	buddy_fails(EPROTOTYPE, shmbuddy_unlink(MA_TEST_SRCDIR "/golden/dynamic-1.map") == -1);
	buddy_fails(EMEDIUMTYPE, shmbuddy_unlink(file) == -1);
	buddy_fails(EISDIR, shmbuddy_unlink(support_dir()) == -1);
	g_free(long_name);
}

static void links(void)
{
	const char *path = support_path("region"), *link = support_path("link");

	buddy_close(buddy_open(path, 64 * KIB, 32, 1024));
	g_assert_cmpint(symlink(path, link), ==, 0);
	buddy_goes_on(buddy_open(link, 0, 0, 0));
}

static void no_regular_files(void)
{
	const char *fifo = support_path("fifo");
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	refused(support_dir(), EISDIR);
	g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
	refused(fifo, EINVAL);
	refused("/dev/null", EINVAL);
	g_strlcpy(name.sun_path, support_path("s"), sizeof(name.sun_path));
	if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
		refused(name.sun_path, ENXIO);
	close(fd);
}

static void not_for_this(void)
{
	const char *path = support_path("region");
	int fd;

	buddy_close(buddy_open(path, 64 * KIB, 32, 1024));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	buddy_fails(EACCES, !shmbuddy_open_fd(fd, NULL));
	buddy_close(shmbuddy_open_fd(fd, &look));
	close(fd);
	buddy_fails(EBADF, !shmbuddy_open_fd(fd, NULL));
	buddy_fails(EEXIST, !shmbuddy_open(path, &new));
}

static char *as_nobody[2];

static int open_as_nobody(void *arg)
{
	(void)arg;
	if (chmod(support_dir(), 0711) != 0 || chdir(support_dir()) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
		return SUPPORT_CANNOT;
	refused(as_nobody[0], EACCES);
	buddy_fails(EACCES, !shmbuddy_open(as_nobody[1], NULL));
	buddy_close(shmbuddy_open(as_nobody[1], &look));
	buddy_fails(EACCES, !shmbuddy_open("new", NULL));
	buddy_fails(EACCES, shmbuddy_unlink(as_nobody[1]) == -1);
	return 0;
}

static void no_permission(void)
{
	const char *none = support_path("none"), *reading = support_path("reading");

	buddy_close(buddy_open(none, 64 * KIB, 32, 1024));
	buddy_close(buddy_open(reading, 64 * KIB, 32, 1024));
	g_assert_true(chmod(none, 0) == 0 && chmod(reading, 0444) == 0);
	as_nobody[0] = g_path_get_basename(none);
	as_nobody[1] = g_path_get_basename(reading);
	support_run_or_skip(open_as_nobody, "only root can become somebody else");
	g_free(as_nobody[0]);
	g_free(as_nobody[1]);
}

/* --- limits of the process --- */

static int with_limits(void *arg)
{
	int lowest = dup(STDIN_FILENO);
	struct rlimit files = { (rlim_t)lowest, RLIM_INFINITY }, room = { 300 * MIB, RLIM_INFINITY },
		      length = { 64 * MIB, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	const char *path = support_path("limits"), *large = support_path("large");

	(void)arg;
	close(lowest);
	g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &none), ==, 0);
	files.rlim_max = none.rlim_max;
	buddy_close(buddy_open(large, 0, 0, 0));
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &files), ==, 0);
	refused(path, EMFILE);
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
	none.rlim_cur = none.rlim_max = RLIM_INFINITY;
	if (!support_asan() && !support_tsan()) {
		g_assert_cmpint(setrlimit(RLIMIT_AS, &room), ==, 0);
		buddy_is_not_made(path, ENOMEM);
		buddy_fails(ENOMEM, !shmbuddy_open(large, NULL));
		buddy_fails(ENOMEM, !shmbuddy_open(large, &look));
		g_assert_cmpint(setrlimit(RLIMIT_AS, &none), ==, 0);
	}
	signal(SIGXFSZ, SIG_DFL);
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &length), ==, 0);
	buddy_is_not_made(path, EFBIG);
	buddy_goes_on(buddy_open(path, 16 * MIB, 32, 1024));
	buddy_goes_on(buddy_open(large, 0, 0, 0));
	return 0;
}

static void limits(void)
{
	if (support_valgrind())
		g_test_skip("Valgrind has limits of its own");
	else
		support_run_child(with_limits, NULL);
}

/* --- file systems --- */

static int fault_error;

static int use_readonly_disk(void *arg)
{
	const char *path = support_path("ro");
	shmbuddy_t *region;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	region = buddy_open(path, 64 * KIB, 32, 1024);
	g_assert_cmpint(shmbuddy_setroot(region, "a", shmbuddy_malloc(region, 1)), ==, 0);
	buddy_close(region);
	if (!support_disk_readonly())
		return SUPPORT_CANNOT;
	buddy_fails(EROFS, !shmbuddy_open(path, NULL));
	buddy_fails(EROFS, !shmbuddy_open(support_path("new"), NULL));
	buddy_fails(EROFS, shmbuddy_unlink(path) == -1);
	region = shmbuddy_open(path, &look);
	g_assert_cmpuint(shmbuddy_getroot(region, "a"), !=, SHM_NULL);
	buddy_fails(EROFS, !shmbuddy_malloc(region, 10));
	buddy_close(region);
	return 0;
}

static void readonly_disk(void)
{
	support_run_or_skip(use_readonly_disk, "no disk of its own can be mounted");
}

static int use_small_disk(void *arg)
{
	const char *path = support_path("small");
	shmbuddy_t *region;
	size_t count = 0;

	(void)arg;
	if (!support_small_disk("size=1m"))
		return SUPPORT_CANNOT;
	buddy_is_not_made(path, ENOSPC); /* Tables and a first part of 2 MiB. */
	region = buddy_open(path, 512 * KIB, 32, 1024);
	for (shm_offt at; (at = shmbuddy_malloc(region, 1000)) != SHM_NULL; count++)
		memset(shmbuddy_address(region, at), 1, 1000);
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpuint(count, ==, 512);
	buddy_close(region);
	return 0;
}

static void small_disk(void)
{
	support_run_or_skip(use_small_disk, "no disk of its own can be mounted");
}

static int without_fallocate(void *arg)
{
	const struct shmbuddy_options huge = { .capacity = 2 * (uint64_t)GIB }, some = { .capacity = 3 * MIB };
	const char *path = support_path("written"), *copy = support_path("copy");
	shmbuddy_t *region;
	struct stat st;

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, fault_error))
		return SUPPORT_CANNOT;
	buddy_fails(EOPNOTSUPP, !shmbuddy_open(path, &huge));
	g_assert_cmpint(access(path, F_OK), ==, -1);
	region = shmbuddy_open(path, &some);
	g_assert_nonnull(region);
	g_assert_true(stat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 >= 3 * MIB); /* Written whole. */
	g_assert_cmpuint(buddy_stats(region).backed_bytes, ==, buddy_stats(region).capacity);
	buddy_close(region);
	support_file_copy(path, copy);
	buddy_goes_on(buddy_open(copy, 0, 0, 0));
	buddy_goes_on(buddy_open(path, 3 * MIB, 0, 0));
	return 0;
}

static void no_fallocate(void)
{
	static const int errors[] = { EOPNOTSUPP, ENOSYS };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		fault_error = errors[i];
		support_run_or_skip(without_fallocate, "no seccomp filter here");
	}
}

static int without_locks(void *arg)
{
	const char *path = support_path("nolock"), *copy = support_path("copy");

	(void)arg;
	buddy_close(buddy_open(path, 64 * KIB, 32, 1024));
	support_file_copy(path, copy);
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, fault_error))
		return SUPPORT_CANNOT;
	buddy_goes_on(buddy_open(path, 0, 0, 0)); /* Locks are for making and for checking. */
	buddy_close(shmbuddy_open(path, &look));
	buddy_close(shmbuddy_open(copy, &look));
	buddy_fails(ENOLCK, !shmbuddy_open(copy, NULL));
	buddy_is_not_made(support_path("new"), ENOLCK);
	return 0;
}

static void no_locks(void)
{
	static const int errors[] = { ENOLCK, EINVAL };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		fault_error = errors[i];
		support_run_or_skip(without_locks, "no seccomp filter here");
	}
}

static int without_proc(void *arg)
{
	const char *path = support_path("noproc");
	shmbuddy_t *region;

	(void)arg;
	if (!support_no_proc())
		return SUPPORT_CANNOT;
	region = buddy_open(path, 64 * KIB, 32, 1024);
	g_assert_cmpuint(shmbuddy_malloc(region, 10), !=, SHM_NULL);
	buddy_close(region);
	region = buddy_open(path, 0, 0, 0); /* Of this boot or not, nobody knows: it is checked. */
	g_assert_cmpuint(buddy_stats(region).used_blocks, ==, 1);
	buddy_free_all(region);
	buddy_goes_on(region);
	region = shmbuddy_open_fd(open(path, O_RDWR | O_CLOEXEC), NULL);
	g_assert_true(!region && errno == ENOENT); /* It is opened anew through /proc/self/fd. */
	return 0;
}

static void no_proc(void)
{
	support_run_or_skip(without_proc, "no mount namespace here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/shmbuddy/faults/names", names);
	support_add("/shmbuddy/faults/links", links);
	support_add("/shmbuddy/faults/no-regular-files", no_regular_files);
	support_add("/shmbuddy/faults/not-for-this", not_for_this);
	support_add("/shmbuddy/faults/no-permission", no_permission);
	support_add("/shmbuddy/faults/limits", limits);
	support_add("/shmbuddy/faults/readonly-disk", readonly_disk);
	support_add("/shmbuddy/faults/small-disk", small_disk);
	support_add("/shmbuddy/faults/no-fallocate", no_fallocate);
	support_add("/shmbuddy/faults/no-locks", no_locks);
	support_add("/shmbuddy/faults/no-proc", no_proc);
	return support_run();
}
