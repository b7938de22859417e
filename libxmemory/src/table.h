/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pointer table: one word for each block in RAM, found by its address alone:
 *
 *      63      26 25      8 7       1   0
 *     | size     | site    | address | live |     not live: no block begins here
 *
 * A tree with two words for each MiB of addresses leads to two arrays of entries: one has an entry for each 32 bytes, and
 * serves the blocks of up to 264 bytes; the other has one for each 256 bytes, and serves the rest. No two blocks begin in
 * one such place, as blocks do not overlap and are at least 32 bytes apart; bits 4 to 10 of the address tell where
 * in it. So an entry is its block's alone: the thread that
 * holds the block writes it, with plain stores and no lock.
 *
 * In the entry of a block that a thread keeps (budget.h) stands the address of the next one.
 */
#ifndef XMEMORY_TABLE_H
#define XMEMORY_TABLE_H

#include "site.h"

#include "common/base.h"

#define XMEMORY__WIDE_FROM 265u /* Between two classes. */
#define XMEMORY__SIZE_BITS 38
#define XMEMORY__SIZE_MASK (((uint64_t)1 << XMEMORY__SIZE_BITS) - 1)
#define XMEMORY__RAM_MAX   XMEMORY__SIZE_MASK

struct xmemory__leaf {
	_Atomic(_Atomic uint64_t *) wide;   /* 4096 entries. */
	_Atomic(_Atomic uint64_t *) narrow; /* 32768 entries. */
};
#define XMEMORY__ROOTS (1 << 14) /* For addresses of 48 bits. */
extern _Atomic(struct xmemory__leaf *) xmemory__root[XMEMORY__ROOTS];

bool xmemory__put_slow(const void *ptr, uint64_t word);
/* Calls fn with each live block's entry. */
void xmemory__table_walk(void (*fn)(void *ptr, uint64_t entry, void *arg), void *arg);

MA_INLINE uint32_t xmemory__entry_site(uint64_t entry)
{
	return (uint32_t)(entry >> 8) & (XMEMORY__SITES - 1);
}

MA_INLINE uint64_t xmemory__entry_size(uint64_t entry)
{
	return entry >> (64 - XMEMORY__SIZE_BITS);
}

/* An entry but for the address. */
MA_INLINE uint64_t xmemory__word(uint32_t site, uint64_t size)
{
	return size << (64 - XMEMORY__SIZE_BITS) | (uint64_t)site << 8;
}

MA_INLINE uint8_t xmemory__entry_mark(const void *ptr)
{
	return (uint8_t)((uint8_t)((uintptr_t)ptr >> 3) | 1);
}

MA_INLINE uint64_t xmemory__entry_make(const void *ptr, uint64_t word)
{
	return word | xmemory__entry_mark(ptr);
}

MA_INLINE bool xmemory__entry_fits(const void *ptr, uint64_t entry)
{
	return (uint8_t)entry == xmemory__entry_mark(ptr);
}

/* The lowest four bits come in front of the rest, so that one look refuses what is too large and what is on no boundary. */
MA_INLINE struct xmemory__leaf *xmemory__leaf(const void *ptr)
{
	uintptr_t turned = (uintptr_t)ptr >> 4 | (uintptr_t)ptr << 60;
	struct xmemory__leaf *leaves;

	if (MA_UNLIKELY(turned >> 30 >= XMEMORY__ROOTS))
		return NULL;
	leaves = ma_load_acquire(&xmemory__root[turned >> 30]); /* Pairs with libxmemory/src/table.c:grow. */
	return MA_LIKELY(leaves != NULL) ? leaves + ((uintptr_t)ptr >> 20 & 16383) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__wide(struct xmemory__leaf *leaf, const void *ptr)
{
	_Atomic uint64_t *entries = ma_load_acquire(&leaf->wide); /* Pairs with libxmemory/src/table.c:grow. */

	return MA_LIKELY(entries != NULL) ? entries + ((uintptr_t)ptr >> 8 & 4095) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__narrow(struct xmemory__leaf *leaf, const void *ptr)
{
	_Atomic uint64_t *entries = ma_load_acquire(&leaf->narrow); /* Pairs with libxmemory/src/table.c:grow. */

	return MA_LIKELY(entries != NULL) ? entries + ((uintptr_t)ptr >> 5 & 32767) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__entry_at(_Atomic uint64_t *entries, const void *ptr, bool is_wide)
{
	return &entries[((uintptr_t)ptr & 0xfffff) >> (5 + 3 * is_wide)];
}

/* Sizes change from call to call: which array it is must not be a branch. */
MA_INLINE bool xmemory__put_at(const void *ptr, uint64_t word, bool is_wide)
{
	struct xmemory__leaf *leaf = xmemory__leaf(ptr);
	_Atomic uint64_t *wide, *entries;

	if (MA_UNLIKELY(!leaf))
		return xmemory__put_slow(ptr, word);
	/* Pairs with libxmemory/src/table.c:grow, and so does the next one. */
	wide = ma_load_acquire(&leaf->wide);
	entries = ma_load_acquire(&leaf->narrow);
	entries = is_wide ? wide : entries;
	if (MA_UNLIKELY(!entries))
		return xmemory__put_slow(ptr, word);
	ma_store(xmemory__entry_at(entries, ptr, is_wide), xmemory__entry_make(ptr, word));
	return true;
}

MA_INLINE bool xmemory__put(const void *ptr, uint64_t word)
{
	return xmemory__put_at(ptr, word, xmemory__entry_size(word) >= XMEMORY__WIDE_FROM);
}

/* Of a block that this thread found an entry for before: the ways that lead there do not change. */
MA_INLINE _Atomic uint64_t *xmemory__place(const void *ptr, bool is_wide)
{
	struct xmemory__leaf *leaf = ma_load(&xmemory__root[(uintptr_t)ptr >> 34]) + ((uintptr_t)ptr >> 20 & 16383);
	_Atomic uint64_t *wide = ma_load(&leaf->wide), *entries = ma_load(&leaf->narrow);

	return xmemory__entry_at(is_wide ? wide : entries, ptr, is_wide);
}

/* The block's place and entry, or NULL. The wide ones are few, and so are more often in the processor's cache. */
MA_INLINE _Atomic uint64_t *xmemory__find(const void *ptr, uint64_t *entry)
{
	struct xmemory__leaf *leaf = xmemory__leaf(ptr);
	_Atomic uint64_t *place;

	if (MA_UNLIKELY(!leaf))
		return NULL;
	place = xmemory__wide(leaf, ptr);
	if (place) {
		*entry = ma_load(place);
		if (xmemory__entry_fits(ptr, *entry))
			return place;
	}
	place = xmemory__narrow(leaf, ptr);
	if (MA_UNLIKELY(!place))
		return NULL;
	*entry = ma_load(place);
	return MA_LIKELY(xmemory__entry_fits(ptr, *entry)) ? place : NULL;
}

#endif /* XMEMORY_TABLE_H */
