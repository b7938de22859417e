/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs for malloc and for GNU mmalloc do, with libmmalloc: the fragments of the guides in doc/.
 *
 * usage: migrate-mmalloc HEAP
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* [open] */
#include <mmalloc.h>

static void *open_heap(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *md = fd < 0 ? NULL : mmalloc_attach(fd, NULL);

	if (fd >= 0)
		close(fd); /* the heap keeps a descriptor of its own */
	return md;
}
/* [open] */

/* [arena] */
static size_t longest_line(const char *text)
{
	void *arena = mmalloc_attach(-1, NULL); /* in memory */
	size_t longest = 0;

	while (arena != NULL && *text != '\0') {
		size_t length = strcspn(text, "\n");
		char *line = mmalloc(arena, length + 1);

		if (line == NULL)
			break;
		memcpy(line, text, length);
		line[length] = '\0';
		longest = length > longest ? length : longest;
		text += length + (text[length] == '\n');
	}
	if (arena != NULL)
		mmalloc_detach(arena); /* all its blocks are gone: nobody has to free them one by one */
	return longest;
}
/* [arena] */

/* [shim] */
static void *heap;
#define MMALLOC_COMPAT_MD heap
#include <mmalloc-compat.h>

static char *remember(const char *text)
{
	char *copy = malloc(strlen(text) + 1); /* in the heap; so is what strdup() gives */

	return copy == NULL ? NULL : strcpy(copy, text);
}
/* [shim] */

int main(int argc, char **argv)
{
	void *last, *note;
	int done;

	if (argc != 2)
		return fputs("usage: migrate-mmalloc HEAP\n", stderr), 2;
	heap = open_heap(argv[1]);
	if (heap == NULL)
		return perror(argv[1]), 1;
	note = remember("what the last run left");
	last = mmalloc_getkey(heap, 0);
	do
		done = note == NULL ? -1 : mmalloc_caskey(heap, 0, &last, note);
	while (done == 0);
	if (done < 0)
		return perror("remember"), 1;
	/* What was there is this process's alone now. */
	printf("remembered: %s\n", last == NULL ? "nothing" : (char *)last);
	if (longest_line("one\nthree\ntwo\n") != 5)
		return 1;
	free(last);
	if (mmalloc_check(heap, NULL, NULL) != 0 || mmalloc_detach(heap) != NULL)
		return 1;
	return 0;
}
