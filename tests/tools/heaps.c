/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/tools/heaps.h"

#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define ITEM 64

char *run_out, *run_err;

/* ---- running it ---- */

static char *slurp(const char *name)
{
	size_t size;

	return support_file_read(name, &size);
}

/* Named by the parent: a child has names of its own. */
static const char *out_path, *err_path;

static int child(void *arguments)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	char **argv = arguments;

	if (!freopen(out_path, "we", stdout) || !freopen(err_path, "we", stderr))
		return 99;
	dup2(fileno(stdout), STDOUT_FILENO);
	dup2(fileno(stderr), STDERR_FILENO);
	fcntl(STDOUT_FILENO, F_SETFD, 0);
	fcntl(STDERR_FILENO, F_SETFD, 0);
	argv[0] = program;
	execv(program, argv);
	return 98;
}

int run(const char *first, ...)
{
	char *argv[24] = { NULL, (char *)(uintptr_t)first };
	int count = 2, status;
	va_list args;

	va_start(args, first);
	while (count < 23 && (argv[count] = va_arg(args, char *)) != NULL)
		count++;
	va_end(args);
	out_path = support_path("out");
	err_path = support_path("err");
	status = support_wait(support_fork(child, argv));
	g_free(run_out);
	g_free(run_err);
	run_out = slurp(out_path);
	run_err = slurp(err_path);
	if (!WIFEXITED(status))
		g_error("mapalloc %s ended with %#x: %s", first, (unsigned)status, run_err);
	return WEXITSTATUS(status);
}

void assert_status_is(int wanted, int status, const char *file, int line)
{
	if (status != wanted)
		g_error("%s:%d: status %d, not %d\n%s\n%s", file, line, status, wanted, run_out, run_err);
}

void assert_contains(const char *where, const char *text, const char *file, int line)
{
	if (!strstr(where, text))
		g_error("%s:%d: not there: \"%s\"\nin: %s\nout: %s\nerr: %s", file, line, text, where, run_out,
			run_err);
}

uint64_t run_number(const char *key)
{
	char *want = g_strdup_printf("\"%s\": ", key);
	const char *at = strstr(run_out, want);

	if (!at)
		g_error("no %s in: %s", key, run_out);
	at += strlen(want);
	g_free(want);
	return strtoull(at, NULL, 10);
}

/* ---- libqalloc ---- */

/* What load made may have another size than that, and is there. */
static void *or_load(void *map, const char *path)
{
	return map ? map : qalloc_loadmap(path);
}

static void *open_static(const char *path)
{
	return or_load(qalloc_makestatmap(2 * MIB, NULL, path, ITEM, 2), path);
}

static void *open_dynamic(const char *path)
{
	return or_load(qalloc_makedynmap(16 * MIB, NULL, path, 2), path);
}

static uint64_t q_malloc(void *map, size_t size)
{
	return (uintptr_t)qalloc_malloc(map, size);
}

static void q_free(void *map, uint64_t block)
{
	qalloc_free((void *)(uintptr_t)block, map);
}

static void *address(void *map, uint64_t block)
{
	(void)map;
	return (void *)(uintptr_t)block;
}

static int q_setroot(void *map, const char *name, uint64_t block)
{
	return qalloc_setroot(map, name, (void *)(uintptr_t)block);
}

static uint64_t q_getroot(void *map, const char *name)
{
	return (uintptr_t)qalloc_getroot(map, name);
}

static uint64_t q_offset(void *map, uint64_t block)
{
	struct qalloc_stats stats;

	g_assert_cmpint(qalloc_stats(map, &stats), ==, 0);
	return block - (uintptr_t)stats.base;
}

struct walk {
	uint64_t base;
	int (*fn)(uint64_t offset, size_t size, void *arg);
	void *arg;
};

static int on_block(void *block, size_t size, void *arg)
{
	struct walk *walk = arg;

	return walk->fn((uintptr_t)block - walk->base, size, walk->arg);
}

static void q_walk(void *map, int (*fn)(uint64_t offset, size_t size, void *arg), void *arg)
{
	struct walk walk = { -q_offset(map, 0), fn, arg };

	qalloc_walk(map, on_block, &walk);
}

/* ---- libmmalloc ---- */

/* Small, so that it can be filled. */
static void *open_mmalloc(const char *path)
{
	const struct mmalloc_options options = { .reserve = 16 * MIB };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *md = mmalloc_attach_opt(fd, NULL, &options);

	close(fd);
	return md;
}

static int m_close(void *map)
{
	return mmalloc_detach(map) ? -1 : 0;
}

static uint64_t m_malloc(void *map, size_t size)
{
	return (uintptr_t)mmalloc(map, size);
}

static void m_free(void *map, uint64_t block)
{
	mfree(map, (void *)(uintptr_t)block);
}

static int m_setroot(void *map, const char *name, uint64_t block)
{
	return mmalloc_setroot(map, name, (void *)(uintptr_t)block);
}

static uint64_t m_getroot(void *map, const char *name)
{
	return (uintptr_t)mmalloc_getroot(map, name);
}

static uint64_t m_offset(void *map, uint64_t block)
{
	struct mmalloc_stats stats;

	g_assert_cmpint(mmalloc_stats(map, &stats), ==, 0);
	return block - (uintptr_t)stats.base;
}

static void m_walk(void *map, int (*fn)(uint64_t offset, size_t size, void *arg), void *arg)
{
	struct walk walk = { -m_offset(map, 0), fn, arg };

	mmalloc_walk(map, on_block, &walk);
}

/* ---- libshmbuddy ---- */

static void *open_region(const char *path)
{
	const struct shmbuddy_options options = { .capacity = 8 * MIB, .largest = MIB };
	shmbuddy_t *region = shmbuddy_open(path, &options);

	return region ? region : shmbuddy_open(path, NULL);
}

static int s_close(void *map)
{
	return shmbuddy_close(map);
}

static uint64_t s_malloc(void *map, size_t size)
{
	return shmbuddy_malloc(map, size);
}

static void s_free(void *map, uint64_t block)
{
	shmbuddy_free(map, (shm_offt)block);
}

static void *s_at(void *map, uint64_t block)
{
	return shmbuddy_address(map, (shm_offt)block);
}

static int s_setroot(void *map, const char *name, uint64_t block)
{
	return shmbuddy_setroot(map, name, (shm_offt)block);
}

static uint64_t s_getroot(void *map, const char *name)
{
	return shmbuddy_getroot(map, name);
}

static uint64_t s_offset(void *map, uint64_t block)
{
	(void)map;
	return block;
}

static int on_region_block(shm_offt offset, size_t size, void *arg)
{
	struct walk *walk = arg;

	return walk->fn(offset, size, walk->arg);
}

static void s_walk(void *map, int (*fn)(uint64_t offset, size_t size, void *arg), void *arg)
{
	struct walk walk = { 0, fn, arg };

	shmbuddy_walk(map, on_region_block, &walk);
}

const struct heap heaps[HEAPS] = {
	{ "qalloc-static", open_static, qalloc_close, q_malloc, q_free, address, q_setroot, q_getroot, q_offset, q_walk,
	  true },
	{ "qalloc-dynamic", open_dynamic, qalloc_close, q_malloc, q_free, address, q_setroot, q_getroot, q_offset,
	  q_walk, true },
	{ "mmalloc", open_mmalloc, m_close, m_malloc, m_free, address, m_setroot, m_getroot, m_offset, m_walk, true },
	{ "shmbuddy", open_region, s_close, s_malloc, s_free, s_at, s_setroot, s_getroot, s_offset, s_walk, false },
};

/* ---- what is done with them ---- */

size_t heap_size(const struct heap *heap, struct support_rand *r)
{
	if (g_str_equal(heap->kind, "qalloc-static"))
		return ITEM;
	switch (support_rand_below(r, 16)) {
	case 0:
		return support_rand_between(r, 70000, 300000);
	case 1:
	case 2:
		return support_rand_between(r, 9000, 60000);
	default:
		return support_rand_between(r, 1, 3000);
	}
}

/* Each block begins with where the one before it is. */
unsigned heap_fill(const struct heap *heap, void *map, unsigned most)
{
	struct support_rand r;
	uint64_t last = 0;
	unsigned count;

	support_rand_seed(&r, 3);
	for (count = 0; count < most; count++) {
		uint64_t block = heap->malloc(map, MAX(heap_size(heap, &r), sizeof(last)));

		if (!block)
			break;
		memcpy(heap->at(map, block), &last, sizeof(last));
		last = block;
	}
	if (last)
		g_assert_cmpint(heap->setroot(map, "last", last), ==, 0);
	return count;
}

int heap_load(const struct heap *heap, const char *path, _Atomic unsigned *rounds)
{
	void *map = heap->open(path);
	uint64_t block[300] = { 0 };
	struct support_rand r;

	if (!map)
		return 1;
	support_rand_seed(&r, (uint64_t)getpid());
	for (;;) {
		size_t i = support_rand_below(&r, G_N_ELEMENTS(block));

		if (block[i])
			heap->free(map, block[i]);
		block[i] = support_rand_below(&r, 3) ? heap->malloc(map, heap_size(heap, &r)) : 0;
		if (block[i])
			memset(heap->at(map, block[i]), (int)i, sizeof(uint64_t));
		atomic_fetch_add(rounds, 1);
	}
}
