/* SPDX-License-Identifier: BSD-3-Clause */
/* Roots, and locks for the program's own data. */
#include <errno.h>

#include "common/cancel.h"
#include "common/roots.h"

#include "common/map.h"
#include "common/userlock.h"
#include <qalloc.h>

int qalloc_setroot(void *map, const char *name, void *ptr)
{
	return ma_image_is_open(map) ? ma_root_set(map, name, ptr) : -1;
}

void *qalloc_getroot(void *map, const char *name)
{
	return ma_image_is_open(map) ? ma_root_get(map, name) : NULL;
}

int qalloc_casroot(void *map, const char *name, void **expected, void *desired)
{
	return ma_image_is_open(map) ? ma_root_cas(map, name, expected, desired) : -1;
}

int qalloc_walkroots(void *map, qalloc_root_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	return ma_image_is_open(map) ? ma_root_list(map, fn, arg) : -1;
}

static void *take(void *map, size_t size)
{
	return qalloc_calloc(map, 1, size);
}

static void give(void *map, void *block)
{
	qalloc_free(block, map);
}

void *qalloc_find_or_create(void *map, const char *name, size_t size, qalloc_init_fn *init, void *arg, int *created)
{
	const struct ma_root_new how = {
		.handle = map,
		.size = size,
		.take = take,
		.give = give,
		.init = init,
		.arg = arg,
	};

	return ma_image_is_open(map) ? ma_root_find_or_create(map, name, &how, created) : NULL;
}

/* ---- locks ---- */

_Static_assert(sizeof(struct qalloc_lock) == sizeof(uint64_t), "the word of common/userlock.h");

static int lock_within(void *map, struct qalloc_lock *lock, int64_t timeout_ms)
{
	return ma_image_is_open(map) ? ma_userlock_take(map, lock, timeout_ms) : EBADF;
}

int qalloc_lock(void *map, struct qalloc_lock *lock)
{
	return lock_within(map, lock, MA_USERLOCK_FOREVER);
}

int qalloc_trylock(void *map, struct qalloc_lock *lock)
{
	return lock_within(map, lock, MA_USERLOCK_TRY);
}

int qalloc_timedlock(void *map, struct qalloc_lock *lock, unsigned timeout_ms)
{
	return lock_within(map, lock, timeout_ms);
}

int qalloc_unlock(void *map, struct qalloc_lock *lock)
{
	return ma_image_is_open(map) ? ma_userlock_give(map, lock) : EBADF;
}
