/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much RAM there is for us, as far as there is a limit: the environment, the process's own limits, its control groups,
 * the machine. Each rule gives bytes for blocks, or NO_LIMIT. What the process uses otherwise is left out of a limit that
 * counts it too, and so is a reserve, for a program that can get no memory at all by any other way does not live long.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "limits.h"

#include "common/cancel.h"
#include "common/env.h"
#include "common/page.h"
#include "common/error.h"

#define SHARE(bytes)   ((bytes) / 4 * 3)
#define RESERVE(bytes) ((bytes) / 16)

/*
 * What is read from files. The budget's mutex is held in all calls that lead here, and their stacks are those of threads that allocate,
 * which may be small.
 */
static char content[8192], file_name[1024], group_file[1024];

/* $XMEMORY__ROOT stands before /proc and /sys: tests have machines of their own. */
static int64_t read_file(const char *name, char *text, size_t size)
{
	MA_UNCANCELLED;
	const char *root = ma_env("XMEMORY__ROOT");
	ssize_t n;
	int fd;

	if ((size_t)snprintf(file_name, sizeof(file_name), "%s%s", root ? root : "", name) >= sizeof(file_name))
		return -1;
	fd = open(file_name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, size - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n;
}

/* A figure of /proc/meminfo, in bytes; 0 when it is not there. */
static int64_t meminfo(const char *key)
{
	char *at;

	if (read_file("/proc/meminfo", content, sizeof(content)) <= 0)
		return 0;
	at = strstr(content, key);
	return at ? strtoll(at + strlen(key), NULL, 10) * 1024 : 0;
}

/* Pages of /proc/self/statm, in bytes: all, resident, of files, code, 0, data and stack. */
static bool statm(int64_t bytes[6])
{
	MA_UNCANCELLED;
	char text[256];
	char *at = text;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	for (int i = 0; i < 6; i++)
		bytes[i] = strtoll(at, &at, 10) * (int64_t)ma_page();
	return true;
}

/* ---- the environment ---- */

static int64_t unit(const char *text)
{
	static const char units[] = "kmgt";
	const char *at = *text ? strchr(units, tolower((unsigned char)*text)) : NULL;

	return at ? (int64_t)1 << 10 * (at - units + 1) : 1;
}

static int64_t percent(uint64_t n)
{
	int64_t total = meminfo("MemTotal:");

	return total ? (int64_t)((double)total / 100 * (double)n) : NO_LIMIT;
}

/* A number, then nothing, or K, M, G, T (B or iB may follow), or %. -1: it is none. */
int64_t xmemory__limit_parse(const char *text)
{
	char *end;
	uint64_t n;
	int64_t bytes;

	while (isspace((unsigned char)*text))
		text++;
	if (!isdigit((unsigned char)*text))
		return -1;
	n = strtoull(text, &end, 10);
	if (strcmp(end, "%") == 0)
		return n <= 100 ? percent(n) : -1;
	if (__builtin_mul_overflow(n, unit(end), &bytes))
		bytes = NO_LIMIT;
	end += unit(end) > 1;
	if (strcasecmp(end, "") != 0 && strcasecmp(end, "b") != 0 && strcasecmp(end, "ib") != 0)
		return -1;
	return bytes < NO_LIMIT ? bytes : NO_LIMIT;
}

/* ---- the process ---- */

/* Of a limit that counts all of the process's memory of one sort. */
static int64_t own_limit(__rlimit_resource_t resource, int field, int64_t charged)
{
	struct rlimit limit;
	int64_t bytes, sizes[6];

	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur >= (rlim_t)NO_LIMIT)
		return NO_LIMIT;
	bytes = (int64_t)limit.rlim_cur - RESERVE((int64_t)limit.rlim_cur);
	if (statm(sizes))
		bytes -= sizes[field] > charged ? sizes[field] - charged : 0;
	return bytes > 0 ? bytes : 0;
}

static int64_t data_limit(int64_t charged)
{
	return own_limit(RLIMIT_DATA, 5, charged);
}

static int64_t space_limit(int64_t charged)
{
	return own_limit(RLIMIT_AS, 0, charged);
}

int64_t xmemory__space_left(void)
{
	struct rlimit limit;
	int64_t left, sizes[6];

	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur >= (rlim_t)NO_LIMIT)
		return NO_LIMIT;
	left = (int64_t)limit.rlim_cur - (statm(sizes) ? sizes[0] : 0);
	return left > 0 ? left : 0;
}

/* ---- control groups ---- */

/* The smallest limit of a group and those above it; path is cut off on the way up. */
static int64_t group_limit(const char *mount, char *path, const char *file)
{
	int64_t least = NO_LIMIT;
	char text[64];

	for (;;) {
		char *slash = strrchr(path, '/');

		if ((size_t)snprintf(group_file, sizeof(group_file), "%s%s/%s", mount,
				     strcmp(path, "/") == 0 ? "" : path, file) < sizeof(group_file) &&
		    read_file(group_file, text, sizeof(text)) > 0 && isdigit((unsigned char)*text)) {
			uint64_t bytes =
				strtoull(text, NULL, 10); /* Version 2 says "max", version 1 an absurd number. */

			least = (int64_t)ma_min((uint64_t)least, bytes);
		}
		if (!slash || path[0] == '\0' || strcmp(path, "/") == 0)
			return least;
		path[slash == path ? 1 : slash - path] = '\0';
	}
}

/* A line is number:controllers:path; version 2 has number 0 and no controllers. */
static int64_t line_limit(char *line)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return NO_LIMIT;
	*controllers++ = '\0';
	*path++ = '\0';
	if (*controllers == '\0')
		return group_limit("/sys/fs/cgroup", path, "memory.max");
	for (char *save, *c = strtok_r(controllers, ",", &save); c; c = strtok_r(NULL, ",", &save))
		if (strcmp(c, "memory") == 0)
			return group_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
	return NO_LIMIT;
}

/* The rest of the group's memory keeps pages of VM files on their way to the disk, and its other processes. */
static int64_t cgroup_limit(int64_t charged)
{
	int64_t least = NO_LIMIT;
	char *save;

	(void)charged;
	if (read_file("/proc/self/cgroup", content, sizeof(content)) <= 0)
		return NO_LIMIT;
	for (char *line = strtok_r(content, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		least = (int64_t)ma_min((uint64_t)least, (uint64_t)line_limit(line));
	return least < NO_LIMIT ? SHARE(least) : NO_LIMIT;
}

/* ---- the machine ---- */

/* Blocks that were not yet written to take no memory: so what counts is what the process has, and all that it could get. */
static int64_t available(int64_t charged)
{
	int64_t bytes = meminfo("MemAvailable:");
	int64_t sizes[6];

	(void)charged;
	if (!bytes)
		return NO_LIMIT;
	if (statm(sizes))
		bytes += sizes[1] - sizes[2];
	return SHARE(bytes);
}

int64_t xmemory__limit_found(int64_t charged, int *source)
{
	static int64_t (*const rules[])(int64_t) = { data_limit, space_limit, cgroup_limit, available };
	static const int sources[] = { XMEMORY_LIMIT_DATA, XMEMORY_LIMIT_AS, XMEMORY_LIMIT_CGROUP,
				       XMEMORY_LIMIT_AVAILABLE };
	int64_t least = NO_LIMIT;

	*source = XMEMORY_LIMIT_NONE;
	for (size_t i = 0; i < MA_COUNT(rules); i++) {
		int64_t bytes = rules[i](charged);

		if (bytes < least) {
			least = bytes;
			*source = sources[i];
		}
	}
	return least;
}

const char *xmemory__limit_of_error(int error)
{
	return error == EAGAIN ? "RLIMIT_MEMLOCK, which counts after mlockall(2)" : "RLIMIT_AS, or too many mappings";
}
