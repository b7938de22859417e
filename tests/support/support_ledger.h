/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_ledger.h
 * @brief Who holds which block, written down so that the account can be made after any number of kills.
 *
 * A ledger is a table of slots in shared memory or in the map itself. A worker takes a slot by compare-exchange,
 * writes down what it is about to do, calls the allocator, writes down the outcome, leaves the slot.
 *
 *     owner   0, or the worker (incarnation << 8 | thread) that is at it
 *     doing   what that worker is about to do
 *     block   the block that the slot holds, or NULL
 *     size, tag   its size and what it was filled with (support_fill())
 *
 * When a worker was killed, ledger_sweep() looks at its slots. IDLE: the block is known, nothing may be missing. In the
 * middle of malloc or free: nobody can know whether the block is taken, so one block may be left over. In the middle of
 * realloc: the old, the new, or both. The sum of these is what may be lost, and nothing else may.
 */
#ifndef MA_TESTS_SUPPORT_LEDGER_H
#define MA_TESTS_SUPPORT_LEDGER_H

#include "tests/support/support_block.h"

enum ledger_doing {
	LEDGER_IDLE,
	LEDGER_MALLOC,
	LEDGER_FREE,
	LEDGER_REALLOC,
};

struct ledger_slot {
	_Atomic uint64_t owner;
	_Atomic uint32_t doing;
	_Atomic(void *) block;
	_Atomic uint64_t size;
	_Atomic uint64_t tag;
};

struct ledger {
	size_t count;
	size_t largest;         /**< Sizes are 0 to this. */
	bool one_size;          /**< The map is static; set by who makes the ledger. */
	_Atomic uint64_t calls; /**< Allocator calls so far, of all workers: standing still means hung. */
	_Atomic uint64_t full;  /**< Of which failed with ENOMEM. */
	struct ledger_slot slot[];
};

/** One thread of one process at work on one ledger. */
struct ledger_worker {
	const struct support_calls *calls;
	struct ledger *ledger;
	void *map;
	uint64_t id; /**< ledger_id() */
	struct support_rand rand;
};

/** What a walk found at the end. */
struct ledger_account {
	size_t walked;     /**< Live blocks. */
	size_t known;      /**< Of which the ledger holds. */
	size_t lost;       /**< Of which nobody holds. */
	size_t missing;    /**< In the ledger, but not alive. */
	size_t damaged;    /**< In the ledger, but overwritten or too small. */
	size_t overlapped; /**< Walked blocks that begin before the one before ended. */
};

size_t ledger_bytes(size_t slots);
/** @p memory: ledger_bytes(), any content. */
struct ledger *ledger_init(void *memory, size_t slots, size_t largest);
/** Incarnations count from 1; never use one twice. */
uint64_t ledger_id(uint64_t incarnation, unsigned thread);
void ledger_worker_init(struct ledger_worker *worker, const struct support_calls *calls, struct ledger *ledger,
			void *map, uint64_t id);
/** Do something to some slot. Aborts when a block was overwritten or a free failed. */
void ledger_step(struct ledger_worker *worker);
/** Free the slots that the dead incarnation was at; how many blocks may be left over. */
size_t ledger_sweep(struct ledger *ledger, uint64_t incarnation);
/** Walk @p map. The block that holds the ledger itself, or NULL, is @p own. Nobody may be at work. */
struct ledger_account ledger_account(const struct support_calls *calls, struct ledger *ledger, void *map,
				     const void *own);
/** Assert that nothing is wrong and no more than @p allowed are lost; print the figures. */
void ledger_settle(const struct support_calls *calls, struct ledger *ledger, void *map, const void *own,
		   size_t allowed);

#endif /* MA_TESTS_SUPPORT_LEDGER_H */
