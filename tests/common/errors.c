/* SPDX-License-Identifier: BSD-3-Clause */
/* The last error of a thread as data: name, text and errno, of which ma_errmsg() makes a sentence. */
#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "tests/support/support.h"

static bool is(const char *part, size_t bytes, const char *wanted)
{
	return bytes == strlen(wanted) && memcmp(part, wanted, bytes) == 0;
}

static void assert_error(int number, const char *name, const char *text)
{
	struct ma_error error;

	g_assert_true(ma_last_error(&error));
	g_assert_cmpint(error.number, ==, number);
	g_assert_true(is(error.name, error.name_bytes, name));
	g_assert_true(is(error.text, error.text_bytes, text));
}

static void parts(void)
{
	ma_fail(ENOENT, "%s: cannot open it: %s", "notes.map", "no file");
	assert_error(ENOENT, "notes.map", "cannot open it: no file");
	g_assert_cmpstr(ma_errmsg(), ==, "notes.map: cannot open it: no file (ENOENT)");
	ma_fail_quiet(EINVAL, "cannot open %s: %d", "a map", 7);
	assert_error(EINVAL, "", "cannot open a map: 7");
	ma_fail(0, "%s: nothing", "");
	assert_error(0, "", ": nothing");
}

/* What looks like a part of a sentence, and is in a name. */
static void odd_names(void)
{
	ma_fail(EIO, "%s: cannot read %s", "a: b (EINVAL)", "c: d (ENOENT)");
	assert_error(EIO, "a: b (EINVAL)", "cannot read c: d (ENOENT)");
	ma_fail(EIO, "%s", "x");
	assert_error(EIO, "", "x");
}

static void cleared(void)
{
	struct ma_error error;

	ma_fail(EIO, "%s: x", "y");
	ma_error_clear();
	g_assert_false(ma_last_error(&error));
	g_assert_cmpstr(ma_errmsg(), ==, "no call of this thread has failed");
	ma_fail(EPERM, "%s: x", "y");
	assert_error(EPERM, "y", "x");
}

static void too_long(void)
{
	char long_name[MA_ERROR_TEXT + 100];
	struct ma_error error;

	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	ma_fail(ENAMETOOLONG, "%s: cannot open it", long_name);
	g_assert_true(ma_last_error(&error));
	g_assert_cmpuint(error.name_bytes, ==, 0); /* It is not whole. */
	g_assert_cmpuint(error.text_bytes, <, MA_ERROR_TEXT);
	g_assert_true(g_str_has_suffix(ma_errmsg(), " (ENAMETOOLONG)"));
	ma_fail(EIO, "%s: %s", "name", long_name);
	g_assert_true(ma_last_error(&error));
	g_assert_true(is(error.name, error.name_bytes, "name"));
	g_assert_cmpuint(error.text_bytes, <, MA_ERROR_TEXT);
}

static void *other_thread(void *arg)
{
	struct ma_error error;

	(void)arg;
	g_assert_false(ma_last_error(&error));
	ma_fail(EBUSY, "%s: another", "thread");
	assert_error(EBUSY, "thread", "another");
	return NULL;
}

static void threads(void)
{
	ma_fail(EIO, "%s: this", "thread");
	g_thread_join(g_thread_new("other", other_thread, NULL));
	assert_error(EIO, "thread", "this");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/common/errors/parts", parts);
	support_add("/common/errors/odd-names", odd_names);
	support_add("/common/errors/cleared", cleared);
	support_add("/common/errors/too-long", too_long);
	support_add("/common/errors/threads", threads);
	return support_run();
}
