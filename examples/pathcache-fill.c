/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening the region, and a worker of pathcache, which may be killed at any instruction. */
#define _GNU_SOURCE 1
#include "pathcache.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool cache_open(struct here *here, const char *path, unsigned flags)
{
	/* [open] */
	const struct shmbuddy_options options = {
		.capacity = 64 << 20, .smallest = 32, .largest = 16 << 10, .flags = flags
	};
	shm_offt root;

	here->region = shmbuddy_open(path, &options);
	here->base = shmbuddy_base(here->region);
	if (flags == SHMBUDDY_NEW)
		root = shmbuddy_find_or_create(here->region, NULL, sizeof(struct cache), NULL, NULL, NULL);
	else
		root = shmbuddy_getroot(here->region, NULL);
	here->cache = shmbuddy_address(here->region, root);
	/* [open] */
	if (here->cache == NULL)
		fprintf(stderr, "pathcache: %s: %s\n", path, strerror(errno));
	return here->cache != NULL;
}

/* Asks the kernel only when nobody has before. */
static bool resolve(const struct here *here, const char *name)
{
	char real[PATH_MAX];

	if (cache_find(here, name) != NULL)
		return true;
	return cache_put(here, name, realpath(name, real) == NULL ? "" : real);
}

/* A name's directory comes first: it is others' too, so here the workers meet. */
static bool take(const struct here *here, const char *name)
{
	const char *slash = strrchr(name, '/');
	char folder[PATH_MAX];

	if (slash != NULL && slash != name && slash - name < PATH_MAX) {
		snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
		if (!resolve(here, folder))
			return false;
	}
	return resolve(here, name);
}

int fill(const char *path, unsigned worker, char **names, size_t count)
{
	struct here here;
	size_t done = 0;

	if (!cache_open(&here, path, SHMBUDDY_EXISTING))
		return 2;
	for (size_t i = worker; i < count; i += WORKERS) {
		if (!take(&here, names[i])) {
			perror("pathcache: put");
			return 2;
		}
		atomic_store(&here.cache->done[worker], ++done);
	}
	return 0;
}
