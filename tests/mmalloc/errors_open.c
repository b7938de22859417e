/* SPDX-License-Identifier: BSD-3-Clause */
/* Each errno of mmalloc_attach() and mmalloc_attach_opt(); nothing is left behind, and the next attach goes well. */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

static const struct mmalloc_options small = { .reserve = 8 << 20 }, none;
static const struct mmalloc_options look = { .flags = MMALLOC_RDONLY }, copy = { .flags = MMALLOC_PRIVATE };
static const struct mmalloc_options *const ways[] = { &none, &look, &copy };

static void heap_of_8_mib(const char *path)
{
	int fd = heap_file(path);
	void *md = mmalloc_attach_opt(fd, NULL, &small);

	g_assert_nonnull(md);
	g_assert_nonnull(mmalloc(md, 100));
	close(fd);
	heap_detach(md);
}

static void refused(int fd, const struct mmalloc_options *options, int error)
{
	assert_null(mmalloc_attach_opt(fd, NULL, options), error);
}

static void refused_in_all_ways(const char *path, int error)
{
	int fd = heap_file(path);

	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		refused(fd, ways[i], error);
	close(fd);
}

static void options(void)
{
	const struct mmalloc_options unknown = { .flags = MMALLOC_FORK_SNAPSHOT << 1 },
				     both = { .flags = MMALLOC_RDONLY | MMALLOC_PRIVATE },
				     streams = { .streams = 1025 }, reserve = { .reserve = (size_t)1 << 46 },
				     alone = { .flags = MMALLOC_EXCLUSIVE }, tiny = { .reserve = 4096 },
				     later = { .reserved = { 0, 0, 1 } };
	const struct mmalloc_options *const wrong[] = { &unknown, &both, &streams, &reserve, &tiny, &later };
	const char *path = support_path("options");
	int fd = heap_file(path);

	for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
		refused(fd, wrong[i], EINVAL);
		refused(-1, wrong[i], EINVAL);
	}
	refused(-1, &look, EINVAL);
	refused(-1, &copy, EINVAL);
	refused(-1, &alone, EINVAL);
	assert_null(mmalloc_attach(fd, (char *)0x200000000000 + 8), EINVAL);
	assert_null(mmalloc_attach(-1, (char *)0x200000000000 + 2048), EINVAL);
	assert_null(mmalloc_attach(fd, (void *)((uintptr_t)1 << 47)), EINVAL);
	g_assert_cmpint(support_file_size(path), ==, 0);
	close(fd);
	heap_of_8_mib(path);
}

static void no_files(void)
{
	int pair[2], pipes[2], directory = open(support_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), closed = dup(directory);

	close(closed);
	refused(closed, &none, EBADF);
	refused(closed, &look, EBADF);
	refused(directory, &none, EACCES); /* It cannot be open for writing. */
	refused(directory, &look, EISDIR);
	refused(directory, &copy, EISDIR);
	refused(null, &none, EINVAL);
	refused(null, &look, EINVAL);
	g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
	refused(pipes[0], &none, EACCES);
	refused(pipes[1], &none, EACCES);
	refused(pipes[0], &look, EINVAL);
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
	refused(pair[0], &none, ENXIO);
	for (int i = 0; i < 2; i++) {
		close(pipes[i]);
		close(pair[i]);
	}
	close(directory);
	close(null);
}

static void not_for_writing(void)
{
	const char *path = support_path("reading");
	int fd;

	heap_of_8_mib(path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	refused(fd, &none, EACCES);
	refused(fd, &small, EACCES);
	close(fd);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	refused(fd, &none, EACCES);
	close(fd);
}

/* A reader makes no heap. */
static void empty_for_a_reader(void)
{
	const char *path = support_path("empty");
	int fd = heap_file(path);

	refused(fd, &look, EMEDIUMTYPE);
	refused(fd, &copy, EMEDIUMTYPE);
	g_assert_cmpint(support_file_size(path), ==, 0);
	close(fd);
}

static void in_another_way(void)
{
	const char *path = support_path("ways");
	void *md = heap_attach(path), *again;
	int fd = heap_file(path);

	refused(fd, &look, EBUSY);
	refused(fd, &copy, EBUSY);
	again = mmalloc_attach(fd, NULL);
	g_assert_true(again == md);
	g_assert_null(mmalloc_detach(again));
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &look);
	g_assert_nonnull(md);
	refused(fd, &none, EBUSY);
	refused(fd, &copy, EBUSY);
	heap_detach(md);
	close(fd);
}

/* --- files that hold something else --- */

/* Overwrites some bytes of a sound heap. */
static void with_bytes(const char *path, size_t at, const void *bytes, size_t size, int error)
{
	int fd;

	heap_of_8_mib(path);
	fd = heap_file(path);
	g_assert_cmpint(pwrite(fd, bytes, size, (off_t)at), ==, (ssize_t)size);
	close(fd);
	refused_in_all_ways(path, error);
	unlink(path);
}

static void other_files(void)
{
	const char *path = support_path("other");
	const uint8_t ff = 0xff, one = 1;
	const uint32_t dynamic = 2, future = 99;
	const uint64_t beyond = (uint64_t)1 << 40, low = 8192, bit = 1;
	int fd;

	support_file_write(path, "a text", 6);
	refused_in_all_ways(path, EMEDIUMTYPE);
	unlink(path);
	/* Where these numbers lie is frozen: common/header.h. */
	with_bytes(path, 0, &ff, 1, EMEDIUMTYPE);
	with_bytes(path, 8, &dynamic, 4, EPROTOTYPE);
	with_bytes(path, 12, &future, 4, EPROTONOSUPPORT);
	with_bytes(path, 16, &bit, 8, EOPNOTSUPP);
	with_bytes(path, 40, &future, 4, ENOEXEC);
	with_bytes(path, 44, &one, 1, ENOEXEC);
	with_bytes(path, 45, &one, 1, ENOEXEC);
	with_bytes(path, 70, &ff, 1, EBADMSG);
	with_bytes(path, 148, &future, 4, EBADMSG);
	with_bytes(path, 192, &beyond, 8, EBADMSG);
	with_bytes(path, 192, &low, 8, EUCLEAN);
	heap_of_8_mib(path);
	g_assert_cmpint(truncate(path, 65536), ==, 0);
	refused_in_all_ways(path, ENODATA);
	g_assert_cmpint(truncate(path, 100), ==, 0);
	refused_in_all_ways(path, ENODATA);
	unlink(path);
	/* What only writers must understand. */
	heap_of_8_mib(path);
	fd = heap_file(path);
	g_assert_cmpint(pwrite(fd, &bit, 8, 24), ==, 8);
	refused(fd, &none, EOPNOTSUPP);
	refused(fd, &look, EBADMSG); /* Of which the checksum knows nothing here. */
	close(fd);
}

static void other_libraries(void)
{
	char *bytes;
	size_t size;
	const char *path = support_path("qalloc");

	bytes = support_file_read(MA_TEST_SRCDIR "/golden/dynamic-1.map", &size);
	support_file_write(path, bytes, size);
	g_free(bytes);
	refused_in_all_ways(path, EPROTOTYPE);
}

/* --- addresses --- */

static void address_taken(void)
{
	const char *path = support_path("taken");
	char *base = mmalloc_findbase(64 << 20), *wall;
	int fd = heap_file(path);
	void *md = mmalloc_attach_opt(fd, base, &small);

	g_assert_nonnull(md);
	heap_detach(md);
	wall = mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	g_assert_true(wall == base);
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		refused(fd, ways[i], EADDRINUSE);
	assert_null(mmalloc_attach(-1, wall), EADDRINUSE);
	assert_null(mmalloc_attach_opt(-1, wall, &small), EADDRINUSE);
	munmap(wall, 4096);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	heap_detach(md);
	close(fd);
}

/* It says by what, once, and does not try smaller ranges for a heap that has its own. */
static void debug_line_of_a_taken_address(void)
{
	const char *path, *file;
	char *base, *text;
	int fd, other;

	if (!support_in_process_with("MMALLOC_DEBUG", "1"))
		return;
	path = support_path("taken");
	file = support_path("occupant");
	support_file_write(file, "x", 1);
	base = mmalloc_findbase(64 << 20);
	fd = heap_file(path);
	g_assert_null(mmalloc_detach(mmalloc_attach(fd, base)));
	other = heap_file(file);
	g_assert_true(mmap(base, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, other, 0) == base);
	support_capture_begin();
	refused(fd, &none, EADDRINUSE);
	text = support_capture_end();
	g_assert_nonnull(strstr(text, "occupant"));
	g_assert_true(strchr(text, '\n') == text + strlen(text) - 1);
	g_free(text);
	close(other);
	close(fd);
}

/* --- limits of the process --- */

static int attach_with_few_files(void *arg)
{
	int fd = heap_file(support_path("files"));
	struct rlimit limit = { (rlim_t)fd + 1, (rlim_t)fd + 1 };
	void *md;

	(void)arg;
	md = mmalloc_attach(fd, NULL);
	heap_detach(md);
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		refused(fd, ways[i], EMFILE);
	return 0;
}

static void too_many_open_files(void)
{
	if (support_valgrind())
		g_test_skip("Valgrind has its own limit of open files");
	else
		support_run_child(attach_with_few_files, NULL);
}

/* --- locks --- */

static int attach_without_locks(void *arg)
{
	const char *path = support_path("nolock");
	int fd;

	(void)arg;
	heap_of_8_mib(path);
	fd = heap_file(path);
	if (!support_make_fail(SYS_fcntl, F_OFD_SETLK, ENOLCK))
		return SUPPORT_CANNOT;
	refused(fd, &none, ENOLCK);
	g_assert_null(mmalloc_detach(mmalloc_attach_opt(fd, NULL, &look)));
	g_assert_null(mmalloc_detach(mmalloc_attach_opt(fd, NULL, &copy)));
	return 0;
}

static void no_locks(void)
{
	support_run_or_skip(attach_without_locks, "no seccomp filter here");
}

/* Somebody holds what a creator holds, and does not finish. */
static void half_made_for_long(void)
{
	int fd = heap_file(support_path("half"));
	int holder;
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char name[64];
	void *md;

	g_snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	holder = open(name, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(fcntl(holder, F_OFD_SETLK, &all), ==, 0);
	refused(fd, &none, EAGAIN);
	close(holder);
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	heap_detach(md);
	close(fd);
}

/* --- disks --- */

static int disk_error;

static int make_without_space(void *arg)
{
	const char *path = support_path("new");
	int fd = heap_file(path);

	(void)arg;
	if (!support_make_fail(SYS_fallocate, -1, disk_error))
		return SUPPORT_CANNOT;
	refused(fd, &none, disk_error);
	refused(fd, &small, disk_error);
	g_assert_cmpint(support_file_size(path), ==, 0);
	return 0;
}

static int make_without_length(void *arg)
{
	const char *path = support_path("length");
	int fd = heap_file(path);

	(void)arg;
	if (!support_make_fail(SYS_ftruncate, -1, disk_error))
		return SUPPORT_CANNOT;
	refused(fd, &small, disk_error);
	return 0;
}

static int attach_without_reading(void *arg)
{
	const char *path = support_path("unreadable");
	int fd;

	(void)arg;
	heap_of_8_mib(path);
	fd = heap_file(path);
	if (!support_make_fail(SYS_pread64, -1, EIO))
		return SUPPORT_CANNOT;
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		refused(fd, ways[i], EIO);
	return 0;
}

static void failing_disk(void)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT, EFBIG };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		disk_error = errors[i];
		support_run_or_skip(make_without_space, "no seccomp filter here");
		support_run_or_skip(make_without_length, "no seccomp filter here");
	}
	support_run_or_skip(attach_without_reading, "no seccomp filter here");
}

static void sealed_memory(void)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), ==, 0);
	refused(fd, &none, EPERM);
	close(fd);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/errors-open/options", options);
	support_add("/mmalloc/errors-open/no-files", no_files);
	support_add("/mmalloc/errors-open/not-for-writing", not_for_writing);
	support_add("/mmalloc/errors-open/empty", empty_for_a_reader);
	support_add("/mmalloc/errors-open/ways", in_another_way);
	support_add("/mmalloc/errors-open/other-files", other_files);
	support_add("/mmalloc/errors-open/other-libraries", other_libraries);
	support_add("/mmalloc/errors-open/address", address_taken);
	support_add("/mmalloc/errors-open/debug-address", debug_line_of_a_taken_address);
	support_add("/mmalloc/errors-open/open-files", too_many_open_files);
	support_add("/mmalloc/errors-open/no-locks", no_locks);
	support_add("/mmalloc/errors-open/half-made", half_made_for_long);
	support_add("/mmalloc/errors-open/disk", failing_disk);
	support_add("/mmalloc/errors-open/sealed", sealed_memory);
	return support_run();
}
