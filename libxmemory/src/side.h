/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small blocks in VM files: the state, and the side file, which has what the heap does not keep of a block. For small.c and small_fork.c.
 * The lock is held.
 *
 * The side file has 3 bytes for each 16 bytes of the heap, so that a block of 16 bytes takes 20 in all:
 *
 *     slot of 16 bytes     site: 18 bits, what the slot has over the size: 6 bits
 *     larger ones          site: 18 bits, that: 30 bits
 *
 * The side of a heap's chunk is just three pages. They have their disk space while a block begins in the chunk, and until
 * the next trim. In front of all sides the side file has a table of chunks, two bytes for each, which gets its disk space a
 * page at a time. Private memory would be counted against the very limit (RLIMIT_DATA) that sends blocks here.
 */
#ifndef XMEMORY_SIDE_H
#define XMEMORY_SIDE_H

#include "block.h"

#include "common/fd.h"
#include "common/heap.h"

#define SIDE_BYTES (MA_CHUNK / 16 * 3)
#define BACKED     0x8000u

struct xmemory__small {
	struct ma_image *map;
	uint8_t *side;
	uint16_t *chunks;      /* Blocks that begin in each; BACKED: its side has disk space. In the side file. */
	uint64_t table_bytes;  /* Of that table, with what comes behind it up to the first side. */
	uint64_t table_backed; /* So many of them have disk space; the others must not be looked at. */
	uint64_t top;          /* No chunk from here on ever had a block. */
	int side_fd;           /* side_file() says whether it still is ours. */
	struct ma_fd_id side_id;
	bool side_lost; /* It is not, and cannot be opened again. */
	uint32_t id;
	uint64_t bytes; /* Of blocks, as they were asked for. */
	uint64_t live;  /* Of their slots. */
	uint64_t loose; /* Freed since the last trim. */
	int copy, side_copy;
};

extern struct xmemory__small xmemory__small;
static struct xmemory__small *const small = &xmemory__small;

/* The side file: its length in bytes, its descriptor (-1: the program closed it), its mapping, at this address or anywhere. */
uint64_t xmemory__side_file_bytes(const struct ma_image *map);
/* False with errno: there is none. */
bool xmemory__side_open(struct ma_image *map);
int xmemory__side_file(void);
bool xmemory__side_map(const struct ma_image *map, void *at);
/* Valgrind is not to read the sides of chunks from this one on. */
void xmemory__side_hide(uint64_t chunk);
/* Disk space for the table up to this chunk's word, and for the chunk's side. */
bool xmemory__side_back_table(uint64_t chunk);
bool xmemory__side_back(uint64_t chunk);
/* Both, where a block is about to begin in this chunk. */
bool xmemory__side_begin(uint64_t chunk);
/* Give back the disk space of chunks in which no block begins. */
void xmemory__side_trim(void);
/* What is known of a block, in a slot of `room` bytes. read: false when room is 0, which is no slot. */
void xmemory__side_write(const void *ptr, size_t room, size_t size, uint32_t site);
bool xmemory__side_read(const void *ptr, size_t room, struct xmemory__block *block);

#endif /* XMEMORY_SIDE_H */
