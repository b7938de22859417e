/* SPDX-License-Identifier: BSD-3-Clause */
/* See support_sentence.h. */
#include <fcntl.h>
#include <stdlib.h>

#include "tests/support/support_sentence.h"

static void record(const char *name, const char *sentence)
{
	const char *file = getenv("MA_TEST_SENTENCES");
	char *line;
	int fd;

	if (!file)
		return;
	fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	line = g_strdup_printf("%s: %s\n", name, sentence);
	g_assert_cmpint(write(fd, line, strlen(line)), ==, (ssize_t)strlen(line));
	g_free(line);
	close(fd);
}

/* "WHAT: WHY; WHAT TO DO (ERRNO)", in one line. */
static const char *fault_of(const char *sentence, const char *before, int error, const char *part)
{
	char *end = g_strdup_printf(" (%s)", strerrorname_np(error));
	const char *why = strstr(sentence, ": "), *advice = why ? strstr(why, "; ") : NULL;
	bool ends = g_str_has_suffix(sentence, end);

	g_free(end);
	if (strcmp(sentence, before) == 0)
		return "it is the failure before";
	if (!ends)
		return "it does not end with its errno";
	if (!strstr(sentence, part))
		return "it does not name what failed";
	if (!why)
		return "it gives no reason";
	if (!advice || strlen(advice) < 12)
		return "it gives no advice";
	return strpbrk(sentence, "\n\t") ? "it is not one line" : NULL;
}

char *support_sentence_before(const struct support_errmsg *lib)
{
	lib->fail();
	return g_strdup(lib->errmsg());
}

void support_sentence(const struct support_errmsg *lib, char *before, int error, const char *part, const char *call,
		      int line)
{
	int err = errno;
	const char *sentence = lib->errmsg(), *fault = fault_of(sentence, before, error, part);

	assert_errno_is(err);
	g_test_message("%s", sentence);
	record(lib->name, sentence);
	if (err != error)
		g_error("line %d: %s: errno %s, not %s: \"%s\"", line, call, strerrorname_np(err),
			strerrorname_np(error), sentence);
	if (fault)
		g_error("line %d: %s: %s (expected %s, \"%s\"): \"%s\"", line, call, fault, strerrorname_np(error),
			part, sentence);
	g_free(before);
}

const char *support_digits(size_t number)
{
	static char text[24];

	g_snprintf(text, sizeof(text), "%zu", number);
	return text;
}

/* --- each thread has its own --- */

struct each {
	const struct support_errmsg *lib;
	const char *text;
};

static void *in_thread(void *arg)
{
	struct each *each = arg;

	g_assert_cmpstr(each->lib->errmsg(), ==, "no call of this thread has failed");
	each->lib->fail();
	g_assert_cmpstr(each->lib->errmsg(), ==, each->text);
	return NULL;
}

void support_sentences_of_threads(const struct support_errmsg *lib)
{
	enum { THREADS = 8, ROUNDS = 20 };
	struct each each = { .lib = lib };
	pthread_t threads[THREADS];
	char *text;

	lib->fail();
	text = g_strdup(lib->errmsg());
	each.text = text;
	for (size_t round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < THREADS; i++)
			g_assert_cmpint(pthread_create(&threads[i], NULL, in_thread, &each), ==, 0);
		for (size_t i = 0; i < THREADS; i++)
			g_assert_cmpint(pthread_join(threads[i], NULL), ==, 0);
	}
	g_assert_cmpstr(lib->errmsg(), ==, text);
	g_free(text);
}

static int in_child(void *arg)
{
	struct each *each = arg;
	pthread_t thread;

	g_assert_cmpstr(each->lib->errmsg(), ==, each->text);
	each->lib->fail();
	g_assert_cmpstr(each->lib->errmsg(), ==, each->text);
	if (support_tsan()) /* It allows no new threads in a child of a process that has some. */
		return 0;
	g_assert_cmpint(pthread_create(&thread, NULL, in_thread, each), ==, 0);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	return 0;
}

static void *fork_in_thread(void *arg)
{
	struct each *each = arg;

	each->lib->fail();
	support_run_child(in_child, each);
	return NULL;
}

void support_sentences_of_children(const struct support_errmsg *lib)
{
	struct each each = { .lib = lib };
	pthread_t thread;
	char *text;

	lib->fail();
	text = g_strdup(lib->errmsg());
	each.text = text;
	support_run_child(in_child, &each);
	g_assert_cmpint(pthread_create(&thread, NULL, fork_in_thread, &each), ==, 0);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	g_free(text);
}
