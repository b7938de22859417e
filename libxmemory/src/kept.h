/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each thread has: its part of the budget, and small blocks that it freed, for its next calls. What is more than a thread may keep goes
 * to a store that all threads have together, in bundles of one class, and from there to threads that have no block of the class: so blocks
 * that one thread allocates and another one frees do not go through the C library each time, nor do those of threads that end.
 */
#ifndef XMEMORY_KEPT_H
#define XMEMORY_KEPT_H

#include "state.h"
#include "table.h"

#include "common/base.h"

#define XMEMORY__KEPT_MAX     1024 /* Bytes of the largest blocks that a thread keeps. */
#define XMEMORY__KEPT_CLASSES ((XMEMORY__KEPT_MAX + 23) / 16 + 1)

/*
 * A thread's part of the budget: it may take what is left without a lock. Written by the thread alone, read by all.
 * Since the thread last reported: charged credit - left, blocks count; at the peak, credit - low with low_count blocks.
 */
struct xmemory__thread {
	/* Two threads share no line, and no pair of lines, which processors fetch together. */
	_Alignas(2 * MA_LINE) _Atomic int64_t left;
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

/* The thread has room for no more: others of its blocks go to the store. False: the block cannot be kept all the same. */
bool xmemory__keep_more(struct xmemory__thread *t, void *ptr, _Atomic uint64_t *place);
/* A bundle from the store. False: it has none of this class. */
bool xmemory__kept_fetch(struct xmemory__thread *t, size_t class);
/* The thread's own blocks go to the store, as far as it has room, else to the C library. */
void xmemory__kept_let_go(struct xmemory__thread *t);
/* In a child: another thread went on while its memory was copied, so its lists mean nothing. Its blocks are lost, as are the C library's own. */
void xmemory__kept_forget(struct xmemory__thread *t);
/* Bytes that a thread may keep, and the store a few times as many. */
void xmemory__kept_set_most(struct xmemory__thread *t, int64_t most);

/* Bytes in the store. */
int64_t xmemory__kept_shared(void);
/* All of them go to the C library. */
void xmemory__kept_empty(void);
/* The same, when no block came or went for two seconds. */
void xmemory__kept_age(void);

/* For a fork (fork.c): the store's mutex. try: false when this thread has it already. */
void xmemory__kept_hold(void);
bool xmemory__kept_try(void);
void xmemory__kept_store_let_go(bool child);
/* In a child whose parent may have been changing the store. */
void xmemory__kept_store_forget(void);

#endif /* XMEMORY_KEPT_H */
