/* SPDX-License-Identifier: BSD-3-Clause */
/* See lock.h for the word. Sleeping uses shared futexes, for the waiters may be other processes. */
#include "common/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/proc.h"

#define SPINS         100
#define FIRST_WAIT_NS 2000000L
#define LAST_WAIT_NS  64000000L

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, long nanoseconds)
{
	struct timespec timeout = { .tv_sec = 0, .tv_nsec = nanoseconds };

	/* EAGAIN, EINTR and ETIMEDOUT all mean the same here: look again. */
	syscall(SYS_futex, word, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

static bool holder_died(struct ma_map *map, uint32_t word)
{
	uint32_t holder = word & MA_LOCK_SLOT;

	/* A holder that cannot exist: a damaged word must not hang anybody. */
	return holder == 0 || holder > MA_PROCESSES || !ma_proc_alive(map, holder - 1);
}

static uint32_t next_turn(uint32_t word)
{
	return (word + MA_LOCK_TURN_ONE) & MA_LOCK_TURN;
}

static bool try_take(struct ma_lock *lock, uint32_t mine)
{
	uint32_t seen = ma_load(&lock->word);

	return !(seen & MA_LOCK_SLOT) && ma_cas(&lock->word, &seen, (seen & MA_LOCK_TURN) | mine);
}

/* One round of waiting. True when the lock was inherited from the dead. */
static bool wait_round(struct ma_map *map, struct ma_lock *lock, uint32_t mine, long nanoseconds)
{
	uint32_t seen = ma_load(&lock->word);

	if (!(seen & MA_LOCK_SLOT))
		return false;
	if (!(seen & MA_LOCK_WAITERS) && !ma_cas(&lock->word, &seen, seen | MA_LOCK_WAITERS))
		return false;
	seen |= MA_LOCK_WAITERS;
	futex_wait(&lock->word, seen, nanoseconds);
	if (ma_load(&lock->word) != seen || !holder_died(map, seen))
		return false;
	return ma_cas(&lock->word, &seen, next_turn(seen) | mine | MA_LOCK_WAITERS);
}

static MA_NOINLINE enum ma_lock_result take_slowly(struct ma_map *map, struct ma_lock *lock, uint32_t mine)
{
	int saved = errno;
	long nanoseconds = FIRST_WAIT_NS;
	enum ma_lock_result result = MA_LOCK_TAKEN;

	for (int i = 0; i < SPINS; i++)
		if (try_take(lock, mine))
			return MA_LOCK_TAKEN;
	for (;;) {
		if (wait_round(map, lock, mine, nanoseconds)) {
			result = MA_LOCK_INHERITED;
			break;
		}
		/* Others may sleep too: keep the bit, a needless wake-up is cheaper than a lost one. */
		if (try_take(lock, mine | MA_LOCK_WAITERS))
			break;
		if (nanoseconds < LAST_WAIT_NS)
			nanoseconds *= 2;
	}
	errno = saved;
	return result;
}

enum ma_lock_result ma_lock_take(struct ma_map *map, struct ma_lock *lock, uint32_t slot)
{
	if (MA_LIKELY(try_take(lock, slot + 1)))
		return MA_LOCK_TAKEN;
	return take_slowly(map, lock, slot + 1);
}

void ma_lock_give(struct ma_lock *lock)
{
	uint32_t was = atomic_fetch_and_explicit(&lock->word, MA_LOCK_TURN, memory_order_release);

	if (was & MA_LOCK_WAITERS)
		syscall(SYS_futex, &lock->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

bool ma_lock_inherit(struct ma_lock *lock, uint32_t slot)
{
	uint32_t seen = ma_load(&lock->word);

	while ((seen & MA_LOCK_SLOT) == slot + 1)
		if (ma_cas(&lock->word, &seen, next_turn(seen) | (slot + 1) | MA_LOCK_WAITERS))
			return true;
	return false;
}

void ma_lock_seize(struct ma_lock *lock, uint32_t slot)
{
	uint32_t seen = ma_load(&lock->word);

	while (!ma_cas(&lock->word, &seen, next_turn(seen) | (slot + 1)))
		;
}
