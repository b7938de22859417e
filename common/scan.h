/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scans 64 allocation bytes at once: bit i of the result is set when byte i is zero, that is, slot i is free.
 *
 * Any address will do; 64 bytes must be there to be read, whatever they belong to.
 *
 * Only the owner of the slots may act on it: a byte seen as zero stays zero until the owner sets it. A byte seen as one
 * may be freed a moment later; that is found by the next scan. The scan acquires: it pairs with the release store of
 * ma_slot_free(), so that what the block's last user did to the block comes before what its next user does.
 */
#ifndef MA_SCAN_H
#define MA_SCAN_H

#include "common/base.h"

#if defined(__SSE2__) && !MA_TSAN
#include <emmintrin.h>

MA_INLINE uint64_t ma_scan16(const _Atomic uint8_t *from)
{
	__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)from);

	return (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
}

/* x86 loads never move before earlier loads, so the vector loads acquire by themselves; the fence holds the compiler. */
MA_INLINE uint64_t ma_scan64(const _Atomic uint8_t *from)
{
	uint64_t mask =
		ma_scan16(from) | ma_scan16(from + 16) << 16 | ma_scan16(from + 32) << 32 | ma_scan16(from + 48) << 48;

	atomic_signal_fence(memory_order_acquire); /* Pairs with common/heap.h:ma_slot_free. */
	return mask;
}

/* Is any of the 64 bytes zero? Only then is ma_scan64() of use; most slabs that a search comes to are full. */
MA_INLINE bool ma_scan64_any(const _Atomic uint8_t *from)
{
	const __m128i *at = (const __m128i *)(const void *)from;
	__m128i low = _mm_min_epu8(_mm_loadu_si128(at), _mm_loadu_si128(at + 1));
	__m128i high = _mm_min_epu8(_mm_loadu_si128(at + 2), _mm_loadu_si128(at + 3));

	return _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(low, high), _mm_setzero_si128())) != 0;
}
#else
MA_INLINE uint64_t ma_scan64(const _Atomic uint8_t *from)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < 64; i++)
		mask |= (uint64_t)(ma_load_acquire(&from[i]) == 0) << i; /* Pairs with common/heap.h:ma_slot_free. */
	return mask;
}

MA_INLINE bool ma_scan64_any(const _Atomic uint8_t *from)
{
	bool any = false;

	for (unsigned i = 0; i < 64 && !any; i++)
		any = ma_load(&from[i]) == 0;
	return any;
}
#endif

/* Is this allocation byte one? */
MA_INLINE bool ma_byte_is_one(const _Atomic uint8_t *byte)
{
#if defined(__x86_64__) && !MA_TSAN && !MA_ASAN
	bool one;

	/* A relaxed load and its comparison are one instruction, which the compiler does not make of an atomic one. */
	__asm__ volatile("cmpb $1, %1" : "=@cce"(one) : "m"(*byte));
	return one;
#else
	return ma_load(byte) == 1;
#endif
}

/* The lowest bit that is set; there is one. */
MA_INLINE uint64_t ma_lowest(uint64_t mask)
{
#ifdef __x86_64__
	uint64_t bit;

	/* What __builtin_ctzll() is, without the two instructions that gcc adds to make an int of it. */
	__asm__("rep bsf %1, %0" : "=r"(bit) : "r"(mask) : "cc");
	return bit;
#else
	return (uint64_t)__builtin_ctzll(mask);
#endif
}

/* How many bits are set. Processors of the baseline have no instruction for it, and the compiler would call a function. */
MA_INLINE uint32_t ma_bits(uint64_t mask)
{
	mask -= mask >> 1 & 0x5555555555555555;
	mask = (mask & 0x3333333333333333) + (mask >> 2 & 0x3333333333333333);
	mask = (mask + (mask >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return (uint32_t)(mask * 0x0101010101010101 >> 56);
}

/* The low n bits, n from 0 to 64. */
MA_INLINE uint64_t ma_low_bits(uint64_t n)
{
	return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* Bit i is set when from + i is a multiple of stride. */
MA_INLINE uint64_t ma_multiples(uint32_t stride, uint32_t from)
{
	uint32_t first = (stride - from % stride) % stride;
	uint64_t bits = 1;

	for (uint32_t width = stride; width < 64; width *= 2)
		bits |= bits << width;
	return first < 64 ? bits << first : 0;
}

#endif /* MA_SCAN_H */
