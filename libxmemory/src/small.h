/* SPDX-License-Identifier: BSD-3-Clause */
/* Small blocks in VM files: what small.c and small_fork.c share. */
#ifndef XMEMORY_SMALL_H
#define XMEMORY_SMALL_H

#include "common/fd.h"
#include "common/heap.h"

#define SIDE_BYTES (MA_CHUNK / 16 * 3)
#define BACKED     0x8000u

struct xmemory__small {
	struct ma_map *map;
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
uint64_t xmemory__side_file_bytes(const struct ma_map *map);
int xmemory__side_file(void);
bool xmemory__side_map(const struct ma_map *map, void *at);
/* Valgrind is not to read the sides of chunks from this one on. */
void xmemory__side_hide(uint64_t chunk);
/* Disk space for the table up to this chunk's word, and for the chunk's side. */
bool xmemory__side_back_table(uint64_t chunk);
bool xmemory__side_back(uint64_t chunk);

#endif /* XMEMORY_SMALL_H */
