/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * J: how long the slowest calls take. Workload C with each malloc and free timed by itself, into a histogram with 32
 * buckets for each doubling (3 % wide), which costs a few instructions per call. What reading the clock costs is taken
 * off. Being preempted is in the maximum: believe only the median of several runs, and that with care.
 */
#include "harness.h"

#include <stdio.h>

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

/* What an empty measurement gives, in ticks. */
static double clock_cost(void)
{
	static struct tail none;

	loop_nothing(&none, 10000);
	return tail_quantile(&none, 0.5);
}

static void print_tail(const struct tail *tail, const char *name, double ns_a_tick)
{
	double cost = clock_cost(), slow = tail_quantile(tail, 0.999), most = (double)tail->most;

	printf("%s_p999 %.1f\n", name, (slow > cost ? slow - cost : 0) * ns_a_tick);
	printf("%s_most %.4f\n", name, (most > cost ? most - cost : 0) * ns_a_tick / 1e3);
}

int run_tail(struct stage *stage)
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
	first = loop_ticks();
	for (end = start = now_seconds(); end < start + stage->seconds; end = now_seconds())
		loop_timed(&lane, &mallocs, &frees, w->ops);
	ns_a_tick = (end - start) * 1e9 / (double)(loop_ticks() - first);
	print_tail(&mallocs, "malloc", ns_a_tick);
	print_tail(&frees, "free", ns_a_tick);
	adapter.close(lane.heap);
	return 0;
}
