/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For a start without stdin, stdout and stderr: takes many blocks, and prints at whatever these numbers are by now. Exit status 0
 * when all blocks have kept what was in them.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT 30000

static char *blocks[COUNT];

static size_t size_of(int i)
{
	return i % 1000 == 0 ? 300000 : 600;
}

static void take(int i)
{
	blocks[i] = malloc(size_of(i));
	if (!blocks[i])
		_exit(2);
	memset(blocks[i], i & 127, size_of(i));
}

static int print(void)
{
	char text[10000];
	int went = 0;

	memset(text, 0xee, sizeof(text));
	for (int fd = 0; fd <= 2; fd++)
		went += write(fd, text, sizeof(text)) > 0;
	return went;
}

int main(void)
{
	int went = 0;

	for (int i = 0; i < COUNT; i++) {
		take(i);
		if (i % 1000 == 1)
			went += print();
	}
	for (int i = 0; i < COUNT; i++)
		for (size_t j = 0; j < size_of(i); j++)
			if (blocks[i][j] != (i & 127))
				return 1;
	return went ? 3 : 0;
}
