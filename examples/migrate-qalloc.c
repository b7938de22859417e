/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs for Boost.Interprocess, libpmemobj and qthreads' qalloc do, with libqalloc: the fragments of the guides in doc/.
 *
 * usage: migrate-qalloc MAP
 */
#include <errno.h>
#include <qalloc.h>
#include <stdatomic.h>
#include <stdio.h>

/* [boost-open] */
struct counter {
	_Atomic long hits;
};

static struct counter *open_counter(const char *path, dynmapinfo_t **map)
{
	*map = qalloc_makedynmap(1 << 20, NULL, path, 4);
	if (*map == NULL)
		return NULL; /* errno says why */
	/* Boost's find_or_construct; new blocks are all zero. */
	return qalloc_find_or_create(*map, "counter", sizeof(struct counter), NULL, NULL, NULL);
}
/* [boost-open] */

/* [boost-vector] */
struct numbers {
	size_t count;
	long value[]; /* a plain array, and plain pointers to it */
};

static int append(dynmapinfo_t *map, struct numbers **numbers, long value)
{
	size_t count = *numbers == NULL ? 0 : (*numbers)->count;
	struct numbers *longer = qalloc_realloc(map, *numbers, sizeof(*longer) + (count + 1) * sizeof(long));

	if (longer == NULL)
		return -1; /* the old block stays, and so does the pointer to it */
	longer->value[count] = value;
	longer->count = count + 1;
	*numbers = longer; /* where others change it too: under a qalloc_lock() beside the pointer */
	return 0;
}
/* [boost-vector] */

/* [pmdk-insert] */
struct node {
	struct node *next; /* where libpmemobj has a PMEMoid */
	long value;
};

static int insert(dynmapinfo_t *map, long value)
{
	struct node *node = qalloc_malloc(map, sizeof(*node));
	void *head = qalloc_getroot(map, "list");
	int done;

	if (node == NULL)
		return -1;
	node->value = value;
	do
		node->next = head;
	while ((done = qalloc_casroot(map, "list", &head, node)) ==
	       0); /* one store: killed before or after it, the list is whole */
	if (done < 0)
		return -1;
	return qalloc_sync(map); /* only where the machine's death must not take it */
}
/* [pmdk-insert] */

/* [qthreads] */
static void *item_of(mapinfo_t *map)
{
	void *item = qalloc_statmalloc(map);

	if (item == NULL && (errno == ENOMEM || errno == ENOSPC))
		fputs("the map, or its disk, is full\n", stderr); /* the original crashed here */
	return item;
}
/* [qthreads] */

int main(int argc, char **argv)
{
	struct numbers *numbers = NULL;
	struct counter *counter;
	dynmapinfo_t *map;
	long before;

	if (argc != 2)
		return fputs("usage: migrate-qalloc MAP\n", stderr), 2;
	counter = open_counter(argv[1], &map);
	if (counter == NULL)
		return perror(argv[1]), 1;
	before = atomic_fetch_add(&counter->hits, 1);
	for (long i = 0; i < 100; i++)
		if (append(map, &numbers, i) != 0)
			return perror("append"), 1;
	if (numbers->count != 100 || numbers->value[99] != 99 || insert(map, before) != 0)
		return 1;
	qalloc_free(numbers, map);
	for (const struct node *node = qalloc_getroot(map, "list"); node != NULL; node = node->next)
		if (node->value != before--)
			return 1;
	/* A dynamic map is no static one: the call says so instead of ending the program. */
	if (item_of((mapinfo_t *)(void *)map) != NULL || qalloc_check(map, NULL, NULL) != 0)
		return 1;
	printf("%ld runs\n", atomic_load(&counter->hits));
	return qalloc_close(map) != 0;
}
