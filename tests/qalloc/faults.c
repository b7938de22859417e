/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be wrong with a name, a process's limits, a file system or a disk, at each call that meets it: the errno that
 * qalloc.h documents, nothing left behind, and a map that goes on. tests/README.md has the table; see also disk.c.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

#define NOBODY 65534

static const unsigned ways[] = { 0, QALLOC_RDONLY, QALLOC_PRIVATE };

/* No way of opening it, or of making it, ends in anything else. */
static void assert_refused(const char *path, int error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		assert_null(qalloc_open(path, ways[i]), error);
	assert_null(qalloc_loadmap(path), error);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1), error);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 8, 1), error);
}

/* --- names --- */

static void names(void)
{
	char *long_name = g_strnfill(300, 'x'), *long_path = g_strnfill(5000, '/');
	const char *loop = support_path("loop"), *nowhere = support_path("nowhere");

	assert_refused("", ENOENT);
	assert_refused(long_name, ENAMETOOLONG);
	assert_refused(long_path, ENAMETOOLONG);
	g_assert_cmpint(symlink(loop, loop), ==, 0);
	assert_refused(loop, ELOOP);
	g_assert_cmpint(symlink("/proc/nonexistent/map", nowhere), ==, 0);
	assert_refused(nowhere, ENOENT);
	g_free(long_name);
	g_free(long_path);
}

static void no_regular_files(void)
{
	const char *fifo = support_path("fifo");
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_null(qalloc_loadmap(support_dir()), EISDIR);
	assert_null(qalloc_open(support_dir(), QALLOC_RDONLY), EISDIR);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, support_dir(), 1), EISDIR);
	g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
	assert_refused(fifo, EINVAL);
	assert_refused("/dev/null", EINVAL);
	g_strlcpy(name.sun_path, support_path("s"), sizeof(name.sun_path));
	if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0)
		assert_refused(name.sun_path, ENXIO);
	close(fd);
}

/* A name that leads to a map through a link is as good as the map's own. */
static void symbolic_link(void)
{
	const char *path = support_path("map"), *link = support_path("link");

	g_assert_cmpint(symlink(path, link), ==, 0);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, link, 1), ENOENT);
	support_close(support_dyn(path, MIB, 1));
	support_finish(support_load(link), path);
}

static char *as_nobody[2]; /* Names that need no permission on what is above. */

static int open_as_nobody(void *arg)
{
	(void)arg;
	if (chmod(support_dir(), 0711) != 0 || chdir(support_dir()) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
		return SUPPORT_CANNOT;
	assert_refused(as_nobody[0], EACCES);
	assert_null(qalloc_loadmap(as_nobody[1]), EACCES);
	support_close(support_open(as_nobody[1], QALLOC_RDONLY));
	support_close(support_open(as_nobody[1], QALLOC_PRIVATE));
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, "new", 1), EACCES);
	return 0;
}

static void no_permission(void)
{
	const char *none = support_path("none"), *reading = support_path("reading");

	support_close(support_dyn(none, MIB, 1));
	support_close(support_dyn(reading, MIB, 1));
	g_assert_cmpint(chmod(none, 0), ==, 0);
	g_assert_cmpint(chmod(reading, 0444), ==, 0);
	as_nobody[0] = g_path_get_basename(none);
	as_nobody[1] = g_path_get_basename(reading);
	support_run_or_skip(open_as_nobody, "only root can become somebody else");
	g_free(as_nobody[0]);
	g_free(as_nobody[1]);
}

/* --- limits of the process --- */

static int open_with_few_files(void *arg)
{
	const char *path = support_path("files");
	int lowest = dup(STDIN_FILENO);
	struct rlimit limit = { (rlim_t)lowest, (rlim_t)lowest + 1 };
	void *map;

	(void)arg;
	support_close(support_dyn(path, MIB, 1));
	close(lowest);
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	assert_refused(path, EMFILE);
	/* One is enough, even where /proc/.../boot_id cannot be read for want of another. */
	limit.rlim_cur++;
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	map = support_load(path);
	g_assert_nonnull(qalloc_malloc(map, 100));
	check_map(map);
	support_close(map);
	return 0;
}

static void too_many_open_files(void)
{
	if (support_valgrind())
		g_test_skip("Valgrind has its own limit of open files");
	else
		support_run_child(open_with_few_files, NULL);
}

/* --- file systems --- */

static int use_readonly_disk(void *arg)
{
	const char *path = support_path("ro");
	void *map;

	(void)arg;
	if (!support_small_disk("size=4m"))
		return SUPPORT_CANNOT;
	support_close(support_dyn(path, MIB, 1));
	if (!support_disk_readonly())
		return SUPPORT_CANNOT;
	assert_null(qalloc_loadmap(path), EROFS);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1), EROFS);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, support_path("new"), 8, 1), EROFS);
	map = support_open(path, QALLOC_RDONLY);
	check_map(map);
	assert_null(qalloc_malloc(map, 10), EROFS);
	support_close(map);
	map = support_open(path, QALLOC_PRIVATE);
	memset(qalloc_malloc(map, 100000), 1, 100000);
	check_map(map);
	support_close(map);
	return 0;
}

static void readonly_disk(void)
{
	support_run_or_skip(use_readonly_disk, "no mount namespace here");
}

static int look_without_locks(void *arg)
{
	const char *path = support_path("nolock");

	(void)arg;
	support_close(support_dyn(path, MIB, 1));
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, EINVAL))
		return SUPPORT_CANNOT;
	support_close(support_open(path, QALLOC_RDONLY));
	support_close(support_open(path, QALLOC_PRIVATE));
	assert_null(qalloc_loadmap(path), ENOLCK);
	return 0;
}

static void no_locks_are_no_matter_to_readers(void)
{
	support_run_or_skip(look_without_locks, "no seccomp filter here");
}

/* A child attaches anew through /proc/self/fd. */
static int call_in_child_without_proc(void *arg)
{
	assert_null(qalloc_malloc(arg, 10), EBADF);
	return 0;
}

static int call_without_proc(void *arg)
{
	const char *path = support_path("alone");
	void *map;

	(void)arg;
	if (!support_no_proc())
		return SUPPORT_CANNOT;
	map = support_dyn(path, 4 * MIB, 2);
	g_assert_nonnull(qalloc_malloc(map, 100000));
	check_map(map);
	support_run_child(call_in_child_without_proc, map);
	support_close(map);
	map = support_load(path);
	g_assert_cmpuint(support_used(map), ==, 1);
	support_finish(map, path);
	return 0;
}

static void without_proc(void)
{
	support_run_or_skip(call_without_proc, "no mount namespace here");
}

struct beside {
	struct support_sync sync;
	const char *path;
};

static struct beside *beside;

static int hold_it(void *arg)
{
	(void)arg;
	support_dyn(beside->path, MIB, 1);
	support_point(&beside->sync, "open");
	return 0;
}

static int join_without_proc(void *arg)
{
	uint64_t begin = support_now_us();

	(void)arg;
	if (!support_no_proc())
		return SUPPORT_CANNOT;
	support_close(support_open(beside->path, QALLOC_RDONLY));
	assert_null(qalloc_loadmap(beside->path), EAGAIN);
	g_assert_cmpuint(support_now_us() - begin, >=, 9 * 1000000u);
	return 0;
}

/* Whether the others run on this machine it cannot know. */
static void without_proc_beside_others(void)
{
	pid_t holder;

	beside = support_shared(sizeof(*beside));
	beside->path = support_path("beside");
	holder = support_fork(hold_it, NULL);
	support_await(&beside->sync, "open");
	support_run_or_skip(join_without_proc, "no mount namespace here");
	support_kill(holder);
}

/* --- a disk that fails --- */

static const int disk_errors[] = { EIO, ENOSPC, EDQUOT };
static int disk_error;

static int setroots(void *map, void *to)
{
	char name[20];

	for (int i = 0; i < 1000; i++) {
		g_snprintf(name, sizeof(name), "root %d", i);
		if (qalloc_setroot(map, name, to) != 0)
			return -1;
	}
	return 0;
}

/* Each call that takes space. What was dealt out before stays. */
static int take_no_space(void *arg)
{
	const char *path = support_path("dyn"), *copy = support_path("copy"), *new = support_path("new");
	dynmapinfo_t *dyn = support_dyn(path, 64 * MIB, 1);
	mapinfo_t *stat = support_stat(support_path("stat"), 16 * MIB, 256 * KIB, 1);
	char *block = qalloc_dynmalloc(dyn, 100000);

	(void)arg;
	g_assert_nonnull(block);
	support_file_copy(path, copy);
	support_dig(copy);
	if (!support_make_fail(SYS_fallocate, -1, disk_error))
		return SUPPORT_CANNOT;
	assert_null(qalloc_dynmalloc(dyn, 32 * MIB), disk_error);
	assert_null(qalloc_malloc(dyn, 32 * MIB), disk_error);
	assert_null(qalloc_calloc(dyn, 32, MIB), disk_error);
	assert_null(qalloc_memalign(dyn, MIB, 32 * MIB), disk_error);
	assert_null(qalloc_realloc(dyn, block, 32 * MIB), disk_error);
	g_assert_cmpuint(qalloc_usable_size(dyn, block), >=, 100000);
	assert_null(qalloc_statmalloc(stat), disk_error);
	assert_minus1(setroots(stat, support_base(stat) + support_stats(stat).file_bytes - 256 * KIB), disk_error);
	check_map(dyn);
	check_map(stat);
	g_assert_cmpuint(support_used(dyn), ==, 1);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, new, 1), disk_error);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, new, 8, 1), disk_error);
	g_assert_cmpint(access(new, F_OK), ==, -1);
	qalloc_dynfree(block, dyn);
	support_close(dyn);
	support_close(stat);
	assert_null(qalloc_loadmap(copy), disk_error); /* A copy may have lost the space that the original had. */
	return 0;
}

static void taking_space_fails(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(disk_errors); i++) {
		disk_error = disk_errors[i];
		support_run_or_skip(take_no_space, "no seccomp filter here");
	}
}

static int set_no_length(void *arg)
{
	const char *path = support_path("nolength");

	(void)arg;
	if (!support_make_fail(SYS_ftruncate, -1, disk_error))
		return SUPPORT_CANNOT;
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1), disk_error);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 8, 1), disk_error);
	g_assert_cmpint(access(path, F_OK), ==, -1);
	return 0;
}

static void setting_the_length_fails(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(disk_errors); i++) {
		disk_error = disk_errors[i];
		support_run_or_skip(set_no_length, "no seccomp filter here");
	}
}

static int read_nothing(void *arg)
{
	const char *path = support_path("unreadable");

	(void)arg;
	support_close(support_dyn(path, MIB, 1));
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	assert_refused(path, EIO);
	return 0;
}

static void reading_fails(void)
{
	support_run_or_skip(read_nothing, "no seccomp filter here");
}

static int sync_nothing(void *arg)
{
	dynmapinfo_t *map = support_dyn(support_path("sync"), MIB, 1);

	(void)arg;
	if (!support_make_fail(SYS_msync, -1, EIO))
		return SUPPORT_CANNOT;
	assert_minus1(qalloc_sync(map), EIO);
	errno = 0;
	qalloc_cleanup(); /* Closes all the same. */
	assert_errno_is(EIO);
	assert_minus1(qalloc_sync(map), EBADF);
	return 0;
}

static void writing_to_disk_fails(void)
{
	support_run_or_skip(sync_nothing, "no seccomp filter here");
}

/* --- interrupted, and truncated --- */

static int calls;
static long interrupted;

static long interrupted_twice(const long args[6])
{
	return calls++ % 3 < 2 ? -EINTR : support_real(args);
}

static int take_interrupted(void *arg)
{
	dynmapinfo_t *map;

	(void)arg;
	calls = 0;
	if (!support_hook(interrupted, interrupted_twice))
		return SUPPORT_CANNOT;
	map = support_dyn(support_path("eintr"), 16 * MIB, 1);
	memset(qalloc_dynmalloc(map, 3 * MIB), 1, 3 * MIB);
	g_assert_cmpint(calls, >, 2);
	check_map(map);
	support_close(map);
	return 0;
}

/* What a signal interrupts is begun again. */
static void interrupted_calls(void)
{
	static const long numbers[] = { SYS_fallocate, SYS_ftruncate, SYS_fcntl };

	for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
		interrupted = numbers[i];
		support_run_or_skip(take_interrupted, "no seccomp filter here, or not an x86-64");
	}
}

static unsigned way_in;
static const char *victim;

static long truncated_then(const long args[6])
{
	if (++calls == 1 && truncate(victim, 8192) != 0)
		return -EIO;
	return support_real(args);
}

static int open_truncated(void *arg)
{
	(void)arg;
	victim = support_path("short");
	support_close(support_dyn(victim, MIB, 1));
	calls = 0;
	if (!support_hook(SYS_pread64, truncated_then))
		return SUPPORT_CANNOT;
	assert_null(qalloc_open(victim, way_in), ENODATA);
	g_assert_cmpint(calls, >=, 1);
	return 0;
}

/* Somebody truncates the file while we open it, just before its header is read. */
static void truncated_while_opening(void)
{
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
		way_in = ways[i];
		support_run_or_skip(open_truncated, "no seccomp filter here, or not an x86-64");
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/faults/names", names);
	support_add("/qalloc/faults/no-regular-files", no_regular_files);
	support_add("/qalloc/faults/symbolic-link", symbolic_link);
	support_add("/qalloc/faults/no-permission", no_permission);
	support_add("/qalloc/faults/open-files", too_many_open_files);
	support_add("/qalloc/faults/readonly-disk", readonly_disk);
	support_add("/qalloc/faults/no-locks-reading", no_locks_are_no_matter_to_readers);
	support_add("/qalloc/faults/no-proc", without_proc);
	support_add("/qalloc/faults/no-proc-beside", without_proc_beside_others);
	support_add("/qalloc/faults/space", taking_space_fails);
	support_add("/qalloc/faults/length", setting_the_length_fails);
	support_add("/qalloc/faults/reading", reading_fails);
	support_add("/qalloc/faults/writing", writing_to_disk_fails);
	support_add("/qalloc/faults/interrupted", interrupted_calls);
	support_add("/qalloc/faults/truncated", truncated_while_opening);
	return support_run();
}
