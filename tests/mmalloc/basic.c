/* SPDX-License-Identifier: BSD-3-Clause */
/* The original's calls: what its clients rely on, each way to attach, each refusal, and what was wrong with it. */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/support_mmalloc.h"

static void contract(void *md)
{
	char *block = mmalloc(md, 100), *other;

	g_assert_nonnull(block);
	g_assert_cmpuint((uintptr_t)block % 16, ==, 0);
	g_assert_cmpuint(mmalloc_usable_size(md, block), >=, 100);
	errno = 0;
	g_assert_null(mmalloc(md, 0));
	g_assert_null(mmemalign(md, 64, 0));
	g_assert_null(mcalloc(md, 0, 10));
	g_assert_cmpint(errno, ==, 0);
	memset(block, 'x', 100);
	block = mrealloc(md, block, 100000);
	g_assert_nonnull(block);
	g_assert_cmpint(block[99], ==, 'x');
	other = mrealloc(md, NULL, 10);
	g_assert_nonnull(other);
	g_assert_null(mrealloc(md, other, 0));
	mfree(md, NULL);
	mfree(md, block);
	g_assert_cmpint(errno, ==, 0);
	block = mcalloc(md, 10, 20);
	for (size_t i = 0; i < 200; i++)
		g_assert_cmpint(block[i], ==, 0);
	mfree(md, block);
	errno = 0;
	mfree(md, block);
	g_assert_cmpint(errno, ==, EINVAL);
	block = mvalloc(md, 5000);
	g_assert_cmpuint((uintptr_t)block % 4096, ==, 0);
	other = mmemalign(md, 1 << 20, 10);
	g_assert_cmpuint((uintptr_t)other % (1 << 20), ==, 0);
	mfree(md, block);
	mfree(md, other);
	g_assert_cmpint(mmalloc_check(md, NULL, NULL), ==, 0);
}

static void calls_keep_the_contract(void)
{
	void *md = heap_attach(support_path("contract"));

	contract(md);
	heap_detach(md);
	md = mmalloc_attach(-1, NULL);
	contract(md);
	heap_detach(md);
	contract(NULL);
}

static void overflows(void)
{
	errno = 0;
	g_assert_null(mcalloc(NULL, SIZE_MAX / 2, 3));
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_null(mmalloc(NULL, SIZE_MAX));
	g_assert_null(mmalloc(NULL, PTRDIFF_MAX));
	errno = 0;
	g_assert_null(mmemalign(NULL, 3, 10));
	g_assert_cmpint(errno, ==, EINVAL);
}

/* Functions, not macros: clients pass them on. */
static void functions_are_functions(void)
{
	void *(*take)(void *, size_t) = mmalloc;
	void *(*change)(void *, void *, size_t) = mrealloc;
	void (*give)(void *, void *) = mfree;

	give(NULL, change(NULL, take(NULL, 10), 20));
}

static void keys(void)
{
	const char *path = support_path("keys");
	void *md = heap_attach(path);
	char *block = mmalloc(md, 64);

	for (int i = 0; i < MMALLOC_KEYS; i++) {
		g_assert_null(mmalloc_getkey(md, i));
		g_assert_cmpint(mmalloc_setkey(md, i, block + i), ==, 1);
	}
	errno = 0;
	g_assert_cmpint(mmalloc_setkey(md, MMALLOC_KEYS, block), ==, 0);
	g_assert_cmpint(errno, ==, EINVAL);
	g_assert_cmpint(mmalloc_setkey(md, -1, block), ==, 0);
	g_assert_null(mmalloc_getkey(md, MMALLOC_KEYS));
	g_assert_cmpint(mmalloc_setroot(md, "named", block + 5), ==, 0);
	heap_detach(md);
	md = heap_attach(path);
	for (int i = 0; i < MMALLOC_KEYS; i++)
		g_assert_true(mmalloc_getkey(md, i) == block + i);
	g_assert_true(mmalloc_getroot(md, "named") == block + 5);
	g_assert_cmpint(mmalloc_setkey(md, 3, NULL), ==, 1);
	g_assert_null(mmalloc_getkey(md, 3));
	heap_detach(md);
	mmalloc_setkey(NULL, 0, (void *)(uintptr_t)path);
	g_assert_true(mmalloc_getkey(NULL, 0) == path);
}

static void reopens_at_its_base(void)
{
	const char *path = support_path("base");
	void *base = mmalloc_findbase(64 << 20), *md;
	int fd = heap_file(path);
	char *block;

	g_assert_nonnull(base);
	md = mmalloc_attach(fd, base);
	g_assert_nonnull(md);
	block = mmalloc(md, 100);
	strcpy(block, "stays");
	g_assert_cmpuint((uintptr_t)block, >, (uintptr_t)base);
	mmalloc_setkey(md, 0, block);
	heap_detach(md);
	md = mmalloc_attach(fd, mmalloc_findbase(1 << 20)); /* Which does not matter any more. */
	g_assert_nonnull(md);
	g_assert_true(mmalloc_getkey(md, 0) == block);
	g_assert_cmpstr(block, ==, "stays");
	heap_detach(md);
	close(fd);
}

static void two_attaches_share(void)
{
	const char *path = support_path("twice");
	void *first = heap_attach(path), *second = heap_attach(path), *block;

	g_assert_true(first == second);
	block = mmalloc(first, 10);
	g_assert_null(mmalloc_detach(first));
	mfree(second, block);
	g_assert_null(mmalloc_detach(second));
	errno = 0;
	g_assert_true(mmalloc_detach(second) == second);
	g_assert_cmpint(errno, ==, EBADF);
	g_assert_null(mmalloc(second, 10));
	g_assert_cmpint(errno, ==, EBADF);
}

/* Was wrong: detach unmapped nothing. */
static void detach_unmaps(void)
{
	void *md = heap_attach(support_path("unmaps"));
	char *block = mmalloc(md, 10);
	unsigned char in_core;

	heap_detach(md);
	g_assert_cmpint(mincore((void *)((uintptr_t)block & ~(uintptr_t)4095), 4096, &in_core), ==, -1);
	g_assert_cmpint(errno, ==, ENOMEM);
}

/* Was wrong: growth mapped over whatever was behind the heap. */
static void heaps_do_not_run_into_each_other(void)
{
	void *base = mmalloc_findbase((size_t)1 << 30), *wall, *md;
	int fd = heap_file(support_path("wall"));
	size_t got = 0;

	wall = mmap((char *)base + (256 << 20), 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	g_assert_true(wall != MAP_FAILED);
	memset(wall, 7, 4096);
	md = mmalloc_attach(fd, base);
	g_assert_nonnull(md);
	while (mmalloc(md, 8 << 20))
		got++;
	g_assert_cmpint(errno, ==, ENOMEM);
	g_assert_cmpuint(got, >, 8);
	g_assert_cmpint(*(char *)wall, ==, 7);
	heap_detach(md);
	munmap(wall, 4096);
	close(fd);
}

static void foreign_files_are_refused(void)
{
	const char *path = support_path("foreign");
	int fd = heap_file(path), pipes[2];

	g_assert_cmpint(write(fd, "something else altogether", 25), ==, 25);
	errno = 0;
	g_assert_null(mmalloc_attach(fd, NULL));
	g_assert_cmpint(errno, ==, EMEDIUMTYPE);
	g_assert_cmpint(support_file_size(path), ==, 25);
	close(fd);
	g_assert_null(mmalloc_attach(fd, NULL));
	g_assert_cmpint(errno, ==, EBADF);
	g_assert_cmpint(pipe(pipes), ==, 0);
	g_assert_null(mmalloc_attach(pipes[0], NULL));
	close(pipes[0]);
	close(pipes[1]);
	g_assert_null(mmalloc_attach(-1, (void *)123));
	g_assert_cmpint(errno, ==, EINVAL);
}

/* Was wrong: declared and never defined. */
static void errno_of_a_descriptor(void)
{
	struct mmalloc_options small = { .reserve = 8 << 20 };
	void *one = mmalloc_attach_opt(-1, NULL, &small), *other = mmalloc_attach_opt(-1, NULL, &small);

	g_assert_cmpint(mmalloc_errno(one), ==, 0);
	g_assert_null(mmalloc(one, 64 << 20));
	errno = 0;
	g_assert_cmpint(mmalloc_errno(one), ==, ENOMEM);
	g_assert_cmpint(mmalloc_errno(other), ==, 0);
	mfree(one, &small);
	g_assert_cmpint(mmalloc_errno(one), ==, EINVAL);
	heap_detach(one);
	heap_detach(other);
}

static void read_only_and_private(void)
{
	const char *path = support_path("views");
	struct mmalloc_options look = { .flags = MMALLOC_RDONLY }, copy = { .flags = MMALLOC_PRIVATE };
	void *md = heap_attach(path);
	char *block = mmalloc(md, 100);
	int fd;

	block[0] = 'a';
	mmalloc_setkey(md, 1, block);
	heap_detach(md);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	g_assert_null(mmalloc_attach(fd, NULL)); /* Not for writing. */
	md = mmalloc_attach_opt(fd, NULL, &look);
	g_assert_nonnull(md);
	g_assert_true(mmalloc_getkey(md, 1) == block);
	g_assert_null(mmalloc(md, 10));
	g_assert_cmpint(errno, ==, EROFS);
	g_assert_cmpint(mmalloc_setkey(md, 1, NULL), ==, 0);
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &copy);
	g_assert_nonnull(md);
	block[0] = 'b';
	g_assert_nonnull(mmalloc(md, 50 << 20));
	mmalloc_setkey(md, 1, NULL);
	heap_detach(md);
	md = mmalloc_attach_opt(fd, NULL, &look);
	g_assert_cmpint(block[0], ==, 'a');
	g_assert_true(mmalloc_getkey(md, 1) == block);
	heap_detach(md);
	close(fd);
}

static void statistics(void)
{
	void *md = heap_attach(support_path("stats")), *block;
	struct mmalloc_stats stats;
	struct mstats old;

	block = mmalloc(md, 3 << 20);
	mmalloc(md, 100);
	old = mmstats(md);
	g_assert_cmpuint(old.chunks_used, ==, 2);
	g_assert_cmpuint(old.bytes_used, >=, (3 << 20) + 100);
	g_assert_cmpuint(old.bytes_total, ==, old.bytes_used + old.bytes_free);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_cmpuint(stats.used_blocks, ==, 2);
	g_assert_cmpuint(stats.used_bytes, ==, old.bytes_used);
	g_assert_cmpuint(stats.disk_bytes, >, 3 << 20);
	g_assert_cmpint(mmalloc_stats(md, NULL), ==, -1);
	mfree(md, block);
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
	g_assert_cmpint(mmalloc_stats(md, &stats), ==, 0);
	g_assert_cmpuint(stats.disk_bytes, <, 3 << 20);
	heap_detach(md);
}

/* Chunks of freed blocks become tables of the heap's own: ASan and Valgrind must hear of it. */
static void freed_space_serves_small_blocks(void)
{
	void *md = mmalloc_attach(-1, NULL);

	mfree(md, mmalloc(md, 64 << 20));
	for (size_t i = 0; i < 300000; i++)
		g_assert_nonnull(mmalloc(md, 16));
	heap_detach(md);
}

/* Still attached when the program ends: Valgrind's leak check would never come to the end of the range. The last case. */
static void left_attached(void)
{
	g_assert_nonnull(mmalloc(heap_attach(support_path("left")), 100));
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/basic/contract", calls_keep_the_contract);
	support_add("/mmalloc/basic/overflows", overflows);
	support_add("/mmalloc/basic/functions", functions_are_functions);
	support_add("/mmalloc/basic/keys", keys);
	support_add("/mmalloc/basic/base", reopens_at_its_base);
	support_add("/mmalloc/basic/twice", two_attaches_share);
	support_add("/mmalloc/was-wrong/detach-unmaps", detach_unmaps);
	support_add("/mmalloc/was-wrong/runs-over-others", heaps_do_not_run_into_each_other);
	support_add("/mmalloc/was-wrong/errno", errno_of_a_descriptor);
	support_add("/mmalloc/basic/foreign", foreign_files_are_refused);
	support_add("/mmalloc/basic/views", read_only_and_private);
	support_add("/mmalloc/basic/freed-space", freed_space_serves_small_blocks);
	support_add("/mmalloc/basic/statistics", statistics);
	support_add("/mmalloc/end/left-attached", left_attached);
	return support_run();
}
