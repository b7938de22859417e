/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every input of the corpus once more: what fuzzing found stays mended. Inputs with a name of their own, which are
 * regressions, are a case each; the many that only reach some place in the code are one case together.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/support.h"

#define CORPUS MA_TEST_SRCDIR "/fuzz/corpus"

struct inputs {
	GPtrArray *names;
	atomic_size_t *now; /* Shared with the child. */
};

/* Of CPU time; 0: no limit. */
static void limit_cpu(unsigned seconds)
{
	const struct itimerval limit = { .it_value.tv_sec = seconds };

	g_assert_cmpint(setitimer(ITIMER_PROF, &limit, NULL), ==, 0);
}

static unsigned seconds_each(void)
{
	return support_valgrind() ? 200 : support_asan() ? 40 : 10;
}

/* libFuzzer names what it keeps by its SHA-1; what it began with are seeds. */
static bool is_regression(const char *name)
{
	if (g_str_has_prefix(name, "seed-"))
		return false;
	return strlen(name) != 40 || strspn(name, "0123456789abcdef") != 40;
}

/* Valgrind keeps a table for each 64 KiB of a mapping, and what fuzzing made may have 64 TiB. */
static bool is_for_valgrind(const char *name)
{
	return is_regression(name) || (g_str_has_prefix(name, "seed-") && !g_str_has_prefix(name, "seed-huge"));
}

static void replay_one(const char *name)
{
	char *path = g_build_filename(CORPUS, fuzz_name, name, NULL);
	size_t size;
	char *bytes = support_file_read(path, &size);

	limit_cpu(seconds_each());
	LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
	limit_cpu(0);
	support_watchdog(SUPPORT_HUNG_SECONDS);
	g_free(bytes);
	g_free(path);
}

static int replay(void *arg)
{
	struct inputs *inputs = arg;

	LLVMFuzzerInitialize(NULL, NULL);
	for (size_t i = 0; i < inputs->names->len; i++) {
		const char *name = g_ptr_array_index(inputs->names, i);

		*inputs->now = i;
		if (!support_valgrind() || is_for_valgrind(name))
			replay_one(name);
	}
	return 0;
}

/* The child may die of anything: say of which input. */
static void replay_all(const void *data)
{
	struct inputs inputs = { .names = (GPtrArray *)(uintptr_t)data };
	int status;

	support_runs(fuzz_name);
	inputs.now = mmap(NULL, sizeof(*inputs.now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	g_assert_true((void *)inputs.now != MAP_FAILED);
	g_assert_cmpuint(inputs.names->len, >, 0);
	status = support_wait(support_fork(replay, &inputs));
	if (status != 0)
		g_error("status %#x at input %s, or before it%s", (unsigned)status,
			(char *)g_ptr_array_index(inputs.names, *inputs.now),
			WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF ? ": too much CPU time" : "");
	munmap(inputs.now, sizeof(*inputs.now));
}

static void free_names(void *names)
{
	g_ptr_array_unref(names);
}

static void add(const char *name, GPtrArray *names)
{
	char *path = g_strdup_printf("/fuzz/%s/%s", fuzz_name, name);

	g_test_add_data_func_full(path, names, replay_all, free_names);
	g_free(path);
}

int main(int argc, char **argv)
{
	GPtrArray *rest = g_ptr_array_new_with_free_func(g_free);
	char *corpus = g_build_filename(CORPUS, fuzz_name, NULL);
	const char *name;
	GDir *dir;

	support_init(&argc, &argv);
	dir = g_dir_open(corpus, 0, NULL);
	g_free(corpus);
	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		GPtrArray *list = is_regression(name) ? g_ptr_array_new_with_free_func(g_free) : rest;

		g_ptr_array_add(list, g_strdup(name));
		if (list != rest)
			add(name, list);
	}
	g_dir_close(dir);
	add("corpus", rest); /* Never empty: the seeds are in it. */
	return support_run();
}
