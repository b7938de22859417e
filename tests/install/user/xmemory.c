/* SPDX-License-Identifier: BSD-3-Clause */
#include <xmemory.h>

int main(int argc, char **argv)
{
	size_t size = 0;
	char *block = (char *)malloc(100), *text;

	(void)argc;
	if (!block || xmemory_kind(block) != XMEMORY_RAM)
		return 1;
	block = (char *)realloc(block, 200);
	free(block);
	text = falloc(argv[0], 1, &size);
	if (!text || text[0] != 'E' || size == 0)
		return 1;
	free(text);
	return 0;
}
