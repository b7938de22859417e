/* SPDX-License-Identifier: BSD-3-Clause */
/* H: how long until a heap of some size has been made, or opened again, and has given its first block. */
#include "harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HEAP_ROUNDS = 5 };

static int time_heap(const char *path, uint64_t bytes, double *create_ms, double *reopen_ms)
{
	double start = now_seconds();
	struct lane lane;

	memset(&lane, 0, sizeof(lane));
	lane.heap = adapter.create(path, bytes);
	if (lane.heap == NULL)
		return 0;
	loop_malloc(&lane, FIXED_SIZE);
	*create_ms = (now_seconds() - start) * 1e3;
	for (size_t i = 0; i < 1000; i++)
		loop_malloc(&lane, has_trait(AD_FIXED) ? (size_t)FIXED_SIZE : 16 + i);
	adapter.close(lane.heap);

	start = now_seconds();
	lane.heap = adapter.open(path);
	if (lane.heap == NULL)
		complain("bench: opening the heap again");
	loop_malloc(&lane, FIXED_SIZE);
	*reopen_ms = (now_seconds() - start) * 1e3;
	adapter.close(lane.heap);
	unlink(path);
	return 1;
}

int run_heaps(struct stage *stage)
{
	static const unsigned gib[] = { 1, 64 };
	double create[2][HEAP_ROUNDS], reopen[2][HEAP_ROUNDS];
	size_t got[2] = { 0, 0 };

	if (!has_trait(AD_AGAIN))
		return STATUS_CANNOT;
	pin(0);
	for (size_t round = 0; round < HEAP_ROUNDS; round++)
		for (size_t i = 0; i < 2; i++)
			if (time_heap(stage->path, gib[i] * GIB, &create[i][got[i]], &reopen[i][got[i]]))
				got[i]++;
	for (size_t i = 0; i < 2; i++)
		if (got[i] != 0)
			printf("create_%u %.4f\nreopen_%u %.4f\n", gib[i], median(create[i], got[i]), gib[i],
			       median(reopen[i], got[i]));
	return 0;
}
