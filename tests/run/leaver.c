/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Takes 1000 marked blocks. A fork child then writes over them, frees them and exits; this program kills itself. With a
 * last argument, another program takes its place first.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT 1000

static char *blocks[COUNT];

static void take(void)
{
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = malloc((size_t)(100 + i * 50));
		if (!blocks[i])
			_exit(1);
		memset(blocks[i], 'x', (size_t)(100 + i * 50));
		sprintf(blocks[i], "marked block %d", i);
	}
}

static void be_child(void)
{
	for (int i = 0; i < COUNT; i++) {
		if (strncmp(blocks[i], "marked block ", 13) != 0 || atoi(blocks[i] + 13) != i)
			_exit(1);
		strcpy(blocks[i], "child's own now");
		free(blocks[i]);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int status = 1;
	pid_t pid;

	take();
	pid = fork();
	if (pid == 0)
		be_child();
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return 1;
	if (argc > 1)
		execvp(argv[1], argv + 1);
	kill(getpid(), SIGKILL);
	return 1;
}
