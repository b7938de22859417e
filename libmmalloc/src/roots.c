/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys and roots, and locks for the program's own data. */
#include <errno.h>

#include "heap.h"

#include "common/cancel.h"
#include "common/error.h"
#include "common/roots.h"
#include "common/userlock.h"
#include <mmalloc.h>

/* ---- keys ---- */

/* Where a key is; NULL with errno. */
static _Atomic uint64_t *key_word(void *md, struct ma_image *map, int keynum)
{
	if (!map)
		return NULL;
	if (keynum < 0 || keynum >= MMALLOC_KEYS)
		return mmalloc__set_last_error(
			md, ma_fail_null(EINVAL, "%s: there is no key %d: keys are 0 to %d; use one of those",
					 map->name, keynum, MMALLOC_KEYS - 1));
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.key_off) + keynum;
}

/* The same of a key that is to change. */
static _Atomic uint64_t *key_to_change(void *md, struct ma_image *map, int keynum)
{
	_Atomic uint64_t *word = key_word(md, map, keynum);

	if (!word || ma_image_writable(map))
		return word;
	return mmalloc__set_last_error(
		md, ma_fail_null(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name));
}

int mmalloc_setkey(void *md, int keynum, void *key)
{
	_Atomic uint64_t *word = key_to_change(md, mmalloc__map(md), keynum);

	if (!word)
		return 0;
	ma_store_kill(word, (uint64_t)(uintptr_t)key); /* Pairs with libmmalloc/src/roots.c:mmalloc_getkey. */
	return 1;
}

void *mmalloc_getkey(void *md, int keynum)
{
	_Atomic uint64_t *word = key_word(md, mmalloc__map(md), keynum);

	/* Pairs with libmmalloc/src/roots.c:mmalloc_setkey. */
	return word ? (void *)(uintptr_t)ma_load_acquire(word) : NULL;
}

int mmalloc_caskey(void *md, int keynum, void **expected, void *desired)
{
	struct ma_image *map = mmalloc__map(md);
	_Atomic uint64_t *word = key_to_change(md, map, keynum);
	uint64_t seen;

	if (!word)
		return -1;
	if (!expected)
		return (int)mmalloc__set_last_error_int(
			md, ma_fail(EINVAL, "%s: cannot compare key %d: expected is NULL; pass an address", map->name,
				    keynum));
	seen = (uint64_t)(uintptr_t)*expected;
	if (ma_cas(word, &seen, (uint64_t)(uintptr_t)desired)) /* Pairs with libmmalloc/src/roots.c:mmalloc_getkey. */
		return 1;
	*expected = (void *)(uintptr_t)seen;
	return 0;
}

/* ---- roots ---- */

int mmalloc_setroot(void *md, const char *name, void *ptr)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_root_set(map, name, ptr)) : -1;
}

void *mmalloc_getroot(void *md, const char *name)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? mmalloc__set_last_error(md, ma_root_get(map, name)) : NULL;
}

int mmalloc_casroot(void *md, const char *name, void **expected, void *desired)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? (int)mmalloc__set_last_error_int(md, ma_root_cas(map, name, expected, desired)) : -1;
}

int mmalloc_walkroots(void *md, mmalloc_root_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	struct ma_image *map = mmalloc__map(md);

	if (!map)
		return -1;
	/* What fn returns is no failure of ours. */
	return fn ? ma_root_list(map, fn, arg) : (int)mmalloc__set_last_error_int(md, ma_root_list(map, fn, arg));
}

static void *take(void *md, size_t size)
{
	return mcalloc(md, 1, ma_max(size, 1));
}

void *mmalloc_find_or_create(void *md, const char *name, size_t size, mmalloc_init_fn *init, void *arg, int *created)
{
	const struct ma_root_new how = {
		.handle = md,
		.size = size,
		.take = take,
		.give = mfree,
		.init = init,
		.arg = arg,
	};
	struct ma_image *map = mmalloc__map(md);

	return map ? mmalloc__set_last_error(md, ma_root_find_or_create(map, name, &how, created)) : NULL;
}

/* ---- locks ---- */

_Static_assert(sizeof(struct mmalloc_lock) == sizeof(uint64_t), "the word of common/userlock.h");

/* An error number, which mmalloc_errno() is to know of when it is a failure. */
static int set_last_error(const void *md, int error)
{
	if (error && error != EOWNERDEAD)
		mmalloc__keep_errno(md);
	return error;
}

static int lock_within(void *md, struct mmalloc_lock *lock, int64_t timeout_ms)
{
	struct ma_image *map = mmalloc__map(md);

	return map ? ma_userlock_take(map, lock, timeout_ms) : errno;
}

int mmalloc_lock(void *md, struct mmalloc_lock *lock)
{
	return set_last_error(md, lock_within(md, lock, MA_USERLOCK_FOREVER));
}

int mmalloc_trylock(void *md, struct mmalloc_lock *lock)
{
	return set_last_error(md, lock_within(md, lock, MA_USERLOCK_TRY));
}

int mmalloc_timedlock(void *md, struct mmalloc_lock *lock, unsigned timeout_ms)
{
	return set_last_error(md, lock_within(md, lock, timeout_ms));
}

int mmalloc_unlock(void *md, struct mmalloc_lock *lock)
{
	struct ma_image *map = mmalloc__map(md);

	return set_last_error(md, map ? ma_userlock_give(map, lock) : errno);
}
