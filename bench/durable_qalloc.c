/* SPDX-License-Identifier: BSD-3-Clause */
/* A durable map: a change is stores, and qalloc_sync(). */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <qalloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "durable.h"

#define BOOT_ID_AT 216 /* Of the file; see common/header.h. */

static void *map;
static char **blocks_at;
static pid_t other;
static const char *path;

static void fill(const char *dir, uint32_t blocks)
{
	path = path_in(dir, "durable.map");
	map = qalloc_makedynmap((off_t)blocks * (BLOCK_BYTES + 300) + (64 << 20), NULL, path, 1);
	blocks_at = calloc(blocks, sizeof(*blocks_at));
	if (!map || !blocks_at)
		die("qalloc_makedynmap");
	for (uint32_t i = 0; i < blocks; i++) {
		blocks_at[i] = qalloc_malloc(map, BLOCK_BYTES);
		if (!blocks_at[i])
			die("qalloc_malloc");
		memset(blocks_at[i], (int)i | 1, BLOCK_BYTES);
	}
	if (qalloc_durable(map) < 0)
		die(qalloc_errmsg());
}

static void store(const uint32_t *block, uint32_t count, const void *bytes)
{
	for (uint32_t i = 0; i < count; i++)
		memcpy(blocks_at[block[i]], bytes, BLOCK_BYTES);
}

static void change(const uint32_t *block, uint32_t count, const void *bytes)
{
	store(block, count, bytes);
	if (qalloc_sync(map) < 0)
		die(qalloc_errmsg());
}

void store_qalloc_parts(const uint32_t *block, uint32_t count, const void *bytes, double ms[3])
{
	double start = now(), stored, captured;

	store(block, count, bytes);
	stored = now();
	if (qalloc_capture(map) < 0)
		die(qalloc_errmsg());
	captured = now();
	if (qalloc_commit(map) < 0)
		die(qalloc_errmsg());
	ms[0] = (stored - start) * 1e3;
	ms[1] = (captured - stored) * 1e3;
	ms[2] = (now() - captured) * 1e3;
}

static void close_it(void)
{
	if (map && qalloc_close(map) < 0)
		die("qalloc_close");
	free(blocks_at);
	map = NULL;
	blocks_at = NULL;
}

/* It says when it is in. */
void store_qalloc_join(void)
{
	int ready[2];
	char c;

	if (pipe2(ready, O_CLOEXEC) < 0 || (other = fork()) < 0)
		die("fork");
	if (other == 0) {
		qalloc_close(map);
		if (!qalloc_loadmap(path) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("the second process");
	close(ready[0]);
}

void store_qalloc_leave(void)
{
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

static void copy_file(const char *to)
{
	char command[1000];

	snprintf(command, sizeof(command), "cp --reflink=never '%s' '%s' && sync '%s'", path, to, to);
	if (system(command) != 0) /* NOLINT: the user's own directory */
		die("cp");
}

/* All that was stored is on the disk, so that neither writes what the other one should. */
void store_qalloc_cut(const char *dir, double *open_s, double *copy_s)
{
	const char *copy = path_in(dir, "copy");
	double start;
	int fd;

	if (map && qalloc_close(map) < 0)
		die("qalloc_close");
	sync();
	start = now();
	copy_file(copy);
	*copy_s = now() - start;
	unlink(copy);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, "another machine ", 16, BOOT_ID_AT) != 16)
		die(path);
	close(fd);
	sync();
	start = now();
	map = qalloc_loadmap(path);
	*open_s = now() - start;
	if (!map)
		die(qalloc_errmsg());
	free((void *)(uintptr_t)copy);
}

const struct store store_qalloc = { "libqalloc, durable", fill, change, close_it };
