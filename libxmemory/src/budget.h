/* SPDX-License-Identifier: BSD-3-Clause */
/* The budget, the counts, and what a thread keeps. */
#ifndef XMEMORY_BUDGET_H
#define XMEMORY_BUDGET_H

#include "state.h"
#include "table.h"

#include "common/base.h"

/* What a block in RAM costs beside its bytes: the C library's and our own bookkeeping. */
#define XMEMORY__BESIDE 40

#define XMEMORY__KEPT_MAX     1024 /* Bytes of the largest blocks that a thread keeps. */
#define XMEMORY__KEPT_CLASSES ((XMEMORY__KEPT_MAX + 23) / 16 + 1)

/*
 * A thread's part of the budget: it may take what is left without a lock. Written by the thread alone, read by all.
 * Since the thread last reported: charged credit - left, blocks count; at the peak, credit - low with low_count blocks.
 */
struct xmemory__thread {
	_Atomic int64_t left;
	_Atomic int64_t most; /* More than this is given back. */
	_Atomic int64_t low;  /* Never below 0. */
	_Atomic int64_t low_count;
	_Atomic int64_t count;
	_Atomic int64_t high;
	_Atomic int64_t credit;
	struct xmemory__thread *next; /* All there ever were. */
	struct xmemory__thread *spare;
	/*
	 * Blocks in RAM that this thread freed last, for its next calls: what the C library does with them would take longer than
	 * all that is done here. A class is a list through the blocks' entries: nothing is written into them.
	 */
	void *kept[XMEMORY__KEPT_CLASSES];
	int32_t kept_room; /* How much more may be kept, in 16 bytes; none below 1. */
	int32_t kept_most;
};
extern XMEMORY__TLS struct xmemory__thread *xmemory__self;

/* Blocks of one class have room for the same sizes: as the C library rounds them up. */
MA_INLINE size_t xmemory__kept_class(size_t size)
{
	return (size + 23) / 16;
}

MA_INLINE bool xmemory__class_is_wide(size_t class)
{
	return class >= (XMEMORY__WIDE_FROM + 23) / 16;
}

/* xmemory_setlimit() */
void xmemory__budget_set(size_t bytes);
/* Charge a block in RAM; false when it is over budget. */
bool xmemory__take(size_t size);
/* A block in RAM is gone. */
void xmemory__give(size_t size);
/* A block elsewhere came or went. */
void xmemory__count(int64_t bytes, int64_t blocks);

struct xmemory__totals {
	int64_t ram_bytes, ram_blocks; /* Blocks in RAM. */
	int64_t bytes, blocks;         /* All blocks. */
	int64_t peak_bytes, peak_blocks;
	int64_t peak_ram, peak_elsewhere; /* Each for itself, in bytes. */
	int64_t limit, room;
	int source; /* enum xmemory_limit_source */
};
void xmemory__totals(struct xmemory__totals *totals);
/* The same in a signal handler, as of the last call. False: the mutex cannot be had. */
bool xmemory__try_totals(struct xmemory__totals *totals);
/* For a fork (fork.c): the mutex. try: false when this thread has it already. */
void xmemory__budget_hold(void);
bool xmemory__budget_try(void);
void xmemory__budget_let_go(bool child);

#endif /* XMEMORY_BUDGET_H */
