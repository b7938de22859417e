/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The measured loops: a template, C and C++, that each adapter includes through runner.h after it
 * has defined
 *
 *   ad_heap                  what its calls need to know the heap; a pointer
 *   ad_malloc(heap, size)    static inline
 *   ad_free(heap, block)     static inline
 *
 * So each loop calls its allocator directly. One operation is one malloc and one free; each block
 * is written to. What the loops themselves cost (random numbers, slots, the queue) is in every
 * adapter's figure alike.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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
	ad_heap heap;
	uint64_t random; /* xorshift64; never 0 */
	void **slot;
	uint64_t nslots;
	uint64_t least, span; /* sizes from least to least + span - 1 */
	struct ring *ring;
	uint64_t ring_place; /* how far this end of the ring is */
};

typedef void loop_fn(struct lane *lane, uint64_t ops);

/* A new block: its first word says how long it is. */
static inline void *mark(void *new_block, size_t size)
{
	uint64_t *block = (uint64_t *)new_block;

	if (__builtin_expect(block == NULL, 0)) {
		perror("bench: malloc");
		exit(1);
	}
	*block = size;
	/* The compiler must believe that somebody else looks at the block. */
	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

static inline void *take(struct lane *lane, size_t size)
{
	return mark(ad_malloc(lane->heap, size), size);
}

static inline uint64_t next_random(struct lane *lane)
{
	uint64_t x = lane->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return lane->random = x;
}

/* A, a */
static void loop_pairs(struct lane *lane, uint64_t ops)
{
	while (ops-- != 0)
		ad_free(lane->heap, take(lane, FIXED_SIZE));
}

/* B; ops is a multiple of BATCH. */
static void loop_batch(struct lane *lane, uint64_t ops)
{
	for (; ops != 0; ops -= BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			lane->slot[i] = take(lane, FIXED_SIZE);
		for (size_t i = 0; i < BATCH; i++)
			ad_free(lane->heap, lane->slot[i]);
	}
}

/* C, D, F, G, K, k, P: a random slot gets a new block of a random size. */
static void loop_random(struct lane *lane, uint64_t ops)
{
	while (ops-- != 0) {
		uint64_t random = next_random(lane);
		size_t i = (size_t)((random >> 32) * lane->nslots >> 32);
		size_t size = (size_t)(lane->least + ((random & 0xffffffff) * lane->span >> 32));

		ad_free(lane->heap, lane->slot[i]);
		lane->slot[i] = take(lane, size);
	}
}

static inline void spin(unsigned turn)
{
	if (turn % 1024 == 1023) {
		sched_yield(); /* perhaps there is only one processor */
		return;
	}
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* Waits until ring->put or ring->got has reached a value. 0: the other end has stopped. */
static int ring_wait(struct ring *ring, const uint64_t *place, uint64_t value)
{
	for (unsigned turn = 0; __atomic_load_n(place, __ATOMIC_ACQUIRE) < value; turn++) {
		if (__atomic_load_n(&ring->stop, __ATOMIC_RELAXED))
			return 0;
		spin(turn);
	}
	return 1;
}

/* E; ops is a multiple of RING_STEP. Returns early, with ring->stop set, when the consumer has had
 * enough. */
static void loop_produce(struct lane *lane, uint64_t ops)
{
	struct ring *ring = lane->ring;

	for (; ops != 0; ops -= RING_STEP) {
		uint64_t place = lane->ring_place, end = place + RING_STEP;

		if (end > RING && !ring_wait(ring, &ring->got, end - RING))
			return;
		for (; place < end; place++)
			ring->block[place % RING] = take(lane, FIXED_SIZE);
		__atomic_store_n(&ring->put, end, __ATOMIC_RELEASE);
		lane->ring_place = end;
	}
}

static void loop_consume(struct lane *lane, uint64_t ops)
{
	struct ring *ring = lane->ring;

	for (; ops != 0; ops -= RING_STEP) {
		uint64_t place = lane->ring_place, end = place + RING_STEP;

		if (!ring_wait(ring, &ring->put, end))
			return;
		for (; place < end; place++)
			ad_free(lane->heap, ring->block[place % RING]);
		__atomic_store_n(&ring->got, end, __ATOMIC_RELEASE);
		lane->ring_place = end;
	}
}

#endif /* BENCH_WORKLOAD_H */
