/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Children, threads, and how they wait for each other.
 *
 * All waiting is polling with short sleeps: it works between processes, survives the SIGKILL of any of them, and
 * the test's watchdog ends what never comes. Children end with _exit(), so they never run the program's atexit
 * handlers and never write its buffered output a second time; what they print goes to stderr, because stdout is TAP.
 */
#include "tests/support/support.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

uint64_t support_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void *support_shared(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	g_assert_true(mem != MAP_FAILED);
	return mem;
}

pid_t support_fork(support_child_fn *fn, void *arg)
{
	pid_t parent = getpid();
	pid_t pid;

	support_dir(); /* Made by the program, which removes it; a child that made its own would leave it. */
	pid = fork();
	g_assert_cmpint(pid, >=, 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	_exit(fn(arg));
}

int support_wait(pid_t pid)
{
	int status;
	pid_t got;

	do {
		got = waitpid(pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	g_assert_cmpint(got, ==, pid);
	return status;
}

void support_wait_ok(pid_t pid)
{
	int status = support_wait(pid);

	if (WIFSIGNALED(status))
		g_error("a child died of signal %d", WTERMSIG(status));
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

void support_run_child(support_child_fn *fn, void *arg)
{
	support_wait_ok(support_fork(fn, arg));
}

void support_run_children(support_child_fn *fn, void *arg, unsigned count)
{
	pid_t *pid = g_new(pid_t, count);

	for (unsigned i = 0; i < count; i++)
		pid[i] = support_fork(fn, arg);
	for (unsigned i = 0; i < count; i++)
		support_wait_ok(pid[i]);
	g_free(pid);
}

void support_kill_at_random(support_child_fn *fn, void *arg, unsigned count, size_t kills)
{
	pid_t *pid = g_new(pid_t, count);
	struct support_rand r;

	support_rand_seed(&r, 72);
	for (unsigned i = 0; i < count; i++)
		pid[i] = support_fork(fn, arg);
	for (size_t i = 0; i < kills; i++) {
		unsigned which = (unsigned)support_rand_below(&r, count);

		support_kill_after_us(pid[which], (unsigned)support_rand_below(&r, 3000));
		pid[which] = support_fork(fn, arg);
	}
	for (unsigned i = 0; i < count; i++)
		support_kill(pid[i]);
	g_free(pid);
}

bool support_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	status = support_wait(pid);
	if (WIFSIGNALED(status)) {
		g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
		return true;
	}
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
	return false;
}

bool support_kill_after_us(pid_t pid, unsigned usec)
{
	support_sleep_us(usec);
	return support_kill(pid);
}

uint64_t support_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* A file of /proc/PID; "" when there is none. */
static char *of_process(pid_t pid, const char *name)
{
	char *path = g_strdup_printf("/proc/%d/%s", (int)pid, name), *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		text = g_strdup("");
	g_free(path);
	return g_strchomp(text);
}

/* The child of a process with one thread that began last; 0: it has none. */
static pid_t last_child(pid_t pid)
{
	char *name = g_strdup_printf("task/%d/children", (int)pid), *pids = of_process(pid, name);
	char *last = strrchr(pids, ' ');
	pid_t child = (pid_t)atoi(last ? last + 1 : pids);

	g_free(name);
	g_free(pids);
	return child;
}

/* Does this process wait for somebody? Not for a processor, and not for a disk; and who waits for his child does what that does. */
static bool is_asleep(pid_t pid)
{
	char *text = of_process(pid, "stat");
	const char *end = strrchr(text, ')'); /* The name may have one, too. */
	bool sleeps = end && end[1] == ' ' && end[2] == 'S';
	pid_t child = sleeps ? last_child(pid) : 0;

	g_free(text);
	return child ? is_asleep(child) : sleeps;
}

void support_say_where(pid_t pid)
{
	pid_t child = last_child(pid);
	char *call = of_process(child ? child : pid, "syscall"), *place = of_process(child ? child : pid, "wchan");

	g_test_message("process %d%s: in %s, call %s", (int)pid, child ? "'s child" : "", place, call);
	g_free(call);
	g_free(place);
}

bool support_ends_within_us(pid_t pid, uint64_t limit, int *status)
{
	uint64_t last = support_now_us(), waited = 0;

	while (waitpid(pid, status, WNOHANG) == 0) {
		uint64_t now = support_now_us();

		waited += is_asleep(pid) ? MIN(now - last, 1000) : 0;
		last = now;
		if (waited > limit)
			return false;
		usleep(50);
	}
	return true;
}

/* Short waits are spent yielding: a sleep would be rounded up to the timer's slack. */
void support_sleep_us(unsigned usec)
{
	uint64_t end = support_now_us() + usec;

	if (usec > 500)
		usleep(usec - 200);
	while (support_now_us() < end)
		sched_yield();
}

/* Who waits for long looks rarely: one that hangs must not look busy. */
static void pause_a_little(unsigned *tries)
{
	unsigned round = (*tries)++;

	if (round < 100)
		sched_yield();
	else
		usleep(round < 2000 ? 100 : 20000);
}

static void wait_for_name(_Atomic(const char *) *word, const char *name)
{
	const char *seen;
	unsigned tries = 0;

	while (!(seen = atomic_load(word)) || strcmp(seen, name) != 0)
		pause_a_little(&tries);
}

void support_point(struct support_sync *sync, const char *name)
{
	atomic_store(&sync->at, name);
	wait_for_name(&sync->go, name);
}

void support_await(struct support_sync *sync, const char *name)
{
	wait_for_name(&sync->at, name);
}

void support_go(struct support_sync *sync, const char *name)
{
	atomic_store(&sync->go, name);
}

void support_kill_at(pid_t pid, struct support_sync *sync, const char *name)
{
	support_await(sync, name);
	g_assert_true(support_kill(pid));
}

struct support_barrier *support_barrier_new(unsigned members)
{
	struct support_barrier *barrier = support_shared(sizeof(*barrier));

	barrier->members = members;
	return barrier;
}

void support_barrier_wait(struct support_barrier *barrier)
{
	uint32_t round = atomic_load(&barrier->round);
	unsigned tries = 0;

	if (atomic_fetch_add(&barrier->arrived, 1) + 1 == barrier->members) {
		atomic_store(&barrier->arrived, 0);
		atomic_fetch_add(&barrier->round, 1);
		return;
	}
	while (atomic_load(&barrier->round) == round)
		pause_a_little(&tries);
}

static void *thread_main(void *arg)
{
	struct support_thread *self = arg;

	self->run(self);
	return NULL;
}

void support_threads_start(struct support_thread *threads, unsigned count, void (*run)(struct support_thread *self),
			   void *arg)
{
	for (unsigned i = 0; i < count; i++) {
		threads[i] = (struct support_thread){ .index = i, .arg = arg, .run = run };
		g_assert_cmpint(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), ==, 0);
	}
}

void support_threads_join(struct support_thread *threads, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		g_assert_cmpint(pthread_join(threads[i].id, NULL), ==, 0);
}

void support_threads(unsigned count, void (*run)(struct support_thread *self), void *arg)
{
	struct support_thread *threads = g_new0(struct support_thread, count);

	support_threads_start(threads, count, run, arg);
	support_threads_join(threads, count);
	g_free(threads);
}

struct small_stack {
	void (*fn)(void *arg);
	void *arg;
};

static void *on_small_stack(void *arg)
{
	struct small_stack *s = arg;

	s->fn(s->arg);
	return NULL;
}

void support_small_stack(void (*fn)(void *arg), void *arg)
{
	struct small_stack s = { fn, arg };
	size_t bytes = (size_t)sysconf(_SC_THREAD_STACK_MIN);
	pthread_attr_t attr;
	pthread_t thread;

	g_assert_cmpint(pthread_attr_init(&attr), ==, 0);
	/* A tool's frames are not the library's. */
	if (support_asan() || support_tsan() || support_valgrind())
		bytes *= 16;
	g_assert_cmpint(pthread_attr_setstacksize(&attr, bytes), ==, 0);
	g_assert_cmpint(pthread_create(&thread, &attr, on_small_stack, &s), ==, 0);
	g_assert_cmpint(pthread_join(thread, NULL), ==, 0);
	pthread_attr_destroy(&attr);
}
