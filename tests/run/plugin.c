/* SPDX-License-Identifier: BSD-3-Clause */
/* A plugin: blocks of its are freed by the program that loads it, and the other way. */
#include <stdlib.h>
#include <string.h>

void *plugin_make(size_t bytes);
void *plugin_make(size_t bytes)
{
	char *block = malloc(bytes);

	return block ? memset(block, 1, bytes) : NULL;
}

void plugin_drop(void *block);
void plugin_drop(void *block)
{
	free(block);
}
