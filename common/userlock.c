/* SPDX-License-Identifier: BSD-3-Clause */
/* See userlock.h for the word. */
#include "common/stamp.h"
#include "common/userlock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"
#include "common/image.h"
#include "common/owner.h"
#include "common/thread.h"

#define WAITERS       ((uint64_t)1)
#define SPINS         100
#define FIRST_WAIT_NS 2000000
#define LAST_WAIT_NS  64000000

/* The moment so far from now. One that no clock reaches stands for none. */
static int64_t moment(int64_t ms)
{
	int64_t now = (int64_t)ma_now_ns(CLOCK_MONOTONIC);

	return ms > (INT64_MAX - now) / 1000000 ? INT64_MAX : now + ms * 1000000;
}

/* The lower half, which has the waiters bit: files are little-endian. */
static void futex(_Atomic uint64_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

/* EAGAIN, EINTR and ETIMEDOUT all mean the same to a waiter: look again. */
static void sleep_on(_Atomic uint64_t *word, uint64_t seen, int64_t nanoseconds)
{
	struct timespec timeout = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };

	futex(word, FUTEX_WAIT, (uint32_t)seen, &timeout);
}

static bool is_free(uint64_t word)
{
	return (word & ~WAITERS) == 0;
}

/* Take the lock if it is free, or, when we may ask the kernel, if its holder is dead. EBUSY: a live thread holds it. */
static int attempt(struct ma_image *map, _Atomic uint64_t *word, uint64_t mine, bool ask)
{
	uint64_t seen = ma_load_acquire(word); /* Pairs with common/userlock.c:ma_userlock_give. */

	while (is_free(seen) || (ask && !ma_owner_alive(map, seen >> 1)))
		if (ma_cas(word, &seen, mine | (seen & WAITERS)))
			return is_free(seen) ? 0 : EOWNERDEAD;
	return EBUSY;
}

static bool mark_waiting(_Atomic uint64_t *word, uint64_t *seen)
{
	*seen = ma_load(word);
	if (is_free(*seen) || (!(*seen & WAITERS) && !ma_cas_relaxed(word, seen, *seen | WAITERS)))
		return false;
	*seen |= WAITERS;
	return true;
}

/* A thread that slept takes it with the waiters bit: others may still sleep, and a needless wake-up is cheaper than a lost one. */
static MA_NOINLINE int take_slowly(struct ma_image *map, _Atomic uint64_t *word, uint64_t mine, int64_t timeout_ms)
{
	int64_t end = moment(timeout_ms), pause = FIRST_WAIT_NS, left;
	uint64_t seen;
	int result;

	for (int i = 0; i < SPINS; i++)
		if (attempt(map, word, mine, false) == 0)
			return 0;
	for (;;) {
		left = end - (int64_t)ma_now_ns(CLOCK_MONOTONIC);
		if (left > 0 && mark_waiting(word, &seen))
			sleep_on(word, seen, left < pause ? left : pause);
		result = attempt(map, word, mine | WAITERS, true);
		if (result != EBUSY)
			return result;
		if (left <= 0)
			return ETIMEDOUT;
		if (pause < LAST_WAIT_NS)
			pause *= 2;
	}
}

/* NULL: errno. */
static _Atomic uint64_t *word_at(struct ma_image *map, void *lock)
{
	uint64_t offset = (uint64_t)((char *)lock - map->base);

	if (!ma_image_writable(map))
		return ma_fail_null(EROFS, "%s: cannot lock: the map is open read-only; open it for writing", map->name);
	if ((uintptr_t)lock % sizeof(uint64_t) || offset < map->lay.user_off ||
	    offset + sizeof(uint64_t) > ma_user_end(map))
		return ma_fail_null(EINVAL, "%s: cannot lock %p: a lock must lie in the map, at a multiple of 8; pass such an address",
				    map->name, lock);
	return lock;
}

static int take(struct ma_image *map, _Atomic uint64_t *word, int64_t timeout_ms)
{
	const struct ma_tcache *tc = ma_tcache_get(map);
	uint64_t mine;
	int result;

	if (!tc)
		return errno;
	mine = tc->tag << 1;
	result = attempt(map, word, mine, timeout_ms < 0);
	if (result != EBUSY || timeout_ms < 0)
		return result;
	if ((ma_load(word) & ~WAITERS) == mine) {
		ma_fail(EDEADLK, "%s: cannot lock %p: this thread holds it already; unlock it first", map->name,
			(void *)word);
		return EDEADLK;
	}
	return take_slowly(map, word, mine, timeout_ms);
}

int ma_userlock_take(struct ma_image *map, void *lock, int64_t timeout_ms)
{
	_Atomic uint64_t *word = word_at(map, lock);
	int saved = errno, result;

	if (!word)
		return errno;
	result = take(map, word, timeout_ms);
	if (result == EBUSY || result == ETIMEDOUT)
		ma_fail_quiet(result, "%s: cannot lock %p: another thread holds it%s; try again later", map->name, lock,
			      result == EBUSY ? "" : ", and did not let go in time");
	errno = result == 0 || result == EOWNERDEAD ? saved : result;
	return result;
}

/* Killed before it wakes a waiter up: each waiter soon reads the word itself. */
int ma_userlock_give(struct ma_image *map, void *lock)
{
	_Atomic uint64_t *word = word_at(map, lock);
	const struct ma_tcache *tc;
	int saved = errno;

	if (!word)
		return errno;
	tc = ma_tcache_get(map);
	if (!tc || (ma_load(word) & ~WAITERS) != tc->tag << 1) {
		ma_fail(EPERM, "%s: cannot unlock %p: this thread does not hold it; lock it first", map->name, lock);
		return EPERM;
	}
	/* Pairs with common/userlock.c:attempt. */
	if (atomic_exchange_explicit(word, 0, memory_order_release) & WAITERS)
		futex(word, FUTEX_WAKE, 1, NULL);
	errno = saved;
	return 0;
}
