/* SPDX-License-Identifier: BSD-3-Clause */
/* xmemory_falloc xmemory_fdealloc: The contents of a file as a block. What is stored there does not change the file. */
#include <stdio.h>
#include <xmemory.h>

int main(int argc, char **argv)
{
	size_t size, lines = 0;
	char *text = falloc(argc > 1 ? argv[1] : "/etc/passwd", 0, &size);

	if (text == NULL) {
		fprintf(stderr, "%s\n", xmemory_errmsg());
		return 1;
	}
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	printf("%zu lines\n", lines);
	free(text);
	return 0;
}
