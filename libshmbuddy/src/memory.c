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
		return ma_fail_null(EINVAL, "memory for a region must begin at a multiple of 64");
	h = shmbuddy__handle_new();
	if (!h)
		return NULL;
	h->base = mem;
	h->writable = true;
	snprintf(h->name, sizeof(h->name), "memory at %p", mem);
	return h;
}

static bool plan(struct layout *lay, size_t size, const struct shmbuddy_options *options)
{
	struct shmbuddy_options rest = options ? *options : (struct shmbuddy_options){ 0 };
	unsigned small, large;

	if (rest.capacity)
		return shmbuddy__handle_plan(&rest, false, lay);
	rest.capacity = size; /* The largest block by default is at most that. */
	if (!shmbuddy__handle_options(&rest, SHMBUDDY_ZEROED, &small, &large))
		return false;
	while (!shmbuddy__layout_fit(lay, size, small, large)) {
		if (rest.largest || large <= small) {
			ma_fail(EINVAL, "%zu bytes are too few for a region", size);
			return false;
		}
		large--;
	}
	return true;
}

shmbuddy_t *shmbuddy_format(void *mem, size_t size, const struct shmbuddy_options *options)
{
	struct ma_header header;
	struct shmbuddy *h;
	struct layout lay;
	uint64_t magic;

	if (options && (options->flags & ~SHMBUDDY_ZEROED))
		return ma_fail_null(EINVAL, "format: unknown flags");
	if (!plan(&lay, size, options))
		return NULL;
	if (lay.total > size)
		return ma_fail_null(EINVAL, "%zu bytes are too few: this region needs %" PRIu64, size, lay.total);
	h = in_memory(mem);
	if (!h)
		return NULL;
	h->lay = lay;
	shmbuddy__handle_point(h);
	memset(mem, 0, 8); /* What was there before is no region any more. */
	atomic_thread_fence(memory_order_seq_cst);
	shmbuddy__handle_header(h, &header);
	memcpy((char *)mem + 8, (char *)&header + 8, sizeof(header) - 8);
	if (!options || !(options->flags & SHMBUDDY_ZEROED))
		memset((char *)mem + sizeof(header), 0, (size_t)(lay.area_at - sizeof(header)));
	shmbuddy__handle_furnish(h);
	memcpy(&magic, MA_MAGIC, sizeof(magic));
	ma_store_release((_Atomic uint64_t *)mem, magic);
	shmbuddy__handle_open(h);
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
	(void)ma_load_acquire((_Atomic uint64_t *)mem);
	memcpy(&header, mem, sizeof(header));
	why = ma_header_check(&header, sizeof(header), UINT64_MAX, 1u << MA_KIND_SHMBUDDY, true);
	if (shmbuddy__handle_accept(h, &header, why, NULL) < 0) {
		shmbuddy__handle_drop(h);
		return NULL;
	}
	shmbuddy__handle_point(h);
	shmbuddy__handle_open(h);
	errno = saved;
	return h;
}
