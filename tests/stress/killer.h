/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file killer.h
 * @brief Workers that are shot, one every few milliseconds, and replaced: what the soaks share.
 */
#ifndef MA_TESTS_STRESS_KILLER_H
#define MA_TESTS_STRESS_KILLER_H

#include "tests/support/support.h"

#define KILLER_CHILD ((uint64_t)1 << 32) /* what a worker's fork child has more than its parent's incarnation */

struct killer {
	void *arg;
	/** A worker's process; comes back when told to stop. */
	int (*work)(uint64_t incarnation, void *arg);
	/** This one is dead: settle what it had begun. */
	void (*sweep)(uint64_t incarnation, void *arg);
	/** How much was done so far: standing still means hung. */
	uint64_t (*calls)(void *arg);
	/** Everything that the test wants to have seen was seen at least once. A busy machine needs longer for it. */
	bool (*seen_all)(void *arg);
	_Atomic bool *stop;
	uint64_t incarnation; /**< Of the next worker. */
	size_t kills;
	size_t late; /**< Kills that came after the worker's own end. */
};

/** Let them work for so long, and on until all was seen, but no longer than 100 times that; then stop and sweep all. */
void killer_run(struct killer *killer, unsigned seconds);
/** $MA_SOAK_SECONDS, or this. */
unsigned killer_seconds(unsigned otherwise);

#endif /* MA_TESTS_STRESS_KILLER_H */
