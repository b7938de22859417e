/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each errno that making, loading and opening can end with. What needs knowledge of the header's layout is found by
 * damaging it byte by byte; tests/common has the golden files.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_qalloc.h"

static void null_names(void)
{
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, NULL, 8, 1), EINVAL);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, NULL, 1), EINVAL);
	assert_null(qalloc_loadmap(NULL), EINVAL);
	assert_null(qalloc_open(NULL, 0), EINVAL);
}

static void numbers_out_of_range(void)
{
	const char *path = support_path("range");

	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 0, 1), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 8, 1025), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, SIZE_MAX, 1), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, SIZE_MAX - 7, 1), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 2 * MIB, 1), EINVAL);
	assert_null(qalloc_makedynmap((off_t)(64 * MIB), NULL, path, 1025), EINVAL);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, SIZE_MAX), EINVAL);
}

static void sizes_out_of_range(void)
{
	const char *path = support_path("range");

	assert_null(qalloc_makestatmap(0, NULL, path, 8, 1), EINVAL);
	assert_null(qalloc_makestatmap(-1, NULL, path, 8, 1), EINVAL);
	assert_null(qalloc_makestatmap(4096, NULL, path, 8, 1), EINVAL);
	assert_null(qalloc_makedynmap(0, NULL, path, 1), EINVAL);
	assert_null(qalloc_makedynmap(-4096, NULL, path, 1), EINVAL);
	assert_null(qalloc_makedynmap((off_t)(64 * KIB), NULL, path, 1), EINVAL);
	support_finish(support_dyn(path, 128 * KIB, 1), path);
}

/* A refused creation leaves no half-made map behind that would hinder the next one. */
static void refusal_leaves_the_name_usable(void)
{
	const char *path = support_path("again");

	assert_null(qalloc_makedynmap(1000, NULL, path, 1), EINVAL);
	support_finish(support_dyn(path, MIB, 1), path);
}

static void address_off_the_page(void)
{
	const char *path = support_path("page");

	assert_null(qalloc_makedynmap((off_t)MIB, (char *)0x200000000000 + 1, path, 1), EINVAL);
	assert_null(qalloc_makedynmap((off_t)MIB, (char *)0x200000000000 + 2048, path, 1), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, (char *)0x200000000000 + 8, path, 8, 1), EINVAL);
}

static void address_taken(void)
{
	const char *path = support_path("taken");
	void *at = mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	g_assert_true(at != MAP_FAILED);
	assert_null(qalloc_makedynmap((off_t)MIB, at, path, 1), EADDRINUSE);
	assert_null(qalloc_makestatmap((off_t)MIB, (char *)at + MIB, path, 8, 1), EADDRINUSE);
	munmap(at, 4 * MIB);
	support_finish(support_dyn(path, MIB, 1), path);
}

/* Occupies what @p base says with a file whose name the debug line must give. */
static char *occupy(void *base, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	void *at = mmap(base, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);

	g_assert_true(at == base);
	close(fd);
	return at;
}

static void debug_line_names_the_occupant(void)
{
	const char *path, *file;
	char *text;
	void *map, *base;

	if (!support_in_process_with("QALLOC_DEBUG", "1"))
		return;
	path = support_path("taken");
	file = support_path("squatter");
	support_file_write(file, "squatter", 8);
	map = support_dyn(path, MIB, 1);
	base = support_base(map);
	support_close(map);
	occupy(base, file);
	support_capture_begin();
	errno = 0;
	g_assert_null(qalloc_loadmap(path));
	assert_errno_is(EADDRINUSE);
	text = support_capture_end();
	g_test_message("debug line: %s", text);
	g_assert_nonnull(strstr(text, "squatter"));
	g_assert_true(strchr(text, '\n') == text + strlen(text) - 1);
	g_free(text);
}

static void loading_wants_the_same_numbers(void)
{
	const char *stat = support_path("stat"), *dyn = support_path("dyn");

	support_close(support_stat(stat, MIB, 20, 3));
	support_close(support_dyn(dyn, MIB, 3));
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, stat, 28, 3), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, stat, 20, 2), EINVAL);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, dyn, 4), EINVAL);
	support_close(support_stat(stat, MIB, 24, 3));
	support_close(support_stat(stat, MIB, 17, 3));
	support_close(support_stat(stat, MIB, 0, 0));
	support_close(support_dyn(dyn, MIB, 0));
}

/* Mismatch on a map that is open here already: refused, and the open one stays open. */
static void mismatch_on_an_open_map(void)
{
	const char *path = support_path("open");
	dynmapinfo_t *map = support_dyn(path, MIB, 3);

	assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 4), EINVAL);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 0, 0), EPROTOTYPE);
	g_assert_nonnull(qalloc_dynmalloc(map, 10));
	support_finish(map, path);
}

static void the_other_kind(void)
{
	const char *stat = support_path("stat"), *dyn = support_path("dyn");

	support_close(support_stat(stat, MIB, 20, 3));
	support_close(support_dyn(dyn, MIB, 3));
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, stat, 0), EPROTOTYPE);
	assert_null(qalloc_makestatmap((off_t)MIB, NULL, dyn, 0, 0), EPROTOTYPE);
}

struct holder {
	const char *path;
	struct support_sync sync;
};

static int hold_static(void *arg)
{
	struct holder *holder = arg;
	void *map = support_load(holder->path);

	support_point(&holder->sync, "open");
	support_close(map);
	return 0;
}

/* Another process has it open: the same errno, at once. (It was taken for one that is being created, for ten seconds.) */
static void the_other_kind_in_use(void)
{
	struct holder *holder = support_shared(sizeof(*holder));
	pid_t pid;

	holder->path = support_path("used");
	support_close(support_stat(holder->path, MIB, 20, 3));
	pid = support_fork(hold_static, holder);
	support_await(&holder->sync, "open");
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, holder->path, 0), EPROTOTYPE);
	support_go(&holder->sync, "open");
	support_wait_ok(pid);
}

static void flags(void)
{
	const char *path = support_path("flags");

	support_close(support_dyn(path, MIB, 1));
	assert_null(qalloc_open(path, QALLOC_RDONLY | QALLOC_PRIVATE), EINVAL);
	assert_null(qalloc_open(path, QALLOC_EXCLUSIVE << 2), EINVAL);
	assert_null(qalloc_open(path, ~0u), EINVAL);
	support_close(support_open(path, 0));
}

static void open_in_another_way(void)
{
	static const unsigned ways[] = { 0, QALLOC_RDONLY, QALLOC_PRIVATE, QALLOC_EXCLUSIVE, QALLOC_FORK_SNAPSHOT };
	const char *path = support_path("busy");

	support_close(support_dyn(path, MIB, 1));
	for (int i = 0; i < 5; i++) {
		void *map = support_open(path, ways[i]);

		assert_null(qalloc_open(path, ways[(i + 1) % 3]), EBUSY);
		assert_null(qalloc_open(path, ways[(i + 2) % 3]), EBUSY);
		support_close(map);
	}
}

static void errors_of_open_2(void)
{
	const char *path = support_path("file");
	char *below = g_strdup_printf("%s/below", path);

	assert_null(qalloc_loadmap(path), ENOENT);
	assert_null(qalloc_open(path, QALLOC_RDONLY), ENOENT);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, "/proc/nonexistent/directory/map", 1), ENOENT);
	support_file_write(path, "x", 1);
	assert_null(qalloc_loadmap(below), ENOTDIR);
	assert_null(qalloc_makedynmap((off_t)MIB, NULL, below, 1), ENOTDIR);
	errno = 0;
	g_assert_null(qalloc_loadmap(support_dir()));
	g_assert_cmpint(errno, !=, 0);
	g_free(below);
}

static void a_device_is_refused(void)
{
	g_assert_null(qalloc_loadmap("/dev/null"));
	g_assert_null(qalloc_loadmap("/dev/zero"));
	g_assert_null(qalloc_makedynmap((off_t)MIB, NULL, "/dev/zero", 1));
}

static void foreign_content(void)
{
	const char *path = support_path("foreign");
	static char text[256 * 1024];
	static const size_t sizes[] = { 1, 7, 64, 4095, 4096, 4097, sizeof(text) };

	memset(text, 'A', sizeof(text));
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		size_t size;
		char *after;

		unlink(path);
		support_file_write(path, text, sizes[i]);
		assert_null(qalloc_loadmap(path), EMEDIUMTYPE);
		assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1), EMEDIUMTYPE);
		assert_null(qalloc_makestatmap((off_t)MIB, NULL, path, 8, 1), EMEDIUMTYPE);
		assert_null(qalloc_open(path, QALLOC_RDONLY), EMEDIUMTYPE);
		after = support_file_read(path, &size);
		g_assert_cmpuint(size, ==, sizes[i]);
		g_assert_cmpint(memcmp(after, text, size), ==, 0);
		g_free(after);
	}
}

/* An empty file is a map that nobody made yet: loading does not make it. */
static void loading_an_empty_file(void)
{
	const char *path = support_path("empty");

	support_file_write(path, "", 0);
	errno = 0;
	g_assert_null(qalloc_loadmap(path));
	g_assert_true(errno == EMEDIUMTYPE || errno == ENODATA);
	g_assert_null(qalloc_open(path, QALLOC_RDONLY));
	g_assert_cmpint(support_file_size(path), ==, 0);
}

static void truncated_file(void)
{
	const char *path = support_path("short");
	off_t sizes[] = { (off_t)MIB - 1, (off_t)(512 * KIB), 65536, 8192 };

	support_close(support_dyn(path, MIB, 1));
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
		g_assert_cmpint(truncate(path, sizes[i]), ==, 0);
		assert_null(qalloc_loadmap(path), ENODATA);
		assert_null(qalloc_open(path, QALLOC_RDONLY), ENODATA);
		assert_null(qalloc_open(path, QALLOC_PRIVATE), ENODATA);
		assert_null(qalloc_makedynmap((off_t)MIB, NULL, path, 1), ENODATA);
		g_assert_cmpint(support_file_size(path), ==, sizes[i]);
	}
}

/* --- limits of the process --- */

static int make_over_fsize(void *arg)
{
	const struct rlimit limit = { 2 * MIB, 2 * MIB };

	signal(SIGXFSZ, SIG_IGN);
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	assert_null(qalloc_makedynmap((off_t)(4 * MIB), NULL, arg, 1), EFBIG);
	assert_null(qalloc_makestatmap((off_t)(4 * MIB), NULL, arg, 8, 1), EFBIG);
	support_close(support_dyn(arg, MIB, 1));
	return 0;
}

static void over_the_file_size_limit(void)
{
	support_run_child(make_over_fsize, (void *)(uintptr_t)support_path("fbig"));
}

static int load_without_address_space(void *arg)
{
	const struct rlimit limit = { 64 * MIB, 64 * MIB };

	g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);
	assert_null(qalloc_loadmap(arg), ENOMEM);
	return 0;
}

static void no_address_space(void)
{
	const char *path = support_path("as");

	if (support_asan() || support_tsan() || support_valgrind()) {
		g_test_skip("RLIMIT_AS cannot be set under a sanitizer or Valgrind");
		return;
	}
	support_close(support_dyn(path, GIB, 1));
	support_run_child(load_without_address_space, (void *)(uintptr_t)path);
}

/* --- a live process that does not finish --- */

struct half_made {
	struct support_sync sync;
	const char *path;
};

/* Holds every byte of the file, as a creator or a recovering process does, and does not go on. */
static int sit_on_the_file(void *arg)
{
	struct half_made *half = arg;
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(half->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &all), ==, 0);
	support_point(&half->sync, "locked");
	return 0;
}

static int wait_for_nothing(void *arg)
{
	struct half_made *half = arg;
	uint64_t begin = support_now_us();

	assert_null(qalloc_makedynmap((off_t)MIB, NULL, half->path, 1), EAGAIN);
	g_assert_cmpuint(support_now_us() - begin, >=, 9 * 1000000u);
	return 0;
}

static void half_made_for_10_seconds(void)
{
	struct half_made *half = support_shared(2 * sizeof(*half));
	pid_t sitting[2], waiting[2];

	support_watchdog(2 * SUPPORT_HUNG_SECONDS);
	half[0].path = support_path("half-made");
	half[1].path = support_path("recovering");
	support_close(support_dyn(half[1].path, MIB, 1));
	for (int i = 0; i < 2; i++) {
		sitting[i] = support_fork(sit_on_the_file, &half[i]);
		support_await(&half[i].sync, "locked");
		waiting[i] = support_fork(wait_for_nothing, &half[i]);
	}
	for (int i = 0; i < 2; i++) {
		support_wait_ok(waiting[i]);
		support_kill(sitting[i]);
		support_finish(support_dyn(half[i].path, MIB, 1), half[i].path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/errors-open/null-name", null_names);
	support_add("/qalloc/errors-open/numbers", numbers_out_of_range);
	support_add("/qalloc/errors-open/sizes", sizes_out_of_range);
	support_add("/qalloc/errors-open/refusal-leaves-nothing", refusal_leaves_the_name_usable);
	support_add("/qalloc/errors-open/address-off-page", address_off_the_page);
	support_add("/qalloc/errors-open/address-taken", address_taken);
	support_add("/qalloc/errors-open/occupant-named", debug_line_names_the_occupant);
	support_add("/qalloc/errors-open/mismatch", loading_wants_the_same_numbers);
	support_add("/qalloc/errors-open/mismatch-while-open", mismatch_on_an_open_map);
	support_add("/qalloc/errors-open/other-kind", the_other_kind);
	support_add("/qalloc/errors-open/other-kind-in-use", the_other_kind_in_use);
	support_add("/qalloc/errors-open/flags", flags);
	support_add("/qalloc/errors-open/busy", open_in_another_way);
	support_add("/qalloc/errors-open/open-2", errors_of_open_2);
	support_add("/qalloc/errors-open/device", a_device_is_refused);
	support_add("/qalloc/errors-open/foreign-content", foreign_content);
	support_add("/qalloc/errors-open/load-empty", loading_an_empty_file);
	support_add("/qalloc/errors-open/truncated", truncated_file);
	support_add("/qalloc/errors-open/file-size-limit", over_the_file_size_limit);
	support_add("/qalloc/errors-open/address-space-limit", no_address_space);
	support_add("/qalloc/errors-open/half-made", half_made_for_10_seconds);
	return support_run();
}
