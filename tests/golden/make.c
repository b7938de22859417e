/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the golden maps and the damaged ones. Run once a format, by hand; the files are kept and never made again:
 * what they are worth is that today's library did not make them. See tests/common/golden.c.
 */
#include <qalloc.h>
#include "tests/golden/make.h"

/* More than the fixed table of roots has places for. */
static void name_many(void *map, char *item, int count)
{
	for (int i = 0; i < count; i++) {
		char name[20];

		snprintf(name, sizeof(name), "root %d", i);
		qalloc_setroot(map, name, item + i % 24);
	}
}

static struct ma_layout static_lay, dynamic_lay;

static void make_static(void)
{
	mapinfo_t *map = qalloc_makestatmap(32768, GOLDEN_BASE, "static-1.map", 24, 2);
	char *first = qalloc_statmalloc(map);
	char *second = qalloc_statmalloc(map);

	if (!map || !first || !second)
		abort();
	strcpy(first, "golden item");
	qalloc_setroot(map, "item", first);
	name_many(map, first, 80);
	static_lay = ((struct ma_image *)map)->lay;
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
	name_many(map, block, 100);
	dynamic_lay = ((struct ma_image *)map)->lay;
	qalloc_dynfree(qalloc_dynmalloc(map, 3000), map);
	qalloc_cleanup();
}

/* Of three segments, the last one in part: a table of roots lies in the first one, a block in each. */
static void make_grown(void)
{
	struct qalloc_options options = { .size = 128 << 10, .streams = 2, .base = GOLDEN_BASE, .range = 64 << 20 };
	void *map = qalloc_make("dynamic-grown-1.map", &options);
	char **blocks = qalloc_malloc(map, 3 * sizeof(*blocks));

	blocks[0] = qalloc_malloc(map, 1000);
	if (qalloc_grow(map, 1 << 20) < 0)
		abort();
	blocks[1] = qalloc_malloc(map, 300000);
	if (qalloc_grow(map, 5 << 18) < 0)
		abort();
	blocks[2] = qalloc_malloc(map, 150000);
	for (int i = 0; i < 3; i++)
		snprintf(blocks[i], 20, "golden block %d", i);
	qalloc_setroot(map, "blocks", blocks);
	qalloc_cleanup();
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
	for (uint64_t item = 0;; item += 8) { /* The allocation byte of a live item. */
		char *alloc_bytes = (char *)word_at(&static_lay, static_lay.alloc_bytes_off + item);

		if (*alloc_bytes == 1) {
			*alloc_bytes = 7;
			break;
		}
	}
	save("bad-truth.map", size);
	size = load("dynamic-1.map");
	*(uint64_t *)(void *)(page + 4096 + offsetof(struct ma_body, root_link)) += 1;
	save("bad-table.map", size);
	size = load("dynamic-1.map");
	for (uint64_t chunk = 0; chunk < dynamic_lay.seg[0].count; chunk++) {
		uint64_t *word = word_at(&dynamic_lay, dynamic_lay.unit_off + chunk * 8);

		if (*word == 0x2002) { /* The word of the run. */
			*word = (uint64_t)999 << 12 | 2;
			break;
		}
	}
	save("bad-run.map", size);
}

int main(void)
{
	make_static();
	make_dynamic();
	make_grown();
	damage_headers();
	damage_bodies();
	return 0;
}
