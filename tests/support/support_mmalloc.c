/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of libmmalloc, as all tests know them. */
#include "tests/support/support_mmalloc.h"

static void *calls_calloc(void *map, size_t size)
{
	return mcalloc(map, 1, size);
}

const struct support_calls support_mmalloc_calls = {
	.name = "mmalloc",
	.least = 1,
	.malloc = mmalloc,
	.calloc = calls_calloc,
	.realloc = mrealloc,
	.memalign = mmemalign,
	.free = mfree,
	.usable_size = mmalloc_usable_size,
	.walk = mmalloc_walk,
	.check = mmalloc_check,
};
