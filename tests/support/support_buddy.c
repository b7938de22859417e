/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of libshmbuddy, as all tests know them: with addresses for offsets. */
#include "tests/support/support_buddy.h"

static void *at(void *map, shm_offt offset)
{
	return shmbuddy_address(map, offset);
}

static void *calls_malloc(void *map, size_t size)
{
	return at(map, shmbuddy_malloc(map, size));
}

static void *calls_calloc(void *map, size_t size)
{
	return at(map, shmbuddy_calloc(map, 1, size));
}

static void *calls_realloc(void *map, void *block, size_t size)
{
	return at(map, shmbuddy_realloc(map, shmbuddy_offset(map, block), size));
}

static void *calls_memalign(void *map, size_t alignment, size_t size)
{
	void *block = calls_malloc(map, MAX(alignment, size));

	g_assert_cmpuint((uintptr_t)block % alignment, ==, 0);
	return block;
}

static void calls_free(void *map, void *block)
{
	g_assert_cmpint(shmbuddy_free(map, shmbuddy_offset(map, block)), ==, 0);
}

static size_t calls_usable_size(void *map, const void *block)
{
	return shmbuddy_usable_size(map, shmbuddy_offset(map, block));
}

struct visit {
	void *map;
	int (*fn)(void *block, size_t size, void *arg);
	void *arg;
};

static int visit_one(shm_offt offset, size_t size, void *arg)
{
	const struct visit *visit = arg;

	return visit->fn(at(visit->map, offset), size, visit->arg);
}

static int calls_walk(void *map, int (*fn)(void *block, size_t size, void *arg), void *arg)
{
	struct visit visit = { map, fn, arg };

	return shmbuddy_walk(map, visit_one, &visit);
}

static int calls_check(void *map, void (*report)(const char *text, void *arg), void *arg)
{
	return shmbuddy_check(map, report, arg);
}

const struct support_calls support_buddy_calls = {
	.name = "shmbuddy",
	.least = 0,
	.malloc = calls_malloc,
	.calloc = calls_calloc,
	.realloc = calls_realloc,
	.memalign = calls_memalign,
	.free = calls_free,
	.usable_size = calls_usable_size,
	.walk = calls_walk,
	.check = calls_check,
};
