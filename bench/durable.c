/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: durable [DIRECTORY [MIB [ROUNDS]]]
 *
 * What a checkpoint costs, beside a transaction of a database, on the disk of that directory: MIB of live blocks of 4,000 bytes (1024), of
 * which 256 are changed and made durable together, scattered or consecutive. In turns, in ROUNDS (15). Prints medians, and the medians of the
 * rounds' ratios to LMDB. Bytes are counted by the block device, so by all that use it: durable.sh has one of its own.
 */
#define _GNU_SOURCE 1
#include "durable.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define CHANGED     256
#define STORES_MOST 4
#define ROUNDS_MOST 101
#define CUTS        3

enum pattern { SCATTERED, CONSECUTIVE, NOTHING, PATTERNS };

static const char *const patterns[] = { "scattered", "consecutive", "nothing changed" };

static const struct store *const stores[] = {
	&store_qalloc,
#ifdef BENCH_LMDB
	&store_lmdb,
#endif
#ifdef BENCH_SQLITE
	&store_sqlite,
#endif
	&store_plain,
};

#define STORES (sizeof(stores) / sizeof(*stores))

struct samples {
	double ms[ROUNDS_MOST], mib[ROUNDS_MOST];
};

static struct samples samples[PATTERNS][STORES_MOST], shared[PATTERNS];
static const char *directory = ".";
static uint32_t blocks;
static unsigned rounds = 15;

void die(const char *what)
{
	fprintf(stderr, "durable: %s: %s\n", what ? what : "?", strerror(errno));
	exit(1);
}

const char *path_in(const char *dir, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		die("asprintf");
	return path;
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* MiB that the disk's device wrote since it is there; 0 where that cannot be told. */
static double written(void)
{
	unsigned long long sectors = 0;
	char name[100];
	struct stat st;
	FILE *file;

	if (stat(directory, &st) < 0)
		die(directory);
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/stat", major(st.st_dev), minor(st.st_dev));
	file = fopen(name, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*u %*u %*u %*u %*u %*u %llu", &sectors) != 1)
		sectors = 0;
	fclose(file);
	return (double)sectors * 512 / (1 << 20);
}

/* ---- one change ---- */

static void choose(enum pattern pattern, uint32_t block[CHANGED])
{
	uint32_t first = (uint32_t)random() % (blocks - CHANGED), share = blocks / CHANGED;

	for (uint32_t i = 0; i < CHANGED; i++)
		block[i] = pattern == CONSECUTIVE ? first + i : i * share + (uint32_t)random() % share;
}

/* Others' writes are on the disk before, so that they do not count. */
static void measure(const struct store *store, enum pattern pattern, struct samples *to, unsigned round)
{
	uint32_t block[CHANGED];
	char bytes[BLOCK_BYTES];
	double start, before;

	choose(pattern, block);
	memset(bytes, (int)random() | 1, sizeof(bytes));
	before = written();
	start = now();
	store->change(block, pattern == NOTHING ? 0 : CHANGED, bytes);
	to->ms[round] = (now() - start) * 1e3;
	to->mib[round] = written() - before;
}

static void measure_all(unsigned round)
{
	for (int p = 0; p < PATTERNS; p++)
		for (size_t i = 0; i < STORES; i++) {
			size_t s = (i + round) % STORES;

			measure(stores[s], (enum pattern)p, &samples[p][s], round);
		}
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *value, unsigned count)
{
	double sorted[ROUNDS_MOST];

	memcpy(sorted, value, count * sizeof(*value));
	qsort(sorted, count, sizeof(*sorted), by_size);
	return sorted[count / 2];
}

static size_t place_of(const char *name)
{
	size_t s = 0;

	while (s < STORES && strcmp(stores[s]->name, name) != 0)
		s++;
	return s;
}

static void print_row(const char *what, const char *name, const struct samples *s, const struct samples *lmdb)
{
	double ratio[ROUNDS_MOST];

	printf("%-16s %-36s %9.2f ms %8.2f MiB", what, name, median(s->ms, rounds), median(s->mib, rounds));
	for (unsigned i = 0; lmdb && i < rounds; i++)
		ratio[i] = s->ms[i] / lmdb->ms[i];
	if (lmdb)
		printf(" %6.2f times LMDB", median(ratio, rounds));
	printf("\n");
}

static void print_all(void)
{
	size_t lmdb = place_of("LMDB");

	for (int p = 0; p < PATTERNS; p++) {
		for (size_t s = 0; s < STORES; s++)
			print_row(patterns[p], stores[s]->name, &samples[p][s],
				  lmdb < STORES && p != NOTHING ? &samples[p][lmdb] : NULL);
		print_row(patterns[p], "libqalloc, a second process attached", &shared[p],
			  lmdb < STORES && p != NOTHING ? &samples[p][lmdb] : NULL);
	}
}

/* A program's own lock is held during the second part alone. */
static void measure_parts(enum pattern pattern)
{
	double part[3][ROUNDS_MOST], ms[3];
	char bytes[BLOCK_BYTES];
	uint32_t block[CHANGED];

	for (unsigned round = 0; round < rounds; round++) {
		choose(pattern, block);
		memset(bytes, (int)random() | 1, sizeof(bytes));
		store_qalloc_parts(block, CHANGED, bytes, ms);
		for (int i = 0; i < 3; i++)
			part[i][round] = ms[i];
	}
	printf("%-16s libqalloc: stores %.2f ms, capture %.2f ms, commit %.2f ms\n", patterns[pattern],
	       median(part[0], rounds), median(part[1], rounds), median(part[2], rounds));
}

static void measure_cuts(void)
{
	double open_s[CUTS], copy_s[CUTS], ratio[CUTS];

	for (unsigned i = 0; i < CUTS; i++) {
		store_qalloc_cut(directory, &open_s[i], &copy_s[i]);
		ratio[i] = open_s[i] / copy_s[i];
	}
	printf("opening after a cut: %.2f s; cp and sync of the map: %.2f s; ratio %.2f\n", median(open_s, CUTS),
	       median(copy_s, CUTS), median(ratio, CUTS));
}

int main(int argc, char **argv)
{
	unsigned long mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;

	directory = argc > 1 ? argv[1] : ".";
	rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : rounds;
	blocks = (uint32_t)(((uint64_t)mib << 20) / BLOCK_BYTES);
	if (mib > 65536 || blocks < 2 * CHANGED || rounds < 1 || rounds > ROUNDS_MOST)
		return fprintf(stderr, "usage: durable [DIRECTORY [MIB [ROUNDS]]], from 2 MiB on, up to %d rounds\n",
			       ROUNDS_MOST),
		       2;
	for (size_t s = 0; s < STORES; s++)
		stores[s]->fill(directory, blocks);
	sync();
	for (unsigned round = 0; round < rounds; round++)
		measure_all(round);
	measure_parts(SCATTERED);
	measure_parts(CONSECUTIVE);
	store_qalloc_join();
	for (unsigned round = 0; round < rounds; round++)
		for (int p = 0; p < PATTERNS; p++)
			measure(&store_qalloc, (enum pattern)p, &shared[p], round);
	store_qalloc_leave();
	print_all();
	measure_cuts();
	for (size_t s = 0; s < STORES; s++)
		stores[s]->close();
	return 0;
}
