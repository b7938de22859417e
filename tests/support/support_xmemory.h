/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of libxmemory share: calls with their place in the source, blocks that are filled and looked at. */
#ifndef SUPPORT_XMEMORY_H
#define SUPPORT_XMEMORY_H

#include <dirent.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "tests/support/support.h"

#define take(size)         xmemory_malloc((size), __FILE__, __LINE__)
#define retake(ptr, size)  xmemory_realloc((ptr), (size), __FILE__, __LINE__)
#define give(ptr)          xmemory_free((ptr), __FILE__, __LINE__)
#define map(name, at, len) xmemory_falloc((name), (at), (len), __FILE__, __LINE__)

/* VM files go to this test's own directory. */
static inline void vm_begin(size_t limit)
{
	xmemory_settmpdir(support_dir());
	xmemory_setlimit(limit);
}

static inline struct xmemory_stats figures(void)
{
	struct xmemory_stats stats;

	g_assert_cmpint(xmemory_stats(&stats), ==, 0);
	return stats;
}

/* A pattern that tells blocks, and places in them, apart: of the beginning each byte, of the rest some. */
static inline size_t next_place(size_t i)
{
	return i < 4096 ? i + 1 : i + 997 - i % 997;
}

static inline void fill(void *block, size_t size, unsigned mark)
{
	unsigned char *bytes = block;

	for (size_t i = 0; i < size; i = next_place(i))
		bytes[i] = (unsigned char)(i * 7 + mark);
}

static inline void check(const void *block, size_t size, unsigned mark)
{
	const unsigned char *bytes = block;

	for (size_t i = 0; i < size; i = next_place(i))
		g_assert_cmpuint(bytes[i], ==, (unsigned char)(i * 7 + mark));
}

/* Files of /proc have no length. */
static inline char *proc_text(const char *path)
{
	char *text;

	g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
	return text;
}

/* A field of /proc/self/statm, in bytes. */
static inline size_t statm_bytes(int field)
{
	char *text = proc_text("/proc/self/statm");
	char **fields = g_strsplit(text, " ", 0);
	size_t bytes = strtoull(fields[field], NULL, 10) * 4096;

	g_strfreev(fields);
	g_free(text);
	return bytes;
}

/* How often a text stands in another. */
static inline unsigned count_text(const char *in, const char *text)
{
	unsigned n = 0;

	for (const char *at = in; (at = strstr(at, text)) != NULL; at += strlen(text))
		n++;
	return n;
}

/* How many names a directory has. */
static inline unsigned names_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	g_assert_nonnull(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

/* Of the disk that support_dir() is on. */
static inline uint64_t disk_free(void)
{
	struct statvfs st;

	g_assert_cmpint(statvfs(support_dir(), &st), ==, 0);
	return (uint64_t)st.f_bfree * st.f_frsize;
}

#endif /* SUPPORT_XMEMORY_H */
