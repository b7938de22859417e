/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Maps that stay open while their words change: what a process that stores anywhere does to the others.
 *
 * An input whose first byte is FUZZ_LIVE + n is a list of steps for live map n: an even byte and a call, or an odd byte and a change. So
 * words change between the calls that read them. A change names a *field*, a kind of word that the target has listed, one word of it, and a
 * value of that kind's: what would nearly be right. After each input the map's file is as it was: pages that differ are copied back, and
 * nothing is opened, closed or mapped.
 *
 * What must hold: each call ends, with a documented errno; what it gives out is memory of the file; the file gets no shorter.
 */
#ifndef MA_TESTS_FUZZ_LIVE_H
#define MA_TESTS_FUZZ_LIVE_H

#include "tests/fuzz/fuzz.h"

#define FUZZ_LIVE_MAPS   8
#define FUZZ_LIVE_FIELDS 40
#define FUZZ_LIVE_BYTES  (4u << 20) /* As long as a live map's file may get. */
#define FUZZ_LIVE_SMALL  (5u << 18)
#define FUZZ_LIVE_STEPS  48

enum fuzz_kind {
	FUZZ_ANY,    /* 64 bits. */
	FUZZ_BYTE,   /* 8 bits, 0 or 1. */
	FUZZ_LINK,   /* 32 bits: a unit, a cell, a place in a list, plus 1. */
	FUZZ_LOCK,   /* 32 bits: a process slot plus 1, a turn, waiters. */
	FUZZ_WORD,   /* 64 bits: a chunk's word. */
	FUZZ_SPOT,   /* 64 bits: a line and a reciprocal. */
	FUZZ_TAG,    /* 64 bits: an owner. */
	FUZZ_LENGTH, /* 64 bits: bytes of the file. */
	FUZZ_OFFSET, /* 64 bits: a place in the map. */
	FUZZ_TREE,   /* 64 bits: a word of a region. */
};

struct fuzz_field {
	enum fuzz_kind kind;
	uint64_t at; /* In the file. */
	uint64_t count;
	uint32_t stride;
};

struct fuzz_live {
	int fd;
	uint8_t *view, *image;
	size_t bytes;
	uint64_t units; /* Chunks, or groups, of the map. */
	bool small; /* Its file may not get longer than FUZZ_LIVE_SMALL: a damaged length would have it grow to many pages. */
	struct fuzz_field field[FUZZ_LIVE_FIELDS];
	size_t fields;
};

/* The live maps that are made from now on are small ones. */
void fuzz_live_small(void);
/* A new file for it, and its name. */
int fuzz_live_file(struct fuzz_live *live, char path[64]);
/* The map is as each input finds it. */
void fuzz_live_ready(struct fuzz_live *live, uint64_t units);
void fuzz_live_field(struct fuzz_live *live, enum fuzz_kind kind, uint64_t at, uint64_t count, uint32_t stride);
/* As it was. Requires that the file is not shorter. */
void fuzz_live_reset(struct fuzz_live *live);
/* Words of the map change, and calls of the library are made, in the order that the input says. */
void fuzz_live_steps(struct fuzz_live *live, struct fuzz_in *in, void (*call)(struct fuzz_in *in));
/* Require that these bytes are there: in the file, and so readable. */
void fuzz_live_touch(const struct fuzz_live *live, const void *at, size_t size);

#endif /* MA_TESTS_FUZZ_LIVE_H */
