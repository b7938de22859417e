/* SPDX-License-Identifier: BSD-3-Clause */
/* mmtrace(): the lines themselves, and what the C library's mtrace script makes of them. */
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/support_mmalloc.h"

/* Leaks that cannot be taken for anything else, by their sizes. */
#define LEAK_DEFAULT 0xabc
#define LEAK_FILE    0x54321
#define LEAKS        2

static void begin_trace(void)
{
	g_assert_cmpint(mmtrace(), ==, 1);
}

/* ---- what is traced: each in a process of its own, where MALLOC_TRACE names the file ---- */

static void leak(void *md)
{
	g_assert_nonnull(mmalloc(NULL, LEAK_DEFAULT));
	g_assert_nonnull(mmalloc(md, LEAK_FILE));
}

static void every_call(void *md)
{
	char *block = mmalloc(md, 100), *other, *same;

	block = mrealloc(md, block, 101); /* In place. */
	block = mrealloc(md, block, 5000);
	g_assert_null(mrealloc(md, block, (size_t)1 << 50));
	g_assert_null(mmalloc(md, (size_t)1 << 50));
	g_assert_null(mmalloc(md, 0));
	mfree(md, NULL);
	other = mcalloc(md, 10, 10);
	g_assert_null(mrealloc(md, other, 0));
	other = mmemalign(md, 4096, 300000);
	same = mrealloc(md, other, 250000);
	mfree(md, same);
	mfree(md, block);
	mfree(md, mvalloc(md, 10));
	mfree(md, mrealloc(md, NULL, 2000));
	for (size_t i = 1; i < 3000; i += 7) {
		block = mmalloc(md, i);
		if (i % 2)
			block = mrealloc(md, block, i * 3);
		mfree(md, block);
	}
}

static void work(struct support_thread *self)
{
	void *md = self->arg, *blocks[30] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, self->index);
	for (size_t i = 0; i < support_scale(3000); i++) {
		size_t at = support_rand_below(&r, 30);

		if (support_rand_below(&r, 3)) {
			mfree(md, blocks[at]);
			blocks[at] = mmalloc(md, support_rand_between(&r, 1, 300));
		} else {
			blocks[at] = mrealloc(md, blocks[at], support_rand_between(&r, 1, 300));
		}
		g_assert_nonnull(blocks[at]);
	}
	for (size_t at = 0; at < 30; at++)
		mfree(md, blocks[at]);
}

static int use_in_child(void *arg)
{
	void *block = mmalloc(arg, 10);

	mfree(arg, mrealloc(arg, block, 5000));
	mfree(NULL, mmalloc(NULL, 10));
	g_assert_nonnull(mmalloc(NULL, 12345)); /* No leak of the process that is traced. */
	g_assert_null(mmalloc_detach(arg));
	return 0;
}

static void run_calls(void *md)
{
	every_call(md);
	every_call(NULL);
}

static void run_threads(void *md)
{
	support_threads(4, work, md);
	support_threads(2, work, NULL);
}

static void run_forks(void *md)
{
	void *block = mmalloc(md, 10);

	for (int i = 0; i < 3; i++)
		support_run_child(use_in_child, md);
	mfree(md, block);
}

static void run_checked(void *md)
{
	g_assert_cmpint(mmcheck(md, NULL), ==, 1);
	g_assert_cmpint(mmcheckf(NULL, NULL, 1), ==, 1);
	every_call(md);
	every_call(NULL);
	support_threads(3, work, md);
}

/* ---- what comes of it ---- */

static char *run_script(const char *trace)
{
	char *argv[] = { "mtrace", "/proc/self/exe", (char *)(uintptr_t)trace, NULL };
	GError *error = NULL;
	char *out = NULL, *err = NULL;
	int status;

	argv[1] = g_file_read_link("/proc/self/exe", NULL);
	if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status, &error))
		g_error("mtrace: %s", error->message);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) /* 1: there are leaks. */
		g_error("mtrace: status %d: %s%s", status, out, err);
	g_free(argv[1]);
	g_free(err);
	return out;
}

/* "Memory not freed:", a rule, the column heads, then a line a leak; before it a line for each thing that is odd. */
static void check_script(const char *trace)
{
	char *out = run_script(trace);
	char **lines = g_strsplit(g_strstrip(out), "\n", -1);
	unsigned seen_default = 0, seen_file = 0;

	if (g_strv_length(lines) != 3 + LEAKS || strcmp(lines[0], "Memory not freed:") != 0)
		g_error("mtrace says:\n%s", out);
	for (char **line = lines + 3; *line; line++) {
		unsigned long long address, size;

		g_assert_cmpint(sscanf(*line, "0x%llx 0x%llx", &address, &size), ==, 2);
		seen_default += size == LEAK_DEFAULT;
		seen_file += size == LEAK_FILE;
	}
	if (seen_default != 1 || seen_file != 1)
		g_error("mtrace says:\n%s", out);
	g_strfreev(lines);
	g_free(out);
}

/* Every line is whole, and has the form that the C library's have. */
static void check_lines(const char *trace)
{
	char *text = support_file_read(trace, NULL);
	char **lines = g_strsplit(text, "\n", -1);
	GRegex *form =
		g_regex_new("^@ [^ ]*trace:(\\([^ ]+\\+0x[0-9a-f]+\\))?\\[0x[0-9a-f]+\\] "
			    "([-<] 0x[0-9a-f]+|[>!] 0x[0-9a-f]+ 0x[0-9a-f]+|\\+ (0x[0-9a-f]+|\\(nil\\)) 0x[0-9a-f]+)$",
			    0, 0, NULL);

	g_assert_cmpstr(lines[0], ==, "= Start");
	for (char **line = lines + 1; line[1]; line++)
		if (!g_regex_match(form, *line, 0, NULL))
			g_error("a line of another form: %s", *line);
	g_assert_cmpstr(lines[g_strv_length(lines) - 1], ==, "");
	g_regex_unref(form);
	g_strfreev(lines);
	g_free(text);
}

static void traced(const char *name, void (*run)(void *md))
{
	static char *trace;
	char *script;
	void *md;

	trace = g_strdup(g_test_subprocess() ? getenv("MALLOC_TRACE") : support_path(name));
	if (support_in_process_with("MALLOC_TRACE", trace)) {
		void *early = mmalloc(NULL, 100);

		md = heap_attach(support_path("heap"));
		begin_trace();
		run(md);
		leak(md);
		begin_trace();                     /* Nothing changes. */
		g_assert_null(mmalloc_detach(md)); /* Or Valgrind reads all of its range. */
		(void)early;
		return;
	}
	check_lines(trace);
	script = g_find_program_in_path("mtrace");
	if (script)
		check_script(trace);
	else
		g_test_skip("the C library's mtrace script is not installed (Debian: libc-devtools)");
	g_free(script);
	g_free(trace);
}

static void calls(void)
{
	traced("calls", run_calls);
}

static void threads(void)
{
	traced("threads", run_threads);
}

static void forks(void)
{
	traced("forks", run_forks);
}

static void checked(void)
{
	traced("checked", run_checked);
}

/* Line by line: one heap, known calls. */
static void lines_in_order(void)
{
	static char *trace;
	char *text, **lines, *kinds;

	trace = g_strdup(g_test_subprocess() ? getenv("MALLOC_TRACE") : support_path("order"));
	if (support_in_process_with("MALLOC_TRACE", trace)) {
		void *md = heap_attach(support_path("heap")), *block;

		begin_trace();
		block = mmalloc(md, 0x11);
		block = mrealloc(md, block, 0x2000);
		g_assert_null(mrealloc(md, block, (size_t)1 << 50));
		mfree(md, block);
		mfree(md, block); /* Twice: the script is to see it. */
		g_assert_null(mmalloc_detach(md));
		return;
	}
	kinds = g_strdup("");
	text = support_file_read(trace, NULL);
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines + 1; line[0] && line[1]; line++) {
		char *with = g_strconcat(kinds, strstr(*line, "] ") + 1, NULL);

		g_free(kinds);
		kinds = with;
	}
	if (!g_regex_match_simple("^ \\+ (0x\\w+) 0x11 < \\1 > (0x\\w+) 0x2000 ! \\2 0x4000000000000 - \\2 - \\2$",
				  kinds, 0, 0))
		g_error("the lines are:%s", kinds);
	g_free(kinds);
	g_strfreev(lines);
	g_free(text);
	g_free(trace);
}

/* Killed: what was done is there. */
static int trace_and_wait(void *arg)
{
	void *md = heap_attach(support_path("heap"));

	begin_trace();
	mfree(md, mmalloc(md, 0x77));
	support_point(arg, "traced");
	return 0;
}

static void killed(void)
{
	struct support_sync *sync = support_shared(sizeof(*sync));
	const char *trace = getenv("MALLOC_TRACE");
	struct stat st;
	char *text;

	if (!support_in_process_with("MALLOC_TRACE", support_path("killed")))
		return;
	umask(022);
	support_kill_at(support_fork(trace_and_wait, sync), sync, "traced");
	text = support_file_read(trace, NULL);
	g_assert_nonnull(strstr(text, "+ 0x"));
	g_assert_nonnull(strstr(text, "- 0x"));
	g_assert_cmpint(stat(trace, &st), ==, 0);
	g_assert_cmpint(st.st_mode & 0777, ==, 0644);
	g_free(text);
}

static void cannot_begin(int error)
{
	errno = 0;
	g_assert_cmpint(mmtrace(), ==, 0);
	g_assert_cmpint(errno, ==, error);
}

/* What the program sets later has no effect. */
static void unset(void)
{
	if (!support_in_process_with("MALLOC_TRACE", NULL))
		return;
	cannot_begin(EINVAL);
	setenv("MALLOC_TRACE", support_path("unset"), 1);
	cannot_begin(EINVAL);
	g_assert_false(g_file_test(support_path("unset"), G_FILE_TEST_EXISTS));
}

static void nowhere(void)
{
	if (support_in_process_with("MALLOC_TRACE", "/nowhere/at/all"))
		cannot_begin(ENOENT);
}

static void replaced(void)
{
	if (!support_in_process_with("MALLOC_TRACE", support_path("replaced")))
		return;
	support_file_write(getenv("MALLOC_TRACE"), "something that was there before, and goes", 41);
	begin_trace();
	g_assert_cmpint(support_file_size(getenv("MALLOC_TRACE")), ==, 8); /* "= Start" */
}

/* A child's calls are not in its parent's trace, which stays whole. */
static int in_child(void *arg)
{
	(void)arg;
	mfree(NULL, mmalloc(NULL, 0x55));
	return 0;
}

static void a_child(void)
{
	char *text;

	if (!support_in_process_with("MALLOC_TRACE", support_path("own")))
		return;
	begin_trace();
	support_run_child(in_child, NULL);
	mfree(NULL, mmalloc(NULL, 0x44));
	text = support_file_read(getenv("MALLOC_TRACE"), NULL);
	g_assert_true(strstr(text, " 0x44\n") && !strstr(text, " 0x55\n"));
	g_free(text);
}

/* A program that closes everything, and then writes a file under the number that we had. */
static int close_all(void *arg)
{
	char *path = g_strconcat(arg, "-other", NULL), *text;
	int fd = -1;

	begin_trace();
	for (int i = 3; i < 100; i++)
		close(i);
	while (fd < 50)
		g_assert_cmpint(fd = open(path, O_RDWR | O_CREAT, 0600), >=, 0);
	mfree(NULL, mmalloc(NULL, 10));
	text = support_file_read(path, NULL);
	g_assert_cmpstr(text, ==, "");
	g_free(text);
	unlink(path);
	g_free(path);
	return 0;
}

static void descriptors_that_were_closed(void)
{
	if (support_valgrind())
		g_test_skip("Valgrind keeps descriptors of its own");
	else if (support_in_process_with("MALLOC_TRACE", support_path("closed")))
		support_run_child(close_all, getenv("MALLOC_TRACE"));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/trace/calls", calls);
	support_add("/mmalloc/trace/threads", threads);
	support_add("/mmalloc/trace/fork", forks);
	support_add("/mmalloc/trace/checked", checked);
	support_add("/mmalloc/trace/order", lines_in_order);
	support_add("/mmalloc/trace/killed", killed);
	support_add("/mmalloc/trace/unset", unset);
	support_add("/mmalloc/trace/nowhere", nowhere);
	support_add("/mmalloc/trace/replaced", replaced);
	support_add("/mmalloc/trace/child", a_child);
	support_add("/mmalloc/trace/closed", descriptors_that_were_closed);
	return support_run();
}
