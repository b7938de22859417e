/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every input of the corpus once more: what fuzzing found stays mended. Inputs with a name of their own, which are
 * regressions, are a case each; the many that only reach some place in the code are one case together.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/support.h"

#define CORPUS MA_TEST_SRCDIR "/fuzz/corpus/qalloc"

struct inputs {
	GPtrArray *names;
	atomic_size_t *now; /* Shared with the child. */
};

static unsigned seconds_each(void)
{
	return support_valgrind() ? 200 : support_asan() ? 40 : 10;
}

static void replay_one(const char *name)
{
	char *path = g_build_filename(CORPUS, name, NULL);
	size_t size;
	char *bytes = support_file_read(path, &size);

	alarm(seconds_each());
	LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
	alarm(0);
	g_free(bytes);
	g_free(path);
}

static int replay(void *arg)
{
	struct inputs *inputs = arg;

	signal(SIGALRM, SIG_DFL);
	LLVMFuzzerInitialize(NULL, NULL);
	for (size_t i = 0; i < inputs->names->len; i++) {
		*inputs->now = i;
		replay_one(g_ptr_array_index(inputs->names, i));
	}
	return 0;
}

/* The child may die of anything: say of which input. */
static void replay_all(gconstpointer data)
{
	struct inputs inputs = { .names = (GPtrArray *)(uintptr_t)data };
	int status;

	inputs.now = mmap(NULL, sizeof(*inputs.now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	g_assert_true((void *)inputs.now != MAP_FAILED);
	g_assert_cmpuint(inputs.names->len, >, 0);
	status = support_wait(support_fork(replay, &inputs));
	if (status != 0)
		g_error("status %#x at input %s (SIGALRM, 14: it took too long)", (unsigned)status,
			(char *)g_ptr_array_index(inputs.names, *inputs.now));
	munmap(inputs.now, sizeof(*inputs.now));
}

/* libFuzzer names what it keeps by its SHA-1; what it began with are seeds. */
static bool is_regression(const char *name)
{
	if (g_str_has_prefix(name, "seed-"))
		return false;
	return strlen(name) != 40 || strspn(name, "0123456789abcdef") != 40;
}

static void add(const char *name, GPtrArray *names)
{
	char *path = g_strdup_printf("/fuzz/qalloc/%s", name);

	g_test_add_data_func(path, names, replay_all);
	g_free(path);
}

int main(int argc, char **argv)
{
	GPtrArray *rest = g_ptr_array_new();
	const char *name;
	GDir *dir;

	support_init(&argc, &argv);
	dir = g_dir_open(CORPUS, 0, NULL);
	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir)) != NULL) {
		GPtrArray *list = is_regression(name) ? g_ptr_array_new() : rest;

		g_ptr_array_add(list, g_strdup(name));
		if (list != rest)
			add(name, list);
	}
	g_dir_close(dir);
	add("corpus", rest); /* Never empty: the seeds are in it. */
	return support_run();
}
