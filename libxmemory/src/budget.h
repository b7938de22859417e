/* SPDX-License-Identifier: BSD-3-Clause */
/* The budget, and the counts. */
#ifndef XMEMORY_BUDGET_H
#define XMEMORY_BUDGET_H

#include "kept.h"
#include "state.h"

#include "common/base.h"

/* What a block in RAM costs beside its bytes: the C library's and our own bookkeeping. */
#define XMEMORY__BESIDE 40

/* xmemory_setlimit() */
void xmemory__budget_set(size_t bytes);
/* Charge a block in RAM; false when it is over budget. */
bool xmemory__take(size_t size);
/* A block in RAM is gone. */
void xmemory__give(size_t size);
/* What is kept of freed blocks must fit into the budget. */
void xmemory__budget_fit(void);
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
