/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The test program's surroundings: start and end, progress, scaling, randomness, captured stderr.
 */
#include "tests/support/support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/support/progress.h"
#include "tests/support/support_dir.h"

#if defined(__has_feature)
#define SUPPORT_HAS_FEATURE(x) __has_feature(x)
#else
#define SUPPORT_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_THREAD__) || SUPPORT_HAS_FEATURE(thread_sanitizer)
#define SUPPORT_TSAN true
#else
#define SUPPORT_TSAN false
#endif

#if defined(__SANITIZE_ADDRESS__) || SUPPORT_HAS_FEATURE(address_sanitizer)
#define SUPPORT_ASAN true
#else
#define SUPPORT_ASAN false
#endif

#define MOST_TESTS 128

struct test {
	void (*run)(void);
	const char *path;
};

static struct test tests[MOST_TESTS];
static unsigned test_count;
static pid_t program;
static uint64_t seed;
static struct progress *progress; /* NULL: nobody watches */

/* --- the program --- */

/* SIGABRT of a failed assertion, SIGTERM of the watcher, or an impatient user. Async-signal-safe. */
static void last_words(int sig)
{
	if (getpid() == program)
		support__dir_remove();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_ends(void)
{
	static const int signals[] = { SIGABRT, SIGTERM, SIGINT, SIGHUP };
	struct sigaction act = { .sa_handler = last_words };

	sigemptyset(&act.sa_mask);
	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		sigaction(signals[i], &act, NULL);
}

static void at_exit(void)
{
	if (getpid() == program)
		support__dir_remove();
	support__dir_forget();
}

/* Left in the environment for the processes of support_in_process_with(). */
static uint64_t choose_seed(void)
{
	const char *given = getenv("MA_TEST_SEED");
	struct timespec now;
	char text[32];
	uint64_t chosen;

	if (given)
		return strtoull(given, NULL, 0);
	clock_gettime(CLOCK_REALTIME, &now);
	chosen = ((uint64_t)now.tv_sec << 30 | (uint64_t)now.tv_nsec) ^ (uint64_t)getpid() << 40;
	g_snprintf(text, sizeof(text), "%" G_GUINT64_FORMAT, (guint64)chosen);
	setenv("MA_TEST_SEED", text, 1);
	return chosen;
}

/* A program that somebody runs by hand is not watched. */
static struct progress *find_progress(void)
{
	const char *path = getenv(PROGRESS_ENVIRONMENT);
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	struct progress *found = MAP_FAILED;

	if (fd >= 0) {
		found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	return found == MAP_FAILED ? NULL : found;
}

void support_init(int *argc, char ***argv)
{
	const struct rlimit none = { 0, 0 };

	g_test_init(argc, argv, NULL);
	setrlimit(RLIMIT_CORE, &none);
	program = getpid();
	seed = choose_seed();
	progress = find_progress();
	catch_ends();
	atexit(at_exit);
}

void support_watchdog(unsigned seconds)
{
	if (!progress)
		return;
	atomic_store(&progress->patience, seconds);
	atomic_fetch_add(&progress->steps, 1);
}

void support_runs(const char *name)
{
	if (progress)
		g_snprintf(progress->name, sizeof(progress->name), "%.*s\n", PROGRESS_NAME - 2, name);
	support_watchdog(0);
}

static void run_test(gconstpointer data)
{
	const struct test *test = data;

	support_runs(test->path);
	g_test_message("MA_TEST_SEED=%" G_GUINT64_FORMAT, (guint64)seed);
	test->run();
}

void support_add(const char *path, void (*run)(void))
{
	struct test *test = &tests[test_count++];

	g_assert_cmpuint(test_count, <=, MOST_TESTS);
	*test = (struct test){ run, path };
	g_test_add_data_func(path, test, run_test);
}

int support_run(void)
{
	return g_test_run();
}

/* --- how much --- */

bool support_valgrind(void)
{
	const char *value = getenv("MA_TEST_VALGRIND");

	return value && *value && strcmp(value, "0") != 0;
}

bool support_tsan(void)
{
	return SUPPORT_TSAN;
}

bool support_asan(void)
{
	return SUPPORT_ASAN;
}

size_t support_scale(size_t n)
{
	if (support_valgrind())
		n /= 40;
	else if (SUPPORT_TSAN)
		n /= 16;
	else if (SUPPORT_ASAN)
		n /= 4;
	return n ? n : 1;
}

size_t support_stride(size_t n)
{
	const char *all = getenv("MA_CRASH_ALL");

	return all && *all && strcmp(all, "0") != 0 ? 1 : n;
}

size_t support_size(size_t plain, size_t slow)
{
	return support_valgrind() || SUPPORT_TSAN ? slow : plain;
}

size_t support_huge(void)
{
	if (sizeof(void *) < 8)
		return GIB;
	return SUPPORT_TSAN ? 64 * GIB : SUPPORT_ASAN ? 8 * GIB : support_size(1024 * GIB, 16 * GIB);
}

/* --- randomness: splitmix64 --- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void support_rand_seed(struct support_rand *r, uint64_t salt)
{
	r->state = mix(seed + mix(salt));
}

uint64_t support_rand_next(struct support_rand *r)
{
	r->state += 0x9e3779b97f4a7c15u;
	return mix(r->state);
}

size_t support_rand_below(struct support_rand *r, size_t n)
{
	return (size_t)(support_rand_next(r) % n);
}

size_t support_rand_between(struct support_rand *r, size_t low, size_t high)
{
	return low + support_rand_below(r, high - low + 1);
}

/* --- stderr --- */

static FILE *captured;
static int real_stderr = -1;

void support_capture_begin(void)
{
	fflush(stderr);
	captured = tmpfile();
	g_assert_nonnull(captured);
	real_stderr = dup(STDERR_FILENO);
	g_assert_cmpint(real_stderr, >=, 0);
	g_assert_cmpint(dup2(fileno(captured), STDERR_FILENO), ==, STDERR_FILENO);
}

char *support_capture_end(void)
{
	char *text;
	off_t size;

	fflush(stderr);
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	size = lseek(fileno(captured), 0, SEEK_END);
	g_assert_cmpint(size, >=, 0);
	text = g_malloc0((size_t)size + 1);
	g_assert_cmpint(pread(fileno(captured), text, (size_t)size, 0), ==, size);
	fclose(captured);
	return text;
}

bool support_in_process_with(const char *name, const char *value)
{
	char *before;

	if (g_test_subprocess())
		return true;
	before = g_strdup(getenv(name));
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
	g_test_trap_subprocess(NULL, 0, 0);
	if (before)
		setenv(name, before, 1);
	else
		unsetenv(name);
	g_free(before);
	g_test_trap_assert_passed();
	return false;
}
