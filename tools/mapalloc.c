/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: see tools/tool.h. */
#include <fcntl.h>
#include <unistd.h>

#include "tools/tool.h"

/*
 * Started without one of the three, a map would be opened under its number, and what is said would be written into it. Opened the wrong
 * way round, it fails when it is used, as a closed one does.
 */
static bool has_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	if (!has_standard_files())
		return STATUS_FAILED;
	return (int)tool_run(stdout, stderr, argc - 1, argv + 1);
}
