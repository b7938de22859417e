/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel makes of a block in a VM file is what it makes of a plain shared mapping of a file in the same directory:
 * the same flags, the same huge pages, no more page faults. So its bytes are as fast; times are for bench/vmfile.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/support/support_xmemory.h"

#define BYTES (96 * MIB)
#define STEP  512

/* Of a mapping. */
struct seen {
	char flags[200];
	uint64_t resident, huge; /* KiB */
	long faults;
};

static uint64_t kib(const char *line, const char *key)
{
	const char *at = g_str_has_prefix(line, key) ? line + strlen(key) : NULL;

	return at ? g_ascii_strtoull(at, NULL, 10) : 0;
}

static void read_smaps(const void *start, struct seen *s)
{
	char *text = proc_text("/proc/self/smaps"), *first = g_strdup_printf("%lx-", (unsigned long)start);
	char **lines = g_strsplit(text, "\n", -1);
	bool inside = false;

	for (size_t i = 0; lines[i]; i++) {
		/* A mapping's first line begins with an address, the others with a capital. */
		if (g_ascii_isxdigit(*lines[i]) && !g_ascii_isupper(*lines[i]))
			inside = g_str_has_prefix(lines[i], first);
		if (!inside)
			continue;
		if (g_str_has_prefix(lines[i], "VmFlags:"))
			g_strlcpy(s->flags, lines[i], sizeof(s->flags));
		s->resident += kib(lines[i], "Rss:");
		s->huge += kib(lines[i], "FilePmdMapped:") + kib(lines[i], "ShmemPmdMapped:");
	}
	g_strfreev(lines);
	g_free(first);
	g_free(text);
}

static long faults(void)
{
	struct rusage usage;

	g_assert_cmpint(getrusage(RUSAGE_SELF, &usage), ==, 0);
	return usage.ru_minflt + usage.ru_majflt;
}

/* Write, read, and write anywhere. */
static struct seen use(volatile char *bytes)
{
	struct seen s = { .faults = -faults() };
	struct support_rand r;

	support_rand_seed(&r, 3);
	for (size_t i = 0; i < BYTES; i += STEP)
		bytes[i] = (char)(i / STEP);
	for (size_t i = 0; i < BYTES; i += STEP)
		g_assert_cmpint(bytes[i], ==, (char)(i / STEP));
	for (size_t i = 0; i < 100000; i++)
		bytes[support_rand_below(&r, BYTES)] = 1;
	s.faults += faults();
	read_smaps((const void *)(uintptr_t)bytes, &s);
	return s;
}

static struct seen use_plain(void)
{
	int fd = open(support_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	void *map;
	struct seen s;

	if (fd < 0) /* A file system without nameless files. */
		fd = open(support_path("plain"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	g_assert_cmpint(ftruncate(fd, BYTES), ==, 0);
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g_assert_true(map != MAP_FAILED);
	close(fd);
	s = use(map);
	munmap(map, BYTES);
	return s;
}

/* Huge pages are had while there is free memory in one piece: others may take some meanwhile. */
static void equal(const struct seen *plain, const struct seen *block)
{
	g_test_message("page faults: %ld, plain %ld; huge: %d KiB, plain %d KiB", block->faults, plain->faults,
		       (int)block->huge, (int)plain->huge);
	g_assert_cmpstr(block->flags, ==, plain->flags);
	g_assert_cmpuint(block->resident, ==, plain->resident);
	g_assert_cmpint(block->faults, <=, plain->faults + plain->faults / 4 + 600);
	g_assert_cmpuint(block->huge + BYTES / KIB / 8, >=, plain->huge);
}

static void as_plain(void)
{
	struct seen plain = use_plain(), seen;
	void *block;

	vm_begin(1);
	block = take(BYTES);
	g_assert_cmpint(xmemory_kind(block), ==, XMEMORY_VMFILE);
	seen = use(block);
	equal(&plain, &seen);
	give(block);
	xmemory_setlimit(0);
}

static void aligned(void)
{
	struct seen plain = use_plain(), seen;
	void *block;

	vm_begin(1);
	block = xmemory_memalign(64 * KIB, BYTES, __FILE__, __LINE__);
	seen = use(block);
	equal(&plain, &seen);
	give(block);
	xmemory_setlimit(0);
}

static void grown(void)
{
	struct seen plain = use_plain(), seen;
	void *block, *other;

	vm_begin(1);
	block = take(300 * KIB);
	other = take(300 * KIB);
	block = retake(block, BYTES);
	seen = use(block);
	equal(&plain, &seen);
	give(block);
	give(other);
	xmemory_setlimit(0);
}

struct inherited {
	struct seen plain;
	void *block;
};

static int in_child(void *arg)
{
	struct inherited *i = arg;
	struct seen seen = use(i->block);

	equal(&i->plain, &seen);
	return 0;
}

/* Beside others, so that its range of the copy begins anywhere. */
static void inherited(void)
{
	struct inherited i = { .plain = use_plain() };
	void *first;

	vm_begin(1);
	first = take(300 * KIB);
	i.block = take(BYTES);
	memset(i.block, 1, BYTES);
	support_run_child(in_child, &i);
	give(i.block);
	give(first);
	xmemory_setlimit(0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/xmemory/mapping/plain", as_plain);
	support_add("/xmemory/mapping/aligned", aligned);
	support_add("/xmemory/mapping/grown", grown);
	support_add("/xmemory/mapping/fork", inherited);
	return support_run();
}
