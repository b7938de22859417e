/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wordindex: which files contain these words? Several processes index a tree of text files into one
 * map; afterwards any process opens the map at once and answers without reading a text.
 *
 *   wordindex INDEX build [--workers N] [--kill-one] [--size BYTES] [DIR...]
 *   wordindex INDEX query [--time] WORD...
 *   wordindex INDEX stat
 *
 * A word is a longest run of ASCII letters and digits, upper and lower case alike. A text is a file
 * with no zero byte in it. So these two lines say the same, but for the order, as far as DIR holds
 * nothing but texts:
 *
 *   wordindex INDEX query WORD
 *   LC_ALL=C grep -rlaiE '(^|[^A-Za-z0-9])WORD([^A-Za-z0-9]|$)' DIR...
 *
 * "build" goes on where an earlier one was ended, with the files that were found then.
 * Exit status as grep's: 0 found, or built; 1 not found, or there was nobody to kill for --kill-one
 * before all was done; 2 an error. wordindex.h draws the index; the other files make it.
 */
#define _GNU_SOURCE 1
#include "wordindex.h"

#include <errno.h>
#include <qalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int usage(void)
{
	fputs("usage: wordindex INDEX build [--workers N] [--kill-one] [--size N[K|M|G]] [DIR...]\n"
	      "       wordindex INDEX query [--time] WORD...\n"
	      "       wordindex INDEX stat\n",
	      stderr);
	return 2;
}

/* A number from 1 to most, perhaps with K, M or G behind it; 0 when it is something else. */
static uint64_t number(const char *text, uint64_t most)
{
	static const char units[] = "KMG";
	char *end = NULL;
	uint64_t n = strtoull(text, &end, 10);
	const char *unit = *end != 0 ? strchr(units, *end) : NULL;
	unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;

	if (*text < '0' || *text > '9' || (*end != 0 && (unit == NULL || end[1] != 0)))
		return 0;
	return n > most >> shift ? 0 : n << shift;
}

static int command_build(const char *path, char **args)
{
	static char licenses[] = "/usr/share/common-licenses", documents[] = "/usr/share/doc";
	static char *const standard[] = { licenses, documents, NULL };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct build how = { .path = path, .map_bytes = (uint64_t)1 << 30 };

	how.workers = cpus < 2 ? 2 : cpus > 64 ? 64 : (unsigned)cpus;
	for (; *args != NULL && strncmp(*args, "--", 2) == 0; args++) {
		if (strcmp(*args, "--kill-one") == 0)
			how.kill_one = true;
		else if (strcmp(*args, "--workers") == 0 && args[1] != NULL)
			how.workers = (unsigned)number(*++args, 1024);
		else if (strcmp(*args, "--size") == 0 && args[1] != NULL)
			how.map_bytes = number(*++args, (uint64_t)1 << 46);
		else
			return usage();
	}
	if (how.workers == 0 || how.map_bytes == 0)
		return usage();
	how.dirs = *args != NULL ? args : standard;
	return build(&how);
}

/* Opens the map to look only: this delays no worker that is still at it. NULL with a message. */
static const struct index *look(const char *path, void **map)
{
	const struct index *index = NULL;

	/* [look] */
	*map = qalloc_open(path, QALLOC_RDONLY);
	if (*map == NULL)
		fprintf(stderr, "wordindex: %s: %s\n", path, strerror(errno));
	else if ((index = qalloc_getroot(*map, WORDINDEX_ROOT)) == NULL)
		fprintf(stderr, "wordindex: %s: no index in it\n", path);
	/* [look] */
	return index;
}

static const struct word *look_up(const struct index *index, const char *text)
{
	size_t length = strlen(text);
	uint64_t hash = WORDINDEX_HASH;
	const struct word *word;

	for (size_t i = 0; i < length; i++)
		hash = hash_step(hash, fold((unsigned char)text[i]));
	word = atomic_load_explicit(bucket_of(index, hash), memory_order_acquire);
	while (word != NULL && (word->length != length || strcasecmp(word->text, text) != 0))
		word = word->next;
	return word;
}

static bool is_word(const char *text)
{
	const char *c = text;

	while (*c != 0 && fold((unsigned char)*c) != 0)
		c++;
	return c != text && *c == 0;
}

/*
 * hits[i]: how many of the words are in file i. Which files are done is looked at once, before any
 * chain is loaded: so the answer is right for just these files, even while workers add more.
 */
static uint64_t count_hits(const struct index *index, char **words, uint32_t *hits, const struct attempt **trusted)
{
	uint64_t done = 0;

	for (uint64_t i = 0; i < index->nfiles; i++) {
		trusted[i] = atomic_load_explicit(&index->files[i].done, memory_order_acquire);
		done += trusted[i] != NULL;
	}
	for (; *words != NULL; words++) {
		const struct word *word = look_up(index, *words);
		const struct posting *posting = NULL;

		if (word != NULL)
			posting = atomic_load_explicit(&word->postings, memory_order_acquire);
		for (; posting != NULL; posting = posting->next) {
			size_t i = (size_t)(posting->attempt->file - index->files);

			hits[i] += trusted[i] == posting->attempt;
		}
	}
	return done;
}

static int answer(const struct index *index, char **words, uint64_t *found)
{
	uint32_t nwords = 0, *hits = calloc(index->nfiles + 1, sizeof(*hits));
	const struct attempt **trusted = calloc(index->nfiles + 1, sizeof(*trusted));
	uint64_t done;

	if (hits == NULL || trusted == NULL) {
		perror("wordindex");
		free(hits);
		free(trusted);
		return 2;
	}
	while (words[nwords] != NULL)
		nwords++;
	done = count_hits(index, words, hits, trusted);
	if (done < index->nfiles)
		fprintf(stderr, "wordindex: only %llu of %llu files are indexed yet\n", (unsigned long long)done,
			(unsigned long long)index->nfiles);
	for (uint64_t i = 0; i < index->nfiles; i++) {
		if (hits[i] == nwords) {
			puts(index->files[i].path);
			++*found;
		}
	}
	free(hits);
	free(trusted);
	return *found == 0;
}

static int command_query(const char *path, char **words)
{
	double start = now_ms(), opened;
	bool timed = *words != NULL && strcmp(*words, "--time") == 0;
	const struct index *index;
	uint64_t found = 0;
	int status = 2;
	void *map;

	words += timed;
	for (size_t i = 0; i == 0 || words[i] != NULL; i++) {
		if (words[i] == NULL || !is_word(words[i])) {
			fputs("wordindex: a word is made of ASCII letters and digits\n", stderr);
			return usage();
		}
	}
	index = look(path, &map);
	opened = now_ms();
	if (index != NULL)
		status = answer(index, words, &found);
	if (timed && status != 2)
		fprintf(stderr, "%llu files; opened in %.2f ms, answered in %.2f ms\n", (unsigned long long)found,
			opened - start, now_ms() - opened);
	if (map != NULL)
		qalloc_close(map);
	return status;
}

static void print_files(const struct index *index)
{
	uint64_t count[3] = { 0 }, undone = 0;

	for (uint64_t i = 0; i < index->nfiles; i++) {
		const struct attempt *done = atomic_load_explicit(&index->files[i].done, memory_order_acquire);

		if (done != NULL)
			count[done->outcome]++;
		else
			undone++;
	}
	printf("files     %llu text, %llu binary, %llu unreadable, %llu to do, %llu .gz left out\n",
	       (unsigned long long)count[OUTCOME_TEXT], (unsigned long long)count[OUTCOME_BINARY],
	       (unsigned long long)count[OUTCOME_UNREADABLE], (unsigned long long)undone,
	       (unsigned long long)index->compressed);
}

static void print_words(const struct index *index)
{
	uint64_t words = 0, good = 0, dead = 0;

	for (uint64_t i = 0; i < index->nbuckets; i++) {
		const struct word *word = atomic_load_explicit(&index->buckets[i], memory_order_acquire);

		for (; word != NULL; word = word->next) {
			const struct posting *p = atomic_load_explicit(&word->postings, memory_order_acquire);
			uint64_t before = good;

			for (; p != NULL; p = p->next) {
				bool counts = p->attempt->file->done == p->attempt;

				good += counts;
				dead += !counts;
			}
			words += good != before;
		}
	}
	printf("words     %llu, in %llu postings; %llu more of unfinished attempts, not counted\n",
	       (unsigned long long)words, (unsigned long long)good, (unsigned long long)dead);
}

static void print_violation(const char *text, void *arg)
{
	(void)arg;
	fprintf(stderr, "wordindex: %s\n", text);
}

static int print_map(void *map, double open_ms)
{
	struct qalloc_stats stats;

	if (qalloc_stats(map, &stats) != 0) {
		perror("wordindex: qalloc_stats");
		return 2;
	}
	printf("map       %.0f MB file, %.1f MB of it on disk, %.1f MB in %llu blocks\n",
	       (double)stats.file_bytes / 1e6, (double)stats.disk_bytes / 1e6, (double)stats.used_bytes / 1e6,
	       (unsigned long long)stats.used_blocks);
	printf("opened    in %.2f ms, at %p\n", open_ms, stats.base);
	/* [check] */
	if (qalloc_check(map, print_violation, NULL) != 0) {
		perror("wordindex: qalloc_check");
		return 2;
	}
	puts("check     sound");
	/* [check] */
	return 0;
}

static int command_stat(const char *path)
{
	double start = now_ms(), open_ms;
	const struct index *index;
	int status = 2;
	void *map;

	index = look(path, &map);
	open_ms = now_ms() - start;
	if (index != NULL) {
		print_files(index);
		print_words(index);
		status = print_map(map, open_ms);
	}
	if (map != NULL)
		qalloc_close(map);
	return status;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[2], "build") == 0)
		return command_build(argv[1], argv + 3);
	if (argc >= 4 && strcmp(argv[2], "query") == 0)
		return command_query(argv[1], argv + 3);
	if (argc == 3 && strcmp(argv[2], "stat") == 0)
		return command_stat(argv[1]);
	return usage();
}
