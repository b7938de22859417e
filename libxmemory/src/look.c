/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking: in the pointer table, then in the three kinds of blocks that are elsewhere. */
#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "falloc.h"
#include "lock.h"
#include "look.h"
#include "small.h"
#include "table.h"
#include "vmfile.h"

#include "common/cancel.h"

static bool look_elsewhere(const void *ptr, struct xmemory__block *block)
{
	bool known;

	xmemory__lock();
	known = xmemory__small_has(ptr) ? xmemory__small_look(ptr, block)
					: xmemory__vm_look(ptr, block) || xmemory__mapped_look(ptr, block);
	xmemory__unlock();
	return known;
}

static struct xmemory__block ram_block(void *ptr, uint64_t entry)
{
	return (struct xmemory__block){
		.ptr = ptr, .size = xmemory__entry_size(entry), .site = xmemory__entry_site(entry), .kind = XMEMORY_RAM
	};
}

bool xmemory__look(const void *ptr, struct xmemory__block *block)
{
	uint64_t entry;

	if (!ptr)
		return false;
	if (!xmemory__find(ptr, &entry))
		return look_elsewhere(ptr, block);
	*block = ram_block((void *)(uintptr_t)ptr, entry);
	return true;
}

/* ---- all blocks ---- */

struct walk {
	xmemory__block_fn *fn;
	void *arg;
};

static void walk_entry(void *ptr, uint64_t entry, void *arg)
{
	struct walk *walk = arg;
	struct xmemory__block block = ram_block(ptr, entry);

	walk->fn(&block, walk->arg);
}

void xmemory__walk(xmemory__block_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	struct walk walk = { fn, arg };

	xmemory__table_walk(walk_entry, &walk);
	xmemory__lock();
	xmemory__vm_walk(fn, arg);
	xmemory__small_walk(fn, arg);
	xmemory__mapped_walk(fn, arg);
	xmemory__unlock();
}
