/* SPDX-License-Identifier: BSD-3-Clause */
/* The pointer table. It grows only, in pages of its own, and is read without a lock: what is linked in never moves. */
#include <errno.h>
#include <sys/mman.h>

#include "pages.h"
#include "table.h"

#include "common/error.h"

#define LEAVES 16384
#define WIDE   4096
#define NARROW 32768

_Atomic(struct xmemory__leaf *) xmemory__root[XMEMORY__ROOTS];

/* Link pages of so many bytes in, unless another thread was first. */
static void *grow(_Atomic(void *) *link, size_t bytes)
{
	void *had = ma_load_acquire(link);
	void *pages;

	if (had)
		return had;
	pages = xmemory__pages(bytes);
	if (pages && !ma_cas(link, &had, pages)) { /* Pairs with libxmemory/src/table.h:xmemory__leaf. */
		munmap(pages, bytes);
		return had;
	}
	return pages;
}

MA_NOINLINE bool xmemory__put_slow(const void *ptr, uint64_t word)
{
	bool wide = xmemory__entry_size(word) >= XMEMORY__WIDE_FROM;
	uintptr_t address = (uintptr_t)ptr;
	struct xmemory__leaf *leaves, *leaf;

	if (address >> 48 || address & 15) {
		ma_fail(ENOMEM,
			"%p: an address of more than 48 bits, which the tables do not know; use another allocator "
			"below",
			ptr);
		return false;
	}
	leaves = grow((_Atomic(void *) *)&xmemory__root[address >> 34], LEAVES * sizeof(*leaves));
	if (!leaves)
		return false;
	leaf = leaves + (address >> 20 & (LEAVES - 1));
	if (!grow((_Atomic(void *) *)(wide ? &leaf->wide : &leaf->narrow), (wide ? WIDE : NARROW) * sizeof(word)))
		return false;
	ma_store(wide ? xmemory__wide(leaf, ptr) : xmemory__narrow(leaf, ptr), xmemory__entry_make(ptr, word));
	return true;
}

typedef void walk_fn(void *ptr, uint64_t entry, void *arg);

/* Pages of entries that were never written to are no more than a look each: the kernel has one page of zeros. */
static void walk_entries(_Atomic uint64_t *entries, uint32_t count, uintptr_t first, walk_fn *fn, void *arg)
{
	uintptr_t step = ((uintptr_t)1 << 20) / count;

	for (uint32_t i = 0; entries && i < count; i++) {
		uint64_t entry = ma_load(&entries[i]);
		uintptr_t at = first + i * step;

		if (entry & 1)
			fn((void *)((at & ~(uintptr_t)255) | (entry >> 1 & 15) << 4), entry, arg);
	}
}

void xmemory__table_walk(walk_fn *fn, void *arg)
{
	for (uintptr_t r = 0; r < MA_COUNT(xmemory__root); r++) {
		/* Pairs with libxmemory/src/table.c:grow. */
		struct xmemory__leaf *leaves = ma_load_acquire(&xmemory__root[r]);

		for (uintptr_t l = 0; leaves && l < LEAVES; l++) {
			uintptr_t first = r << 34 | l << 20;

			/* Pairs with libxmemory/src/table.c:grow, and so does the next one. */
			walk_entries(ma_load_acquire(&leaves[l].wide), WIDE, first, fn, arg);
			walk_entries(ma_load_acquire(&leaves[l].narrow), NARROW, first, fn, arg);
		}
	}
}
