/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that every file of the shared layer uses. Nothing here knows what a map is.
 *
 * Memory orders stand in the names of the operations. "_kill" marks a store that a later reader may find to be the last
 * one of a dead process. A kill comes between two instructions, and what the machine has completed by then drains to memory
 * long before another process learns of the death: so for a dead process only the compiler's order matters, and that a release
 * store keeps. For the living, who may look at any moment, it is a release store like any other.
 */
#ifndef MA_BASE_H
#define MA_BASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MA_LIKELY(x)         __builtin_expect(!!(x), 1)
#define MA_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define MA_NOINLINE          __attribute__((noinline))
/* A fast path begins with a line of the cache, wherever the linker puts it: else its time would change with code that it never runs. */
#define MA_HOT               __attribute__((aligned(64)))
#define MA_INLINE            static inline __attribute__((always_inline))
#define MA_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MA_COUNT(array)      (sizeof(array) / sizeof((array)[0]))

#define MA_PAGE_SHIFT 12
#define MA_PAGE       ((size_t)1 << MA_PAGE_SHIFT)
#define MA_LINE       ((size_t)64)

#define MA_CHUNK_SHIFT 16
#define MA_CHUNK       ((uint64_t)1 << MA_CHUNK_SHIFT)
#define MA_UNIT        ((uint64_t)256) /* Truth bytes are dealt out in so many. */
#define MA_UNITS_MOST  19              /* Of one chunk: see struct ma_cells. */

#if defined(__SANITIZE_THREAD__)
#define MA_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MA_TSAN 1
#endif
#endif
#ifndef MA_TSAN
#define MA_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define MA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MA_ASAN 1
#endif
#endif
#ifndef MA_ASAN
#define MA_ASAN 0
#endif

/* Looks at memory that another thread may rightly be writing, and believes nothing that it sees there. */
#define MA_NO_TSAN __attribute__((noinline, no_sanitize("thread")))

#define ma_load(p)             atomic_load_explicit((p), memory_order_relaxed)
#define ma_load_acquire(p)     atomic_load_explicit((p), memory_order_acquire)
#define ma_store(p, v)         atomic_store_explicit((p), (v), memory_order_relaxed)
#define ma_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define ma_store_kill(p, v)    atomic_store_explicit((p), (v), memory_order_release)
#define ma_cas(p, expected, desired) \
	atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acq_rel, memory_order_acquire)
/* Of a word that orders no other: a counter, a maximum, an election without data, the waiters' bit of a lock. */
#define ma_cas_relaxed(p, expected, desired) \
	atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_relaxed, memory_order_relaxed)

/* Stores before it and loads behind it are in this order for all. ThreadSanitizer knows no fences: to it this is nothing. */
#if MA_TSAN
#define ma_fence() __sync_synchronize()
#else
#define ma_fence() atomic_thread_fence(memory_order_seq_cst)
#endif

/*
 * A word that may change while others read it, and of which the old value does no harm. A plain load of an aligned word is one
 * load, which the compiler may make part of the instruction that needs it: an atomic one it may not. (ThreadSanitizer must
 * be told.)
 */
#if MA_TSAN
#define ma_load_either(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#else
#define ma_load_either(p) (*(p))
#endif
#define ma_store_either(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

/* What x is from here on, the compiler cannot know. No instruction is made of it. */
#define ma_hide(x) __asm__("" : "+r"(x))

/* The smallest multiple of to (a power of two) that is not below n; the caller rules out overflow. */
MA_INLINE uint64_t ma_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

MA_INLINE uint64_t ma_down(uint64_t n, uint64_t to)
{
	return n & ~(to - 1);
}

/*
 * The bytes of a block whose size changes, to where it moves. After a wild store into a shared map, malloc may return a block that overlaps
 * the old one: memcpy() would be undefined then.
 */
MA_INLINE void ma_move_block(void *to, const void *from, size_t bytes)
{
	memmove(to, from, bytes);
}

MA_INLINE uint64_t ma_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

MA_INLINE uint64_t ma_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

MA_INLINE bool ma_is_pow2(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* A finaliser of a 64-bit hash: every input bit reaches every output bit. */
MA_INLINE uint64_t ma_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdu;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53u;
	return x ^ (x >> 33);
}

#endif /* MA_BASE_H */
