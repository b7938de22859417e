/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I: bytes that a heap has over bytes requested. Of a heap in a file: what the file takes on disk, its own bookkeeping
 * included. Of one in private memory, or in a file that was taken whole when it was made: what the process has in
 * memory, less what it had before. Three figures: when random replacing has come to a steady state; after nine of ten blocks were
 * freed at random; and after the allocator was asked to give back what is free, where it can be asked.
 */
#include "harness.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Pages that were given back lazily are the process's only until the kernel wants them. */
static uint64_t resident_bytes(void)
{
	FILE *in = fopen("/proc/self/smaps_rollup", "r");
	unsigned long long resident = 0, lazy = 0;
	char line[256];

	while (in != NULL && fgets(line, sizeof(line), in) != NULL)
		if (sscanf(line, "Rss: %llu kB", &resident) != 1)
			sscanf(line, "LazyFree: %llu kB", &lazy);
	if (in != NULL)
		fclose(in);
	return (resident - lazy) << 10;
}

static uint64_t space(const char *path)
{
	struct stat status;

	if (adapter.space)
		return adapter.space(path);
	if (!has_trait(AD_FILE) || has_trait(AD_WHOLE))
		return resident_bytes();
	return stat(path, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

static uint64_t requested_bytes(const struct lane *lane)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < lane->nslots; i++)
		sum += lane->slot[i] != NULL ? *(const uint64_t *)lane->slot[i] : 0;
	return sum;
}

static void free_most(struct lane *lane)
{
	for (uint64_t i = 0; i < lane->nslots; i++) {
		if ((loop_next_random(lane) >> 32) % 10 == 0)
			continue;
		loop_free(lane, lane->slot[i]);
		lane->slot[i] = NULL;
	}
}

static void print_space(const struct stage *stage, const struct lane *lane, const char *key, uint64_t before)
{
	uint64_t now = space(stage->path);

	printf("%s %.4f\n", key, (double)(now > before ? now - before : 0) / (double)requested_bytes(lane));
}

int run_memory(struct stage *stage)
{
	struct lane lane;
	uint64_t before;

	pin(0);
	prepare(&lane, stage->workload, stage->seed);
	memset(lane.slot, 0, lane.nslots * sizeof(*lane.slot)); /* so that its pages are not taken for the heap's */
	before = space(stage->path);
	lane.heap = must_create(stage);
	fill(&lane, stage->workload);
	print_space(stage, &lane, "full", before);
	free_most(&lane);
	print_space(stage, &lane, "sparse", before);
	if (adapter.collect)
		adapter.collect(lane.heap);
	print_space(stage, &lane, "collected", before);
	adapter.close(lane.heap);
	return 0;
}
