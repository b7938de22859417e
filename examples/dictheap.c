/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A sorted dictionary that is built once, and opened in microseconds by everybody who wants to look something up.
 *
 *     dictheap build HEAP WORDLIST     leaves a dictionary alone that is there already
 *     dictheap find HEAP WORD...       prints the words that are in it; status 1 when none is
 *     dictheap prefix HEAP START       prints all words that begin so; status 1 when none does
 *
 * With DICTHEAP_TIME in the environment, stderr tells how long opening took. The heap holds plain C pointers; key 0 leads
 * to them. Readers attach it read-only: any number of them at once, whatever else happens to the file.
 */
#include "dictheap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* That is all: nothing is read in, no pointer is mended. */
static struct dict *open_dict(const char *path)
{
	/* [look] */
	const struct mmalloc_options look = { .flags = MMALLOC_RDONLY };
	double start = now_us();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *md = fd < 0 ? NULL : mmalloc_attach_opt(fd, NULL, &look);
	struct dict *dict = md == NULL ? NULL : mmalloc_getkey(md, 0);
	/* [look] */

	if (fd < 0 || md == NULL)
		perror(path);
	else if (dict == NULL)
		fprintf(stderr, "dictheap: %s holds no dictionary: build it first\n", path);
	else if (getenv("DICTHEAP_TIME") != NULL)
		fprintf(stderr, "opened %zu words in %.0f us\n", dict->count, now_us() - start);
	if (fd >= 0)
		close(fd);
	return dict;
}

/* The place of the first word that is not less. */
static size_t lower_bound(const struct dict *dict, const char *word)
{
	size_t low = 0, high = dict->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		bool less = strcmp(dict->words[middle], word) < 0;

		low = less ? middle + 1 : low;
		high = less ? high : middle;
	}
	return low;
}

static int find(const struct dict *dict, char **words)
{
	int status = 1;

	for (; *words != NULL; words++) {
		size_t at = lower_bound(dict, *words);

		if (at == dict->count || strcmp(dict->words[at], *words) != 0)
			continue;
		puts(dict->words[at]);
		status = 0;
	}
	return status;
}

static int prefix(const struct dict *dict, const char *start)
{
	size_t first = lower_bound(dict, start), at = first;

	/* [prefix] */
	while (at < dict->count && strncmp(dict->words[at], start, strlen(start)) == 0)
		puts(dict->words[at++]);
	/* [prefix] */
	return at == first;
}

int main(int argc, char **argv)
{
	const char *what = argc < 4 ? "" : argv[1];
	bool finds = strcmp(what, "find") == 0;
	const struct dict *dict;

	if (argc == 4 && strcmp(what, "build") == 0)
		return build(argv[2], argv[3]);
	if (!finds && (argc != 4 || strcmp(what, "prefix") != 0))
		return fputs("usage: dictheap build HEAP WORDLIST | find HEAP WORD... | prefix HEAP START\n", stderr),
		       2;
	dict = open_dict(argv[2]);
	if (dict == NULL)
		return 2;
	return finds ? find(dict, argv + 3) : prefix(dict, argv[3]);
}
