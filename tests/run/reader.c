/* SPDX-License-Identifier: BSD-3-Clause */
/* Post mortem: attaches the heap, checks it, and prints how many blocks there are, and how many of them leaver.c marked. */
#include <fcntl.h>
#include <mmalloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int blocks, marked;
static bool seen[1000];

static int look(void *block, size_t size, void *arg)
{
	int number;

	(void)arg;
	blocks++;
	if (size < 100 || strncmp(block, "marked block ", 13) != 0)
		return 0;
	number = atoi((char *)block + 13);
	if (number < 0 || number >= 1000 || seen[number])
		return 0;
	seen[number] = true;
	marked++;
	return 0;
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
	void *md = fd >= 0 ? mmalloc_attach(fd, NULL) : NULL;

	if (!md || mmalloc_check(md, NULL, NULL) < 0 || mmalloc_walk(md, look, NULL) < 0) {
		perror(argc == 2 ? argv[1] : "usage: reader FILE");
		return 1;
	}
	printf("%d blocks, %d marked\n", blocks, marked);
	return mmalloc_detach(md) != NULL;
}
