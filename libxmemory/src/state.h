/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How calls are served. Nothing in the library calls malloc, stdio's buffers or the dynamic linker: RAM comes from the functions in
 * xmemory__ram; a shim that is itself called malloc puts others there before the first call. A call that our own code
 * leads to (xmemory__depth) takes RAM, no lock, and no budget.
 */
#ifndef XMEMORY_STATE_H
#define XMEMORY_STATE_H

#include "common/base.h"
#include "common/stamp.h"

/* Blocks of fewer bytes than XMEMORY__LEAST must begin 32 bytes apart all the same. The C library's do. */
struct xmemory__ram {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t nmemb, size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void (*free)(void *ptr);
	void *(*memalign)(size_t alignment, size_t size);
};
extern struct xmemory__ram xmemory__ram;

#define XMEMORY__LEAST 32

#define XMEMORY__UNREADY 1u /* Nothing was set up yet. */
#define XMEMORY__OFF     2u /* xmemory_off() */
#define XMEMORY__TRACE   4u /* Debug level 3: each call is told, and so no thread has a part of the budget of its own. */
extern _Atomic unsigned xmemory__mode;
/* Threads keep blocks that they free: not where the C library must see each call, or is not the usual one. */
extern bool xmemory__keeps;
/* Larger blocks in RAM have pages of their own (large.h), where the C library need not see each call. */
#define XMEMORY__FAST_MAX ((size_t)1 << 20)
extern bool xmemory__maps_large;
/* Blocks of up to so many bytes may be had the fast way: 0 unless the mode is 0. */
extern _Atomic size_t xmemory__fast_max;

/* Set up: what RAM's functions ask for, then the mode. */
void xmemory__state_prepare(void);
void xmemory__state_begin(void);
/* $XMEMORY_DEBUG, 0 to 3. */
int xmemory__level(void);

/* For what happens after a while: milliseconds, not exact. */
MA_INLINE int64_t xmemory__now_ms(void)
{
	return (int64_t)(ma_now_ns(CLOCK_MONOTONIC_COARSE) / 1000000);
}

#define XMEMORY__TLS _Thread_local __attribute__((tls_model("initial-exec")))

/* Not 0: this call comes from within the library. */
extern XMEMORY__TLS unsigned xmemory__depth;

#endif /* XMEMORY_STATE_H */
