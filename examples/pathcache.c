/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A cache of real paths, as realpath(3) gives them, that several processes fill at once without a lock.
 *
 *     pathcache fill REGION NAMES    four workers; one is killed when it has done half of its names. Status 1: it was too quick
 *     pathcache ask REGION NAMES     prints each name, a tab, its real path. Status 1: one is missing that a worker had put in
 *
 * NAMES is a file, a name a line.
 */
#define _GNU_SOURCE 1
#include "pathcache.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char **read_names(const char *path, size_t *count)
{
	FILE *in = fopen(path, "r");
	char **names = NULL, *line = NULL;
	size_t room = 0;
	ssize_t n;

	for (*count = 0; in != NULL && (n = getline(&line, &room, in)) > 0; line = NULL, room = 0) {
		names = realloc(names, (*count + 1) * sizeof(*names));
		if (names == NULL)
			break;
		line[strcspn(line, "\n")] = 0;
		names[(*count)++] = line;
	}
	free(line); /* the one that ended it */
	if (names == NULL)
		perror(path);
	if (in != NULL)
		fclose(in);
	return names;
}

static size_t share(size_t count, unsigned worker)
{
	return count / WORKERS + (worker < count % WORKERS);
}

static int fill_all(const char *path, char **names, size_t count)
{
	size_t first = share(count, 0);
	struct here here;
	pid_t pid[WORKERS];
	int status, worst = 0;

	if (!cache_open(&here, path, SHMBUDDY_NEW))
		return 2;
	for (unsigned i = 0; i < WORKERS; i++)
		if ((pid[i] = fork()) == 0)
			_exit(nice(10) == -1 ? 2 : fill(path, i, names, count)); /* the one who kills goes first */
	/* [kill] */
	while (atomic_load(&here.cache->done[0]) < first / 2 && waitpid(pid[0], &status, WNOHANG) == 0)
		usleep(50);
	kill(pid[0], SIGKILL);
	/* [kill] */
	for (unsigned i = 0; i < WORKERS; i++)
		if (waitpid(pid[i], &status, 0) == pid[i] && status != 0 && (i != 0 || !WIFSIGNALED(status)))
			worst = 2;
	printf("  %zu names, %d workers; the first was killed when it had put in %zu of its %zu.\n", count, WORKERS,
	       atomic_load(&here.cache->done[0]), first);
	return worst != 0 ? worst : atomic_load(&here.cache->done[0]) == first;
}

static int ask_all(const char *path, char **names, size_t count)
{
	size_t missing = 0, beyond = 0;
	struct here here;

	if (!cache_open(&here, path, SHMBUDDY_EXISTING))
		return 2;
	for (size_t i = 0; i < count; i++) {
		const char *real = cache_find(&here, names[i]);
		bool due = i / WORKERS < atomic_load(&here.cache->done[i % WORKERS]);

		if (real != NULL)
			printf("%s\t%s\n", names[i], real);
		missing += due && real == NULL;
		beyond += !due && real == NULL;
	}
	fprintf(stderr, "  %zu names: %zu missing; %zu are not there, as the killed worker did not get to them.\n",
		count, missing, beyond);
	/* [check] */
	return missing != 0 || shmbuddy_check(here.region, NULL, NULL) != 0;
	/* [check] */
}

int main(int argc, char **argv)
{
	size_t count = 0;
	char **names;
	int status;

	if (argc != 4 || (strcmp(argv[1], "fill") != 0 && strcmp(argv[1], "ask") != 0))
		return fputs("usage: pathcache fill REGION NAMES | ask REGION NAMES\n", stderr), 2;
	names = read_names(argv[3], &count);
	if (names == NULL)
		return 2;
	status = strcmp(argv[1], "fill") == 0 ? fill_all(argv[2], names, count) : ask_all(argv[2], names, count);
	while (count > 0)
		free(names[--count]);
	free(names);
	return status;
}
