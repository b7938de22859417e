/* SPDX-License-Identifier: BSD-3-Clause */
/* See lock.h for the word. Sleeping uses shared futexes, for the waiters may be other processes. */
#include "common/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"
#include "common/image.h"
#include "common/proc.h"

#define SPINS         100
#define FIRST_WAIT_NS 2000000L
#define LAST_WAIT_NS  64000000L
#define MOST_WAIT_NS  2000000000L /* For a holder that nothing can be known about. */

int64_t ma_lock_patience_ns = 60 * INT64_C(1000000000);

/* True when the time went by, and the word is as it was; else: look again. */
static bool futex_wait(_Atomic uint32_t *word, uint32_t seen, long nanoseconds)
{
	struct timespec timeout = { .tv_sec = 0, .tv_nsec = nanoseconds };

	return syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0) < 0 && errno == ETIMEDOUT &&
	       ma_load(word) == seen;
}

static bool holder_died(struct ma_image *map, uint32_t word)
{
	uint32_t holder = word & MA_LOCK_SLOT;

	/* A holder that cannot exist: a damaged word must not make a thread wait for ever. */
	return holder == 0 || holder > map->lay.processes || !ma_proc_alive(map, holder - 1);
}

static uint32_t next_turn(uint32_t word)
{
	return (word + MA_LOCK_TURN_ONE) & MA_LOCK_TURN;
}

static bool try_take(struct ma_lock *lock, uint32_t mine)
{
	uint32_t seen = ma_load(&lock->word);

	/* Pairs with common/lock.c:ma_lock_give. */
	return !(seen & MA_LOCK_SLOT) && ma_cas(&lock->word, &seen, (seen & MA_LOCK_TURN) | mine);
}

/* A waiter: how long it will wait now, and how long it has waited for a word that did not change. */
struct wait {
	long nanoseconds;
	int64_t in_vain;
	uint32_t seen;
};

/* One round of waiting. True when the lock was inherited from the dead. */
static bool wait_round(struct ma_image *map, struct ma_lock *lock, uint32_t mine, struct wait *wait)
{
	uint32_t seen = ma_load(&lock->word);

	if (!(seen & MA_LOCK_SLOT))
		return false;
	if (!(seen & MA_LOCK_WAITERS) && !ma_cas_relaxed(&lock->word, &seen, seen | MA_LOCK_WAITERS))
		return false;
	seen |= MA_LOCK_WAITERS;
	if (wait->seen != seen)
		wait->in_vain = 0;
	wait->seen = seen;
	if (!futex_wait(&lock->word, seen, wait->nanoseconds)) {
		wait->in_vain = 0;
		return false;
	}
	wait->in_vain += wait->nanoseconds;
	/* Pairs with common/lock.c:try_take, with which the killed process took the lock. */
	return holder_died(map, seen) && ma_cas(&lock->word, &seen, next_turn(seen) | mine | MA_LOCK_WAITERS);
}

/* Who gave up on this very word once does not wait as long for it again. */
static bool is_hopeless(struct ma_image *map, const struct ma_lock *lock, const struct wait *wait)
{
	return wait->in_vain > ma_lock_patience_ns ||
	       (wait->in_vain && ma_load(&map->stuck_lock) == (uintptr_t)lock && ma_load(&map->stuck_word) == wait->seen);
}

static enum ma_lock_result give_up(struct ma_image *map, const struct ma_lock *lock, uint32_t seen)
{
	ma_store(&map->stuck_word, seen);
	ma_store(&map->stuck_lock, (uintptr_t)lock);
	ma_fail(ETIMEDOUT,
		"%s: cannot use it: process slot %u, whose process lives, has held a lock of the map for %d s: it is stopped, or the "
		"lock's word is damaged; let it go on, or end it",
		map->name, (seen & MA_LOCK_SLOT) - 1, (int)(ma_lock_patience_ns / 1000000000));
	return MA_LOCK_STUCK;
}

static enum ma_lock_result give_up_blind(const struct ma_image *map)
{
	ma_fail(EBADF,
		"%s: another process has held a lock for 2 s, and whether it still lives cannot be asked: the program closed the "
		"map's descriptor; close the map and open it again",
		map->name);
	return MA_LOCK_STUCK;
}

static MA_NOINLINE enum ma_lock_result take_slowly(struct ma_image *map, struct ma_lock *lock, uint32_t mine)
{
	int saved = errno;
	struct wait wait = { .nanoseconds = (long)ma_min(FIRST_WAIT_NS, (uint64_t)ma_lock_patience_ns + 1) };
	enum ma_lock_result result = MA_LOCK_TAKEN;
	long waited = 0;

	for (int i = 0; i < SPINS; i++)
		if (try_take(lock, mine))
			return MA_LOCK_TAKEN;
	for (;;) {
		if (wait_round(map, lock, mine, &wait)) {
			result = MA_LOCK_INHERITED;
			break;
		}
		if (is_hopeless(map, lock, &wait))
			return give_up(map, lock, wait.seen);
		/* Others may sleep too: keep the bit, a needless wake-up is cheaper than a lost one. */
		if (try_take(lock, mine | MA_LOCK_WAITERS))
			break;
		waited += wait.nanoseconds;
		if (waited > MOST_WAIT_NS && ma_load(&map->lost))
			return give_up_blind(map);
		if (wait.nanoseconds < LAST_WAIT_NS)
			wait.nanoseconds *= 2;
	}
	errno = saved;
	return result;
}

enum ma_lock_result ma_lock_take(struct ma_image *map, struct ma_lock *lock, uint32_t slot)
{
	if (MA_LIKELY(try_take(lock, slot + 1)))
		return MA_LOCK_TAKEN;
	return take_slowly(map, lock, slot + 1);
}

void ma_lock_give(struct ma_lock *lock)
{
	uint32_t was = atomic_fetch_and_explicit(&lock->word, MA_LOCK_TURN, memory_order_release); /* Pairs with common/lock.c:try_take. */

	if (was & MA_LOCK_WAITERS)
		syscall(SYS_futex, &lock->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool ma_lock_inherit(struct ma_lock *lock, uint32_t slot)
{
	uint32_t seen = ma_load(&lock->word);

	while ((seen & MA_LOCK_SLOT) == slot + 1)
		/* Pairs with common/lock.c:try_take, with which the killed process took the lock. */
		if (ma_cas(&lock->word, &seen, next_turn(seen) | (slot + 1) | MA_LOCK_WAITERS))
			return true;
	return false;
}

void ma_lock_seize(struct ma_lock *lock, uint32_t slot)
{
	uint32_t seen = ma_load(&lock->word);

	/* Pairs with common/lock.c:try_take, by which a dead process may have taken it. */
	while (!ma_cas(&lock->word, &seen, next_turn(seen) | (slot + 1)))
		;
}
