/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P: what a second process adds. Both have their blocks from the start; slices in which one of them works alone (the first, then
 * the second) and slices in which both do follow each other, so that a machine that was slow for a while was so for both kinds.
 * The figure is the time per operation with two over that with one: 0.5 is twice the throughput.
 */
#include "harness.h"

#include <stdio.h>
#include <unistd.h>

void play_scale(struct stage *stage, unsigned number, struct lane *lane)
{
	const struct workload *w = stage->workload;
	double slice = stage->seconds / (2 * SLICES), end;
	unsigned nth = 2;

	run_for(lane, w->loop, w->ops, stage->seconds / 3); /* warm up */
	for (unsigned i = 0; i < SLICES; i++) {
		meet(stage, ++nth);
		end = now_seconds();
		if (number == i % LANES)
			stage->alone[i] = run_slice(lane, w->loop, w->ops, slice, &end);
		else
			usleep((useconds_t)(slice * 1e6)); /* spinning would take from the other on some machines */
		meet(stage, ++nth);
		end = now_seconds();
		stage->beside[number][i] = run_slice(lane, w->loop, w->ops, slice, &end);
	}
	meet(stage, ++nth);
}

int run_scale(struct stage *stage)
{
	double ratio[SLICES];

	run_lanes(stage);
	for (unsigned i = 0; i < SLICES; i++) {
		for (unsigned lane = 0; lane < LANES; lane++)
			stage->ns[lane] = stage->beside[lane][i];
		ratio[i] = combined_ns(stage) / stage->alone[i];
	}
	printf("over_one %.4f\n", median(ratio, SLICES));
	return 0;
}
