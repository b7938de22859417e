/* SPDX-License-Identifier: BSD-3-Clause */
/* A list that outlives the program: each run adds a note and prints all, the newest first. */
#include <qalloc.h>
#include <stdio.h>

/* [note] */
struct note {
	struct note *next; /* a plain pointer, right in every process and after every restart */
	char text[64];
};
/* [note] */

int main(int argc, char **argv)
{
	/* [open] */
	dynmapinfo_t *map = qalloc_makedynmap(1 << 20, NULL, "notes.map", 1);
	struct note *note = map ? qalloc_malloc(map, sizeof(*note)) : NULL;
	void *head;
	int done;

	/* [open] */
	if (note == NULL)
		return fprintf(stderr, "%s\n", qalloc_errmsg()), 1;
	snprintf(note->text, sizeof(note->text), "%s", argc > 1 ? argv[1] : "hello");
	/* [commit] */
	head = qalloc_getroot(map, "notes");
	do
		note->next = head;
	while ((done = qalloc_casroot(map, "notes", &head, note)) == 0); /* 0: another note came first */
	if (done < 0)
		return fprintf(stderr, "%s\n", qalloc_errmsg()), 1;
	/* [commit] */
	for (; note != NULL; note = note->next)
		puts(note->text);
	return qalloc_close(map) == 0 ? 0 : 1;
}
