/* SPDX-License-Identifier: BSD-3-Clause */
/* What client.c opens and closes: blocks from before main() of a library until after its end, and thread-local data of its own. */
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) char *module_make(size_t size);

static _Thread_local char buffer[10000];
static char *kept;

__attribute__((constructor)) static void begin(void)
{
	kept = malloc(5000);
	if (!kept)
		abort();
	memset(kept, 'm', 5000);
}

__attribute__((destructor)) static void end(void)
{
	if (kept[4999] != 'm')
		abort();
	free(kept);
}

char *module_make(size_t size)
{
	char *block = malloc(size);

	memset(buffer, 'm', sizeof(buffer));
	return block ? memset(block, buffer[9999], size) : NULL;
}
