/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions in memory that the caller has mapped: nothing here opens, maps or locks. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "handle.h"

static struct shmbuddy *in_memory(void *mem)
{
	struct shmbuddy *h;

	if (!mem || (uintptr_t)mem % MA_LINE)
		return ma_fail_null(EINVAL,
				    "memory at %p cannot hold a region: its address is not a multiple of 64; align it",
				    mem);
	h = shmbuddy__handle_new();
	if (!h)
		return NULL;
	h->base = mem;
	h->writable = true;
	snprintf(h->name, sizeof(h->name), "memory at %p", mem);
	return h;
}

MA_NOINLINE static bool plan(struct layout *lay, size_t size, const struct shmbuddy_options *options)
{
	struct shmbuddy_options rest = options ? *options : (struct shmbuddy_options){ 0 };
	struct numbers n = { .memory = true };

	if (rest.capacity || rest.range)
		return shmbuddy__handle_plan(&rest, REGION_MEMORY, lay);
	rest.capacity = size; /* The largest block by default is at most that. */
	if (!shmbuddy__handle_options(&rest, SHMBUDDY_ZEROED, &n.small_shift, &n.large_shift))
		return false;
	while (!shmbuddy__layout_fit(lay, size, &n)) {
		if (rest.largest || n.large_shift <= n.small_shift) {
			ma_fail(EINVAL,
				"region of %zu bytes is too small: not even one block fits; use more memory or smaller "
				"blocks",
				size);
			return false;
		}
		n.large_shift--;
	}
	return true;
}

/* All but its first word. */
MA_NOINLINE static void put_header(const struct shmbuddy *h, void *mem)
{
	struct ma_header header;

	shmbuddy__handle_header(h, &header);
	memcpy((char *)mem + 8, (char *)&header + 8, sizeof(header) - 8);
}

shmbuddy_t *shmbuddy_format(void *mem, size_t size, const struct shmbuddy_options *options)
{
	struct shmbuddy *h;
	struct layout lay;
	int saved = errno;
	uint64_t magic;

	if (options && (options->flags & ~SHMBUDDY_ZEROED))
		return ma_fail_null(EINVAL,
				    "cannot format a region: flags %#x are unknown here; use 0 or SHMBUDDY_ZEROED",
				    options->flags);
	if (!plan(&lay, size, options))
		return NULL;
	if (lay.reserved > size)
		return ma_fail_null(EINVAL,
				    "memory of %zu bytes is too small: this capacity and range need %" PRIu64
				    "; use shmbuddy_size_needed()",
				    size, lay.reserved);
	h = in_memory(mem);
	if (!h)
		return NULL;
	h->lay = lay;
	h->own = lay.range;
	shmbuddy__handle_new_area(h);
	shmbuddy__handle_point(h);
	memset(mem, 0, 8); /* What was there before is no region any more. */
	ma_fence();
	put_header(h, mem);
	if (!options || !(options->flags & SHMBUDDY_ZEROED))
		memset((char *)mem + sizeof(struct ma_header), 0, (size_t)(lay.area_at - sizeof(struct ma_header)));
	shmbuddy__handle_mark_backed(h);
	memcpy(&magic, MA_MAGIC, sizeof(magic));
	ma_store_release((_Atomic uint64_t *)mem, magic); /* Pairs with libshmbuddy/src/memory.c:shmbuddy_join. */
	h->opening = (struct shmbuddy_opening){ .generation = 1, .created = 1, .first = 1 };
	shmbuddy__handle_open(h);
	errno = saved;
	return h;
}

shmbuddy_t *shmbuddy_join(void *mem)
{
	struct shmbuddy *h = in_memory(mem);
	struct ma_header header;
	enum ma_refusal why;
	int saved = errno;

	if (!h)
		return NULL;
	/* With acquire, before the rest: it was stored last. */
	(void)ma_load_acquire((_Atomic uint64_t *)mem); /* Pairs with libshmbuddy/src/memory.c:shmbuddy_format. */
	memcpy(&header, mem, sizeof(header));
	why = ma_header_check(&header, sizeof(header), UINT64_MAX, 1u << MA_KIND_SHMBUDDY, true);
	if (shmbuddy__handle_accept(h, &header, why, NULL) < 0) {
		shmbuddy__handle_drop(h);
		return NULL;
	}
	/* Of a file that the caller has mapped, what is there now; memory is there up to the end of its range. */
	if (!h->lay.memory)
		h->most = ma_load(&h->area);
	h->own = h->most;
	shmbuddy__handle_point(h);
	h->opening.generation = ma_load(&header.generation);
	shmbuddy__handle_open(h);
	errno = saved;
	return h;
}
