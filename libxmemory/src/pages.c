/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages, the reserve, and pools of records. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pages.h"

#include "common/error.h"

#define POOL_BYTES ((size_t)16 << 10)
#define RESERVE    ((size_t)64 << 10)
#define RESERVES   4

void *xmemory__pages(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return pages == MAP_FAILED
		       ? ma_fail_null(
				 ENOMEM,
				 "no memory for %zu bytes of tables (RLIMIT_DATA?); free blocks, or raise the limit",
				 bytes)
		       : pages;
}

/* In pieces: who gets one must not leave room for others to use up. */
static _Atomic(void *) reserve[RESERVES];

void xmemory__reserve_take(void)
{
	for (size_t i = 0; i < RESERVES; i++) {
		void *none = NULL;
		void *pages = MAP_FAILED;

		if (!ma_load(&reserve[i]))
			pages = mmap(NULL, RESERVE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		/* Pairs with libxmemory/src/pages.c:xmemory__reserve_drop. */
		if (pages != MAP_FAILED && !ma_cas(&reserve[i], &none, pages))
			munmap(pages, RESERVE);
	}
}

bool xmemory__reserve_drop(void)
{
	for (size_t i = 0; i < RESERVES; i++) {
		/* Pairs with libxmemory/src/pages.c:xmemory__reserve_take. */
		void *pages = atomic_exchange(&reserve[i], NULL);

		if (pages) {
			munmap(pages, RESERVE);
			return true;
		}
	}
	return false;
}

void *xmemory__pool_take(struct xmemory__pool *pool)
{
	size_t bytes = ma_up(pool->bytes, 16);
	void *record;

	if (!pool->free) {
		char *pages = xmemory__pages(POOL_BYTES);

		for (size_t at = 0; pages && at + bytes <= POOL_BYTES; at += bytes)
			xmemory__pool_give(pool, pages + at);
	}
	record = pool->free;
	if (!record)
		return NULL;
	memcpy(&pool->free, record, sizeof(void *));
	return memset(record, 0, pool->bytes);
}

void xmemory__pool_give(struct xmemory__pool *pool, void *record)
{
	memcpy(record, &pool->free, sizeof(void *));
	pool->free = record;
}
