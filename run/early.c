/* SPDX-License-Identifier: BSD-3-Clause */
/* See early.h. */
#include "early.h"

#define EARLY_MOST 1024

static struct early early[EARLY_MOST];
static _Atomic unsigned count;
_Atomic uintptr_t shim_early_from = UINTPTR_MAX, shim_early_to;

void *shim_note_early(void *block, size_t bytes)
{
	uintptr_t at = (uintptr_t)block;
	unsigned i = block ? atomic_fetch_add_explicit(&count, 1, memory_order_relaxed) : EARLY_MOST;

	if (i >= EARLY_MOST)
		return block;
	early[i] = (struct early){ block, bytes };
	if (at < ma_load(&shim_early_from))
		ma_store(&shim_early_from, at);
	if (at > ma_load(&shim_early_to))
		ma_store(&shim_early_to, at);
	return block;
}

struct early *shim_find_early(const void *block)
{
	for (unsigned i = 0; i < ma_min(ma_load(&count), EARLY_MOST); i++)
		if (early[i].block == block)
			return &early[i];
	return NULL;
}

/* Its address may come again, for another block. */
void shim_free_early(struct early *e)
{
	void *block = e->block;

	e->block = NULL;
	__libc_free(block);
}
