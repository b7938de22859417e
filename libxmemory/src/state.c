/* SPDX-License-Identifier: BSD-3-Clause */
/* Where RAM comes from, which calls may be served the fast way, on and off. */
#include <malloc.h>
#include <stdlib.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "state.h"

#include "common/annotate.h"
#include "common/env.h"

struct xmemory__ram xmemory__ram = { malloc, calloc, realloc, free, memalign };
_Atomic unsigned xmemory__mode = XMEMORY__UNREADY;
_Atomic size_t xmemory__fast_max;
bool xmemory__keeps, xmemory__maps_large;
XMEMORY__TLS unsigned xmemory__depth;

/* Plus 1; 0: not looked up yet. */
static _Atomic int level;

int xmemory__level(void)
{
	if (MA_UNLIKELY(!ma_load(&level))) {
		const char *text = ma_env("XMEMORY_DEBUG");
		long given = text ? strtol(text, NULL, 10) : 0;

		ma_store(&level, given > 0 ? (int)ma_min((uint64_t)given, 3) + 1 : 1);
	}
	return ma_load(&level) - 1;
}

/* Other allocators, and TSan's, give blocks of 16 bytes that lie side by side: none is asked for so few. */
static struct xmemory__ram close_ram;

static size_t apart(size_t size)
{
	return size < XMEMORY__LEAST ? XMEMORY__LEAST : size;
}

static void *malloc_apart(size_t size)
{
	return close_ram.malloc(apart(size));
}

static void *calloc_apart(size_t nmemb, size_t size)
{
	return close_ram.calloc(1, apart(nmemb * size)); /* 1, or off. */
}

static void *realloc_apart(void *ptr, size_t size)
{
	return close_ram.realloc(ptr, apart(size));
}

static void *memalign_apart(size_t alignment, size_t size)
{
	return close_ram.memalign(alignment, apart(size));
}

extern void *__libc_malloc(size_t size) __attribute__((weak));

/*
 * Two threads may be here at once. Each stores the limit between two loads of the mode, and again
 * when the mode changed: so the last store of the limit fits the mode. Sequentially consistent:
 * pairs with libxmemory/src/state.c:set_mode of the other thread.
 */
static void set_mode(unsigned clear, unsigned set)
{
	unsigned mode;

	atomic_fetch_and(&xmemory__mode, ~clear);
	atomic_fetch_or(&xmemory__mode, set);
	do {
		mode = atomic_load(&xmemory__mode);
		atomic_store(&xmemory__fast_max, mode ? 0 : XMEMORY__FAST_MAX);
	} while (atomic_load(&xmemory__mode) != mode);
}

void xmemory__state_prepare(void)
{
	if (xmemory__ram.malloc != __libc_malloc || MA_TSAN) {
		close_ram = xmemory__ram;
		xmemory__ram.malloc = malloc_apart;
		xmemory__ram.calloc = calloc_apart;
		xmemory__ram.realloc = realloc_apart;
		xmemory__ram.memalign = memalign_apart;
	} else if (!MA_ASAN && !ma_under_valgrind()) {
		xmemory__keeps = true;
	}
	/* TSan sees what threads do to such pages as well. */
	xmemory__maps_large = xmemory__keeps || MA_TSAN;
}

void xmemory__state_begin(void)
{
	set_mode(XMEMORY__UNREADY, xmemory__level() >= 3 ? XMEMORY__TRACE : 0);
}

void xmemory_on(void)
{
	set_mode(XMEMORY__OFF, 0);
}

void xmemory_off(void)
{
	set_mode(0, XMEMORY__OFF);
}
