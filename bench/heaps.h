/* SPDX-License-Identifier: BSD-3-Clause */
/* H: how long until a heap of some size has been made, or opened again, and has given its first block. */
#ifndef BENCH_HEAPS_H
#define BENCH_HEAPS_H

enum { HEAP_ROUNDS = 5 };

static int time_heap(const char *path, uint64_t bytes, double *create_ms, double *reopen_ms)
{
	double start = now_seconds();
	struct lane lane;

	memset(&lane, 0, sizeof(lane));
	lane.heap = ad_create(path, bytes);
	if (lane.heap == NULL)
		return 0;
	take(&lane, FIXED_SIZE);
	*create_ms = (now_seconds() - start) * 1e3;
	for (size_t i = 0; i < 1000; i++)
		take(&lane, AD_IS(AD_FIXED) ? (size_t)FIXED_SIZE : 16 + i);
	ad_close(lane.heap);

	start = now_seconds();
	lane.heap = ad_open(path);
	if (lane.heap == NULL)
		complain("bench: opening the heap again");
	take(&lane, FIXED_SIZE);
	*reopen_ms = (now_seconds() - start) * 1e3;
	ad_close(lane.heap);
	unlink(path);
	return 1;
}

static int run_heaps(const char *path)
{
	static const unsigned gib[] = { 1, 64 };
	double create[2][HEAP_ROUNDS], reopen[2][HEAP_ROUNDS];
	size_t got[2] = { 0, 0 };

	if (!AD_IS(AD_AGAIN))
		return STATUS_CANNOT;
	pin(0);
	for (size_t round = 0; round < HEAP_ROUNDS; round++)
		for (size_t i = 0; i < 2; i++)
			if (time_heap(path, gib[i] * GIB, &create[i][got[i]], &reopen[i][got[i]]))
				got[i]++;
	for (size_t i = 0; i < 2; i++)
		if (got[i] != 0)
			printf("create_%u %.4f\nreopen_%u %.4f\n", gib[i], median(create[i], got[i]), gib[i],
			       median(reopen[i], got[i]));
	return 0;
}

#endif /* BENCH_HEAPS_H */
