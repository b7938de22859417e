/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The measured loops. loops.c is compiled for each allocator, so that each loop calls its allocator directly. One operation is
 * one malloc and one free; each block is written to. What the loops themselves cost (random numbers, slots, the queue) is
 * in every allocator's figure alike.
 */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FIXED_SIZE = 64,
	BYSTANDERS = 300, /* a: other blocks that are live */
	BATCH = 10000,    /* B */
	RING = 1024,      /* E: blocks in flight at most, a power of two */
	RING_STEP = 32    /* E: both ends tell the other of their progress this often */
};

/* One producer, one consumer; each index on a cache line of its own. */
struct ring {
	uint64_t put __attribute__((aligned(128)));
	uint64_t got __attribute__((aligned(128)));
	uint32_t stop __attribute__((aligned(128)));
	void *block[RING] __attribute__((aligned(128)));
};

/* One thread's part in a workload. */
struct lane {
	void *heap;
	uint64_t random; /* xorshift64; never 0 */
	void **slot;
	uint64_t nslots;
	uint64_t least, span; /* sizes from least to least + span - 1 */
	struct ring *ring;
	uint64_t ring_place; /* how far this end of the ring is */
};

typedef void loop_fn(struct lane *lane, uint64_t ops);

enum loop {
	LOOP_NONE,
	LOOP_PAIRS,  /* A, a */
	LOOP_BATCH,  /* B; ops is a multiple of BATCH */
	LOOP_RANDOM, /* C, D, F, G, K, k, P: a random slot gets a new block of a random size */
	LOOP_PRODUCE, /* E; ops is a multiple of RING_STEP. Returns early, with ring->stop set, when the consumer has had enough. */
	LOOP_CONSUME,
	LOOPS
};
extern loop_fn *const loops[LOOPS];

/* A histogram of times in ticks, with 32 buckets for each doubling (3 % wide). */
enum { TAIL_SHIFT = 5, TAIL_STEPS = 1 << TAIL_SHIFT, TAIL_BUCKETS = 65 << TAIL_SHIFT };

struct tail {
	uint64_t most, calls;
	uint32_t bucket[TAIL_BUCKETS];
};

/* J: as LOOP_RANDOM, with each malloc and free timed by itself, which costs a few instructions per call. */
void loop_timed(struct lane *lane, struct tail *mallocs, struct tail *frees, uint64_t ops);
/* So many empty measurements. */
void loop_nothing(struct tail *tail, unsigned times);
/* The clock that these read. */
uint64_t loop_ticks(void);

/* Not measured: one block; a random number. */
void *loop_malloc(struct lane *lane, size_t size);
void loop_free(struct lane *lane, void *block);
uint64_t loop_next_random(struct lane *lane);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_LOOPS_H */
