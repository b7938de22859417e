/* SPDX-License-Identifier: BSD-3-Clause */
/* The maps whose pictures doc/tool.md shows: maps fresh|full|fragmented|damaged FILE. Each is the same whenever it is made. */
#include <qalloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES (4u << 20)
#define MOST  20000

static void *blocks[MOST];
static size_t count;
static uint32_t state = 1;

static uint32_t below(uint32_t limit)
{
	state = state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)state * limit >> 32);
}

/* Blocks of a program: most are small. */
static void fill(void *map, size_t most)
{
	void *block;

	while (count < most && (block = qalloc_malloc(map, 16u << below(below(9) + 1))))
		blocks[count++] = block;
}

static void free_some(void *map, uint32_t percent)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++)
		if (below(100) < percent)
			qalloc_free(blocks[i], map);
		else
			blocks[left++] = blocks[i];
	count = left;
}

/* A list that begins with a root, and has lost a block here and there. */
static void chain(void *map)
{
	void *next = NULL;

	for (size_t i = count; i-- > 0;) {
		memcpy(blocks[i], &next, sizeof(next));
		snprintf((char *)blocks[i] + sizeof(next), 8, "%zu", i % 1000000);
		if (i == 0 || below(100) != 0)
			next = blocks[i];
	}
	qalloc_setroot(map, "first", next);
}

/* What a stray write leaves: words of two tables, of blocks and of roots. */
static int damage(const char *name)
{
	static const long places[] = { 0x8000, 0xd000, 0xf000 };
	FILE *file = fopen(name, "r+b");
	int failed = !file;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !failed; i++)
		failed = fseek(file, places[i], SEEK_SET) != 0 || fputc(0xff, file) == EOF;
	return file && fclose(file) == 0 && !failed;
}

int main(int argc, char **argv)
{
	const char *kind = argc == 3 ? argv[1] : "";
	void *map = argc == 3 ? qalloc_makedynmap(BYTES, (void *)0x200000000000, argv[2], 1) : NULL;

	if (!map) {
		fprintf(stderr, "usage: maps fresh|full|fragmented|damaged FILE\n");
		return 2;
	}
	fill(map, strcmp(kind, "fresh") == 0 ? 300 : MOST);
	if (strcmp(kind, "fragmented") == 0)
		free_some(map, 70);
	chain(map);
	qalloc_cleanup();
	return strcmp(kind, "damaged") != 0 || damage(argv[2]) ? 0 : 1;
}
