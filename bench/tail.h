/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * J: how long the slowest calls take. Workload C with each malloc and free timed by itself, into a histogram with 32
 * buckets for each doubling (3 % wide), which costs a few instructions a call. What reading the clock costs is taken
 * off. Being preempted is in the maximum: believe only the median of several runs, and that with care.
 */
#ifndef BENCH_TAIL_H
#define BENCH_TAIL_H

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { TAIL_SHIFT = 5, TAIL_STEPS = 1 << TAIL_SHIFT, TAIL_BUCKETS = 65 << TAIL_SHIFT };

struct tail {
	uint64_t most, calls;
	uint32_t bucket[TAIL_BUCKETS];
};

/* Some clock that is quick to read; run_tail() finds out what a tick is. */
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

/* The time that this part of the calls does not exceed: its bucket's upper end. */
static double tail_quantile(const struct tail *tail, double part)
{
	double left = part * (double)tail->calls;
	unsigned at = 0, shift;

	while (at < TAIL_BUCKETS - 1 && (left -= tail->bucket[at]) > 0)
		at++;
	if (at < 2 * TAIL_STEPS)
		return at;
	shift = (at >> TAIL_SHIFT) - 1;
	return (double)((uint64_t)(at - (shift << TAIL_SHIFT) + 1) << shift);
}

static void loop_timed(struct lane *lane, struct tail *mallocs, struct tail *frees, uint64_t ops)
{
	while (ops-- != 0) {
		uint64_t random = next_random(lane), start, middle, end;
		size_t i = (size_t)((random >> 32) * lane->nslots >> 32);
		size_t size = (size_t)(lane->least + ((random & 0xffffffff) * lane->span >> 32));
		void *block = lane->slot[i];

		start = ticks();
		ad_free(lane->heap, block);
		middle = ticks();
		block = ad_malloc(lane->heap, size);
		end = ticks();
		lane->slot[i] = mark(block, size);
		tail_add(frees, middle - start);
		tail_add(mallocs, end - middle);
	}
}

/* What an empty measurement gives, in ticks. */
static double clock_cost(void)
{
	static struct tail none;

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t start = ticks();

		tail_add(&none, ticks() - start);
	}
	return tail_quantile(&none, 0.5);
}

static void print_tail(const struct tail *tail, const char *name, double ns_a_tick)
{
	double cost = clock_cost(), slow = tail_quantile(tail, 0.999), most = (double)tail->most;

	printf("%s_p999 %.1f\n", name, (slow > cost ? slow - cost : 0) * ns_a_tick);
	printf("%s_most %.4f\n", name, (most > cost ? most - cost : 0) * ns_a_tick / 1e3);
}

static int run_tail(struct stage *stage)
{
	static struct tail mallocs, frees;
	const struct workload *w = stage->workload;
	double start, end, ns_a_tick;
	struct lane lane;
	uint64_t first;

	pin(0);
	prepare(&lane, w, stage->seed);
	lane.heap = must_create(stage);
	fill(&lane, w);
	run_for(&lane, w->loop, w->ops, stage->seconds / 3); /* warm up */
	first = ticks();
	for (end = start = now_seconds(); end < start + stage->seconds; end = now_seconds())
		loop_timed(&lane, &mallocs, &frees, w->ops);
	ns_a_tick = (end - start) * 1e9 / (double)(ticks() - first);
	print_tail(&mallocs, "malloc", ns_a_tick);
	print_tail(&frees, "free", ns_a_tick);
	ad_close(lane.heap);
	return 0;
}

#endif /* BENCH_TAIL_H */
