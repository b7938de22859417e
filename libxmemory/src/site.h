/* SPDX-License-Identifier: BSD-3-Clause */
/* Sites: a place in a source file, known by a number from 1. Read without a lock: what is linked in was written before, and never moves. */
#ifndef XMEMORY_SITE_H
#define XMEMORY_SITE_H

#include "common/base.h"

#define XMEMORY__SITE_BITS 18
#define XMEMORY__SITES     ((uint32_t)1 << XMEMORY__SITE_BITS)
#define XMEMORY__HEADS     4096

/* Never changes once it is known. */
struct xmemory__site {
	const char *file; /* As the caller's compiler had it: compared, never followed, for its library may be gone. */
	int line;
	uint32_t id;
	struct xmemory__site *next;
	char name[];
};

/* The first site with this hash, where a look finds it. All zero: none, and so a call from nowhere has number 0. */
struct xmemory__head {
	_Atomic(const char *) file; /* Stored last. */
	int line;
	uint32_t id;
};
extern struct xmemory__head xmemory__heads[XMEMORY__HEADS];

uint32_t xmemory__site_slow(const char *file, int line);
const struct xmemory__site *xmemory__site_of(uint32_t id);
/* Numbers are below this one. */
uint32_t xmemory__site_end(void);
/* For a fork (fork.c): the mutex. try: false when this thread has it already. */
void xmemory__sites_hold(void);
bool xmemory__sites_try(void);
void xmemory__sites_let_go(bool child);

MA_INLINE uint32_t xmemory__site_hash(const char *file, int line)
{
	return (uint32_t)((uintptr_t)file + (uintptr_t)(unsigned)line * 8) / 8 % XMEMORY__HEADS;
}

MA_INLINE const struct xmemory__head *xmemory__head(const char *file, int line)
{
	return &xmemory__heads[xmemory__site_hash(file, line)];
}

MA_INLINE bool xmemory__head_is(const struct xmemory__head *head, const char *file, int line)
{
	/* Pairs with libxmemory/src/site.c:add_site. */
	return MA_LIKELY(ma_load_acquire(&head->file) == file) && MA_LIKELY(head->line == line);
}

MA_INLINE uint32_t xmemory__site(const char *file, int line)
{
	const struct xmemory__head *head = xmemory__head(file, line);

	return xmemory__head_is(head, file, line) ? head->id : xmemory__site_slow(file, line);
}

#endif /* XMEMORY_SITE_H */
