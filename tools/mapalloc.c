/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: see tools/tool.h. */
#include "tools/tool.h"

int main(int argc, char **argv)
{
	return (int)tool_run(stdout, stderr, argc - 1, argv + 1);
}
