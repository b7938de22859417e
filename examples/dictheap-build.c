/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dictheap build: all of the dictionary is made where nobody sees it; then one store, mmalloc_setkey(), shows it to everybody.
 * A build that is killed before leaves blocks that nobody holds: the next one frees them, for key 0 says that none counts.
 */
#define _GNU_SOURCE 1
#include "dictheap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* [add] */
static bool add(void *md, struct dict *dict, size_t *room, const char *word)
{
	size_t length = strlen(word) + 1;

	if (dict->count == *room) {
		char **words = mrealloc(md, dict->words, (*room * 2 + 1024) * sizeof(*words));

		if (words == NULL)
			return false;
		dict->words = words;
		*room = *room * 2 + 1024;
	}
	dict->words[dict->count] = mmalloc(md, length);
	if (dict->words[dict->count] == NULL)
		return false;
	memcpy(dict->words[dict->count++], word, length);
	return true;
}
/* [add] */

static bool fill(void *md, struct dict *dict, FILE *in)
{
	char *line = NULL;
	size_t size = 0, room = 0;
	ssize_t length;
	bool good = true;

	while (good && (length = getline(&line, &size, in)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		good = *line == '\0' || add(md, dict, &room, line);
	}
	free(line);
	if (good && dict->count > 0)
		qsort(dict->words, dict->count, sizeof(*dict->words), by_bytes);
	return good && !ferror(in);
}

/* [free_block] */
static int free_block(void *block, size_t size, void *md)
{
	(void)size;
	mfree(md, block);
	return 0;
}
/* [free_block] */

static int build_in(void *md, const char *path, const char *word_list)
{
	struct dict *dict = mmalloc_getkey(md, 0);
	FILE *in;
	bool good;

	if (dict != NULL) {
		printf("%s is there: %zu words\n", path, dict->count);
		return 0;
	}
	in = fopen(word_list, "re");
	if (in == NULL) {
		fprintf(stderr, "dictheap: no word list %s (Debian's package wamerican has one)\n", word_list);
		return 2;
	}
	/* [commit] */
	mmalloc_walk(md, free_block, md);
	dict = mcalloc(md, 1, sizeof(*dict));
	good = dict != NULL && fill(md, dict, in) && mmalloc_sync(md) == 0;
	fclose(in);
	if (!good || !mmalloc_setkey(md, 0, dict) || mmalloc_sync(md) != 0)
		return perror("dictheap"), 2;
	/* [commit] */
	printf("built %s: %zu words\n", path, dict->count);
	return 0;
}

int build(const char *path, const char *word_list)
{
	/* [attach] */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), status = 2;
	void *md = fd < 0 || flock(fd, LOCK_EX) != 0 ? NULL : mmalloc_attach(fd, NULL); /* one build at a time */
	/* [attach] */

	if (md == NULL)
		perror(path);
	else
		status = build_in(md, path, word_list);
	if (fd >= 0)
		close(fd);
	return md != NULL && mmalloc_detach(md) != NULL ? 2 : status;
}
