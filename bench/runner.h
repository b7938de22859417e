/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rest of a benchmark program: bench-NAME WORKLOAD SECONDS SEED FILE measures one workload
 * once, on the allocator of the adapter that includes this, and prints its figures, one "KEY VALUE"
 * a line. Status 77: cannot do this one.
 *
 * One program an allocator, because several of them take over malloc for the whole process that
 * links them. C and C++. Beside what workload.h wants, an adapter defines
 *
 *   AD_TRAITS                of the enum below
 *   ad_create(path, bytes)   a new heap, in this file if it is AD_SHARED; NULL when it cannot
 *   ad_open(path)            the same heap, from another process or after it was closed
 *   ad_close(heap)
 */
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include "workload.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	AD_FIXED = 1, /* gives blocks of FIXED_SIZE only */
	AD_SHARED = 2 /* lies in a file, serves several processes, can be opened again */
};

enum { SLICES = 25, LANES = 2, STATUS_CANNOT = 77, ROUNDS_H = 5 };

#define GIB ((uint64_t)1 << 30)

enum setting { ONE_THREAD, TWO_THREADS, TWO_PROCESSES };

struct workload {
	char letter;
	enum setting setting;
	loop_fn *loop;      /* of lane 0 */
	loop_fn *loop_peer; /* of lane 1 */
	uint64_t ops;       /* between two looks at the clock */
	uint64_t nslots, least, span;
	uint64_t bystanders;
};

static const struct workload workloads[] = {
	{ 'A', ONE_THREAD, loop_pairs, NULL, 10000, 0, 0, 0, 0 },
	{ 'a', ONE_THREAD, loop_pairs, NULL, 10000, 0, 0, 0, BYSTANDERS },
	{ 'B', ONE_THREAD, loop_batch, NULL, BATCH, BATCH, 0, 0, 0 },
	{ 'C', ONE_THREAD, loop_random, NULL, 5000, 10000, 16, 1009, 0 },
	{ 'D', TWO_THREADS, loop_random, loop_random, 5000, 10000, 16, 1009, 0 },
	{ 'E', TWO_THREADS, loop_consume, loop_produce, 3200, 0, 0, 0, 0 },
	{ 'F', ONE_THREAD, loop_random, NULL, 200, 256, 4 << 10, 252 << 10, 0 },
	{ 'G', TWO_PROCESSES, loop_random, loop_random, 5000, 10000, 16, 1009, 0 },
};

/* What all lanes see: threads and processes. */
struct stage {
	const struct workload *workload;
	const char *path;
	double seconds;
	uint64_t seed;
	ad_heap heap; /* lane 0's */
	unsigned lanes;
	unsigned arrived;
	double ns[LANES]; /* an operation */
	struct ring ring;
};

static double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void complain(const char *what)
{
	perror(what);
	exit(1);
}

/* The processors that we were started with. */
static cpu_set_t processors;

/* Each lane to a processor of its own, as far as there are enough. */
static void pin(unsigned lane)
{
	unsigned left = lane % (unsigned)CPU_COUNT(&processors);
	cpu_set_t one;

	for (size_t i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &processors) || left-- != 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

/* All lanes wait for each other, for the nth time. */
static void meet(struct stage *stage, unsigned nth)
{
	__atomic_add_fetch(&stage->arrived, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&stage->arrived, __ATOMIC_ACQUIRE) < nth * stage->lanes)
		sched_yield();
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* Nanoseconds an operation. The median of slices, so that being preempted now and then does not
 * show. */
static double run_for(struct lane *lane, loop_fn *loop, uint64_t ops, double seconds)
{
	double slice[SLICES], start = now_seconds(), end = start;

	for (size_t i = 0; i < SLICES; i++) {
		double until = end + seconds / SLICES;
		uint64_t done = 0;

		for (start = end; end < until; end = now_seconds()) {
			loop(lane, ops);
			done += ops;
		}
		slice[i] = (end - start) / (double)done * 1e9;
	}
	return median(slice, SLICES);
}

/* Live blocks to begin with: all slots full, or bystanders. The order of addresses is not the order
 * of slots. */
static void fill(struct lane *lane, const struct workload *w)
{
	lane->nslots = w->nslots;
	lane->least = w->least;
	lane->span = w->span;
	lane->slot = (void **)calloc(w->nslots + 1, sizeof(void *));
	if (lane->slot == NULL)
		complain("bench: calloc");
	for (uint64_t i = 0; i < w->bystanders; i++)
		take(lane, FIXED_SIZE);
	if (w->span != 0)
		loop_random(lane, 5 * w->nslots);
}

static void play(struct stage *stage, unsigned number, ad_heap heap)
{
	const struct workload *w = stage->workload;
	loop_fn *loop = number == 0 ? w->loop : w->loop_peer;
	struct lane lane;

	memset(&lane, 0, sizeof(lane));
	lane.heap = heap;
	lane.random = stage->seed * 2654435761u + number + 1;
	lane.ring = &stage->ring;
	fill(&lane, w);
	meet(stage, 2);
	run_for(&lane, loop, w->ops, stage->seconds / 3); /* warm up */
	if (loop != loop_produce)
		stage->ns[number] = run_for(&lane, loop, w->ops, stage->seconds);
	if (loop == loop_consume)
		__atomic_store_n(&stage->ring.stop, 1, __ATOMIC_RELAXED);
	while (loop == loop_produce && !__atomic_load_n(&stage->ring.stop, __ATOMIC_RELAXED))
		loop(&lane, w->ops);
	meet(stage, 3); /* nobody ends, and gives its memory to the others, while they measure */
}

static ad_heap must_create(struct stage *stage)
{
	ad_heap heap = ad_create(stage->path, GIB);

	if (heap == NULL)
		complain("bench: creating the heap");
	return heap;
}

static void *thread_lane(void *arg)
{
	struct stage *stage = (struct stage *)arg;

	pin(1);
	meet(stage, 1);
	play(stage, 1, stage->heap);
	return NULL;
}

/* The second process: on the first one's heap, where the allocator can, else on its own. */
static void process_lane(struct stage *stage)
{
	ad_heap heap;

	pin(1);
	meet(stage, 1);
	heap = (AD_TRAITS & AD_SHARED) ? ad_open(stage->path) : must_create(stage);
	if (heap == NULL)
		complain("bench: opening the heap");
	play(stage, 1, heap);
	ad_close(heap);
}

static void run_lanes(struct stage *stage)
{
	enum setting setting = stage->workload->setting;
	pthread_t thread;
	pid_t peer = -1;

	stage->lanes = setting == ONE_THREAD ? 1 : 2;
	if (setting == TWO_PROCESSES && (peer = fork()) == 0) {
		alarm(60);
		process_lane(stage);
		exit(0);
	}
	pin(0);
	stage->heap = must_create(stage);
	if (setting == TWO_THREADS && pthread_create(&thread, NULL, thread_lane, stage) != 0)
		complain("bench: pthread_create");
	meet(stage, 1);
	play(stage, 0, stage->heap);
	if (setting == TWO_THREADS)
		pthread_join(thread, NULL);
	if (setting == TWO_PROCESSES)
		waitpid(peer, NULL, 0);
	ad_close(stage->heap);
}

/* Time an operation of all lanes together: with two lanes at the same speed, half of each one's. */
static double combined_ns(const struct stage *stage)
{
	double rate = 0;

	for (unsigned i = 0; i < stage->lanes; i++)
		rate += stage->ns[i] > 0 ? 1 / stage->ns[i] : 0;
	return 1 / rate;
}

static int run_workload(const struct workload *w, const char *path, double seconds, uint64_t seed)
{
	struct stage *stage =
		(struct stage *)mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if ((AD_TRAITS & AD_FIXED) && w->setting == ONE_THREAD && w->span != 0)
		return STATUS_CANNOT;
	if ((AD_TRAITS & AD_FIXED) && w->setting != ONE_THREAD)
		return STATUS_CANNOT;
	if (stage == MAP_FAILED)
		complain("bench: mmap");
	stage->workload = w;
	stage->path = path;
	stage->seconds = seconds;
	stage->seed = seed;
	run_lanes(stage);
	printf("ns %.4f\n", combined_ns(stage));
	return 0;
}

/* H: how long until a heap of this size has been made, or opened again, and has given its first
 * block. */
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
		take(&lane, (AD_TRAITS & AD_FIXED) ? (size_t)FIXED_SIZE : 16 + i);
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
	double create[2][ROUNDS_H], reopen[2][ROUNDS_H];
	size_t got[2] = { 0, 0 };

	if (!(AD_TRAITS & AD_SHARED))
		return STATUS_CANNOT;
	pin(0);
	for (size_t round = 0; round < ROUNDS_H; round++)
		for (size_t i = 0; i < 2; i++)
			if (time_heap(path, gib[i] * GIB, &create[i][got[i]], &reopen[i][got[i]]))
				got[i]++;
	for (size_t i = 0; i < 2; i++)
		if (got[i] != 0)
			printf("create_%u %.4f\nreopen_%u %.4f\n", gib[i], median(create[i], got[i]), gib[i],
			       median(reopen[i], got[i]));
	return 0;
}

static int run(char letter, double seconds, uint64_t seed, const char *path)
{
	if (letter == 'H')
		return run_heaps(path);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++)
		if (workloads[i].letter == letter)
			return run_workload(&workloads[i], path, seconds, seed);
	return STATUS_CANNOT;
}

int main(int argc, char **argv)
{
	int status;

	if (argc != 5) {
		fprintf(stderr, "usage: %s WORKLOAD SECONDS SEED FILE (bench runs this)\n", argv[0]);
		return 2;
	}
	if (sched_getaffinity(0, sizeof(processors), &processors) != 0 || CPU_COUNT(&processors) == 0)
		complain("bench: sched_getaffinity");
	alarm(60);
	status = run(argv[1][0], strtod(argv[2], NULL), strtoull(argv[3], NULL, 10), argv[4]);
	unlink(argv[4]);
	return status;
}

#endif /* BENCH_RUNNER_H */
