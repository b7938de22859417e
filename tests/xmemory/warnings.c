/* SPDX-License-Identifier: BSD-3-Clause */
/* Warnings of bad frees: how many lines there are at most, what silences them, what is said at exit. */
#include <fcntl.h>
#include <stdlib.h>

#include "tests/support/support_xmemory.h"

static char unknown[64];

/* In a process of its own, with $XMEMORY_WARNINGS as given: all that it printed, to its very end. NULL in that process. */
static char *stderr_of(void (*body)(void), const char *warnings)
{
	const char *path;
	char *said;

	if (g_test_subprocess()) {
		int fd = open(getenv("MA_TEST_STDERR"), O_WRONLY | O_APPEND);

		g_assert_cmpint(fd, >=, 0);
		dup2(fd, STDERR_FILENO);
		close(fd);
		body();
		return NULL;
	}
	path = support_path("stderr");
	support_file_write(path, "", 0);
	setenv("MA_TEST_STDERR", path, 1);
	if (warnings)
		setenv("XMEMORY_WARNINGS", warnings, 1);
	g_test_trap_subprocess(NULL, 0, 0);
	unsetenv("XMEMORY_WARNINGS");
	g_test_trap_assert_passed();
	said = support_file_read(path, NULL);
	g_test_message("%s", said);
	return said;
}

static unsigned lines(const char *said)
{
	return count_text(said, "xmemory: ");
}

static void free_null(void)
{
	for (size_t i = 0; i < 1000000; i++)
		give(NULL);
}

static void null_once(void)
{
	char *said = stderr_of(free_null, NULL);

	if (!said)
		return;
	g_assert_cmpuint(count_text(said, "warning: free(NULL)"), ==, 1);
	g_assert_cmpuint(count_text(said, "999999 more warnings of free(NULL)"), ==, 1);
	g_assert_nonnull(strstr(said, "tests/xmemory/warnings.c, line "));
	g_assert_nonnull(strstr(said, "XMEMORY_WARNINGS=0"));
	g_assert_cmpuint(lines(said), ==, 2);
	g_free(said);
}

/* One more warning of a kind than lines is worth a line at exit, none more is not. */
static void free_null_twice(void)
{
	give(NULL);
	xmemory_fdealloc(NULL, 0, 0, "f.c", 1);
	give(NULL);
}

static void said_when_there_is_more(void)
{
	char *said = stderr_of(free_null_twice, NULL);

	if (!said)
		return;
	g_assert_cmpuint(count_text(said, "1 more warnings of free(NULL)"), ==, 1);
	g_assert_null(strstr(said, "more warnings of fdealloc"));
	g_assert_cmpuint(lines(said), ==, 3);
	g_free(said);
}

static void all_kinds(void)
{
	for (int i = 0; i < 1000; i++) {
		give(NULL);
		give(unknown);
		g_assert_null(retake(unknown, 10));
		xmemory_fdealloc(NULL, 0, 0, __FILE__, __LINE__);
		xmemory_fdealloc(unknown, 0, 0, __FILE__, __LINE__);
	}
	g_assert_cmpuint(figures().warnings, ==, 5000);
}

static void assert_kinds(const char *said, unsigned null, unsigned other)
{
	static const char *const calls[] = { "free(", "realloc(", "fdealloc(" };

	for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
		char *any = g_strdup_printf("warning: %s", calls[i]);
		char *none = g_strdup_printf("warning: %sNULL)", calls[i]);
		bool has_null = i != 1;

		g_assert_cmpuint(count_text(said, none), ==, has_null ? null : 0);
		g_assert_cmpuint(count_text(said, any), ==, other + (has_null ? null : 0));
		g_free(any);
		g_free(none);
	}
	g_assert_cmpuint(count_text(said, "more warnings of"), ==, null + other > 0 ? 5 : 0);
}

static void each_kind(void)
{
	char *said = stderr_of(all_kinds, NULL);

	if (!said)
		return;
	assert_kinds(said, 1, 8);
	g_assert_cmpuint(count_text(said, "992 more warnings of"), ==, 3);
	g_assert_cmpuint(count_text(said, "999 more warnings of"), ==, 2);
	/* The last line of a kind says that it is the last one. */
	g_assert_cmpuint(count_text(said, "further warnings of this kind are counted"), ==, 5);
	g_free(said);
}

static void silent_by_environment(void)
{
	char *said = stderr_of(all_kinds, "0");

	if (!said)
		return;
	g_assert_cmpstr(said, ==, "");
	g_free(said);
}

static void number_by_environment(void)
{
	char *said = stderr_of(all_kinds, "3");

	if (!said)
		return;
	assert_kinds(said, 3, 3);
	g_free(said);
}

static void no_number(void)
{
	char *said = stderr_of(all_kinds, "lots");

	if (!said)
		return;
	assert_kinds(said, 1, 8);
	g_assert_cmpuint(count_text(said, "$XMEMORY_WARNINGS is \"lots\""), ==, 1);
	g_free(said);
}

static void silence(void)
{
	g_assert_cmpint(xmemory_setwarnings(0), ==, -1);
	all_kinds();
	g_assert_cmpint(xmemory_setwarnings(-5), ==, 0);
	g_assert_cmpint(xmemory_setwarnings(0), ==, -1);
}

/* The call stands above the environment. */
static void silent_by_call(void)
{
	char *said = stderr_of(silence, "7");

	if (!said)
		return;
	g_assert_cmpstr(said, ==, "");
	g_free(said);
}

static void silence_then_two(void)
{
	xmemory_setwarnings(0);
	give(NULL);
	xmemory_setwarnings(2);
	for (int i = 0; i < 5; i++)
		give(NULL);
}

static void loud_again(void)
{
	char *said = stderr_of(silence_then_two, NULL);

	if (!said)
		return;
	g_assert_cmpuint(count_text(said, "warning: free(NULL)"), ==, 2);
	g_assert_cmpuint(count_text(said, "3 more warnings of free(NULL)"), ==, 1);
	g_free(said);
}

static void flood(struct support_thread *self)
{
	(void)self;
	for (int i = 0; i < 20000; i++) {
		give(NULL);
		give(unknown);
	}
}

static void flood_by_threads(void)
{
	support_threads(4, flood, NULL);
	g_assert_cmpuint(figures().warnings, ==, 160000);
}

static void threads(void)
{
	char *said = stderr_of(flood_by_threads, NULL);

	if (!said)
		return;
	g_assert_cmpuint(count_text(said, "warning: free("), ==, 9);
	g_assert_cmpuint(count_text(said, "79992 more warnings"), ==, 1);
	g_assert_cmpuint(count_text(said, "79999 more warnings"), ==, 1);
	g_free(said);
}

/* It counts anew, but does not begin to print again what its parent printed. */
static int child(void *arg)
{
	(void)arg;
	g_assert_cmpuint(figures().warnings, ==, 0);
	give(NULL);
	g_assert_cmpuint(figures().warnings, ==, 1);
	return 0;
}

static void warn_and_fork(void)
{
	give(NULL);
	give(NULL);
	support_run_child(child, NULL);
}

static void forked(void)
{
	char *said = stderr_of(warn_and_fork, NULL);

	if (!said)
		return;
	g_assert_cmpuint(count_text(said, "warning: free(NULL)"), ==, 1);
	g_assert_cmpuint(count_text(said, "1 more warnings of free(NULL)"), ==, 1);
	g_free(said);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/warnings/null", null_once);
	support_add("/xmemory/warnings/at-exit", said_when_there_is_more);
	support_add("/xmemory/warnings/kinds", each_kind);
	support_add("/xmemory/warnings/silent", silent_by_environment);
	support_add("/xmemory/warnings/number", number_by_environment);
	support_add("/xmemory/warnings/no-number", no_number);
	support_add("/xmemory/warnings/call", silent_by_call);
	support_add("/xmemory/warnings/again", loud_again);
	support_add("/xmemory/warnings/threads", threads);
	support_add("/xmemory/warnings/fork", forked);
	return support_run();
}
