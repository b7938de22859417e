/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process killed before and after each system call of a checkpoint, of going back, and of the opening after a power cut. Processes that live, or come
 * later, lose nothing by that; and when the machine dies then, the map is as one of the last two checkpoints was.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/header.h"
#include "tests/power/library.h"
#include "tests/support/support.h"

#define WORDS 3000
#define BYTES (512 * KIB)

/* One number in a block of several pages, and how far the program came. */
struct data {
	uint64_t made; /* The number of a checkpoint that is to be. */
	uint64_t word[WORDS];
};

static const char *path;
static char *checkpoints;

static struct data *data_of(void *map)
{
	struct data *data = lib_getroot(map, "data");

	g_assert_nonnull(data);
	return data;
}

static void set_data(void *map, uint64_t number)
{
	struct data *data = data_of(map);

	for (size_t i = 0; i < WORDS; i++)
		data->word[i] = number;
	data->made = number;
}

static uint64_t number_in(void *map)
{
	struct data *data = data_of(map);

	for (size_t i = 0; i < WORDS; i++)
		g_assert_cmpuint(data->word[i], ==, data->made);
	return data->made;
}

static void *load(void)
{
	void *map = lib_load(path);

	if (!map)
		g_error("%s", lib_errmsg());
	g_assert_cmpint(lib_check(map), ==, 0);
	return map;
}

/* Checkpoint 1 is there, and the map has what is to be checkpoint 2. */
static void prepare(bool durable)
{
	void *map;

	unlink(path);
	unlink(checkpoints);
	map = lib_make(path, BYTES);
	g_assert_nonnull(map);
	g_assert_cmpint(lib_setroot(map, "data", lib_malloc(map, sizeof(struct data))), ==, 0);
	set_data(map, 1);
	if (durable)
		g_assert_cmpint(lib_durable(map), ==, 0);
	set_data(map, 2);
	lib_close(map);
}

static void cut_the_power(void)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, "another machine.", 16, offsetof(struct ma_header, boot_id)), ==, 16);
	close(fd);
}

/* ---- the victim ---- */

static int victim_syncs(void)
{
	void *map = load();

	raise(SIGSTOP);
	return lib_sync(map);
}

static int victim_syncs_again(void)
{
	void *map = load();

	if (lib_sync(map) < 0)
		return -1;
	set_data(map, 3);
	raise(SIGSTOP);
	return lib_sync(map);
}

static int victim_makes_durable(void)
{
	void *map = load();

	raise(SIGSTOP);
	return lib_durable(map);
}

static int victim_goes_back(void)
{
	raise(SIGSTOP);
	return lib_restore(path);
}

static int victim_opens(void)
{
	cut_the_power();
	raise(SIGSTOP);
	return load() ? 0 : -1;
}

/* Start it, and let it run up to its stop. */
static pid_t start(int (*victim)(void))
{
	pid_t pid;
	int status;

	if (support_valgrind() || support_tsan()) /* They trace the process themselves. */
		return 0;
	pid = fork();
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		_exit(victim() == 0 ? 0 : 1);
	}
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	return WIFSTOPPED(status) ? pid : 0;
}

/* Let it make so many stops at system calls, then kill it. True: it ended before. */
static bool run_victim(pid_t pid, size_t stops)
{
	int status = 0;

	for (size_t i = 0; i < stops; i++) {
		g_assert_cmpint(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), ==, 0);
		g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
		if (WIFEXITED(status)) {
			g_assert_cmpint(WEXITSTATUS(status), ==, 0);
			return true;
		}
	}
	support_kill(pid);
	return false;
}

/* ---- the others ---- */

/* Only a process died: nothing is rolled back. The next checkpoint is made, and found after a cut. */
static void go_on(uint64_t expected)
{
	void *map = load();

	g_assert_cmpuint(number_in(map), ==, expected);
	g_assert_cmpint(lib_durable(map), ==, 0);
	set_data(map, 9);
	g_assert_cmpint(lib_sync(map), ==, 0);
	set_data(map, 10);
	lib_close(map);
	cut_the_power();
	map = load();
	g_assert_true(lib_was_restored(map));
	g_assert_cmpuint(number_in(map), ==, 9);
	lib_close(map);
}

/* Killed, and then the machine dies, too. */
static void cut(uint64_t least, uint64_t most)
{
	void *map;

	cut_the_power();
	map = load();
	g_assert_cmpuint(number_in(map), >=, least);
	g_assert_cmpuint(number_in(map), <=, most);
	g_assert_cmpint(lib_sync(map), ==, 0);
	lib_close(map);
}

struct kill {
	int (*victim)(void);
	bool durable;
	uint64_t is;          /* What the map has for those that live. */
	uint64_t least, most; /* What it has after a cut. */
};

static void kill_everywhere(const struct kill *kill)
{
	bool ended = false;
	size_t stops;
	pid_t pid;

	for (stops = 1; !ended; stops += support_stride(7)) {
		for (int machine = 0; machine < 2; machine++) {
			prepare(kill->durable);
			pid = start(kill->victim);
			if (!pid) {
				g_test_skip("ptrace(2) is not allowed here, or is the tool's");
				return;
			}
			ended = run_victim(pid, stops);
			if (machine)
				cut(kill->least, kill->most);
			else
				go_on(kill->is);
		}
		support_watchdog(SUPPORT_HUNG_SECONDS);
	}
	g_assert_cmpuint(stops, >, 14);
}

static void in_a_sync(void)
{
	static const struct kill kill = { victim_syncs, true, 2, 1, 2 };

	kill_everywhere(&kill);
}

static void in_a_tracked_sync(void)
{
	static const struct kill kill = { victim_syncs_again, true, 3, 2, 3 };

	kill_everywhere(&kill);
}

/* Not durable yet: what is there opens as after any cut, which here is all, for no page was lost. */
static void in_the_first(void)
{
	static const struct kill kill = { victim_makes_durable, false, 2, 2, 2 };

	kill_everywhere(&kill);
}

/* Killed before the file is touched, the map is as it was; later, the next opening goes back. */
static void while_going_back(void)
{
	bool ended = false;
	size_t stops;
	pid_t pid;
	void *map;

	for (stops = 1; !ended; stops += support_stride(7)) {
		prepare(true);
		pid = start(victim_goes_back);
		if (!pid) {
			g_test_skip("ptrace(2) is not allowed here, or is the tool's");
			return;
		}
		ended = run_victim(pid, stops);
		map = load();
		g_assert_cmpuint(number_in(map), ==, lib_was_restored(map) || ended ? 1 : 2);
		lib_close(map);
	}
}

static void in_the_opening(void)
{
	static const struct kill kill = { victim_opens, true, 1, 1, 1 };

	kill_everywhere(&kill);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	path = support_path("map");
	checkpoints = g_strconcat(path, ".checkpoint", NULL);
	support_add("/power/" LIB_NAME "-kills/in-a-sync", in_a_sync);
	support_add("/power/" LIB_NAME "-kills/in-a-tracked-sync", in_a_tracked_sync);
	support_add("/power/" LIB_NAME "-kills/in-the-first", in_the_first);
	support_add("/power/" LIB_NAME "-kills/while-going-back", while_going_back);
	support_add("/power/" LIB_NAME "-kills/in-the-opening", in_the_opening);
	return support_run();
}
