/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands need of memory for each block of a map: check, info and plot at most one byte, leaks at most 16.
 * Anonymous pages are counted: those of the file can be dropped by the kernel at any time.
 */
#include <fcntl.h>
#include <qalloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "tests/tools/heaps.h"

#define BLOCKS (3u << 20)
#define ITEM   16
#define BASE  \
	(12 * \
	 MIB) /* A program with its libraries, whatever it does; and tables that do not follow the number of blocks. */

struct plan {
	const char *path;
	bool is_static, leaks;
};

/* A root leads to all blocks at once, so the scan has them all before it, the worst for its stack; or it leads to none. */
static int make(void *arg)
{
	const struct plan *plan = arg;
	void *map = plan->is_static ? (void *)qalloc_makestatmap(72 * MIB, NULL, plan->path, ITEM, 1)
				    : qalloc_makedynmap(128 * MIB, NULL, plan->path, 1);
	void **all = map ? qalloc_malloc(map, plan->is_static ? ITEM : BLOCKS * sizeof(void *)) : NULL;

	if (!all)
		return 1;
	for (unsigned i = 0; i < BLOCKS; i++) {
		void *block = qalloc_malloc(map, ITEM);

		if (!block)
			return 2;
		if (!plan->leaks && !plan->is_static)
			all[i] = block;
	}
	if (qalloc_setroot(map, "all", all) < 0)
		return 3;
	return qalloc_close(map) < 0 ? 4 : 0;
}

static bool runs_mapalloc(pid_t pid)
{
	char link[64], exe[4096];
	ssize_t bytes;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	bytes = readlink(link, exe, sizeof(exe) - 1);
	if (bytes < 0)
		return false;
	exe[bytes] = '\0';
	return g_str_has_suffix(exe, "mapalloc");
}

/* Pages of its own: the file's do not count. */
static uint64_t anonymous_bytes(pid_t pid)
{
	char name[64], line[256];
	unsigned long long kib = 0;
	FILE *status;

	snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
	status = fopen(name, "re");
	while (status && fgets(line, sizeof(line), status) && sscanf(line, "RssAnon: %llu", &kib) != 1)
		;
	if (status)
		fclose(status);
	return kib * KIB;
}

static pid_t start(const char *command, const char *path)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	pid_t pid = fork();

	g_assert_cmpint(pid, >=, 0);
	if (pid == 0) {
		if (!freopen("/dev/null", "we", stdout))
			_exit(99);
		dup2(fileno(stdout), STDOUT_FILENO);
		fcntl(STDOUT_FILENO, F_SETFD, 0);
		execl(program, program, command, path, g_str_equal(command, "leaks") ? "--min-size=1G" : NULL, NULL);
		_exit(98);
	}
	g_free(program);
	return pid;
}

/* The most that was seen. It runs for a moment and is stopped for each look, so it cannot go by between two on a busy machine. */
static uint64_t peak(const char *command, const char *path, int *status, unsigned *looks)
{
	pid_t pid = start(command, path);
	uint64_t most = 0;

	*looks = 0;
	while (waitpid(pid, status, WNOHANG | WUNTRACED) != pid || WIFSTOPPED(*status)) {
		if (runs_mapalloc(pid)) {
			kill(pid, SIGSTOP);
			if (waitpid(pid, status, WUNTRACED) == pid && !WIFSTOPPED(*status))
				break;
			most = MAX(most, anonymous_bytes(pid));
			++*looks;
			kill(pid, SIGCONT);
		}
		support_sleep_us(500);
	}
	g_assert_true(WIFEXITED(*status));
	*status = WEXITSTATUS(*status);
	return most;
}

static void stays_within(const char *command, const struct plan *plan, unsigned per_block, int wanted)
{
	unsigned looks;
	int status;
	uint64_t bytes = peak(command, plan->path, &status, &looks);

	g_test_message("%s: %.2f MiB in %u looks, %.2f bytes per block", command, (double)bytes / (double)MIB, looks,
		       (double)bytes / BLOCKS);
	g_assert_cmpint(status, ==, wanted);
	g_assert_cmpuint(looks, >, 0);
	g_assert_cmpuint(bytes, <=, BASE + (uint64_t)BLOCKS * per_block);
}

static void all_commands(const struct plan *plan)
{
	support_run_child(make, (void *)(uintptr_t)plan);
	stays_within("check", plan, 1, 0);
	stays_within("info", plan, 1, 0);
	stays_within("plot", plan, 1, 0);
	stays_within("stat", plan, 1, 0);
	stays_within("leaks", plan, 16, plan->leaks);
	unlink(plan->path);
}

static bool is_measured_otherwise(void)
{
	if (!support_asan() && !support_tsan() && !support_valgrind())
		return false;
	g_test_skip("sanitizers and Valgrind need memory of their own");
	return true;
}

static void reached(void)
{
	struct plan plan = { .path = support_path("map") };

	if (!is_measured_otherwise())
		all_commands(&plan);
}

static void leaked(void)
{
	struct plan plan = { .path = support_path("map"), .leaks = true };

	if (!is_measured_otherwise())
		all_commands(&plan);
}

static void items(void)
{
	struct plan plan = { .path = support_path("map"), .is_static = true, .leaks = true };

	if (!is_measured_otherwise())
		all_commands(&plan);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/memory/reached", reached);
	support_add("/tools/memory/leaked", leaked);
	support_add("/tools/memory/items", items);
	return support_run();
}
