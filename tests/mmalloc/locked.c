/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that lock their memory: mlockall(2) before the first heap, and after it, with a limit of locked memory and without. */
#include <fcntl.h>
#include <mmalloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_mmalloc.h"

#define LIMIT    (8 * MIB)
#define MANY_KIB ((uint64_t)256 * 1024) /* Far more than all of it takes, and far less than a range. */

static uint64_t resident_kib(void)
{
	char *text = support_file_read("/proc/self/status", NULL), *at = strstr(text, "VmRSS:");
	uint64_t kib = at ? g_ascii_strtoull(at + 6, NULL, 10) : 0;

	g_free(text);
	g_assert_cmpuint(kib, >, 0);
	return kib;
}

/* Bytes that mlockall() would bring into memory, in the mapping areas that have this much or more. */
static uint64_t writable_bytes(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long long from, to;
	uint64_t sum = 0;
	char line[1024], access[8];

	g_assert_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%llx-%llx %7s", &from, &to, access) == 3 && access[0] == 'r' && access[3] == 'p')
			sum += to - from;
	fclose(maps);
	return sum;
}

static void use_default_heap(void)
{
	char *block = mmalloc(NULL, 100);

	if (!block)
		g_error("the default heap: %s", mmalloc_errmsg());
	memset(block, 1, 100);
	mfree(NULL, block);
}

/* The limit binds those without CAP_IPC_LOCK. */
static bool limit_locked_memory(void)
{
	const struct rlimit limit = { LIMIT, LIMIT };

	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && (geteuid() != 0 || setuid(65534) == 0);
}

static int heap_first(void *arg)
{
	(void)arg;
	use_default_heap();
	/* Else this machine would have to hold a terabyte now. */
	g_assert_cmpuint(writable_bytes(), <, MANY_KIB * KIB);
	if (mlockall(MCL_CURRENT) < 0)
		return SUPPORT_CANNOT;
	g_assert_cmpuint(resident_kib(), <, MANY_KIB);
	use_default_heap();
	return 0;
}

static int lock_first(void *arg)
{
	(void)arg;
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return SUPPORT_CANNOT;
	use_default_heap();
	g_assert_cmpuint(writable_bytes(), <, MANY_KIB * KIB);
	g_assert_cmpuint(resident_kib(), <, MANY_KIB);
	return 0;
}

/* Address space does not count; what is used does, and may be refused, in a sentence that says why. */
static int lock_first_limited(void *arg)
{
	const char *path = support_path("heap");
	void *md, *block;
	int fd;

	(void)arg;
	g_assert_cmpint(chmod(support_dir(), 0777), ==, 0);
	if (!limit_locked_memory() || mlockall(MCL_FUTURE) < 0)
		return SUPPORT_CANNOT;
	use_default_heap();
	fd = open(path, O_RDWR | O_CREAT, 0600);
	md = mmalloc_attach(fd, NULL);
	if (!md)
		g_error("a heap in a file: %s", mmalloc_errmsg());
	block = mmalloc(md, 100000);
	if (!block)
		g_error("a block in a file: %s", mmalloc_errmsg());
	memset(block, 1, 100000);
	g_assert_null(mmalloc_detach(md));
	errno = 0;
	g_assert_null(mmalloc(NULL, 4 * LIMIT));
	g_assert_cmpint(errno, ==, EAGAIN);
	g_assert_nonnull(strstr(mmalloc_errmsg(), "RLIMIT_MEMLOCK"));
	use_default_heap();
	/* A file that is itself larger. */
	md = mmalloc_attach(fd, NULL);
	g_assert_nonnull(md);
	g_assert_cmpint(ftruncate(fd, 4 * LIMIT), ==, 0);
	g_assert_null(mmalloc_detach(md));
	errno = 0;
	md = mmalloc_attach(fd, NULL);
	if (md)
		g_assert_null(mmalloc_detach(md));
	else
		g_assert_true(errno == EAGAIN && strstr(mmalloc_errmsg(), "ulimit -l"));
	close(fd);
	return 0;
}

SUPPORT_LOCKED_CASE(heap_first)
SUPPORT_LOCKED_CASE(lock_first)
SUPPORT_LOCKED_CASE(lock_first_limited)

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/locked/heap-first", heap_first_in_child);
	support_add("/mmalloc/locked/lock-first", lock_first_in_child);
	support_add("/mmalloc/locked/lock-first-limited", lock_first_limited_in_child);
	return support_run();
}
