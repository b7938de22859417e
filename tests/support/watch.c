/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch NAME COMMAND...: run one test program, pass on what it prints, and end it when it hangs.
 *
 * A clock on the wall cannot tell a hung program from a slow machine. So a program counts as hung in two cases only:
 *
 * - It stands still: for MA_TEST_HUNG seconds (120) no line of output came, no step was finished (progress.h), and all of its
 *   processes were asleep and used next to no CPU time. A process that is ready to run, or waits for a disk, is not asleep.
 * - It turns in circles: one step used MA_TEST_CPU seconds (200) of CPU time, all processes together.
 *
 * Its processes are its descendants: watch is their subreaper, so that orphans stay among them. Time in which watch itself did
 * not run (a machine that was suspended or has no time for anybody) does not count.
 *
 * In a folder that it can write, NAME.progress is there while the program runs. The last line says what the program took.
 */
#include "tests/support/progress.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS  1000 /* between two looks */
#define MOST_MS  2000 /* of the time between two looks count */
#define IDLE     5    /* using less than one part in so many of a processor is standing still */
#define GRACE_MS 5000 /* for a program to remove its files */

struct process {
	pid_t pid, parent;
	char state;
	double cpu; /* seconds, with its children that have ended */
	bool ours;
};

/* The program and its descendants, at one look. */
struct tree {
	struct process *process;
	size_t count;
	double cpu;
	unsigned ours, awake;
};

struct watch {
	const char *name;
	char progress_path[PATH_MAX];
	struct progress *progress;
	pid_t pid;
	int output;
	bool ended;
	int status;
	uint64_t begin_ms, look_ms;
	uint64_t steps_seen, bytes, bytes_seen;
	double idle_s;           /* since the last progress */
	double cpu_seen;         /* at the last look */
	double cpu_step;         /* at the last finished step */
	double hung_s, most_cpu; /* limits */
};

static volatile sig_atomic_t told_to_end;
static sigset_t before_blocking;

/* --- small things --- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static double seconds_of(const char *variable, double otherwise)
{
	const char *value = getenv(variable);

	return value && *value ? strtod(value, NULL) : otherwise;
}

static void die(const char *what)
{
	fprintf(stderr, "watch: %s: %s\n", what, strerror(errno));
	exit(99);
}

/* A file of /proc/PID, without a newline at its end; "" when there is none. */
static const char *of_process(pid_t pid, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t got = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		got = read(fd, text, size - 1);
		close(fd);
	}
	text[got > 0 ? got : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

/* --- the tree of processes --- */

static bool look_at(pid_t pid, struct process *process)
{
	char text[1024];
	const char *rest = strrchr(of_process(pid, "stat", text, sizeof(text)), ')'); /* The name may have one, too. */
	unsigned long user, system;
	long children_user, children_system;
	int parent;

	*process = (struct process){ .pid = pid };
	if (!rest || sscanf(rest + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &process->state,
			    &parent, &user, &system, &children_user, &children_system) != 6)
		return false;
	process->parent = parent;
	process->cpu = ((double)user + (double)system + (double)children_user + (double)children_system) /
		       (double)sysconf(_SC_CLK_TCK);
	return true;
}

static void add(struct tree *tree, pid_t pid)
{
	struct process process;

	if (!look_at(pid, &process))
		return;
	if (tree->count % 256 == 0) {
		tree->process = realloc(tree->process, (tree->count + 256) * sizeof(process));
		if (!tree->process)
			die("memory");
	}
	tree->process[tree->count++] = process;
}

/* Those below a process of ours are ours. False: no more were found. */
static bool mark_children(struct tree *tree)
{
	bool found = false;

	for (size_t i = 0; i < tree->count; i++)
		for (size_t k = 0; k < tree->count && !tree->process[i].ours; k++)
			if (tree->process[k].pid == tree->process[i].parent && tree->process[k].ours)
				found = tree->process[i].ours = true;
	return found;
}

static void sum_up(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct process *process = &tree->process[i];

		if (!process->ours)
			continue;
		tree->ours++;
		tree->cpu += process->cpu;
		tree->awake += process->state == 'R' || process->state == 'D';
	}
}

static struct tree look(void)
{
	struct tree tree = { 0 };
	struct dirent *entry;
	struct rusage gone;
	DIR *dir = opendir("/proc");

	while (dir && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			add(&tree, atoi(entry->d_name));
	if (dir)
		closedir(dir);
	for (size_t i = 0; i < tree.count; i++)
		tree.process[i].ours = tree.process[i].parent == getpid();
	while (mark_children(&tree))
		;
	sum_up(&tree);
	getrusage(RUSAGE_CHILDREN, &gone);
	tree.cpu += (double)(gone.ru_utime.tv_sec + gone.ru_stime.tv_sec) +
		    (double)(gone.ru_utime.tv_usec + gone.ru_stime.tv_usec) / 1e6;
	return tree;
}

static void say_where(const struct tree *tree)
{
	char name[64], place[64], call[256];

	for (size_t i = 0; i < tree->count; i++) {
		const struct process *process = &tree->process[i];

		if (process->ours)
			printf("# process %d (%s), child of %d: state %c, in %s, system call %s\n", (int)process->pid,
			       of_process(process->pid, "comm", name, sizeof(name)), (int)process->parent,
			       process->state, of_process(process->pid, "wchan", place, sizeof(place)),
			       of_process(process->pid, "syscall", call, sizeof(call)));
	}
}

/* --- the program --- */

static void open_progress(struct watch *watch)
{
	char whole[PATH_MAX];
	int fd;

	snprintf(watch->progress_path, sizeof(watch->progress_path), "%s%s%s.progress",
		 watch->name[0] == '/' ? "" : ".", watch->name[0] == '/' ? "" : "/", watch->name);
	fd = open(watch->progress_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct progress)) != 0)
		die(watch->progress_path);
	watch->progress = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (watch->progress == MAP_FAILED)
		die("mmap");
	close(fd);
	watch->progress->name[0] = '\n';
	if (!realpath(watch->progress_path, whole) || setenv(PROGRESS_ENVIRONMENT, whole, 1) != 0)
		die("setenv");
}

static void start(struct watch *watch, char **command)
{
	int out[2];

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 || pipe2(out, O_CLOEXEC) != 0)
		die("start");
	watch->begin_ms = watch->look_ms = now_ms();
	watch->pid = fork();
	if (watch->pid < 0)
		die("fork");
	if (watch->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigprocmask(SIG_SETMASK, &before_blocking, NULL);
		dup2(out[1], STDOUT_FILENO);
		execvp(command[0], command);
		die(command[0]);
	}
	close(out[1]);
	watch->output = out[0];
	fcntl(watch->output, F_SETFL, O_NONBLOCK);
}

/* What it has printed until now. */
static void pass_on(struct watch *watch)
{
	char bytes[16384];
	ssize_t got;

	while (watch->output >= 0 && (got = read(watch->output, bytes, sizeof(bytes))) >= 0) {
		if (got == 0) {
			close(watch->output);
			watch->output = -1;
			break;
		}
		fwrite(bytes, 1, (size_t)got, stdout);
		watch->bytes += (uint64_t)got;
	}
	fflush(stdout);
}

/* The program and orphans. */
static void reap(struct watch *watch)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != watch->pid)
			continue;
		watch->ended = true;
		watch->status = status;
	}
}

/* Until something happens, or for so long. */
static void wait_a_little(struct watch *watch, unsigned ms)
{
	struct pollfd output = { .fd = watch->output, .events = POLLIN };
	struct timespec limit = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	ppoll(&output, watch->output >= 0, &limit, &before_blocking);
	pass_on(watch);
	reap(watch);
}

/* --- does it hang? --- */

/* Lines and steps. */
static bool has_got_ahead(struct watch *watch)
{
	uint64_t steps = atomic_load(&watch->progress->steps);
	bool ahead = steps != watch->steps_seen || watch->bytes != watch->bytes_seen;

	watch->steps_seen = steps;
	watch->bytes_seen = watch->bytes;
	return ahead;
}

static double patience(const struct watch *watch)
{
	double asked = atomic_load(&watch->progress->patience);

	return asked > watch->hung_s ? asked : watch->hung_s;
}

/* What is wrong; NULL: nothing. */
static const char *judge(struct watch *watch, const struct tree *tree, double passed_s)
{
	double used = tree->cpu - watch->cpu_seen;

	watch->cpu_seen = tree->cpu;
	if (has_got_ahead(watch)) {
		watch->idle_s = 0;
		watch->cpu_step = tree->cpu;
		return NULL;
	}
	if (tree->cpu - watch->cpu_step > watch->most_cpu)
		return "turns in circles: too much CPU time for one step";
	if (used * IDLE > passed_s)
		watch->idle_s = 0;
	else if (tree->awake == 0)
		watch->idle_s += passed_s < MOST_MS / 1e3 ? passed_s : MOST_MS / 1e3;
	return watch->idle_s > patience(watch) ? "stands still: no output, no finished step, all asleep" : NULL;
}

static const char *look_whether_it_hangs(struct watch *watch)
{
	uint64_t now = now_ms(), passed = now - watch->look_ms;
	const char *wrong;
	struct tree tree;

	if (passed < LOOK_MS)
		return NULL;
	watch->look_ms = now;
	tree = look();
	wrong = judge(watch, &tree, (double)passed / 1e3);
	if (wrong) {
		printf("# %s\n", wrong);
		say_where(&tree);
	}
	free(tree.process);
	return wrong;
}

/* --- the end --- */

static void kill_tree(struct watch *watch)
{
	for (int tries = 0; tries < 100; tries++) {
		struct tree tree = look();

		for (size_t i = 0; i < tree.count; i++)
			if (tree.process[i].ours)
				kill(tree.process[i].pid, SIGKILL);
		free(tree.process);
		if (tree.ours == 0)
			break;
		wait_a_little(watch, 20);
	}
	pass_on(watch);
	reap(watch);
}

/* It has some seconds to remove its files. */
static void stop(struct watch *watch)
{
	uint64_t begin = now_ms();

	kill(watch->pid, SIGTERM);
	while (!watch->ended && now_ms() - begin < GRACE_MS)
		wait_a_little(watch, 100);
	kill_tree(watch);
}

static void hung(struct watch *watch, const char *wrong)
{
	watch->progress->name[strcspn(watch->progress->name, "\n")] = '\0';
	printf("Bail out! hung: %s %s: %s\n", watch->name, watch->progress->name, wrong);
	fflush(stdout);
	stop(watch);
}

static void on_signal(int sig)
{
	if (sig != SIGCHLD)
		told_to_end = sig;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP };
	struct sigaction act = { .sa_handler = on_signal };
	sigset_t blocked;

	sigemptyset(&blocked);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaction(signals[i], &act, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, &before_blocking);
}

static int end(struct watch *watch, const char *wrong)
{
	struct tree tree = look();

	printf("# took %.1f s, %.1f s of CPU time\n", (double)(now_ms() - watch->begin_ms) / 1e3, tree.cpu);
	free(tree.process);
	unlink(watch->progress_path);
	if (wrong || told_to_end)
		return 124;
	if (!WIFSIGNALED(watch->status))
		return WEXITSTATUS(watch->status);
	printf("# ended by signal %d (%s)\n", WTERMSIG(watch->status), strsignal(WTERMSIG(watch->status)));
	return 128 + WTERMSIG(watch->status);
}

int main(int argc, char **argv)
{
	struct watch watch = { .name = argc > 1 ? argv[1] : "", .output = -1 };
	const char *wrong = NULL;

	if (argc < 3) {
		fprintf(stderr, "usage: %s NAME COMMAND...\n", argv[0]);
		return 2;
	}
	watch.hung_s = seconds_of("MA_TEST_HUNG", 120);
	watch.most_cpu = seconds_of("MA_TEST_CPU", 200);
	catch_signals();
	open_progress(&watch);
	start(&watch, argv + 2);
	while (!watch.ended && !told_to_end && !wrong) {
		wait_a_little(&watch, LOOK_MS);
		wrong = watch.ended ? NULL : look_whether_it_hangs(&watch);
	}
	if (wrong)
		hung(&watch, wrong);
	else if (told_to_end)
		stop(&watch);
	else
		kill_tree(&watch);
	return end(&watch, wrong);
}
