/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How a map grows. Seen from the program it is one range of addresses, reserved when it is made; the tables of all that it may
 * ever have stand behind the user area:
 *
 *     [front | a gap | user area ... | table | table | table | what later segments have of their own]
 *
 * But its file is only as long as it was asked to be: it is the same range in another order. It consists of *segments*, which
 * are added at its end: the first one has as much as the map was made with, each further one makes it eight times as large, and the last one
 * may be there in part. A segment has what the tables say of its units, then its units:
 *
 *     [front, tables 0, user area 0] [streams 1, trees 1, tables 1, user area 1] [streams 2, ...
 *
 * Each such part is a *slice*: whole pages, at one place of the range and at another of the file. All places follow from sealed
 * numbers. So every process maps all slices when it opens, also those that the file does not have yet; and growing is to make the
 * file longer and to store its length. An offset in a map is always one in the range; only common/space.c, and code that reads the
 * file as a file, ask for its place there.
 *
 * The first table begins in the page that the front ends in. That page is mapped twice.
 */
#ifndef MA_SEGMENT_H
#define MA_SEGMENT_H

#include "common/layout.h"

/* What a kind has to say for its layout. */
struct ma_segment_plan {
	uint64_t base, reserved;
	uint64_t range;      /* The longest that the file may get. */
	uint64_t first;      /* Bytes of the file with the first segment. */
	uint64_t unit_bytes; /* Of the user area. */
	uint64_t align;      /* Of the user area, as an address. */
	struct {
		uint32_t bytes; /* A unit. */
		uint32_t slack; /* Behind the last one. */
		uint64_t *off;  /* Where it begins. */
	} table[MA_TABLES];
	unsigned tables;
	bool has_tree;
	/* Place what lies in front, with streams and trees of a first segment of such numbers; its end. */
	uint64_t (*front)(struct ma_layout *lay, const struct ma_segment_plan *plan);
};

/*
 * Fill the layout from a plan, of a file of this length. False: impossible numbers. least: so many bytes of the file must be the user
 * area's.
 */
bool ma_segment_layout(struct ma_layout *lay, const struct ma_segment_plan *plan, uint64_t least, uint64_t length);

/* Place leaves, holes and spans of a segment whose per_stream is set; their end. */
uint64_t ma_segment_place_tree(struct ma_segment *seg, uint32_t streams, uint64_t at);

/* Where an offset lies in the file, and how many of the bytes that follow, up to most, follow there too; 0: it lies nowhere. */
uint64_t ma_segment_run(const struct ma_layout *lay, uint64_t at, uint64_t most, uint64_t *file);
/* How long the file must be to hold the user area up to there. */
uint64_t ma_segment_length(const struct ma_layout *lay, uint64_t user_bytes);
/* Bytes of the user area in a file of this length. */
uint64_t ma_segment_user(const struct ma_layout *lay, uint64_t length);

/*
 * Map all slices over what is mapped at base, those of some first segments alone. bytes: what of the file is to be mapped, in whole pages.
 * 0, or -1 with errno.
 */
int ma_segment_map(const struct ma_layout *lay, char *base, uint32_t segments, int prot, int flags, int fd,
		   uint64_t bytes);

#endif /* MA_SEGMENT_H */
