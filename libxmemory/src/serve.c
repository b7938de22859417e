/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fast paths (api.c) cannot do: blocks in RAM within the budget, else in VM files. */
#include <errno.h>
#include <string.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "falloc.h"
#include "freed.h"
#include "large.h"
#include "lock.h"
#include "look.h"
#include "say.h"
#include "serve.h"
#include "site.h"
#include "small.h"
#include "state.h"
#include "table.h"
#include "vmfile.h"

#include "common/error.h"

#define VM_FROM ((size_t)256 << 10) /* From this size on a block has a VM file of its own. */

/* ---- blocks in RAM ---- */

static bool has_own_pages(size_t size)
{
	return size > XMEMORY__FAST_MAX && xmemory__maps_large;
}

static void *ram_ask(const struct xmemory__ask *ask)
{
	if (ask->alignment > 16)
		return xmemory__ram.memalign(ask->alignment, ask->size);
	if (has_own_pages(ask->size))
		return xmemory__large_new(ask->size, ask->zeroed);
	return ask->zeroed ? xmemory__ram.calloc(1, ask->size) : xmemory__ram.malloc(ask->size);
}

/* What is kept of freed blocks counts in limits of the kernel, too. */
static void *ram_ask_twice(const struct xmemory__ask *ask)
{
	void *block = ram_ask(ask);

	return !block && xmemory__freed_drop() ? ram_ask(ask) : block;
}

static void ram_drop(void *ptr, size_t size)
{
	if (xmemory__large_is(ptr, size))
		xmemory__large_free(ptr);
	else
		xmemory__ram.free(ptr);
}

/* Counted already. NULL: no memory. */
static void *ram_counted(const struct xmemory__ask *ask)
{
	void *block = ram_ask_twice(ask);

	if (!block)
		return NULL;
	if (xmemory__put(block, xmemory__word(xmemory__site(ask->file, ask->line), ask->size)))
		return block;
	ram_drop(block, ask->size);
	return NULL;
}

/* NULL: over budget, or no memory; then nothing is kept of freed blocks either. */
static void *ram_new(const struct xmemory__ask *ask)
{
	bool taken = xmemory__take(ask->size);
	void *block = taken ? ram_counted(ask) : NULL;

	if (taken && !block)
		xmemory__give(ask->size);
	if (!block)
		xmemory__freed_drop();
	else if (ask->size > XMEMORY__FAST_MAX)
		xmemory__budget_fit();
	return block;
}

void xmemory__ram_free(void *ptr, _Atomic uint64_t *place, uint64_t entry)
{
	size_t size = xmemory__entry_size(entry);

	/* Before the block is given back: then its place may be another thread's at once. */
	ma_store(place, 0);
	ram_drop(ptr, size);
	xmemory__give(size);
	if (size > XMEMORY__FAST_MAX)
		xmemory__budget_fit();
}

/* It was charged before, and is again, whatever others took meanwhile. */
static void recharge(size_t size)
{
	xmemory__depth++;
	xmemory__take(size);
	xmemory__depth--;
}

/* Its contents move. NULL: no memory; the block is as it was. */
static void *ram_move(void *ptr, size_t had, size_t size)
{
	void *block = ram_ask_twice(&(struct xmemory__ask){ .size = size });

	if (block) {
		memcpy(block, ptr, ma_min(had, size));
		ram_drop(ptr, had);
	}
	return block;
}

static void *ram_realloc(void *ptr, size_t had, size_t size)
{
	bool large = xmemory__large_is(ptr, had);
	void *block = NULL;

	if (!large && !has_own_pages(size))
		return xmemory__ram.realloc(ptr, size);
	if (large && has_own_pages(size))
		block = xmemory__large_resize(ptr, size);
	return block ? block : ram_move(ptr, had, size);
}

/* NULL: over budget, or no memory; the block is as it was. */
static void *ram_resize(void *ptr, _Atomic uint64_t *place, uint64_t entry, const struct xmemory__ask *ask)
{
	size_t had = xmemory__entry_size(entry);
	uint32_t site = xmemory__site(ask->file, ask->line);
	void *block = NULL;

	xmemory__give(had);
	if (xmemory__take(ask->size)) {
		ma_store(place, 0);
		block = ram_realloc(ptr, had, ask->size);
		if (!block)
			xmemory__give(ask->size);
	}
	if (!block) {
		ma_store(place, entry);
		recharge(had);
		return NULL;
	}
	/* Without memory for the table it cannot be known; it is the caller's all the same. */
	if (!xmemory__put(block, xmemory__word(site, ask->size)))
		xmemory__give(ask->size);
	if (had > XMEMORY__FAST_MAX || ask->size > XMEMORY__FAST_MAX)
		xmemory__budget_fit();
	return block;
}

/* ---- blocks in VM files ---- */

static bool is_lack_of_mappings(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE || error == EAGAIN;
}

static void *vm_new(const struct xmemory__ask *ask)
{
	void *block = NULL;

	if (ask->size >= VM_FROM || ask->alignment > VM_FROM) {
		block = xmemory__vm_new(ask);
		if (block || !is_lack_of_mappings(errno) || ask->size > INT64_MAX)
			return block;
	}
	xmemory__lock();
	block = xmemory__small_new(ask);
	xmemory__unlock();
	if (!block && errno == EBADF) /* The program closed the shared VM file's descriptor: a file for this block alone. */
		block = xmemory__vm_new(ask);
	return block;
}

void xmemory__trace(const char *what, const struct xmemory__ask *ask, const void *ptr)
{
	if (MA_UNLIKELY(ma_load(&xmemory__mode) & XMEMORY__TRACE))
		xmemory__say("xmemory: %s %zu bytes at %p, %s:%d", what, ask->size, ptr, ask->file ? ask->file : "?",
			     ask->line);
}

static void *get_while_off(const struct xmemory__ask *ask)
{
	void *block = ram_ask(ask);

	if (!block && ask->size > 0)
		ma_fail(errno, "%zu bytes: the C library has no memory; xmemory_on() lets blocks be in VM files",
			ask->size);
	return block;
}

void *xmemory__get(const struct xmemory__ask *ask)
{
	int saved = errno;
	bool early;
	void *block;

	if (ma_load(&xmemory__mode) & XMEMORY__OFF)
		return get_while_off(ask);
	if (ask->size == 0)
		return NULL;
	early = ma_load(&xmemory__mode) & XMEMORY__UNREADY;
	xmemory__depth += early;
	block = ram_new(ask);
	if (!block && xmemory__depth == 0)
		block = vm_new(ask);
	xmemory__depth -= early;
	xmemory__trace("took", ask, block);
	if (block)
		errno = saved;
	return block;
}

bool xmemory__elsewhere_free(void *ptr)
{
	bool done;

	if (xmemory__vm_free(ptr))
		return true;
	xmemory__lock();
	done = xmemory__small_has(ptr) ? xmemory__small_free(ptr) : xmemory__mapped_free(ptr);
	xmemory__unlock();
	return done;
}

/* Copy into a new block; the old one goes. */
static void *moved(const struct xmemory__block *from, void *to, size_t size)
{
	if (!to)
		return NULL;
	memcpy(to, from->ptr, ma_min(from->size, size));
	xmemory__elsewhere_free(from->ptr);
	return to;
}

/* To RAM, if there is room now; else as it is, or to another VM file. */
static void *elsewhere_resize(const struct xmemory__block *block, const struct xmemory__ask *ask)
{
	bool off = ma_load(&xmemory__mode) & XMEMORY__OFF;
	void *fresh = ram_new(ask);

	if (!fresh && block->kind == XMEMORY_VMFILE && ask->size >= VM_FROM) {
		fresh = xmemory__vm_resize(block->ptr, ask->size, xmemory__site(ask->file, ask->line));
		if (fresh || !is_lack_of_mappings(errno))
			return fresh;
	}
	if (!fresh && !off)
		fresh = vm_new(ask);
	return moved(block, fresh, ask->size);
}

/* ---- blocks of any kind ---- */

/* What is no block: nothing happens but a warning, and a failure for xmemory_errmsg(). */
void xmemory__refuse(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line)
{
	xmemory__warn(kind, call, ptr, file, line);
	ma_fail_quiet(EINVAL,
		      "%s(%p) in %s, line %d: not a block of this library: freed before, or never allocated by it; "
		      "free a block once, and by the allocator that it came from",
		      call, ptr, file ? file : "?", line);
}

void *xmemory__resize(void *ptr, const struct xmemory__ask *ask)
{
	struct xmemory__block block;
	uint64_t entry;
	_Atomic uint64_t *place = xmemory__find(ptr, &entry);

	if (!xmemory__look(ptr, &block)) {
		xmemory__refuse(XMEMORY__REALLOC_UNKNOWN, "realloc", ptr, ask->file, ask->line);
		return NULL;
	}
	if (block.kind == XMEMORY_RAM) {
		void *fresh = ram_resize(ptr, place, entry, ask);

		if (fresh || xmemory__depth > 0)
			return fresh;
		fresh = vm_new(ask);
		if (fresh) {
			memcpy(fresh, ptr, ma_min(block.size, ask->size));
			xmemory__ram_free(ptr, place, entry);
		}
		return fresh;
	}
	return elsewhere_resize(&block, ask);
}
