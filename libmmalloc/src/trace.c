/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmtrace(): what calls did, line by line, as the C library's mtrace() writes it.
 *
 * Each line is one write(2) to a file opened for appending: a kill loses no line that was written, and there is no buffer that
 * a fork child could write again. The address of a block is free for others between two lines at most when they say so: a
 * free's line is written before it happens, an allocation's after it, and a realloc's pair while no other thread can write.
 *
 * The mutex is taken last of all locks of the process: nothing that takes another one is called with it, but the heap's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"

#include "common/cancel.h"
#include "common/env.h"
#include "common/error.h"
#include <mmalloc.h>

#define FD_LEAST 3 /* A program that closes 0 to 2 opens something else there. */

_Atomic bool mmalloc__tracing;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int trace_fd = -1;
static struct stat trace_file;
static char line[8192];

/* ---- fork ---- */

static void hold(void)
{
	pthread_mutex_lock(&mutex);
}

static void let_go(void)
{
	pthread_mutex_unlock(&mutex);
}

/* The file tells of one process: in a child the same addresses are other blocks. */
static void stop(void)
{
	MA_UNCANCELLED;
	if (trace_fd >= 0)
		close(trace_fd);
	trace_fd = -1;
	ma_store(&mmalloc__tracing, false);
	let_go();
}

static void watch_forks(void)
{
	pthread_atfork(hold, let_go, stop);
}

/* ---- lines ---- */

bool mmalloc__trace_begin(void)
{
	if (!ma_load(&mmalloc__tracing))
		return false;
	hold();
	if (ma_load(&mmalloc__tracing))
		return true;
	let_go();
	return false;
}

void mmalloc__trace_end(void)
{
	let_go();
}

/* A program that closes all its descriptors may have another file under our number. */
static bool is_ours(void)
{
	struct stat now;

	return fstat(trace_fd, &now) == 0 && now.st_dev == trace_file.st_dev && now.st_ino == trace_file.st_ino;
}

static void put(const char *text, size_t bytes)
{
	MA_UNCANCELLED;
	if (!is_ours())
		return;
	while (bytes > 0) {
		ssize_t n = write(trace_fd, text, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* As with a full disk: the trace ends early, the program goes on. */
		text += n;
		bytes -= (size_t)n;
	}
}

/* "@ file:(symbol+0xoffset)[0xaddress] ", the address as it stands in the file. */
static size_t put_caller(char *to, size_t room, const void *caller)
{
	const struct link_map *object = NULL;
	Dl_info info;
	size_t at;

	if (!dladdr1(caller, &info, (void **)&object, RTLD_DL_LINKMAP) || !info.dli_fname || !object)
		return (size_t)snprintf(to, room, "@ [%p] ", caller);
	at = (size_t)snprintf(to, room, "@ %.4095s:", info.dli_fname);
	if (info.dli_sname)
		at += (size_t)snprintf(to + at, room - at, "(%.2047s+0x%zx)", info.dli_sname,
				       (size_t)((const char *)caller - (const char *)info.dli_saddr));
	at += (size_t)snprintf(to + at, room - at, "[0x%zx] ", (size_t)((uintptr_t)caller - object->l_addr));
	return at;
}

void mmalloc__trace(const void *caller, const char *format, ...)
{
	int saved = errno;
	size_t at = caller ? put_caller(line, sizeof(line), caller) : 0;
	va_list args;

	va_start(args, format);
	at += (size_t)vsnprintf(line + at, sizeof(line) - at - 1, format, args);
	va_end(args);
	line[at++] = '\n';
	put(line, at);
	errno = saved;
}

/* ---- beginning ---- */

static int open_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
	int high;

	if (fd < 0)
		return ma_fail(
			errno,
			"%s: cannot write the trace: open(2) failed; check the name and the permissions of its folder",
			name);
	high = fcntl(fd, F_DUPFD_CLOEXEC, FD_LEAST);
	if (high < 0)
		ma_fail(errno, "%s: cannot write the trace: no descriptor is free; close some, or raise `ulimit -n`",
			name);
	close(fd);
	return high;
}

/* Only now is what the file had before taken away: of threads that race only one begins. */
static void begin(int fd)
{
	hold();
	if (trace_fd >= 0 || fstat(fd, &trace_file) < 0) {
		close(fd);
	} else {
		trace_fd = fd;
		if (ftruncate(fd, 0) < 0)
			ma_debug("the trace goes to something that has no length");
		mmalloc__trace(NULL, "= Start");
		ma_store(&mmalloc__tracing, true);
	}
	let_go();
}

int mmtrace(void)
{
	MA_UNCANCELLED;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const char *name = ma_env("MALLOC_TRACE");
	int saved = errno;
	int fd;

	if (ma_load(&mmalloc__tracing))
		return 1;
	if (!name || !*name) {
		ma_fail(EINVAL, "cannot trace: $MALLOC_TRACE, which names the file to write, is not set; set it");
		return 0;
	}
	fd = open_file(name);
	if (fd < 0)
		return 0;
	pthread_once(&once, watch_forks);
	/* First, or blocks might be freed under trace that were allocated past it. */
	ma_map_watch_all();
	begin(fd);
	errno = saved;
	return 1;
}
