/* SPDX-License-Identifier: BSD-3-Clause */
/* Private memory of our own, in pages: for tables and records, which malloc must not be asked for. */
#ifndef XMEMORY_PAGES_H
#define XMEMORY_PAGES_H

#include "common/base.h"

/* Pages of our own, zero; NULL with errno. */
void *xmemory__pages(size_t bytes);
/*
 * A little private memory that is set aside at the beginning: dropped when there is none left (RLIMIT_DATA), so that who
 * needs some in order to serve blocks from VM files finds it, and then taken again.
 */
void xmemory__reserve_take(void);
/* False: there is none. */
bool xmemory__reserve_drop(void);
/* A record of so many bytes, never given back but to its list. */
struct xmemory__pool {
	size_t bytes;
	void *free;
};
void *xmemory__pool_take(struct xmemory__pool *pool);
void xmemory__pool_give(struct xmemory__pool *pool, void *record);

#endif /* XMEMORY_PAGES_H */
