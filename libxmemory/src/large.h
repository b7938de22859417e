/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large blocks in RAM. Each is whole pages of its own, with a word in front of it as the C library has it: size and flags. Every new page
 * costs a page fault, so the pages of freed blocks are kept for the next ones, as ranges of addresses that are split and merged. Kept pages
 * belong to the budget, which says how many there may be (budget.h).
 */
#ifndef XMEMORY_LARGE_H
#define XMEMORY_LARGE_H

#include "state.h"

#include "common/base.h"

#define XMEMORY__LARGE_MARK 7u /* In the word in front. The C library never sets all three bits. */
#define XMEMORY__LARGE_AT   16 /* In the first page. */

/* NULL: no memory. */
void *xmemory__large_new(size_t size, bool zeroed);
/* errno stays as it is, here and below. */
void xmemory__large_free(void *ptr);
/* In place, or moved by the kernel. NULL: neither can be done; the block is as it was. */
void *xmemory__large_resize(void *ptr, size_t size);

/* Bytes of freed blocks that are kept. */
int64_t xmemory__large_kept(void);
/* Keep at most so many. False: there was nothing to return to the kernel. */
bool xmemory__large_trim(int64_t most);
/* Return what was freed two seconds ago and not used since. */
void xmemory__large_age(void);

/* For a fork (fork.c): the mutex. try: false when this thread has it already. */
void xmemory__large_hold(void);
bool xmemory__large_try(void);
void xmemory__large_let_go(bool child);
/* In a child whose parent may have been changing the ranges: they stay mapped, and are not used. */
void xmemory__large_forget(void);

/* Of a block in RAM of this size. Only addresses of large blocks and the C library's own lie so in a page; the word lies in the same page. */
MA_INLINE bool xmemory__large_is(const void *ptr, size_t size)
{
	return size > XMEMORY__FAST_MAX && xmemory__maps_large && ((uintptr_t)ptr & 4095) == XMEMORY__LARGE_AT &&
	       (((const size_t *)ptr)[-1] & XMEMORY__LARGE_MARK) == XMEMORY__LARGE_MARK;
}

#endif /* XMEMORY_LARGE_H */
