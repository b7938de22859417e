/* SPDX-License-Identifier: BSD-3-Clause */
/* The measured loops, of the allocator that BENCH_ADAPTER, a header, calls. C and C++ (bench/Makemodule.am). */
#include BENCH_ADAPTER

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "loops.h"

static inline ad_heap heap_of(const struct lane *lane)
{
	return (ad_heap)lane->heap;
}

/* A new block: its first word says how long it is. */
static inline void *mark(void *new_block, size_t size)
{
	uint64_t *block = (uint64_t *)new_block;

	if (__builtin_expect(block == NULL, 0)) {
		perror("bench: malloc");
		exit(1);
	}
	*block = size;
	/* The compiler must believe that the block is read. */
	__asm__ volatile("" : "+r"(block) : : "memory");
	return block;
}

static inline void *take(struct lane *lane, size_t size)
{
	return mark(ad_malloc(heap_of(lane), size), size);
}

static inline uint64_t next_random(struct lane *lane)
{
	uint64_t x = lane->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return lane->random = x;
}

static void loop_pairs(struct lane *lane, uint64_t ops)
{
	while (ops-- != 0)
		ad_free(heap_of(lane), take(lane, FIXED_SIZE));
}

static void loop_batch(struct lane *lane, uint64_t ops)
{
	for (; ops != 0; ops -= BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			lane->slot[i] = take(lane, FIXED_SIZE);
		for (size_t i = 0; i < BATCH; i++)
			ad_free(heap_of(lane), lane->slot[i]);
	}
}

static void loop_random(struct lane *lane, uint64_t ops)
{
	while (ops-- != 0) {
		uint64_t random = next_random(lane);
		size_t i = (size_t)((random >> 32) * lane->nslots >> 32);
		size_t size = (size_t)(lane->least + ((random & 0xffffffff) * lane->span >> 32));

		ad_free(heap_of(lane), lane->slot[i]);
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
			ad_free(heap_of(lane), ring->block[place % RING]);
		__atomic_store_n(&ring->got, end, __ATOMIC_RELEASE);
		lane->ring_place = end;
	}
}

loop_fn *const loops[LOOPS] = { NULL, loop_pairs, loop_batch, loop_random, loop_produce, loop_consume };

/* ---- J ---- */

/* Some clock that is quick to read; tail.c finds out what a tick is. */
static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	unsigned processor;
	uint64_t now = __rdtscp(&processor); /* waits for what came before */

	_mm_lfence();
	return now;
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static inline void tail_add(struct tail *tail, uint64_t time)
{
	unsigned shift = time < 2 * TAIL_STEPS ? 0 : 63 - TAIL_SHIFT - (unsigned)__builtin_clzll(time);

	tail->bucket[(shift << TAIL_SHIFT) + (time >> shift)]++;
	tail->calls++;
	if (time > tail->most)
		tail->most = time;
}

void loop_timed(struct lane *lane, struct tail *mallocs, struct tail *frees, uint64_t ops)
{
	while (ops-- != 0) {
		uint64_t random = next_random(lane), start, middle, end;
		size_t i = (size_t)((random >> 32) * lane->nslots >> 32);
		size_t size = (size_t)(lane->least + ((random & 0xffffffff) * lane->span >> 32));
		void *block = lane->slot[i];

		start = ticks();
		ad_free(heap_of(lane), block);
		middle = ticks();
		block = ad_malloc(heap_of(lane), size);
		end = ticks();
		lane->slot[i] = mark(block, size);
		tail_add(frees, middle - start);
		tail_add(mallocs, end - middle);
	}
}

void loop_nothing(struct tail *tail, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		uint64_t start = ticks();

		tail_add(tail, ticks() - start);
	}
}

uint64_t loop_ticks(void)
{
	return ticks();
}

/* ---- not measured ---- */

void *loop_malloc(struct lane *lane, size_t size)
{
	return take(lane, size);
}

void loop_free(struct lane *lane, void *block)
{
	ad_free(heap_of(lane), block);
}

uint64_t loop_next_random(struct lane *lane)
{
	return next_random(lane);
}
