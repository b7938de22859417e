/* SPDX-License-Identifier: BSD-3-Clause */
/* qalloc_makedynmap qalloc_malloc qalloc_getroot qalloc_casroot qalloc_close: Each run adds a line to a list in the file lines.map. */
#include <qalloc.h>
#include <stdio.h>
#include <string.h>

struct line {
	struct line *next;
	char text[40];
};

int main(void)
{
	dynmapinfo_t *map = qalloc_makedynmap(1 << 20, NULL, "lines.map", 0);
	struct line *line = map ? qalloc_malloc(map, sizeof(*line)) : NULL;
	void *first;
	int done;

	if (line == NULL) {
		fprintf(stderr, "%s\n", qalloc_errmsg());
		return 1;
	}
	strcpy(line->text, "one more run");
	first = qalloc_getroot(map, "first");
	do
		line->next = first;
	while ((done = qalloc_casroot(map, "first", &first, line)) == 0);
	for (; line != NULL; line = line->next)
		puts(line->text);
	return done == 1 && qalloc_close(map) == 0 ? 0 : 1;
}
