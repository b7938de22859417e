/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls, on blocks of every kind: what they give, what they say, what they set errno to. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/support_xmemory.h"

static void blocks_in_ram(void)
{
	struct support_rand r;
	void *blocks[500] = { 0 };
	size_t sizes[500] = { 0 };

	support_rand_seed(&r, 1);
	for (size_t i = 0; i < support_scale(200000); i++) {
		size_t at = support_rand_below(&r, 500), size = 1 + support_rand_below(&r, i % 100 ? 700 : 200000);

		if (blocks[at]) {
			g_assert_cmpint(xmemory_kind(blocks[at]), ==, XMEMORY_RAM);
			g_assert_cmpuint(xmemory_size(blocks[at]), ==, sizes[at]);
			check(blocks[at], MIN(sizes[at], 64), (unsigned)at);
		}
		if (i % 3 == 0 && blocks[at]) {
			blocks[at] = retake(blocks[at], size);
			check(blocks[at], MIN(MIN(sizes[at], size), 64), (unsigned)at);
		} else {
			if (blocks[at])
				give(blocks[at]);
			blocks[at] = take(size);
		}
		g_assert_nonnull(blocks[at]);
		g_assert_cmpuint((uintptr_t)blocks[at] % 16, ==, 0);
		fill(blocks[at], MIN(size, 64), (unsigned)at);
		sizes[at] = size;
	}
	for (size_t at = 0; at < 500; at++)
		if (blocks[at])
			give(blocks[at]);
	g_assert_cmpuint(figures().pointers, ==, 0);
	g_assert_cmpuint(figures().bytes, ==, 0);
}

static void nothing(void)
{
	errno = 0;
	g_assert_null(take(0));
	g_assert_null(xmemory_calloc(0, 5, "f", 1));
	g_assert_null(xmemory_strdup(NULL, "f", 1));
	g_assert_cmpint(errno, ==, 0);
	g_assert_null(retake(take(10), 0));
	g_assert_cmpuint(figures().pointers, ==, 0);
}

/* From the block of 2^47 bytes, which RAM has not, nor the disk. */
static void too_much(void)
{
	vm_begin(0);
	errno = 0;
	g_assert_null(xmemory_calloc(SIZE_MAX / 2, 3, "f", 1));
	g_assert_cmpint(errno, ==, ENOMEM);
	errno = 0;
	g_assert_null(take(SIZE_MAX));
	g_assert_cmpint(errno, ==, ENOMEM);
	errno = 0;
	g_assert_null(xmemory_memalign(3, 10, "f", 1));
	g_assert_cmpint(errno, ==, EINVAL);
	errno = 0;
	g_assert_cmpint(xmemory_stats(NULL), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
	errno = 0;
	g_assert_cmpint(xmemory_leaks(NULL, NULL), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
}

static void calloc_is_zero(void)
{
	static const size_t sizes[] = { 1, 100, 5000, 300000, 3000000 };

	for (size_t limit = 0; limit < 2; limit++) {
		vm_begin(limit ? 1 : SIZE_MAX);
		for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
			char *dirty = take(sizes[i]), *block;

			memset(dirty, 1, sizes[i]);
			give(dirty);
			block = xmemory_calloc(1, sizes[i], __FILE__, __LINE__);
			for (size_t at = 0; at < sizes[i]; at++)
				g_assert_cmpint(block[at], ==, 0);
			give(block);
		}
	}
	xmemory_setlimit(0);
}

static void strings_are_copied(void)
{
	char *copy = xmemory_strdup("a string", __FILE__, __LINE__);

	g_assert_cmpstr(copy, ==, "a string");
	g_assert_cmpuint(xmemory_size(copy), ==, 9);
	give(copy);
}

static void alignment(void)
{
	for (int vm = 0; vm < 2; vm++) {
		vm_begin(vm ? 1 : SIZE_MAX);
		for (size_t align = 1; align <= 4 * MIB; align *= 2)
			for (size_t size = 1; size <= MIB; size *= 32) {
				void *block = xmemory_memalign(align, size, __FILE__, __LINE__);

				g_assert_nonnull(block);
				g_assert_cmpuint((uintptr_t)block % align, ==, 0);
				g_assert_cmpint(xmemory_kind(block), ==, vm ? XMEMORY_VMFILE : XMEMORY_RAM);
				fill(block, size, 3);
				give(block);
			}
	}
	xmemory_setlimit(0);
	g_assert_cmpuint(figures().pointers, ==, 0);
}

static char *said_of(void (*call)(void *ptr, const char *file, int line), void *ptr)
{
	support_capture_begin();
	errno = 0;
	call(ptr, "some-file.c", 4711);
	return support_capture_end();
}

static void say_nothing_wrong(const char *said)
{
	g_assert_nonnull(strstr(said, "some-file.c"));
	g_assert_nonnull(strstr(said, "4711"));
	g_assert_cmpuint(count_text(said, "\n"), ==, 1);
}

/* NULL, never a block, a block's inside, freed twice: a warning with file and line, and nothing changes. */
static void bad_frees(void)
{
	static char never[64];

	xmemory_setwarnings(1000);

	for (int vm = 0; vm < 3; vm++) {
		void *block, *keep;
		char *said;

		vm_begin(vm ? 1 : SIZE_MAX);
		keep = take(vm == 2 ? 1000000 : 100);
		block = take(vm == 2 ? 1000000 : 100);
		said = said_of(xmemory_free, NULL);
		say_nothing_wrong(said);
		g_free(said);
		said = said_of(xmemory_free, never);
		say_nothing_wrong(said);
		g_assert_cmpint(errno, ==, EINVAL);
		g_free(said);
		for (int at = 1; at < 48; at += at < 16 ? 1 : 16) {
			said = said_of(xmemory_free, (char *)block + at);
			say_nothing_wrong(said);
			g_free(said);
		}
		said = said_of(xmemory_free, (void *)~(uintptr_t)15);
		say_nothing_wrong(said);
		g_free(said);
		give(block);
		said = said_of(xmemory_free, block);
		say_nothing_wrong(said);
		g_free(said);
		g_assert_cmpuint(figures().pointers, ==, 1);
		g_assert_cmpint(xmemory_kind(keep), !=, XMEMORY_UNKNOWN);
		give(keep);
	}
	xmemory_setlimit(0);
}

static void bad_realloc(void)
{
	static char never[64];
	char *said;

	support_capture_begin();
	errno = 0;
	g_assert_null(xmemory_realloc(never, 10, "some-file.c", 4711));
	g_assert_cmpint(errno, ==, EINVAL);
	said = support_capture_end();
	say_nothing_wrong(said);
	g_free(said);
}

static long key(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	g_assert_nonnull(at);
	return atol(at + strlen(name));
}

static char *status_text(void)
{
	support_capture_begin();
	xmemory_status();
	return support_capture_end();
}

static void status_lines(void)
{
	const char *path = support_path("mapped");
	void *ram = xmemory_malloc(1000, "ram.c", 11), *vm, *small, *peak;
	char *status, *line, *mapped;

	support_file_write(path, "0123456789", 10);
	vm_begin(SIZE_MAX);
	peak = take(10 * MIB);
	give(peak);
	vm_begin(1);
	vm = xmemory_malloc(300000, "vm.c", 22);
	small = xmemory_malloc(20, "small.c", 33);
	mapped = xmemory_falloc(path, 4, NULL, "mapped.c", 44);
	status = status_text();
	g_assert_cmpint(key(status, "ALL_npointers"), ==, 4);
	g_assert_cmpint(key(status, "ALL_size"), ==, 1000 + 300000 + 20 + 6);
	g_assert_cmpint(key(status, "ALL_maxalloc_kb"), >=, (10 * MIB + 1000) / 1024);
	g_assert_cmpint(key(status, "ALL_maxpointers"), >=, 4);
	g_assert_cmpint(key(status, "RAM_alloc"), ==, 1000);
	g_assert_cmpint(key(status, "SWP_alloc"), ==, 300020);
	g_assert_cmpint(key(status, "SWP_files"), ==, 2);
	g_assert_cmpint(key(status, "MAP_files"), ==, 1);
	g_assert_cmpint(key(status, "MAP_mappings"), ==, 1);
	line = g_strdup_printf("\nR %p ram.c 11 1000\n", ram);
	g_assert_nonnull(strstr(status, line));
	g_free(line);
	line = g_strdup_printf("\nS %p vm.c 22 300000\n", vm);
	g_assert_nonnull(strstr(status, line));
	g_free(line);
	line = g_strdup_printf("\nS %p small.c 33 20\n", small);
	g_assert_nonnull(strstr(status, line));
	g_free(line);
	line = g_strdup_printf("\nM %p mapped.c 44 6\n", (void *)mapped);
	g_assert_nonnull(strstr(status, line));
	g_free(line);
	g_free(status);
	give(ram);
	give(vm);
	give(small);
	give(mapped);
	xmemory_setlimit(0);
	status = status_text();
	g_assert_cmpint(key(status, "ALL_npointers"), ==, 0);
	g_assert_cmpint(key(status, "MAP_files"), ==, 0);
	g_free(status);
}

/* One thread: the peaks are exact. Before all other tests, for they are the process's. */
static int peaks(void *arg)
{
	void *blocks[1000];

	(void)arg;
	vm_begin(SIZE_MAX);
	for (size_t i = 0; i < 1000; i++)
		blocks[i] = take(100);
	for (size_t i = 0; i < 1000; i++)
		give(blocks[i]);
	give(take(500000));
	g_assert_cmpuint(figures().peak_pointers, ==, 1000);
	g_assert_cmpuint(figures().peak_bytes, ==, 500000);
	xmemory_setlimit(1);
	give(take(700000));
	g_assert_cmpuint(figures().peak_bytes, ==, 700000);
	return 0;
}

static void peaks_are_exact(void)
{
	support_run_child(peaks, NULL);
}

static void off_and_on(void)
{
	size_t size = 1;
	void *ram, *vm, *plain;
	const char *path = support_path("off");

	support_file_write(path, "x", 1);
	vm_begin(SIZE_MAX);
	ram = take(100);
	xmemory_setlimit(1);
	vm = take(1000000);
	xmemory_off();
	plain = take(100);
	g_assert_nonnull(plain);
	g_assert_cmpint(xmemory_kind(plain), ==, XMEMORY_UNKNOWN);
	errno = 0;
	g_assert_null(map(path, 0, &size));
	g_assert_cmpint(errno, ==, EPERM);
	plain = retake(plain, 200);
	give(plain);
	give(NULL); /* As the C library's: without a word. */
	fill(ram, 100, 1);
	ram = retake(ram, 150);
	check(ram, 100, 1);
	fill(vm, 1000000, 2);
	vm = retake(vm, 2000000);
	check(vm, 1000000, 2);
	g_assert_cmpuint(figures().pointers, ==, 2);
	give(ram);
	give(vm);
	xmemory_on();
	g_assert_cmpuint(figures().pointers, ==, 0);
	xmemory_setlimit(0);
}

static int collect(const struct xmemory_leak *leak, void *arg)
{
	GString *text = arg;

	g_string_append_printf(text, "%s:%d %d %d;", leak->file, leak->line, (int)leak->blocks, (int)leak->bytes);
	return 0;
}

static int stop(const struct xmemory_leak *leak, void *arg)
{
	(void)leak;
	return ++*(int *)arg == 2 ? 42 : 0;
}

/* The same name from two places in memory is one file: a literal that several sources have. */
static void leaks_by_site(void)
{
	char name_a[] = "a.c", other_a[] = "a.c";
	GString *text = g_string_new(NULL);
	void *blocks[6];
	int calls = 0;

	vm_begin(SIZE_MAX);
	blocks[0] = xmemory_malloc(10, name_a, 1);
	blocks[1] = xmemory_malloc(20, other_a, 1);
	blocks[2] = xmemory_malloc(5, name_a, 2);
	blocks[3] = xmemory_malloc(500, "b.c", 1);
	xmemory_setlimit(1);
	blocks[4] = xmemory_malloc(1000000, "b.c", 3);
	blocks[5] = xmemory_malloc(50, "b.c", 4);
	strcpy(name_a, "XX"); /* As a library that was unloaded. */
	g_assert_cmpint(xmemory_leaks(collect, text), ==, 0);
	g_assert_cmpstr(text->str, ==, "b.c:3 1 1000000;b.c:1 1 500;b.c:4 1 50;a.c:1 2 30;a.c:2 1 5;");
	g_assert_cmpint(xmemory_leaks(stop, &calls), ==, 42);
	g_assert_cmpint(calls, ==, 2);
	for (size_t i = 0; i < 6; i++)
		give(blocks[i]);
	g_string_truncate(text, 0);
	g_assert_cmpint(xmemory_leaks(collect, text), ==, 0);
	g_assert_cmpstr(text->str, ==, "");
	g_string_free(text, TRUE);
	xmemory_setlimit(0);
}

/* More places than a small table has room for. */
static void many_sites(void)
{
	enum { SITES = 20000 };
	void **blocks = g_new(void *, SITES);

	for (int i = 0; i < SITES; i++)
		blocks[i] = xmemory_malloc(8, "many.c", i);
	for (int i = 0; i < SITES; i++)
		give(blocks[i]);
	g_free(blocks);
	g_assert_cmpuint(figures().pointers, ==, 0);
}

static void advice(void)
{
	const char *path = support_path("advice");
	char *blocks[3];

	support_file_write(path, "0123456789", 10);
	vm_begin(SIZE_MAX);
	blocks[0] = take(MIB);
	xmemory_setlimit(1);
	blocks[1] = take(MIB);
	fill(blocks[0], MIB, 1);
	fill(blocks[1], MIB, 1);
	blocks[2] = map(path, 0, NULL);
	for (size_t i = 0; i < 3; i++)
		for (int a = XMEMORY_NORMAL; a <= XMEMORY_DONTNEED; a++)
			g_assert_cmpint(xmemory_advise(blocks[i], i < 2 ? MIB : 10, (enum xmemory_advice)a), ==, 0);
	check(blocks[0], MIB, 1);
	check(blocks[1], MIB, 1);
	g_assert_cmpint(memcmp(blocks[2], "0123456789", 10), ==, 0);
	errno = 0;
	g_assert_cmpint(xmemory_advise(blocks[0], 1, (enum xmemory_advice)77), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
	errno = 0;
	g_assert_cmpint(xmemory_advise(blocks[0] + 16, 1, XMEMORY_NORMAL), ==, -1);
	g_assert_cmpint(errno, ==, EINVAL);
	for (size_t i = 0; i < 3; i++)
		give(blocks[i]);
	xmemory_setlimit(0);
}

/* Level 1: what was not freed is told at exit; level 3: each call; level 0: nothing. */
static char *run_level(const char *level)
{
	const char *argv[] = { "/proc/self/exe", "--leak", NULL };
	char **env = g_environ_setenv(g_get_environ(), "XMEMORY_DEBUG", level, TRUE);
	char self[4096], *said; /* What leaks there is meant to. */
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int status;

	env = g_environ_setenv(env, "XMEMORY_TMPDIR", support_dir(), TRUE);
	env = g_environ_setenv(env, "ASAN_OPTIONS", "detect_leaks=0", TRUE);
	g_assert_cmpint(n, >, 0);
	self[n] = '\0';
	argv[0] = self;
	g_assert_true(g_spawn_sync(NULL, (char **)argv, env, 0, NULL, NULL, NULL, &said, &status, NULL));
	g_assert_cmpint(status, ==, 0);
	g_strfreev(env);
	return said;
}

static void leak_report(void)
{
	char *said;

	if (support_valgrind()) {
		g_test_skip("Valgrind does not follow into the program that is run");
		return;
	}
	said = run_level("0");
	g_assert_cmpstr(said, ==, "");
	g_free(said);
	said = run_level("1");
	g_assert_nonnull(strstr(said, "leak.c, line 7: 3 blocks, 300 bytes\n"));
	g_assert_nonnull(strstr(said, "4 blocks, 305 bytes were never freed\n"));
	g_assert_null(strstr(said, "took"));
	g_free(said);
	said = run_level("2");
	g_assert_nonnull(strstr(said, "budget"));
	g_assert_nonnull(strstr(said, "VM file 1 "));
	g_assert_null(strstr(said, "took"));
	g_free(said);
	said = run_level("3");
	g_assert_nonnull(strstr(said, "took 100 bytes at "));
	g_assert_nonnull(strstr(said, "leak.c:7\n"));
	g_assert_nonnull(strstr(said, "freed "));
	g_free(said);
}

static int leave_blocks(void)
{
	xmemory_setlimit(1);
	xmemory_free(xmemory_malloc(300000, "leak.c", 1), "leak.c", 2);
	xmemory_setlimit(1000000);
	for (int i = 0; i < 4; i++) {
		void *block = xmemory_malloc(100, "leak.c", 7);

		if (i == 3)
			xmemory_free(block, "leak.c", 8);
	}
	return xmemory_malloc(5, "leak.c", 9) ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--leak") == 0)
		return leave_blocks();
	support_init(&argc, &argv);
	support_add("/xmemory/basic/peaks", peaks_are_exact);
	support_add("/xmemory/basic/ram", blocks_in_ram);
	support_add("/xmemory/basic/nothing", nothing);
	support_add("/xmemory/basic/too-much", too_much);
	support_add("/xmemory/basic/calloc", calloc_is_zero);
	support_add("/xmemory/basic/strdup", strings_are_copied);
	support_add("/xmemory/basic/alignment", alignment);
	support_add("/xmemory/basic/bad-frees", bad_frees);
	support_add("/xmemory/basic/bad-realloc", bad_realloc);
	support_add("/xmemory/basic/status", status_lines);
	support_add("/xmemory/basic/off", off_and_on);
	support_add("/xmemory/basic/leaks", leaks_by_site);
	support_add("/xmemory/basic/sites", many_sites);
	support_add("/xmemory/basic/advice", advice);
	support_add("/xmemory/basic/leak-report", leak_report);
	return support_run();
}
