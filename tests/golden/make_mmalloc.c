/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the golden heap of libmmalloc and the damaged ones, as make.c does the maps of libqalloc: once a format, by hand.
 * See tests/mmalloc/golden.c.
 */
#include <mmalloc.h>
#include "common/heap.h"
#include "tests/golden/make.h"

#define RESERVE (1 << 20)

static struct ma_layout lay; /* Of the golden heap. */

static void make_heap(void)
{
	struct mmalloc_options options = { .streams = 2, .reserve = RESERVE };
	int fd = open("mmalloc-1.map", O_RDWR | O_CREAT | O_TRUNC, 0644);
	void *md = mmalloc_attach_opt(fd, GOLDEN_BASE, &options);
	char *block = mmalloc(md, 40);
	char **large = mmalloc(md, 100000);

	if (!md || !block || !large)
		abort();
	strcpy(block, "golden block");
	large[0] = block;
	mmalloc_setkey(md, 0, block);
	mmalloc_setkey(md, 5, GOLDEN_BASE);
	mmalloc_setkey(md, MMALLOC_KEYS - 1, large);
	for (int i = 0; i < 100; i++) { /* More than the fixed table of roots has places for. */
		char name[20];

		snprintf(name, sizeof(name), "root %d", i);
		mmalloc_setroot(md, name, block + i % 24);
	}
	mfree(md, mmalloc(md, 3000));
	lay = ((struct ma_image *)md)->lay;
	mmalloc_sync(md);
	mmalloc_detach(md);
	close(fd);
}

static uint64_t *word(size_t at)
{
	return (uint64_t *)(void *)(page + at);
}

/* With a number of the header changed, and as long as it then says it is, or as it was. */
static void damage_header(const char *name, size_t at, uint64_t value, size_t length)
{
	size_t size = load("mmalloc-1.map");

	*word(at) = value;
	if (length)
		*word(FIELD(length)) = size = length;
	seal();
	save(name, size);
}

static void damage_bodies(void)
{
	size_t size = load("mmalloc-1.map");

	save("bad-mmalloc-short.map", size - 4096);
	for (size_t chunk = 0; chunk < lay.units; chunk++) {
		uint64_t *run = word_at(&lay, lay.unit_off + chunk * 8);

		if (*run == 0x2002) { /* The word of the run. */
			*run = (uint64_t)999 << 12 | 2;
			break;
		}
	}
	save("bad-mmalloc-run.map", size);
	size = load("mmalloc-1.map");
	for (size_t chunk = 0; chunk < lay.units; chunk++) {
		uint64_t slab_desc = *word_at(&lay, lay.slab_desc_off + chunk * 8);
		char *alloc_bytes = slab_desc ? (char *)word_at(&lay, (slab_desc >> 32) * MA_UNIT) : NULL;

		if (alloc_bytes && *alloc_bytes == 1) { /* The allocation bytes of a live block. */
			*alloc_bytes = 7;
			break;
		}
	}
	save("bad-mmalloc-truth.map", size);
	size = load("mmalloc-1.map");
	for (size_t chunk = 0; chunk < lay.units; chunk++) { /* In the range, but behind the file's end. */
		uint64_t *slab_desc = word_at(&lay, lay.slab_desc_off + chunk * 8);

		if (*slab_desc && *(char *)word_at(&lay, (*slab_desc >> 32) * MA_UNIT) == 1) {
			*slab_desc = (uint64_t)0xc00 << 32 | (uint32_t)*slab_desc;
			break;
		}
	}
	save("bad-mmalloc-spot.map", size);
	size = load("mmalloc-1.map");
	*word(4096 + offsetof(struct ma_body, root_link)) += 1;
	save("bad-mmalloc-table.map", size);
}

int main(void)
{
	make_heap();
	damage_bodies();
	/* Longer than its range; shorter than its tables; than what is in use. */
	damage_header("bad-mmalloc-length.map", FIELD(length), (uint64_t)1 << 30, 0);
	damage_header("bad-mmalloc-tables.map", FIELD(length), 0, lay.seg[0].user_file - 4096);
	damage_header("bad-mmalloc-inside.map", FIELD(length), 0, lay.seg[0].user_file + 4096);
	/* A range that holds no heap; that leaves the address space. */
	damage_header("bad-mmalloc-reserve.map", FIELD(reserved), 16384, 16384);
	damage_header("bad-mmalloc-top.map", FIELD(reserved), (uint64_t)1 << 47, 0);
	damage_header("bad-mmalloc-streams.map", FIELD(param), 5000, 0);
	return 0;
}
