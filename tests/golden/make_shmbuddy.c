/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the golden regions of libshmbuddy and the damaged ones, as make.c does the maps of libqalloc: once a format, by hand.
 * See tests/shmbuddy/golden.c.
 */
#include <region.h> /* -Ilibshmbuddy/src */
#include "tests/golden/make.h"

static uint64_t largest_free;         /* Of the region that was made last. */
static const struct shmbuddy *region; /* The one that was made last; closed, its numbers can still be read. */
static uint64_t block_at;             /* Of the golden block, in the area. */

static void fill(shmbuddy_t *r)
{
	shm_offt block = shmbuddy_malloc(r, (size_t)1 << r->lay.small_shift);
	struct shmbuddy_stats stats;
	char name[20];

	if (!block)
		abort();
	strcpy(shmbuddy_address(r, block), "golden block");
	block_at = block - r->lay.area_at;
	for (unsigned shift = r->lay.small_shift; shift <= r->lay.large_shift; shift++) { /* One of each size. */
		shm_offt at = shmbuddy_malloc(r, (size_t)1 << shift);

		snprintf(name, sizeof(name), "block %u", shift);
		if (!at || shmbuddy_setroot(r, name, at) != 0)
			abort();
	}
	shmbuddy_setroot(r, NULL, block);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "root %d", i);
		shmbuddy_setroot(r, name, block + (shm_offt)i % 13);
	}
	shmbuddy_setroot(r, "gone", block);
	shmbuddy_setroot(r, "gone", SHM_NULL);
	shmbuddy_free(r, shmbuddy_malloc(r, 1));
	if (shmbuddy_stats(r, &stats) != 0)
		abort();
	largest_free = stats.largest_free;
	shmbuddy_free(r, shmbuddy_malloc(r, (size_t)largest_free)); /* What is empty is merged for it. */
	region = r;
}

static void make_file(const char *name, uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest)
{
	const struct shmbuddy_options options = {
		.capacity = capacity, .range = range, .smallest = smallest, .largest = largest, .mode = 0644
	};
	shmbuddy_t *r;

	unlink(name);
	r = shmbuddy_open(name, &options);
	if (!r)
		abort();
	fill(r);
	shmbuddy_sync(r);
	shmbuddy_close(r);
	save(name, load(name));
}

/* In memory: all parts have their space from the start, and nothing lies at multiples of pages. */
static void make_memory(void)
{
	static char memory[24 << 10] __attribute__((aligned(64)));
	const struct shmbuddy_options options = { .smallest = 64, .largest = 2048 };
	shmbuddy_t *r = shmbuddy_format(memory, sizeof(memory), &options);

	fill(r);
	shmbuddy_close(r);
	memcpy(page, memory, sizeof(memory));
	save("shmbuddy-memory-1.map", sizeof(memory));
}

/* Of two parts, without its blocks: they are all holes, and the test makes it as long as it says. */
static void make_parts(void)
{
	const struct shmbuddy_options options = {
		.capacity = 4 << 20, .range = 8 << 20, .smallest = 4096, .largest = 64 << 10, .mode = 0644
	};
	shmbuddy_t *r;

	unlink("shmbuddy-parts-1.map");
	r = shmbuddy_open("shmbuddy-parts-1.map", &options);
	for (int i = 0; i < 32 + 5; i++)
		if (!shmbuddy_malloc(r, 64 << 10))
			abort();
	shmbuddy_sync(r);
	shmbuddy_close(r);
	load("shmbuddy-parts-1.map");
	save("shmbuddy-parts-1.map", r->lay.area_at);
}

static uint64_t *word(uint64_t at)
{
	return (uint64_t *)(void *)(page + at);
}

/* A largest block behind this place of the area. */
static shm_offt take_behind(shmbuddy_t *r, uint64_t place)
{
	shm_offt taken[8], last;
	int n = 0;

	while ((last = shmbuddy_malloc(r, (size_t)1 << r->lay.large_shift)) != SHM_NULL &&
	       last < r->lay.area_at + place)
		taken[n++] = last;
	while (n > 0)
		shmbuddy_free(r, taken[--n]);
	return last;
}

/* It grew twice; and the same when it says that it did so once, though a block lies behind that end. */
static void make_grown(void)
{
	const struct shmbuddy_options options = {
		.capacity = 20 << 10, .range = 200 << 10, .smallest = 16, .largest = 16 << 10, .mode = 0644
	};
	shmbuddy_t *r;
	size_t size;

	unlink("shmbuddy-grown-1.map");
	r = shmbuddy_open("shmbuddy-grown-1.map", &options);
	if (!r || shmbuddy_grow(r, 50 << 10) != 0)
		abort();
	fill(r);
	if (shmbuddy_grow(r, (100 << 10) + 16) != 0 || shmbuddy_setroot(r, "last", take_behind(r, 50 << 10)) != 0)
		abort();
	shmbuddy_sync(r);
	shmbuddy_close(r);
	size = load("shmbuddy-grown-1.map");
	save("shmbuddy-grown-1.map", size);
	*word(FIELD(length)) = r->lay.area_at + (50 << 10);
	save("bad-shmbuddy-end.map", size);
}

/* With some bytes of the header changed, and its checksum right or left wrong. */
static void damage(const char *what, size_t at, const void *bytes, size_t count, int sealed)
{
	size_t size = load("shmbuddy-1.map");
	char name[64];

	memcpy(page + at, bytes, count);
	if (sealed)
		seal();
	snprintf(name, sizeof(name), "bad-shmbuddy-%s.map", what);
	save(name, size);
}

static void damage_headers(void)
{
	uint64_t length = region->lay.area_at + region->lay.first, one = 1;

	damage("format", FIELD(format), &(uint32_t){ 2 }, 4, 1);
	damage("incompat", FIELD(incompat), &one, 8, 1);
	damage("rocompat", FIELD(rocompat), &one, 8, 1);
	damage("order", FIELD(order), &(uint32_t){ 0x04030201 }, 4, 1);
	damage("word", FIELD(word_bytes), &(uint8_t){ sizeof(void *) ^ 12 }, 1, 1);
	damage("page", FIELD(page_shift), &(uint8_t){ 14 }, 1, 1);
	damage("base", FIELD(base), &(uint64_t){ 0x200000000000 }, 8, 1);
	damage("length", FIELD(length), &(uint64_t){ 1 << 20 }, 8, 1);
	damage("small", FIELD(length), &(uint64_t){ length - 16 }, 8, 1);
	damage("area", FIELD(param), &(uint64_t){ region->lay.first + 8 }, 8, 1);
	damage("range", FIELD(param) + 24, &(uint64_t){ region->lay.range + 16 }, 8, 1);
	damage("smallest", FIELD(param) + 8, &(uint8_t){ 3 }, 1, 1);
	damage("largest", FIELD(param) + 9, &(uint8_t){ 17 }, 1, 1);
	damage("part", FIELD(param) + 10, &(uint8_t){ 21 }, 1, 1);
	damage("flags", FIELD(param) + 16, &(uint8_t){ 7 }, 1, 1);
	damage("spare", FIELD(param) + 56, &one, 8, 1);
	load("shmbuddy-1.map");
	*word(FIELD(length)) = *word(FIELD(reserved)) = length - 4096; /* They agree, but not with the area. */
	seal();
	save("bad-shmbuddy-total.map", length - 4096);
	load("shmbuddy-1.map");
	page[FIELD(uuid)] ^= 1; /* And nothing is sealed. */
	save("bad-shmbuddy-crc.map", length);
	save("bad-shmbuddy-short.map", load("shmbuddy-1.map") - 4096);
}

/* The word of a level that covers the golden block, in the page. */
static uint64_t *word_above(unsigned k)
{
	const struct level *l = &region->lay.level[k];

	return word(region->lay.meta_at + l->words_at + (block_at >> l->cover_shift) * 8);
}

static void damage_bodies(void)
{
	size_t size = load("shmbuddy-1.map");

	if (!word_is_open(*word_above(0), WORD_LEAVES))
		abort();
	*word_above(0) |= word_head(31, WORD_LEAVES); /* Of no block. */
	if (word_is_sound(*word_above(0), WORD_LEAVES))
		abort();
	save("bad-shmbuddy-tree.map", size);
	load("shmbuddy-1.map");
	*word_above(1) = word_give(*word_above(1), WORD_UPPER, (unsigned)(block_at >> 9) & 7, 0);
	save("bad-shmbuddy-split.map", size);
	load("shmbuddy-1.map");
	*word_above(2) &= ~word_open(WORD_UPPER);
	save("bad-shmbuddy-top.map", size);
	load("shmbuddy-1.map");
	*word(region->lay.backed_at) = 0;
	save("bad-shmbuddy-lost.map", size);
}

int main(void)
{
	umask(022);
	make_file("shmbuddy-flat-1.map", 8 << 10, 0, 32, 1024);
	make_memory();
	make_parts();
	make_grown();
	do /* Three levels; the area ends inside of words. Where blocks lie is left to chance; a leaf of the top level is to stay free. */
		make_file("shmbuddy-1.map", 20 << 10, 64 << 10, 16, 8192);
	while (largest_free != 4096);
	damage_headers();
	damage_bodies();
	return 0;
}
