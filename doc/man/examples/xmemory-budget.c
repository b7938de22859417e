/* SPDX-License-Identifier: BSD-3-Clause */
/* xmemory_malloc xmemory_free xmemory_setlimit xmemory_stats: More memory than the budget: the second block is in a file on the disk. The header makes malloc() and free() calls of xmemory_malloc() and xmemory_free(). */
#include <stdio.h>
#include <string.h>
#include <xmemory.h>

int main(void)
{
	struct xmemory_stats stats;
	size_t bytes = (size_t)8 << 20;
	char *first, *second;

	xmemory_setlimit((size_t)10 << 20); /* bytes of RAM for all blocks */
	first = malloc(bytes);
	second = malloc(bytes);
	if (first == NULL || second == NULL)
		return 1;
	memset(second, 1, bytes);
	xmemory_stats(&stats);
	printf("%ju bytes in RAM, %ju in %ju VM files\n", (uintmax_t)stats.ram_bytes,
	       (uintmax_t)stats.vm_bytes, (uintmax_t)stats.vm_files);
	free(second);
	free(first);
	return stats.vm_bytes == bytes ? 0 : 1;
}
