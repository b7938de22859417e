/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Where everything in a region lies. Little-endian, offsets from its first byte, which is also offset 0 of the blocks' offsets.
 *
 *        0  the header (common/header.h), kind 4, base 0. Written once, but for one word:
 *           length    the region's bytes now: up to the end of the area. Growth is one change of it (grow.c)
 *           reserved  the same of a region that has grown as far as it can
 *           param[0]  bytes of the area when the region was made; it never has less
 *           param[1]  bits 0-7 log2 smallest block, 8-15 log2 largest block, 16-23 log2 part
 *           param[2]  bit 0: parts get their disk space when they are first used
 *                     bit 1: made in memory, which is there up to `reserved`
 *           param[3]  the range: most bytes that the area can have
 *     4096  struct control
 *     5120  64 entries for named roots (roots.c)
 *    11264  the crown: a bit for each part that has its disk space; of each local level its lines over the parts; of each level above,
 *           its lines, then its words
 *     meta  for each part: of each local level, its words, then its lines
 *     area  the blocks
 *
 * All but the area is laid out for the whole range, so that nothing moves when the area grows. What is about parts beyond the area's end is
 * a hole in the file, zeros that are never read.
 *
 * *Level* k has words that cover 32 * 8^k smallest blocks each; the top level is the first one whose words cover a largest block. A
 * *part* is a power of two of the area's bytes, and what of the metadata is about it lies together: so disk space can be had part by
 * part, and no process even reads metadata of a part that has none (on tmpfs, reading takes a page). Levels whose words cover more than a
 * part lie in the crown, which has its space from the start.
 *
 * *Lines* are 64 bytes, a mask of 64 bits for each order: index.h. Zeros are a new region, whose words are all free; so a sparse one of
 * a terabyte is made in no time. A word may cover more than the area has: no word says so. A search for room leaves out what
 * lies beyond the end at this moment (region_beyond(), region_fits()). So what the area gains by growth is free and listed at once.
 */
#ifndef SHMBUDDY_LAYOUT_H
#define SHMBUDDY_LAYOUT_H

#include "common/header.h"
#include "word.h"

#define LAYOUT_LEVELS      16u
#define LAYOUT_HEIGHTS     4u /* Of lines inside a part: 64^4 words. */
#define LAYOUT_PARTS_SHIFT 15 /* Of the range, at most so many... */
#define LAYOUT_FIRST_SHIFT 12 /* ... and of the area when it is made, unless that makes more of the range. */
#define LAYOUT_PART_SHIFT  21 /* The least, in regions that have more than one. */
#define LAYOUT_ALIGN_SHIFT 21 /* Blocks are aligned to their size up to here, and the area with them. */
#define LAYOUT_MOST_SHIFT  45 /* Of the area: offsets fit in a root's word. */
#define LAYOUT_SPARSE      1u
#define LAYOUT_MEMORY      2u
#define LAYOUT_ROOTS       64u
#define LAYOUT_ROOT_BYTES  96u

struct control {
	_Atomic uint64_t unique; /* The next x for CLOSED(x), less one. */
	uint64_t zero0[7];
	_Atomic uint64_t root; /* The root without a name. */
	_Atomic uint64_t tag;  /* The application's own number, set once; 0: not set. */
	uint64_t zero1[6];
	_Atomic uint64_t mend_at;   /* CLOCK_MONOTONIC in ns: not before. */
	_Atomic uint64_t mend_word; /* Where mending goes on: a count through all words, level by level. */
	uint64_t zero2[6];
	uint64_t zero3[104];
};

_Static_assert(sizeof(struct control) == 1024, "format 1");
_Static_assert(offsetof(struct control, root) == 64, "format 1");
_Static_assert(offsetof(struct control, tag) == 72, "format 1");
_Static_assert(offsetof(struct control, mend_at) == 128, "format 1");

#define LAYOUT_CONTROL  ((uint64_t)4096)
#define LAYOUT_ROOTS_AT (LAYOUT_CONTROL + sizeof(struct control))
#define LAYOUT_CROWN    (LAYOUT_ROOTS_AT + LAYOUT_ROOTS * LAYOUT_ROOT_BYTES)

struct level {
	uint8_t leaves; /* 32 or 8. */
	uint8_t leaf_shift;
	uint8_t cover_shift;
	uint8_t cap; /* The largest order that it deals out, or passes on. */
	bool top;
	bool local;        /* Its words lie with their parts, else in the crown. */
	uint8_t fan_shift; /* Local: log2 of its words in a part. */
	uint8_t heights;   /* Local: lines in a part. */
	uint64_t words_at; /* Of the first one: in the part's metadata; of a level in the crown, in the region. */
	uint64_t line_at[LAYOUT_HEIGHTS]; /* Local: in the part's metadata, by height. */
	uint64_t crown_at;                /* Lines over parts (local) or words, in the region. */
	/* What is done to a word of either kind without asking of which it is. */
	uint64_t open, always; /* Its OPEN bit; what is OR-ed to a word that was read: that of a top word. */
	uint64_t stamp;        /* What each change adds. */
	uint64_t fan;          /* Of its words in a part, less one: a mask. */
	uint64_t leaf_rest;    /* Of a leaf's bytes, the same. */
	uint64_t
		cap_at; /* In a part's metadata: where it says of its first 64 words whether they are listed under cap. */
	uint32_t first;  /* How many smaller blocks there are than one of its leaves: a size class, less the order. */
	uint32_t beyond; /* The bits of leaves that it has not. */
};

/* What a region is made of. */
struct numbers {
	uint64_t first; /* Bytes of the area when it is made, a multiple of the smallest block. */
	uint64_t range; /* The same when it has grown as far as it can. */
	unsigned small_shift, large_shift;
	bool sparse, memory;
};

struct layout {
	uint64_t first, range;
	uint64_t backed_at;
	uint64_t meta_at;
	uint64_t meta_bytes; /* Of each part. */
	uint64_t area_at;
	uint64_t parts;    /* Of the range. */
	uint64_t reserved; /* The whole region, with all of the range. */
	uint8_t small_shift, large_shift, part_shift;
	uint8_t top; /* Number of the top level. */
	bool sparse, memory;
	struct level level[LAYOUT_LEVELS];
};

/* False: these numbers are impossible. */
bool shmbuddy__layout_make(struct layout *lay, const struct numbers *numbers);

/* The region that cannot grow and whose whole is at most total bytes, with the largest area. numbers has its kinds of blocks. */
bool shmbuddy__layout_fit(struct layout *lay, uint64_t total, const struct numbers *numbers);

/* From and to the header's numbers. False: they are damaged. */
void shmbuddy__layout_params(const struct layout *lay, uint64_t param[MA_PARAMS]);
bool shmbuddy__layout_from(struct layout *lay, const struct ma_header *h);

/* The area of a region that is length bytes long; 0: no region of this layout is. */
uint64_t shmbuddy__layout_area(const struct layout *lay, uint64_t length);

/* Words that an area of so many bytes has of a level; the last one may reach beyond it. */
MA_INLINE uint64_t layout_words(const struct level *l, uint64_t area)
{
	return (area + ((uint64_t)1 << l->cover_shift) - 1) >> l->cover_shift;
}

/* The same of parts. */
MA_INLINE uint64_t layout_parts(const struct layout *lay, uint64_t area)
{
	return (area + ((uint64_t)1 << lay->part_shift) - 1) >> lay->part_shift;
}

#endif /* SHMBUDDY_LAYOUT_H */
