/* SPDX-License-Identifier: BSD-3-Clause */
/* Each failure: its errno, and the sentence that xmemory_errmsg() has for it. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_xmemory.h"

/* What failed: why; what to do. It has all the words, and ends with errno's name. errno stays. */
static void assert_sentence(int error, const char *const words[])
{
	char *end = g_strdup_printf(" (%s)", strerrorname_np(error));
	const char *text, *colon;

	assert_errno_is(error);
	text = xmemory_errmsg();
	assert_errno_is(error);
	g_test_message("%s", text);
	g_assert_true(g_str_has_suffix(text, end));
	for (size_t i = 0; words[i]; i++)
		if (!strstr(text, words[i]))
			g_error("\"%s\" is not in \"%s\"", words[i], text);
	colon = strchr(text, ':');
	g_assert_nonnull(colon);
	g_assert_nonnull(strchr(colon, ';'));
	g_free(end);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define assert_failure(failed, error, ...)                    \
	do {                                                  \
		errno = 0;                                    \
		g_assert_true(failed);                        \
		assert_sentence((error), WORDS(__VA_ARGS__)); \
	} while (0)

/* Without a failure, in a fresh thread. */
static void *no_failure(void *arg)
{
	(void)arg;
	errno = 0;
	g_assert_cmpstr(xmemory_errmsg(), ==, "no call of this thread has failed");
	give(take(10));
	g_assert_cmpstr(xmemory_errmsg(), ==, "no call of this thread has failed");
	g_assert_null(map("/no/such/file", 0, NULL));
	assert_sentence(ENOENT, WORDS("/no/such/file"));
	return NULL;
}

static void of_this_thread(void)
{
	pthread_t thread;
	char *before;

	assert_failure(!xmemory_memalign(24, 10, "f.c", 1), EINVAL, "24");
	before = g_strdup(xmemory_errmsg());
	g_assert_cmpint(pthread_create(&thread, NULL, no_failure, NULL), ==, 0);
	pthread_join(thread, NULL);
	g_assert_cmpstr(xmemory_errmsg(), ==, before);
	g_free(before);
}

static void arguments(void)
{
	static char unknown[64];
	void *block = take(10);

	xmemory_setwarnings(0);
	vm_begin(0);
	assert_failure(!xmemory_calloc(SIZE_MAX / 2, 3, "f.c", 1), ENOMEM, "calloc", "9223372036854775807", "3");
	assert_failure(!take(SIZE_MAX), ENOMEM, "18446744073709551615");
	assert_failure(!take((size_t)1 << 60), EFBIG, "");
	assert_failure(!xmemory_memalign(3, 10, "f.c", 1), EINVAL, "memalign", "3", "power of two");
	assert_failure(xmemory_stats(NULL) < 0, EINVAL, "xmemory_stats", "NULL");
	assert_failure(xmemory_leaks(NULL, NULL) < 0, EINVAL, "xmemory_leaks", "NULL");
	assert_failure(xmemory_advise(block, 10, (enum xmemory_advice)99) < 0, EINVAL, "xmemory_advise", "99");
	assert_failure(xmemory_advise(unknown, 10, XMEMORY_NORMAL) < 0, EINVAL, "xmemory_advise", "not a live block");
	assert_failure(xmemory_size(unknown) == 0, EINVAL, "xmemory_size", "not a live block");
	assert_failure(xmemory_vmfile_id(unknown) == 0, EINVAL, "xmemory_vmfile_id", "not a live block");
	assert_failure(!xmemory_realloc(unknown, 10, "some.c", 47), EINVAL, "realloc", "some.c, line 47",
		       "not a block");
	assert_failure((xmemory_free(unknown, "some.c", 48), true), EINVAL, "free", "some.c, line 48", "not a block");
	assert_failure((xmemory_fdealloc(unknown, 0, 0, "some.c", 49), true), EINVAL, "fdealloc", "some.c, line 49");
	give(block);
	xmemory_setwarnings(-1);
}

static void directories(void)
{
	char *name = g_strnfill(5000, 'x');

	vm_begin(1);
	assert_failure((xmemory_settmpdir(name), true), ENAMETOOLONG, "xmemory_settmpdir", "bytes");
	xmemory_settmpdir("/no/such/directory");
	assert_failure(!take(MIB), ENOENT, "/no/such/directory", "XMEMORY_TMPDIR");
	assert_failure(!take(100), ENOENT, "/no/such/directory", "XMEMORY_TMPDIR");
	xmemory_settmpdir("/proc");
	assert_failure(!take(MIB), errno, "/proc", "XMEMORY_TMPDIR");
	xmemory_setlimit(0);
	xmemory_settmpdir(NULL);
	g_free(name);
}

static void files(void)
{
	const char *empty = support_path("empty"), *some = support_path("some");

	support_file_write(empty, "", 0);
	support_file_write(some, "0123456789", 10);
	assert_failure(!map(NULL, 0, NULL), EINVAL, "falloc", "NULL");
	assert_failure(!map("/no/such/file", 0, NULL), ENOENT, "/no/such/file", "No such file");
	assert_failure(!map(empty, 0, NULL), ENODATA, empty, "empty");
	assert_failure(!map(some, 10, NULL), EINVAL, some, "byte 10", "10 bytes");
	assert_failure(!map(support_dir(), 0, NULL), EISDIR, support_dir(), "directory");
	assert_failure(!map("/dev/null", 0, NULL), EINVAL, "/dev/null", "regular file");
	xmemory_off();
	assert_failure(!map(some, 0, NULL), EPERM, some, "xmemory_on()");
	if (!support_asan() && !support_tsan()) /* Their malloc ends the program. */
		assert_failure(!take(SIZE_MAX / 2), ENOMEM, "9223372036854775807", "xmemory_on()");
	xmemory_on();
}

static int full_disk(void *arg)
{
	size_t had = 0;

	(void)arg;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	vm_begin(1);
	assert_failure(!take(64 * MIB), ENOSPC, "67108864", support_dir(), "XMEMORY_TMPDIR");
	while (take(30000))
		had++;
	g_assert_cmpuint(had, >, 10);
	assert_sentence(ENOSPC, WORDS("VM file in", support_dir()));
	return 0;
}

static void disk(void)
{
	support_run_or_skip(full_disk, "a tmpfs of its own");
}

static int small_files(void *arg)
{
	const struct rlimit to = { 10 * MIB, 10 * MIB };

	(void)arg;
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &to), ==, 0);
	vm_begin(1);
	assert_failure(!take(64 * MIB), EFBIG, "67108864", "RLIMIT_FSIZE");
	return 0;
}

static void file_sizes(void)
{
	support_run_child(small_files, NULL);
}

/* The debug line is the sentence, with the process and the time in front. */
static void debug_line(void)
{
	char *said, *line;

	if (!support_in_process_with("XMEMORY_DEBUG", "1"))
		return;
	support_capture_begin();
	g_assert_null(map("/no/such/file", 0, NULL));
	said = support_capture_end();
	line = g_strdup_printf("%s\n", xmemory_errmsg());
	g_assert_true(g_str_has_prefix(said, "xmemory["));
	g_assert_true(g_str_has_suffix(said, line));
	g_assert_cmpuint(count_text(said, "\n"), ==, 1);
	g_free(line);
	g_free(said);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/errors/thread", of_this_thread);
	support_add("/xmemory/errors/arguments", arguments);
	support_add("/xmemory/errors/directories", directories);
	support_add("/xmemory/errors/files", files);
	support_add("/xmemory/errors/disk", disk);
	support_add("/xmemory/errors/file-size-limit", file_sizes);
	support_add("/xmemory/errors/debug-line", debug_line);
	return support_run();
}
