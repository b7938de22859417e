/* SPDX-License-Identifier: BSD-3-Clause */
/* qalloc_find_or_create qalloc_lock qalloc_unlock: A counter that several processes change under a lock. A process that is killed while it holds the lock leaves it to the next one. */
#include <errno.h>
#include <qalloc.h>
#include <stdio.h>

struct counter {
	struct qalloc_lock lock; /* all zero: free */
	unsigned long runs;
};

int main(void)
{
	dynmapinfo_t *map = qalloc_makedynmap(1 << 20, NULL, "counter.map", 0);
	struct counter *counter = NULL;
	int error;

	if (map != NULL)
		counter = qalloc_find_or_create(map, "counter", sizeof(*counter), NULL, NULL, NULL);
	if (counter == NULL)
		return 1;
	error = qalloc_lock(map, &counter->lock);
	if (error != 0 && error != EOWNERDEAD) /* EOWNERDEAD: locked; its last holder was killed */
		return 1;
	counter->runs++;
	printf("%lu\n", counter->runs);
	qalloc_unlock(map, &counter->lock);
	return qalloc_close(map);
}
