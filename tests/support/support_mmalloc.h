/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of libmmalloc share: heaps in files, and a check of the whole heap at each end. */
#ifndef SUPPORT_MMALLOC_H
#define SUPPORT_MMALLOC_H

#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <unistd.h>

#include "tests/support/support_block.h"

extern const struct support_calls support_mmalloc_calls;

static inline int heap_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	g_assert_cmpint(fd, >=, 0);
	return fd;
}

/* The heap in this file, made if need be. */
static inline void *heap_attach(const char *path)
{
	int fd = heap_file(path);
	void *md = mmalloc_attach(fd, NULL);

	if (!md)
		g_error("mmalloc_attach(%s): %s", path, g_strerror(errno));
	close(fd); /* It is the caller's. */
	return md;
}

static inline void heap_complain(const char *text, void *arg)
{
	(void)arg;
	g_printerr("# %s\n", text);
}

static inline void heap_check(void *md)
{
	g_assert_cmpint(mmalloc_check(md, heap_complain, NULL), ==, 0);
}

static inline void heap_detach(void *md)
{
	heap_check(md);
	g_assert_null(mmalloc_detach(md));
}

/* Leave another error than the expected one, so that an old one is not taken for it. */
static inline void heap_spoil_errno(void *md, int expected)
{
	if (expected == ENOENT)
		mmalloc_getkey(md, -1);
	else
		mmalloc_getroot(md, "absent");
	g_assert_cmpint(mmalloc_errno(md), !=, expected);
}

/* The call gives this value with this errno, and mmalloc_errno() knows. */
#define heap_fails(md, call, value, expected)                       \
	do {                                                        \
		heap_spoil_errno((md), (expected));                 \
		errno = 0;                                          \
		g_assert_true((call) == (value));                   \
		assert_errno_is(expected);                          \
		errno = ERANGE;                                     \
		g_assert_cmpint(mmalloc_errno(md), ==, (expected)); \
		assert_errno_is(ERANGE);                            \
	} while (0)

#endif /* SUPPORT_MMALLOC_H */
