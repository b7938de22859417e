/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disks that get other numbers (st_dev), and other mounts of them: a file stays the same file, by the id of its file system. Views and readers,
 * heaps of programs under mmalloc-run and of their fork children. First played, by the header's words; then with loop devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_fault.h"
#include "tests/tools/durables.h"
#include "tests/tools/loop.h"

/* ---- how a file is opened ---- */

typedef void *opener(const struct heap *heap, const char *path);

static void *open_to_write(const struct heap *heap, const char *path)
{
	return heap->open(path);
}

/* It has the block of make(). */
static struct qalloc_opening opened_by(opener *open_it, const struct heap *heap, const char *path)
{
	void *map = open_it(heap, path);
	struct qalloc_opening is;

	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	is = found(heap, map);
	g_assert_cmpint(*(char *)heap->at(map, heap->getroot(map, "first")), ==, 0x5a);
	g_assert_cmpint(heap->close(map), ==, 0);
	return is;
}

/* ---- views ---- */

/* The machine starts again, and numbers its disks otherwise. False: the file system has no id. */
static bool restart(const char *path, uint32_t state)
{
	forget_boot(path);
	put_state(path, state);
	return renumber_device(path);
}

static void assert_same_file(opener *open_it, const struct heap *heap, const char *path, bool cut)
{
	struct qalloc_opening is = opened_by(open_it, heap, path);

	g_assert_false(is.copied);
	g_assert_cmpint(is.machine_died, ==, cut);
	if (open_it == open_privately)
		g_assert_cmpint(is.verified, ==, cut);
}

static void view(opener *open_it, const struct heap *heap)
{
	const uint64_t other = 12345;
	const char *path = make(heap);

	restart(path, MA_STATE_SYNCED);
	assert_same_file(open_it, heap, path, false);
	restart(path, MA_STATE_IN_USE);
	assert_same_file(open_it, heap, path, true);
	put(path, offsetof(struct ma_header, filesystem), &other, sizeof(other));
	g_assert_true(opened_by(open_it, heap, path).copied);
}

static void views(void)
{
	if (!renumber_device(make(&heaps[0]))) {
		g_test_skip("the file system has no id");
		return;
	}
	for (size_t i = 0; i < HEAPS; i++) {
		view(open_to_read, &heaps[i]);
		if (!is_of(&heaps[i], "shmbuddy"))
			view(open_privately, &heaps[i]);
	}
}

/* A view of a durable map that is not yet what its last checkpoint was: of the same file, so it is refused. */
static void durable_views(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);

		if (!renumber_device(path)) {
			g_test_skip("the file system has no id");
			return;
		}
		g_assert_null(open_to_read(&heaps[i], path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		if (!is_of(&heaps[i], "shmbuddy")) {
			g_assert_null(open_privately(&heaps[i], path));
			g_assert_cmpint(errno, ==, EUCLEAN);
		}
		g_assert_cmpuint(opened_by(open_to_write, &heaps[i], path).restored, ==, 1);
		g_assert_false(opened_by(open_to_read, &heaps[i], path).copied);
	}
}

/* ---- under mmalloc-run ---- */

/* In the tests' folder, which another disk may be mounted over: the names of the heap, and of its fork child's. */
static char *heap_of_program(void)
{
	return g_build_filename(support_dir(), "program.heap", NULL);
}

static char *heap_of_child(void)
{
	GDir *dir = g_dir_open(support_dir(), 0, NULL);
	const char *name;
	char *path = NULL;

	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir)) != NULL)
		if (g_str_has_prefix(name, "program.heap.") && !path)
			path = g_build_filename(support_dir(), name, NULL);
	g_dir_close(dir);
	g_assert_nonnull(path);
	return path;
}

static bool can_run(void)
{
	const char *sanitizer = g_getenv("MA_SANITIZER");
	char *libraries = g_build_filename(g_getenv("MA_BUILDDIR"), "run", ".libs", NULL);
	char *shim = g_build_filename(libraries, "mmalloc-shim.so", NULL);
	bool can = is_there(shim) && !(sanitizer && *sanitizer) && !support_valgrind();

	g_setenv("MAPALLOC_LIBDIR", libraries, TRUE);
	g_free(libraries);
	g_free(shim);
	if (!can)
		g_test_skip("no shared libraries, or a sanitizer or Valgrind: nothing can be preloaded");
	return can;
}

static FILE *start(const char *program, const char *mode)
{
	char *heap = heap_of_program(), *line;
	FILE *pipe;

	line = g_strdup_printf("exec '%s/run/mmalloc-run' --heap '%s' --replace --follow -- %s",
			       g_getenv("MA_BUILDDIR"), heap, program);
	pipe = popen(line, mode); /* NOLINT: of a test's own */
	g_assert_nonnull(pipe);
	g_free(line);
	g_free(heap);
	return pipe;
}

/* A program that is killed (tests/run/leaver.c), and its fork child, which ended. */
static void run_program(void)
{
	char *heap = heap_of_program();
	char *program = g_strdup_printf("'%s/tests/run/leaver' 2>/dev/null", g_getenv("MA_BUILDDIR"));

	pclose(start(program, "r"));
	g_assert_true(is_there(heap));
	g_free(program);
	g_free(heap);
}

static struct qalloc_opening opened_heap(const char *path)
{
	const struct heap *heap = NULL;
	struct qalloc_opening is;
	void *map;

	for (size_t i = 0; i < HEAPS; i++)
		if (is_of(&heaps[i], "mmalloc"))
			heap = &heaps[i];
	map = heap->open(path);
	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	is = found(heap, map);
	g_assert_cmpint(heap->close(map), ==, 0);
	return is;
}

static void each_heap(void (*fn)(const char *path))
{
	char *program = heap_of_program(), *child = heap_of_child();

	fn(program);
	fn(child);
	g_free(program);
	g_free(child);
}

static void assert_after_restart(const char *path)
{
	struct qalloc_opening is;

	restart(path, MA_STATE_IN_USE);
	is = opened_heap(path);
	g_assert_true(!is.copied && is.machine_died && is.verified);
	renumber_device(path);
	is = opened_heap(path); /* In one run: a copy. */
	g_assert_true(is.copied && is.verified);
}

static void runner(void)
{
	if (!can_run())
		return;
	run_program();
	if (!renumber_device(make(&heaps[0])))
		g_test_skip("the file system has no id");
	else
		each_heap(assert_after_restart);
}

static int open_elsewhere(void *arg)
{
	struct qalloc_opening is;

	if (unshare(CLONE_NEWNS) < 0)
		return SUPPORT_CANNOT;
	is = opened_heap(arg);
	g_assert_true(!is.first && !is.copied && !is.verified && !is.machine_died);
	return 0;
}

/* A program that runs has its heap open: a process with mounts of its own joins it. */
static void runner_beside(void)
{
	char *heap = heap_of_program(), *said = g_build_filename(support_dir(), "said", NULL);
	char *program = g_strdup_printf("cat >'%s'", said);
	FILE *cat;
	int status;

	if (can_run()) {
		cat = start(program, "w");
		fputs("a line\n", cat);
		fflush(cat);
		while (!is_there(said) || support_file_size(said) == 0)
			support_sleep_us(1000);
		status = support_wait(support_fork(open_elsewhere, heap));
		g_assert_cmpint(pclose(cat), ==, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT)
			g_test_skip("no mount points of its own");
		else
			g_assert_cmphex((unsigned)status, ==, 0);
	}
	g_free(program);
	g_free(said);
	g_free(heap);
}

/* ---- disks of our own ---- */

static dev_t number_of_disk(void)
{
	struct stat st;

	g_assert_cmpint(stat(support_dir(), &st), ==, 0);
	return st.st_dev;
}

/* Not closed and synced, and another mount: the kernel may have lost the last writes. */
static void assert_other_mount(const char *path)
{
	struct qalloc_opening is = opened_heap(path);

	g_assert_true(!is.copied && is.machine_died && is.verified);
	is = opened_heap(path);
	g_assert_true(!is.copied && !is.machine_died && !is.verified);
}

static char *paths[HEAPS], *durable[HEAPS];

static void make_all(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		paths[i] = g_strdup(make(&heaps[i]));
		durable[i] = g_strdup(make_durable(&heaps[i]));
		put_byte(&heaps[i], durable[i], 1);
	}
}

/* A reader first: it changes nothing. */
static void open_all(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		assert_same_file(open_to_read, &heaps[i], paths[i], true);
		if (!is_of(&heaps[i], "shmbuddy"))
			assert_same_file(open_privately, &heaps[i], paths[i], true);
		assert_same_file(open_to_write, &heaps[i], paths[i], true);
		assert_same_file(open_to_write, &heaps[i], paths[i], false);
		g_assert_null(open_to_read(&heaps[i], durable[i]));
		g_assert_cmpint(errno, ==, EUCLEAN);
		g_assert_cmpuint(opened_by(open_to_write, &heaps[i], durable[i]).restored, ==, 1);
	}
}

static int attach_again(void *arg)
{
	bool runs = can_run();
	dev_t was;

	if (!loop_make(arg, "320M") || !loop_attach())
		return SUPPORT_CANNOT;
	was = number_of_disk();
	make_all();
	if (runs)
		run_program();
	loop_detach();
	if (!loop_attach_as_another())
		return SUPPORT_CANNOT;
	g_assert_cmpuint(number_of_disk(), !=, was);
	open_all();
	if (runs)
		each_heap(assert_other_mount);
	loop_detach();
	loop_remove();
	return 0;
}

static void attached_again(const char *fs)
{
	int status = support_wait(support_fork(attach_again, (void *)(uintptr_t)fs));

	if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip("such a file system cannot be made and mounted here");
	else
		g_assert_cmphex((unsigned)status, ==, 0);
}

static void ext4(void)
{
	attached_again("ext4");
}

static void xfs(void)
{
	attached_again("xfs");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/numbers/views", views);
	support_add("/tools/numbers/durable-views", durable_views);
	support_add("/tools/numbers/runner", runner);
	support_add("/tools/numbers/runner-beside", runner_beside);
	support_add("/tools/numbers/ext4", ext4);
	support_add("/tools/numbers/xfs", xfs);
	return support_run();
}
