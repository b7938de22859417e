/* SPDX-License-Identifier: BSD-3-Clause */
/* The command's parts, by themselves: sizes, text, lines of dumps, base64, files that shrink while they are looked at. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_golden.h"
#include "tools/base64.h"
#include "tools/line.h"
#include "tools/progress.h"
#include "tools/reach.h"
#include "tools/tool.h"

/* ---- sizes ---- */

static void sizes_in(void)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "4096B", 4096 },
		{ "64K", 65536 },
		{ "64k", 65536 },
		{ "64KiB", 65536 },
		{ "64KB", 65536 },
		{ "1.5M", 1572864 },
		{ "0.5K", 512 },
		{ "2G", (uint64_t)2 << 30 },
		{ "15E", (uint64_t)15 << 60 },
		{ "0x1000", 4096 },
		{ "0x200000000000", 0x200000000000 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		"",       "K",    "-1",        "+1",
		" 1",     "1 K",  "1X",        "1Ki",
		"1.5",    "1.K5", "16E",       "18446744073709551616",
		"1e3",    "0x",   "99999999P", "1KK",
		"1.5.5M", "nan",  "inf",       "100000000000000.5E",
	};
	uint64_t size;

	for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
		g_assert_true(size_parse(good[i].text, &size));
		g_assert_cmpuint(size, ==, good[i].size);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
		if (size_parse(bad[i], &size))
			g_error("\"%s\" is taken for %" G_GUINT64_FORMAT, bad[i], size);
}

static void sizes_out(void)
{
	static const struct {
		uint64_t size;
		const char *text;
	} wanted[] = {
		{ 0, "0" },
		{ 1023, "1023" },
		{ 1024, "1K" },
		{ 1536, "1.50K" },
		{ 10240, "10K" },
		{ 10250, "10.0K" },
		{ 1048575, "1024K" },
		{ 1048576, "1M" },
		{ (uint64_t)3 << 40, "3T" },
		{ UINT64_MAX, "16.0E" },
	};
	struct tool tool = { 0 };
	char text[SIZE_TEXT];

	for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++)
		g_assert_cmpstr(size_text(&tool, wanted[i].size, text), ==, wanted[i].text);
	tool.options.bytes = true;
	g_assert_cmpstr(size_text(&tool, UINT64_MAX, text), ==, "18446744073709551615");
}

/* What is printed is read again as about the same. */
static void sizes_both_ways(void)
{
	struct tool tool = { 0 };
	struct support_rand r;
	char text[SIZE_TEXT];
	uint64_t size;

	support_rand_seed(&r, 1);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t was = support_rand_next(&r) >> support_rand_below(&r, 64);

		size_text(&tool, was, text);
		if (was > (uint64_t)15 << 60)
			continue;
		g_assert_true(size_parse(text, &size));
		g_assert_cmpfloat(fabs((double)size - (double)was), <=, (double)was * 0.006 + 0.5);
	}
}

/* ---- text ---- */

static char *printed(void (*print)(FILE *to, const char *text, size_t bytes), const char *text, size_t bytes)
{
	char *out = NULL;
	size_t size;
	FILE *to = open_memstream(&out, &size);

	print(to, text, bytes);
	fclose(to);
	return out;
}

static void print_as_json(FILE *to, const char *text, size_t bytes)
{
	struct tool tool = { .out = to };

	json_bytes(&tool, NULL, text, bytes);
}

static void hostile_names(void)
{
	static const struct {
		const char *name, *text, *json;
	} names[] = {
		{ "plain", "plain", "\"plain\"" },
		{ "a\033[31mb", "a\\x1b[31mb", "\"a\\u001b[31mb\"" },
		{ "line\nline", "line\\x0aline", "\"line\\u000aline\"" },
		{ "\"\\", "\"\\", "\"\\\"\\\\\"" },
		{ "gr\303\274n", "gr\303\274n", "\"gr\303\274n\"" },
		{ "\377\376", "\\xff\\xfe", "\"\\ufffd\\ufffd\"" },
		{ "\303", "\\xc3", "\"\\ufffd\"" },
		{ "\300\257", "\\xc0\\xaf", "\"\\ufffd\\ufffd\"" },                 /* Too long for what it says. */
		{ "\355\240\200", "\\xed\\xa0\\x80", "\"\\ufffd\\ufffd\\ufffd\"" }, /* A surrogate. */
		{ "\302\233", "\\xc2\\x9b", "\"\302\233\"" },                       /* CSI, which terminals obey. */
	};

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		char *text = printed(print_safe, names[i].name, strlen(names[i].name));
		char *json = printed(print_as_json, names[i].name, strlen(names[i].name));

		g_assert_cmpstr(text, ==, names[i].text);
		g_assert_cmpstr(json, ==, names[i].json);
		free(text);
		free(json);
	}
}

/* ---- lines of dumps ---- */

static void lines(void)
{
	char text[] = " {\"a\": 18446744073709551615 , \"b\":\"x\\n\\u00e9\\\"\",\"c\":true, \"d\": null} \n";
	struct line line;

	g_assert_true(line_parse(text, &line));
	g_assert_cmpuint(line.count, ==, 4);
	g_assert_cmpuint(line_number(&line, "a"), ==, UINT64_MAX);
	g_assert_cmpstr(line_find(&line, "b", LINE_TEXT)->text, ==, "x\n\303\251\"");
	g_assert_cmpuint(line_find(&line, "c", LINE_BOOL)->number, ==, 1);
	g_assert_nonnull(line_find(&line, "d", LINE_NULL));
	g_assert_null(line_find(&line, "b", LINE_NUMBER));
	g_assert_null(line_find(&line, "e", LINE_TEXT));
}

static void bad_lines(void)
{
	static const char *const bad[] = {
		"",
		"{",
		"{}",
		"[]",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{\"a\":1",
		"{\"a\":1}x",
		"{\"a\":-1}",
		"{\"a\":1.5}",
		"{\"a\":1e3}",
		"{\"a\":18446744073709551616}",
		"{\"a\":{}}",
		"{\"a\":[1]}",
		"{\"a\":\"x}",
		"{\"a\":\"\\q\"}",
		"{\"a\":\"\\u12\"}",
		"{\"a\":\"\\ud800\"}",
		"{\"a\":\"\\u0000\"}",
		"{a:1}",
		"{\"a\" 1}",
		"{\"a\":tru}",
		"{\"a\":\"\\",
	};
	struct line line;

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		char *text = g_strdup(bad[i]);

		if (line_parse(text, &line))
			g_error("%s is taken for a line", bad[i]);
		g_free(text);
	}
}

static void print_base64(FILE *to, const char *text, size_t bytes)
{
	base64_write(to, (const unsigned char *)text, bytes);
}

static void base64(void)
{
	static const char *const bad[] = { "A", "AB", "ABC", "A===", "====", "AB=C", "AB C", "AB\nC", "ABC\377" };
	struct support_rand r;

	support_rand_seed(&r, 2);
	for (size_t bytes = 0; bytes < 100; bytes++) {
		char plain[100], *text;

		for (size_t i = 0; i < bytes; i++)
			plain[i] = (char)support_rand_next(&r);
		text = printed(print_base64, plain, bytes);
		g_assert_cmpuint(strlen(text), ==, (bytes + 2) / 3 * 4);
		g_assert_cmpuint(base64_decode(text, strlen(text)), ==, bytes);
		g_assert_true(memcmp(text, plain, bytes) == 0);
		free(text);
	}
	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		char *text = g_strdup(bad[i]);

		g_assert_cmpuint(base64_decode(text, strlen(text)), ==, SIZE_MAX);
		g_free(text);
	}
}

/* ---- files that change ---- */

static int count_block(struct view *view, uint64_t offset, uint64_t size, void *count)
{
	(void)view, (void)offset, (void)size;
	++*(unsigned *)count;
	return 0;
}

/* Somebody cuts it after it was opened: what is gone reads as zeros, and nobody gets SIGBUS. */
static void cut_meanwhile(void)
{
	static const char *const names[] = { "static-1.map", "dynamic-1.map", "mmalloc-1.map", "shmbuddy-1.map" };

	if (support_valgrind()) {
		g_test_skip("Valgrind does not keep registers for whoever goes on after SIGBUS");
		return;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		const char *copy = support_golden_copy(names[i]);
		struct tool tool = { .out = stderr, .err = stderr };
		struct figures f = { 0 };
		unsigned blocks = 0;
		struct reach reach;
		struct view view;

		g_assert_cmpint(view_open(&tool, copy, &view), ==, STATUS_OK);
		g_assert_nonnull(view.kind);
		view.kind->walk(&view, count_block, &blocks);
		g_assert_cmpuint(blocks, >, 0);
		g_assert_cmpint(truncate(copy, 4096), ==, 0);
		view_check(&view);
		view.kind->measure(&view, &f);
		g_assert_true(reach_begin(&reach, &view) && reach_scan(&reach));
		reach_end(&reach);
		view_close(&view);
	}
}

/* Looking changes nothing, even when it rehearses a repair; and takes no lock that others would meet. */
static void looks_only(void)
{
	const char *copy = support_golden_copy("dynamic-1.map");
	struct tool tool = { .out = stderr, .err = stderr };
	size_t size, again;
	char *before = support_file_read(copy, &size), *after;
	struct view view;

	g_assert_cmpint(view_open(&tool, copy, &view), ==, STATUS_OK);
	view_check(&view);
	memset(view.base + view.user_off, 0xff, 4096);
	view_close(&view);
	after = support_file_read(copy, &again);
	g_assert_true(size == again && memcmp(before, after, size) == 0);
	g_free(before);
	g_free(after);
}

/* ---- progress ---- */

/* What was written to stderr, a terminal, since the last time. What its other end gets comes a little later: up to a mark. */
static const char *on_screen(int control)
{
	static char text[4096];
	size_t length = 0;

	fputc('\a', stderr);
	fflush(stderr);
	do {
		ssize_t got = read(control, text + length, sizeof(text) - length);

		g_assert_cmpint(got, >, 0);
		length += (size_t)got;
	} while (text[length - 1] != '\a' && length < sizeof(text));
	text[length - 1] = '\0';
	return text;
}

static void half_done(struct tool *tool, double ago)
{
	struct progress progress;

	progress_begin(&progress, tool, "a\nb.map", 1000);
	progress.began -= ago;
	progress_add(&progress, 500);
	progress_end(&progress);
}

/* A line after a second, only where somebody looks, and it is gone in the end. */
static int draws_progress(void *arg)
{
	struct tool tool = { .out = stdout, .err = stderr };
	int control = posix_openpt(O_RDWR | O_NOCTTY), screen;
	const char *text;

	(void)arg;
	if (control < 0 || grantpt(control) < 0 || unlockpt(control) < 0)
		return SUPPORT_CANNOT;
	screen = open(ptsname(control), O_RDWR | O_NOCTTY);
	if (screen < 0)
		return SUPPORT_CANNOT;
	g_assert_cmpint(dup2(screen, STDERR_FILENO), ==, STDERR_FILENO);
	half_done(&tool, 0);
	g_assert_cmpstr(on_screen(control), ==, "");
	half_done(&tool, 2);
	text = on_screen(control);
	g_assert_nonnull(strstr(text, "\ra\\x0ab.map [####################....................]  50 %"));
	g_assert_true(g_str_has_suffix(text, "\r\033[K"));
	tool.err = stdout;
	half_done(&tool, 2);
	g_assert_cmpstr(on_screen(control), ==, "");
	close(screen);
	close(control);
	return 0;
}

static void progress(void)
{
	support_run_or_skip(draws_progress, "no terminals can be made here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/white/sizes-in", sizes_in);
	support_add("/tools/white/sizes-out", sizes_out);
	support_add("/tools/white/sizes-both-ways", sizes_both_ways);
	support_add("/tools/white/hostile-names", hostile_names);
	support_add("/tools/white/lines", lines);
	support_add("/tools/white/bad-lines", bad_lines);
	support_add("/tools/white/base64", base64);
	support_add("/tools/white/cut-meanwhile", cut_meanwhile);
	support_add("/tools/white/looks-only", looks_only);
	support_add("/tools/white/progress", progress);
	return support_run();
}
