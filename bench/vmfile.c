/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage: vmfile [DIRECTORY [MIB [ROUNDS]]]
 *
 * How fast a block in a VM file is: the same loops over such a block and over a plain MAP_SHARED mapping of a file of that
 * size in the same directory, in turns. Prints for each loop the median of the rounds' ratios, block to mapping; 1.00 is
 * equal, above 1 the block is slower. Nothing is synced: what is measured is what a program waits for.
 */
#define _GNU_SOURCE      1
#define XMEMORY_NO_SHIMS 1
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <xmemory.h>

enum { LOOPS = 4, ROUNDS_MOST = 101 };

static const char *const names[LOOPS] = { "sequential write", "sequential read", "random write", "random read" };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t work(volatile uint64_t *words, size_t count, int loop)
{
	uint64_t sum = 0, at = 88172645463325252u;

	for (size_t i = 0; i < (loop < 2 ? count : count / 8); i++) {
		size_t place = i;

		if (loop >= 2) {
			at ^= at << 13;
			at ^= at >> 7;
			at ^= at << 17;
			place = at % count;
		}
		if (loop % 2 == 0)
			words[place] = i;
		else
			sum += words[place];
	}
	return sum;
}

static void *plain_mapping(const char *dir, size_t bytes)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	void *map = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		perror(dir);
		exit(1);
	}
	close(fd);
	return map;
}

static volatile uint64_t sink; /* So that reading is not for nothing. */

static void time_loops(void *memory, size_t bytes, double seconds[LOOPS])
{
	for (int loop = 0; loop < LOOPS; loop++) {
		double start = now();

		sink += work(memory, bytes / 8, loop);
		seconds[loop] = now() - start;
	}
}

static void time_block(size_t bytes, double seconds[LOOPS])
{
	void *block = xmemory_malloc(bytes, __FILE__, __LINE__);

	if (block == NULL || xmemory_kind(block) != XMEMORY_VMFILE) {
		perror("a block in a VM file");
		exit(1);
	}
	time_loops(block, bytes, seconds);
	xmemory_free(block, __FILE__, __LINE__);
}

static void time_plain(const char *dir, size_t bytes, double seconds[LOOPS])
{
	void *map = plain_mapping(dir, bytes);

	time_loops(map, bytes, seconds);
	munmap(map, bytes);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	const char *dir = argc > 1 ? argv[1] : ".";
	size_t bytes = (argc > 2 ? strtoul(argv[2], NULL, 10) : 256) << 20;
	size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
	static double ratio[LOOPS][ROUNDS_MOST];

	if (bytes < (size_t)1 << 20 || rounds < 1 || rounds > ROUNDS_MOST)
		return fprintf(stderr, "usage: vmfile [DIRECTORY [MIB [ROUNDS]]], up to %d rounds\n", ROUNDS_MOST), 2;
	xmemory_settmpdir(dir);
	xmemory_setlimit(1);
	for (size_t round = 0; round < rounds; round++) {
		double block[LOOPS], plain[LOOPS];

		if (round % 2)
			time_block(bytes, block);
		time_plain(dir, bytes, plain);
		if (round % 2 == 0)
			time_block(bytes, block);
		for (int loop = 0; loop < LOOPS; loop++)
			ratio[loop][round] = block[loop] / plain[loop];
	}
	for (int loop = 0; loop < LOOPS; loop++) {
		qsort(ratio[loop], rounds, sizeof(double), by_size);
		printf("%-16s %.3f\n", names[loop], ratio[loop][rounds / 2]);
	}
	return 0;
}
