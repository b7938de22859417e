/* SPDX-License-Identifier: BSD-3-Clause */
/* Wrong usage, and failures of the system, for each command: the status, and what is said. Also help, colors, and output that cannot go. */
#include <fcntl.h>
#include <qalloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/tools/heaps.h"

static const char *const commands[] = { "info", "check",  "list",     "show",   "stat", "leaks", "repair",
					"plot", "create", "snapshot", "resize", "reap", "dump",  "load" };
/* Those with one file, which they read. */
static const char *const readers[] = { "info", "check", "list", "stat", "leaks", "repair", "plot", "dump" };

static const char *make_map(const char *name)
{
	const char *path = support_path(name);
	dynmapinfo_t *map = qalloc_makedynmap(MIB, NULL, path, 1);

	g_assert_nonnull(map);
	g_assert_nonnull(qalloc_malloc(map, 100));
	g_assert_cmpint(qalloc_close(map), ==, 0);
	return path;
}

/* ---- usage ---- */

static void usage(void)
{
	assert_status(64, "no-such-command");
	assert_complained("no command no-such-command");
	assert_status(64, "");
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		assert_status(64, commands[i]);
		assert_complained("wants ");
		assert_status(64, commands[i], "--no-such-option", "x");
		assert_complained("unknown option --no-such-option");
		assert_status(64, commands[i], "-Z", "x");
		assert_complained("unknown option -Z");
		assert_status(64, commands[i], "--color=mauve", "x", "y");
		assert_complained("not mauve");
	}
	for (size_t i = 2; i < G_N_ELEMENTS(readers); i++)
		assert_status(64, readers[i], "a", "b");
}

static void values(void)
{
	const char *path = make_map("map");

	assert_status(64, "list", "--min-size=large", path);
	assert_complained("not a value that its option takes: large");
	assert_status(64, "list", path, "--min-size");
	assert_complained("wants a value");
	assert_status(64, "stat", "--interval=0", path);
	assert_status(64, "stat", "--interval=1x", path);
	assert_status(64, "stat", "--count=-1", path);
	assert_status(64, "stat", "--count= -1", path);
	assert_status(64, "stat", "--count=18446744073709551616", path);
	assert_status(0, "stat", "--interval=0.01", "--count=08", path);
	assert_status(64, "resize", path, "64T");
	assert_complained("not a size that a map can have: 64T");
	assert_status(64, "plot", "--layout=spiral", path);
	assert_complained("not spiral");
	assert_status(64, "plot", "-o", "picture.png", path);
	assert_complained("picture.png");
	assert_status(64, "check", "--json=yes", path);
	assert_status(0, "list", "--min", "1K", path); /* Cut short, and still one option alone. */
	assert_status(0, "list", "-m1K", path);
}

static void help(void)
{
	assert_status(0, "--help");
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
		assert_said(commands[i]);
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		assert_status(0, commands[i], "--help");
		assert_said("usage: mapalloc ");
		assert_said("examples:\n");
		g_assert_cmpstr(run_err, ==, "");
	}
	assert_status(0, "--version");
	assert_said("mapalloc ");
}

/* ---- files ---- */

static void no_file(void)
{
	char *directory = g_build_filename(support_dir(), "directory", NULL),
	     *fifo = g_build_filename(support_dir(), "fifo", NULL);
	char *long_name = g_strnfill(5000, 'x'), *loop = g_build_filename(support_dir(), "loop", NULL);

	g_assert_cmpint(mkdir(directory, 0700), ==, 0);
	g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
	g_assert_cmpint(symlink(loop, loop), ==, 0);
	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		assert_status(4, readers[i], "/no/such/file");
		assert_complained("/no/such/file: cannot open it: No such file");
		assert_status(4, readers[i], directory);
		assert_complained("is not a regular file");
		assert_status(4, readers[i], fifo);
		assert_complained("is not a regular file");
		assert_status(4, readers[i], "/dev/null");
		assert_status(4, readers[i], long_name);
		assert_complained("too long");
		assert_status(4, readers[i], loop);
	}
	rmdir(directory);
	unlink(fifo);
	unlink(loop);
	g_free(directory);
	g_free(fifo);
	g_free(loop);
	g_free(long_name);
}

static void no_map(void)
{
	const char *text = support_path("text"), *empty = support_path("empty"), *copy = support_path("copy");

	support_file_write(text, "a text that is none of ours\n", 28);
	support_file_write(empty, "", 0);
	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		assert_status(3, readers[i], text);
		assert_status(3, readers[i], empty);
	}
	assert_status(3, "snapshot", text, copy);
	assert_status(3, "resize", text, "1M");
	g_assert_cmpint(access(copy, F_OK), <, 0);
}

static int as_nobody(void *file)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 99;
	execl(program, "mapalloc", "check", (char *)file, NULL);
	return 98;
}

static void no_permission(void)
{
	const char *path = make_map("map");

	if (geteuid() != 0) {
		g_test_skip("only root can become somebody who may not read it");
		return;
	}
	g_assert_cmpint(support_wait(support_fork(as_nobody, (void *)(uintptr_t)path)), ==, 4 << 8);
}

/* A damaged file is one of several: all are answered for, and the worst decides. */
static void several(void)
{
	const char *good = make_map("good"), *text = support_path("text");

	support_file_write(text, "text", 4);
	assert_status(3, "check", good, text);
	assert_said("good: sound");
	assert_said("text: not ours");
	assert_status(4, "check", good, "/no/such/file", text);
	assert_said("text: not ours");
	assert_status(4, "info", "--json", "/no/such/file", good);
	assert_said("\"verdict\": \"sound\"");
}

/* ---- output ---- */

static int into_full(void *arguments)
{
	char **argv = arguments;
	int full = open("/dev/full", O_WRONLY);

	dup2(full, STDOUT_FILENO);
	execv(argv[0], argv);
	return 98;
}

static void no_room_for_output(void)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	const char *path = make_map("map");
	char *argv[] = { program, NULL, (char *)(uintptr_t)path, NULL };

	for (size_t i = 0; i < G_N_ELEMENTS(readers); i++) {
		argv[1] = (char *)(uintptr_t)readers[i];
		g_assert_cmpint(support_wait(support_fork(into_full, argv)), ==, 4 << 8);
	}
	argv[2] = NULL;
	argv[1] = (char *)(uintptr_t) "--help";
	g_assert_cmpint(support_wait(support_fork(into_full, argv)), ==, 4 << 8);
	argv[1] = (char *)(uintptr_t) "--version";
	g_assert_cmpint(support_wait(support_fork(into_full, argv)), ==, 4 << 8);
	assert_status(4, "plot", "-o", "/no/such/directory/a.svg", path);
	assert_status(4, "dump", "-o", "/no/such/directory/a", path);
	assert_status(4, "snapshot", path, "/no/such/directory/a");
	assert_status(0, "repair", "--backup", "/no/such/directory/a", path); /* There is nothing to repair. */
	g_free(program);
}

static int without_standard_files(void *arguments)
{
	char **argv = arguments;

	for (int fd = 0; fd < 3; fd++)
		if (!strchr(argv[5], '0' + fd))
			close(fd);
	execl(argv[0], argv[0], argv[1], argv[2], argv[3], argv[4], NULL);
	return 98;
}

/* What is said then goes nowhere: least of all into the map, which would be the next file of that number. */
static void no_standard_files(void)
{
	static const char *const open_ones[] = { "01", "02", "12", "0", "1", "2", "" };
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	const char *path = make_map("map"), *there = support_path("there");
	char *argv[] = { program, "repair", "--backup", (char *)(uintptr_t)there, (char *)(uintptr_t)path, NULL };
	size_t size;
	char *was = support_file_read(path, &size), *is;

	memset(was + 212, 0, 4); /* As if its user had died: it says that it is in use. */
	support_file_write(path, was, size);
	support_file_write(there, "mine", 4);
	for (size_t i = 0; i < G_N_ELEMENTS(open_ones); i++) {
		argv[5] = (char *)(uintptr_t)open_ones[i];
		g_assert_cmpint(WEXITSTATUS(support_wait(support_fork(without_standard_files, argv))), >=, 4);
		is = support_file_read(path, &size);
		g_assert_true(memcmp(was, is, size) == 0);
		g_free(is);
	}
	g_free(was);
	g_free(program);
}

/* No backup, no repair. */
static void no_backup(void)
{
	const char *path = make_map("map"), *there = support_path("there");
	size_t size;
	char *was = support_file_read(path, &size), *is;

	memset(was + 212, 0, 4); /* As if its user had died: it says that it is in use. */
	support_file_write(path, was, size);
	support_file_write(there, "mine", 4);
	assert_status(0, "check", path);
	assert_said("state/in-use");
	assert_status(5, "repair", "--backup", there, path);
	assert_complained("cannot make the backup: File exists");
	is = support_file_read(path, &size);
	g_assert_true(memcmp(was, is, size) == 0);
	g_assert_cmpint(support_file_size(there), ==, 4);
	assert_status(0, "repair", path);
	g_free(was);
	g_free(is);
}

static void colors(void)
{
	const char *path = make_map("map");

	assert_status(0, "info", path); /* Not on a terminal. */
	g_assert_null(strchr(run_out, '\033'));
	assert_status(0, "info", "--color=always", path);
	assert_said("\033[");
	g_setenv("NO_COLOR", "1", TRUE);
	assert_status(0, "info", path);
	g_assert_null(strchr(run_out, '\033'));
	assert_status(0, "info", "--color=always", path); /* Who asks for it gets it. */
	assert_said("\033[");
	g_unsetenv("NO_COLOR");
	assert_status(0, "info", "--color=never", path);
	g_assert_null(strchr(run_out, '\033'));
	assert_status(0, "plot", "--watch", "--count=2", "--interval=0.01", "--color=always", path);
	assert_said("\033[38;5;");
}

static void exact_sizes(void)
{
	const char *path = make_map("map");

	assert_status(0, "stat", path);
	assert_said("960K");
	assert_status(0, "stat", "--bytes", path);
	g_assert_null(strstr(run_out, "960K"));
	assert_said("983040");
	assert_said("896: free slots"); /* 8 free slots of 112: a small slab of one cell has 9. */
}

/* What the command prints when it cannot make a map of this kind, with this in the environment. */
static char *said_with(const char *variable, const char *kind)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	char *argv[] = { program,    "create", (char *)(uintptr_t)kind, (char *)(uintptr_t)support_path("new"),
			 "--size=1", NULL };
	char **environment = g_environ_setenv(g_get_environ(), variable, "1", TRUE), *printed = NULL;

	g_assert_true(g_spawn_sync(NULL, argv, environment, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &printed,
				   NULL, NULL));
	g_strfreev(environment);
	g_free(program);
	return printed;
}

/* One variable for all libraries. The command's own message has no part of the sentence twice. */
static void debug_lines(void)
{
	static const char *const kinds[] = { "qalloc-dynamic", "shmbuddy" };

	for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
		char *printed = said_with("MAPALLOC_DEBUG", kinds[i]);

		assert_contains(printed, "mapalloc[", __FILE__, __LINE__);
		assert_contains(printed, " (EINVAL)\n", __FILE__, __LINE__);
		assert_contains(printed, ": cannot make it: ", __FILE__, __LINE__);
		assert_contains(printed, " (Invalid argument)\n", __FILE__, __LINE__);
		g_free(printed);
		printed = said_with(i == 0 ? "QALLOC_DEBUG" : "SHMBUDDY_DEBUG", kinds[i]);
		g_assert_null(strchr(printed, '['));
		g_assert_null(strstr(printed, "(EINVAL)"));
		g_free(printed);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/errors/usage", usage);
	support_add("/tools/errors/values", values);
	support_add("/tools/errors/help", help);
	support_add("/tools/errors/debug-lines", debug_lines);
	support_add("/tools/errors/no-file", no_file);
	support_add("/tools/errors/no-map", no_map);
	support_add("/tools/errors/no-permission", no_permission);
	support_add("/tools/errors/several", several);
	support_add("/tools/errors/no-room-for-output", no_room_for_output);
	support_add("/tools/errors/no-standard-files", no_standard_files);
	support_add("/tools/errors/no-backup", no_backup);
	support_add("/tools/errors/colors", colors);
	support_add("/tools/errors/exact-sizes", exact_sizes);
	return support_run();
}
