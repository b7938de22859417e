/* SPDX-License-Identifier: BSD-3-Clause */
#include <qalloc.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	void *map, *block;

	if (argc != 2)
		return 2;
	map = qalloc_makedynmap(1 << 20, NULL, argv[1], 2);
	if (!map) {
		perror("qalloc_makedynmap");
		return 1;
	}
	block = qalloc_malloc(map, 100);
	if (!block) {
		perror("qalloc_malloc");
		return 1;
	}
	qalloc_free(block, map);
	return qalloc_close(map) != 0;
}
