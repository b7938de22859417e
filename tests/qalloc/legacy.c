/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program as it was written for the qalloc of qthreads: C90, <qthread/qalloc.h>, mkstemp() first, all eleven calls,
 * no error codes. Nothing in it was changed for this library; it is a program, not a GLib test, and prints its own TAP.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <qthread/qalloc.h>

#define STREAMS 4
#define ITEMS   1000

struct item {
	long number;
	struct item *next;
};

static int tests = 0;
static int failures = 0;

static void ok(int good, const char *what)
{
	tests++;
	if (!good)
		failures++;
	printf("%sok %d - /qalloc/legacy/%s\n", good ? "" : "not ", tests, what);
	fflush(stdout);
}

static char *temporary(char *name)
{
	int fd;

	strcpy(name, "qallocXXXXXX");
	fd = mkstemp(name);
	if (fd < 0) {
		printf("Bail out! mkstemp\n");
		exit(1);
	}
	close(fd);
	return name;
}

static void static_map(void)
{
	char name[32];
	mapinfo_t *map;
	struct item *items[ITEMS];
	int i, good = 1;

	map = qalloc_makestatmap(1048576, NULL, temporary(name), sizeof(struct item), STREAMS);
	ok(map != NULL, "makestatmap after mkstemp");
	if (!map)
		return;
	for (i = 0; i < ITEMS; i++) {
		items[i] = qalloc_statmalloc(map);
		if (items[i])
			items[i]->number = i;
		else
			good = 0;
	}
	ok(good, "statmalloc");
	for (i = 0; good && i < ITEMS; i++) {
		if (items[i]->number != i)
			good = 0;
		if (i % 2)
			qalloc_statfree(items[i], map);
		else
			qalloc_free(items[i], map);
	}
	ok(good, "items keep their content");
	ok(qalloc_malloc(map, 0) != NULL, "malloc from a static map gives an item for any size up to its own");
	qalloc_cleanup();
	unlink(name);
}

static void dynamic_map(void)
{
	static const size_t sizes[] = { 1, 8, 16, 100, 1000, 2048, 2049, 4096, 14336, 20000, 100000 };
	char name[32];
	dynmapinfo_t *map;
	void *block;
	size_t i;
	int good = 1;

	map = qalloc_makedynmap(4194304, NULL, temporary(name), STREAMS);
	ok(map != NULL, "makedynmap after mkstemp");
	if (!map)
		return;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		block = qalloc_dynmalloc(map, sizes[i]);
		if (!block) {
			good = 0;
			continue;
		}
		memset(block, 1, sizes[i]);
		qalloc_dynfree(block, map);
		block = qalloc_malloc(map, sizes[i]);
		memset(block, 2, sizes[i]);
		qalloc_free(block, map);
	}
	ok(good, "dynmalloc of all sizes");
	qalloc_cleanup();
	unlink(name);
}

static void reload(void)
{
	char name[32];
	mapinfo_t *map;
	void *again;
	struct item *first, *second;

	map = qalloc_makestatmap(1048576, NULL, temporary(name), sizeof(struct item), STREAMS);
	first = qalloc_statmalloc(map);
	second = qalloc_statmalloc(map);
	first->number = 1;
	first->next = second;
	second->number = 2;
	second->next = NULL;
	qalloc_checkpoint();
	ok(first->next->number == 2, "checkpoint leaves the maps open");
	qalloc_cleanup();
	again = qalloc_loadmap(name);
	ok(again != NULL, "loadmap");
	ok(again && first->number == 1 && first->next == second && second->number == 2, "pointers still hold");
	qalloc_cleanup();
	map = qalloc_makestatmap(1048576, NULL, name, sizeof(struct item), STREAMS);
	ok(map != NULL && first->next == second, "makestatmap loads what is there");
	qalloc_cleanup();
	unlink(name);
}

static void *work(void *map)
{
	long i, good = 1;

	for (i = 0; i < 20000; i++) {
		long *block = qalloc_malloc(map, 64);

		if (!block)
			return NULL;
		*block = i;
		if (*block != i)
			good = 0;
		qalloc_free(block, map);
	}
	return good ? map : NULL;
}

static void threads(void)
{
	char name[32];
	pthread_t ids[STREAMS];
	dynmapinfo_t *map;
	void *result;
	int i, good = 1;

	map = qalloc_makedynmap(4194304, NULL, temporary(name), STREAMS);
	for (i = 0; i < STREAMS; i++)
		pthread_create(&ids[i], NULL, work, map);
	for (i = 0; i < STREAMS; i++) {
		pthread_join(ids[i], &result);
		if (!result)
			good = 0;
	}
	ok(good, "threads");
	qalloc_cleanup();
	unlink(name);
}

int main(void)
{
	static_map();
	dynamic_map();
	reload();
	threads();
	printf("1..%d\n", tests);
	return failures != 0;
}
