/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the golden maps and the damaged ones. Run once a format, by hand; the files are kept and never made again:
 * what they are worth is that today's library did not make them. See tests/common/golden.c.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/header.h"
#include <qalloc.h>

#define GOLDEN_BASE ((void *)0x200000000000)

static char page[512 * 1024];

static void make_static(void)
{
	mapinfo_t *map = qalloc_makestatmap(16384, GOLDEN_BASE, "static-1.map", 24, 2);
	char *first = qalloc_statmalloc(map);
	char *second = qalloc_statmalloc(map);

	if (!map || !first || !second)
		abort();
	strcpy(first, "golden item");
	qalloc_setroot(map, "item", first);
	qalloc_statfree(second, map);
	qalloc_cleanup();
}

static void make_dynamic(void)
{
	dynmapinfo_t *map = qalloc_makedynmap(512 * 1024, GOLDEN_BASE, "dynamic-1.map", 2);
	char *block = qalloc_dynmalloc(map, 40);
	char **large = qalloc_dynmalloc(map, 100000);

	if (!map || !block || !large)
		abort();
	strcpy(block, "golden block");
	large[0] = block;
	qalloc_setroot(map, "large", large);
	qalloc_dynfree(qalloc_dynmalloc(map, 3000), map);
	qalloc_cleanup();
}

static size_t load(const char *name)
{
	int fd = open(name, O_RDONLY);
	ssize_t got = read(fd, page, sizeof(page));

	close(fd);
	if (got <= 0)
		abort();
	return (size_t)got;
}

static void save(const char *name, size_t bytes)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (write(fd, page, bytes) != (ssize_t)bytes)
		abort();
	close(fd);
}

static void seal(void)
{
	struct ma_header *h = (struct ma_header *)(void *)page;

	h->crc = ma_header_crc(h);
}

/* A copy of the static golden map with some bytes changed, and its checksum right or left wrong. */
static void damage(const char *name, size_t at, const void *bytes, size_t count, int sealed)
{
	size_t size = load("static-1.map");

	memcpy(page + at, bytes, count);
	if (sealed)
		seal();
	save(name, size);
}

#define FIELD(name) offsetof(struct ma_header, name)

static void damage_headers(void)
{
	damage("bad-magic.map", 0, "X", 1, 0);
	damage("bad-half.map", 0, MA_MAGIC_HALF, 8, 0);
	damage("bad-kind.map", FIELD(kind), &(uint32_t){ 9 }, 4, 1);
	damage("bad-kind-mmalloc.map", FIELD(kind), &(uint32_t){ MA_KIND_MMALLOC }, 4, 1);
	damage("bad-format.map", FIELD(format), &(uint32_t){ 2 }, 4, 1);
	damage("bad-incompat.map", FIELD(incompat), &(uint64_t){ 1 }, 8, 1);
	damage("bad-rocompat.map", FIELD(rocompat), &(uint64_t){ 1 }, 8, 1);
	damage("bad-order.map", FIELD(order), &(uint32_t){ 0x04030201 }, 4, 1);
	damage("bad-word.map", FIELD(word_bytes), &(uint8_t){ 4 }, 1, 1);
	damage("bad-page.map", FIELD(page_shift), &(uint8_t){ 14 }, 1, 1);
	damage("bad-crc.map", FIELD(uuid), "\xff", 1, 0);
	damage("bad-base.map", FIELD(base), &(uint64_t){ 0x200000000010 }, 8, 1);
	damage("bad-length.map", FIELD(length), &(uint64_t){ 1 << 20 }, 8, 1);
	damage("bad-streams.map", FIELD(param), &(uint64_t){ 5000 }, 8, 1);
	damage("bad-item.map", FIELD(param) + 8, &(uint64_t){ 7 }, 8, 1);
}

static void damage_bodies(void)
{
	size_t size = load("static-1.map");

	save("bad-short.map", size - 4096);
	save("bad-tiny.map", 100);
	/* Where the truth of the one live item is: the only byte of value 1 behind the roots in this small map. */
	for (size_t at = 5504 + 8 * 128; at < size; at++)
		if (page[at] == 1 && page[at + 2] == 0 && at % 64 == 0) { /* No owner's tag. */
			page[at] = 7;
			break;
		}
	save("bad-truth.map", size);
	size = load("dynamic-1.map");
	for (size_t at = 4096 + 128 + 2 * 704 + 128 * 64; at < size; at += 8)
		if ((*(uint64_t *)(void *)(page + at) & 0xfff) == 2) { /* The word of the run. */
			*(uint64_t *)(void *)(page + at) = (uint64_t)999 << 12 | 2;
			break;
		}
	save("bad-run.map", size);
}

int main(void)
{
	make_static();
	make_dynamic();
	damage_headers();
	damage_bodies();
	return 0;
}
