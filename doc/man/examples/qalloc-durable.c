/* SPDX-License-Identifier: BSD-3-Clause */
/* qalloc_durable qalloc_sync: The state at the end of qalloc_sync() survives a power cut, as a whole. */
#include <qalloc.h>
#include <stdio.h>

int main(void)
{
	dynmapinfo_t *map = qalloc_makedynmap(1 << 20, NULL, "state.map", 0);
	unsigned long *runs = NULL;

	if (map != NULL)
		runs = qalloc_find_or_create(map, "runs", sizeof(*runs), NULL, NULL, NULL);
	if (runs == NULL || qalloc_durable(map) < 0) {
		fprintf(stderr, "%s\n", qalloc_errmsg());
		return 1;
	}
	++*runs;
	if (qalloc_sync(map) < 0) /* a checkpoint; an error leaves the last one */
		return 1;
	printf("%lu\n", *runs);
	return qalloc_close(map);
}
