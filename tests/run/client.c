/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An ordinary program, which knows nothing of us: what the C library promises of its allocator, and what programs do around it.
 * tests/install/run starts it under xmemory-run with a limit of a few MiB, and under mmalloc-run.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/support.h"

#define BLOCKS  400
#define NUMBERS 1000

struct block {
	unsigned char *at;
	size_t size;
	unsigned char mark;
};

static void fill(struct block *b)
{
	memset(b->at, b->mark, b->size);
}

static void check(const struct block *b)
{
	for (size_t i = 0; i<b->size; i += b->size> 4096 ? 509 : 1)
		g_assert_cmpint(b->at[i], ==, b->mark);
	g_assert_cmpint(b->at[b->size - 1], ==, b->mark);
}

/* Mostly small, some with a VM file of their own. */
static size_t any_size(struct support_rand *r)
{
	return support_rand_below(r, 40) ? support_rand_between(r, 1, 3000) : support_rand_between(r, 3000, 700000);
}

static void take(struct block *b, struct support_rand *r)
{
	b->size = any_size(r);
	b->at = malloc(b->size);
	b->mark = (unsigned char)support_rand_between(r, 1, 255);
	g_assert_nonnull(b->at);
	g_assert_cmpuint((uintptr_t)b->at % 16, ==, 0);
	g_assert_cmpuint(malloc_usable_size(b->at), >=, b->size);
	fill(b);
}

static void give(struct block *b)
{
	check(b);
	free(b->at);
	b->at = NULL;
}

static void resize(struct block *b, struct support_rand *r)
{
	size_t size = any_size(r);
	struct block kept = { .size = size < b->size ? size : b->size, .mark = b->mark };

	check(b);
	kept.at = b->at = realloc(b->at, size);
	g_assert_nonnull(b->at);
	check(&kept);
	b->size = size;
	fill(b);
}

static void churn(struct block *blocks, size_t count, struct support_rand *r, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		struct block *b = &blocks[support_rand_below(r, count)];

		if (!b->at)
			take(b, r);
		else if (support_rand_below(r, 4) == 0)
			resize(b, r);
		else
			give(b);
	}
}

static void give_all(struct block *blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i].at)
			give(&blocks[i]);
}

/* ---- what the C library promises ---- */

static void is_served(void)
{
	const char *shim = getenv("CLIENT_SHIM");
	void *(*taken)(size_t) = (void *(*)(size_t))(uintptr_t)dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	g_assert_nonnull(shim);
	g_assert_cmpint(dladdr((void *)(uintptr_t)taken, &info), !=, 0);
	g_assert_true(g_str_has_suffix(info.dli_fname, shim));
}

static void test_calls(void)
{
	volatile size_t absurd = SIZE_MAX - 10, half = SIZE_MAX / 2 + 2;
	void *one = malloc(0), *two = malloc(0), *three = calloc(0, 5), *block = NULL;
	void *volatile kept;

	is_served();
	g_assert_true(one && two && three && one != two && two != three && one != three);
	free(one), free(two), free(three);
	errno = 4711;
	free(NULL);
	free(malloc(100));
	free(malloc(1000000));
	g_assert_cmpint(errno, ==, 4711);
	g_assert_cmpint(posix_memalign(&block, 24, 100), ==, EINVAL);
	g_assert_cmpint(posix_memalign(&block, 64, absurd), ==, ENOMEM);
	g_assert_cmpint(errno, ==, 4711);
	errno = 0;
	g_assert_true(!malloc(absurd) && errno == ENOMEM);
	errno = 0;
	g_assert_true(!calloc(half, 2) && errno == ENOMEM);
	errno = 0;
	g_assert_true(!reallocarray(NULL, half, 2) && errno == ENOMEM);
	errno = 0;
	g_assert_true(!aligned_alloc(64, absurd) && errno == ENOMEM);
	errno = 0;
	g_assert_true(!pvalloc(absurd) && errno == ENOMEM);
	block = realloc(NULL, 0);
	g_assert_nonnull(block);
	kept = block;
	errno = 0;
	g_assert_true(!realloc(block, absurd) && errno == ENOMEM);
	g_assert_null(realloc(kept, 0));
	g_assert_cmpuint(malloc_usable_size(NULL), ==, 0);
}

static void test_alignment(void)
{
	for (size_t alignment = 8; alignment <= MIB; alignment *= 2)
		for (size_t size = 1; size < 3 * MIB; size = size * 3 + 1) {
			struct block a = { aligned_alloc(alignment, size), size, 1 }, b = { NULL, size, 2 };

			g_assert_cmpint(posix_memalign((void **)&b.at, alignment, size), ==, 0);
			g_assert_cmpuint((uintptr_t)a.at % alignment, ==, 0);
			g_assert_cmpuint((uintptr_t)b.at % alignment, ==, 0);
			fill(&a), fill(&b);
			b.at = realloc(b.at, size + 1);
			check(&b), give(&a), give(&b);
		}
	for (int i = 0; i < 3; i++) {
		char *block = i == 0 ? valloc(5) : i == 1 ? pvalloc(5000) : memalign(4096, 5);

		g_assert_cmpuint((uintptr_t)block % 4096, ==, 0);
		g_assert_cmpuint(malloc_usable_size(block), >=, i == 1 ? 8192 : 5);
		free(block);
	}
}

/* A block that was dirty before reads as zeros. */
static void test_zeros(void)
{
	for (size_t size = 1; size < 2 * MIB; size = size * 2 + 7) {
		unsigned char *block = malloc(size);

		memset(block, 0xa5, size);
		free(block);
		block = calloc(size, 1);
		for (size_t i = 0; i < size; i++)
			g_assert_cmpint(block[i], ==, 0);
		free(block);
	}
}

/* The C library's own calls come to us too, so what it allocates we can free. */
static void test_libc(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char *line = NULL, *text;
	size_t room = 0;

	g_assert_nonnull(file);
	while (getline(&line, &room, file) > 0)
		;
	free(line);
	fclose(file);
	g_assert_cmpint(asprintf(&text, "%0*d", 100000, 7), ==, 100000);
	text = realloc(text, 300000);
	g_assert_true(text[99999] == '7' && text[0] == '0');
	free(text);
	text = strdup("text");
	g_assert_cmpstr(text, ==, "text");
	free(text);
}

/* ---- threads ---- */

#define THREADS 4

/* Each one gives what the one before it took. */
static struct {
	_Atomic(void *) block[256];
} passed[THREADS];

static void *work(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg;
	struct block blocks[BLOCKS] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, me);
	for (int i = 0; i < 20; i++) {
		churn(blocks, BLOCKS, &r, 400);
		for (size_t j = 0; j < G_N_ELEMENTS(passed[0].block); j++) {
			char *mine = malloc(48);

			sprintf(mine, "block %zu", j);
			free(atomic_exchange(&passed[me].block[j], mine));
			mine = atomic_exchange(&passed[(me + 1) % THREADS].block[j], NULL);
			if (mine)
				g_assert_cmpint(atoi(mine + 6), ==, (int)j);
			free(mine);
		}
	}
	give_all(blocks, BLOCKS);
	return NULL;
}

static void run_threads(void *(*fn)(void *), size_t count, pthread_t *ids)
{
	for (size_t i = 0; i < count; i++)
		g_assert_cmpint(pthread_create(&ids[i], NULL, fn, (void *)(uintptr_t)i), ==, 0);
}

static void test_threads(void)
{
	pthread_t ids[THREADS];

	for (int i = 0; i < 4; i++) {
		run_threads(work, THREADS, ids);
		for (size_t j = 0; j < THREADS; j++)
			pthread_join(ids[j], NULL);
	}
}

/* ---- fork ---- */

static _Atomic bool stop;

static void *disturb(void *arg)
{
	struct block blocks[100] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, 100 + (uintptr_t)arg);
	while (!atomic_load(&stop))
		churn(blocks, 100, &r, 100);
	give_all(blocks, 100);
	return NULL;
}

/* What the parent had, then as it pleases. */
static void change_all(struct block *blocks, struct support_rand *r)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		check(&blocks[i]);
		blocks[i].mark = (unsigned char)~blocks[i].mark;
		fill(&blocks[i]);
	}
	churn(blocks, BLOCKS, r, 3000);
}

static void be_grandchild(struct block *blocks, struct support_rand *r)
{
	change_all(blocks, r);
	give_all(blocks, BLOCKS);
	_exit(0);
}

static void be_child(struct block *blocks)
{
	struct support_rand r;
	int status;
	pid_t pid;

	support_rand_seed(&r, 200);
	change_all(blocks, &r);
	for (size_t i = 0; i < BLOCKS; i++)
		if (!blocks[i].at)
			take(&blocks[i], &r);
	pid = fork();
	if (pid == 0)
		be_grandchild(blocks, &r);
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	give_all(blocks, BLOCKS);
	_exit(0);
}

static void test_fork(void)
{
	struct block blocks[BLOCKS];
	pthread_t ids[2];
	struct support_rand r;

	support_watchdog(120);
	support_rand_seed(&r, 7);
	for (size_t i = 0; i < BLOCKS; i++)
		take(&blocks[i], &r);
	run_threads(disturb, 2, ids);
	for (int i = 0; i < 6; i++) {
		pid_t pid = fork();
		int status;

		g_assert_cmpint(pid, >=, 0);
		if (pid == 0)
			be_child(blocks);
		for (size_t j = 0; j < 20; j++)
			resize(&blocks[support_rand_below(&r, BLOCKS)], &r);
		g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
		g_assert_cmpint(status, ==, 0);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++)
		pthread_join(ids[i], NULL);
	give_all(blocks, BLOCKS);
}

/* ---- dlopen ---- */

static void *use_module(void *arg)
{
	for (int i = 0; i < 50; i++) {
		void *module = dlopen(getenv("CLIENT_MODULE"), RTLD_NOW | RTLD_LOCAL);
		char *(*make)(size_t) = module ? (char *(*)(size_t))(uintptr_t)dlsym(module, "module_make") : NULL;
		char *block;

		if (!make)
			g_error("%s", dlerror());
		block = make(1000);
		g_assert_cmpint(block[999], ==, 'm');
		free(realloc(block, 2000));
		dlclose(module);
	}
	return arg;
}

static void test_dlopen(void)
{
	pthread_t ids[3];

	run_threads(use_module, 3, ids);
	for (size_t i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
}

/* ---- what programs do with their process ---- */

static void close_all(int way)
{
	if (way == 0)
		closefrom(3);
	else if (way == 1)
		close_range(3, ~0u, 0);
	for (int fd = 3; fd < 1024 && way == 2; fd++)
		close(fd);
	if (way == 3) /* By hand: nobody stands between. */
		syscall(SYS_close_range, 3u, ~0u, 0u);
}

/* Take every number there is below 1000, by dup2 as shells do. All stay the program's, to close too. */
static void take_numbers(int fd)
{
	for (int to = 10; to < NUMBERS; to++)
		g_assert_cmpint(to % 2 ? dup2(fd, to) : dup3(fd, to, O_CLOEXEC), ==, to);
}

static void give_numbers(int fd)
{
	struct stat was, st;

	g_assert_cmpint(fstat(fd, &was), ==, 0);
	for (int at = 10; at < NUMBERS; at++) {
		g_assert_cmpint(fstat(at, &st), ==, 0);
		g_assert_cmpuint(st.st_ino, ==, was.st_ino);
		if (at != fd)
			g_assert_cmpint(close(at), ==, 0);
	}
}

static void be_child_of_daemon(struct block *blocks, struct support_rand *r)
{
	churn(blocks, BLOCKS, r, 1000);
	give_all(blocks, BLOCKS);
	_exit(0);
}

/* More than the limit, in blocks that share a file. */
static struct block hoarded[4000];

static void hoard(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		hoarded[i] = (struct block){ malloc(8000), 8000, (unsigned char)(i | 1) };
		g_assert_nonnull(hoarded[i].at);
		fill(&hoarded[i]);
	}
}

/* In place of the descriptors that were closed there are others: nobody but us may write to them. */
static void be_daemon(int way)
{
	char name[] = "/tmp/client-XXXXXX", text[100] = "";
	struct block blocks[BLOCKS] = { 0 };
	struct support_rand r;
	int fd, status;
	pid_t pid;

	support_rand_seed(&r, (uint64_t)way);
	churn(blocks, BLOCKS, &r, 4000);
	hoard(0, 1000);
	close_all(way);
	fd = mkstemp(name);
	g_assert_cmpint(unlink(name), ==, 0);
	g_assert_cmpint(write(fd, "kept", 4), ==, 4);
	take_numbers(fd);
	g_assert_cmpint(chdir("/proc"), ==, 0);
	clearenv();
	churn(blocks, BLOCKS, &r, 8000);
	hoard(1000, G_N_ELEMENTS(hoarded));
	pid = fork();
	if (pid == 0)
		be_child_of_daemon(blocks, &r);
	churn(blocks, BLOCKS, &r, 1000);
	g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
	g_assert_cmpint(status, ==, 0);
	give_all(blocks, BLOCKS);
	give_all(hoarded, G_N_ELEMENTS(hoarded));
	give_numbers(fd);
	g_assert_cmpint(pread(fd, text, sizeof(text), 0), ==, 4);
	g_assert_cmpstr(text, ==, "kept");
	exit(0);
}

static void test_descriptors(void)
{
	for (int way = 0; way < 4; way++) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			be_daemon(way);
		g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
		g_assert_cmpint(status, ==, 0);
	}
}

static void test_limits(void)
{
	struct rlimit files = { 20, 20 }, was;
	struct block blocks[BLOCKS] = { 0 };
	struct support_rand r;

	support_rand_seed(&r, 9);
	g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &was), ==, 0);
	files.rlim_max = was.rlim_max;
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &files), ==, 0);
	churn(blocks, BLOCKS, &r, 8000);
	give_all(blocks, BLOCKS);
	g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &was), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/run/calls", test_calls);
	support_add("/run/alignment", test_alignment);
	support_add("/run/zeros", test_zeros);
	support_add("/run/libc", test_libc);
	support_add("/run/threads", test_threads);
	support_add("/run/fork", test_fork);
	support_add("/run/dlopen", test_dlopen);
	support_add("/run/descriptors", test_descriptors);
	support_add("/run/limits", test_limits);
	return support_run();
}
