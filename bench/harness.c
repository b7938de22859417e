/* SPDX-License-Identifier: BSD-3-Clause */
/* What all benchmark programs share: workloads, lanes, time, and main(). */
#define _GNU_SOURCE 1
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int run_workload(struct stage *stage);

static const struct workload workloads[] = {
	{ 'A', run_workload, ONE_THREAD, GIB, LOOP_PAIRS, LOOP_NONE, 10000, 0, 0, 0, 0, 0 },
	{ 'a', run_workload, ONE_THREAD, GIB, LOOP_PAIRS, LOOP_NONE, 10000, 0, 0, 0, BYSTANDERS, 0 },
	{ 'B', run_workload, ONE_THREAD, GIB, LOOP_BATCH, LOOP_NONE, BATCH, BATCH, 0, 0, 0, 0 },
	{ 'C', run_workload, ONE_THREAD, GIB, LOOP_RANDOM, LOOP_NONE, 5000, 10000, 16, 1009, 0, 5 },
	{ 'D', run_workload, TWO_THREADS, GIB, LOOP_RANDOM, LOOP_RANDOM, 5000, 10000, 16, 1009, 0, 5 },
	{ 'E', run_workload, TWO_THREADS, GIB, LOOP_CONSUME, LOOP_PRODUCE, 3200, 0, 0, 0, 0, 0 },
	{ 'F', run_workload, ONE_THREAD, GIB, LOOP_RANDOM, LOOP_NONE, 200, 256, 4 << 10, 252 << 10, 0, 5 },
	{ 'G', run_workload, TWO_PROCESSES, GIB, LOOP_RANDOM, LOOP_RANDOM, 5000, 10000, 16, 1009, 0, 5 },
	{ 'H', run_heaps, ONE_THREAD, 0, LOOP_NONE, LOOP_NONE, 0, 0, 0, 0, 0, 0 },
	{ 'I', run_memory, ONE_THREAD, GIB, LOOP_NONE, LOOP_NONE, 0, 200000, 16, 1009, 0, 5 },
	{ 'J', run_tail, ONE_THREAD, GIB, LOOP_RANDOM, LOOP_NONE, 5000, 10000, 16, 1009, 0, 5 },
	{ 'P', run_scale, TWO_PROCESSES, GIB, LOOP_RANDOM, LOOP_RANDOM, 1000, 10000, 16, 1009, 0, 5 },
	{ 'K', run_workload, ONE_THREAD, 2 * GIB, LOOP_RANDOM, LOOP_NONE, 5000, 400000, 16, 1009, 0, 2 },
	{ 'k', run_workload, ONE_THREAD, 2 * GIB, LOOP_RANDOM, LOOP_NONE, 5000, 3000000, FIXED_SIZE, 1, 0, 1 },
};

bool has_trait(unsigned trait)
{
	return adapter.traits & trait;
}

double now_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

_Noreturn void complain(const char *what)
{
	perror(what);
	exit(1);
}

/* The processors that we were started with. */
static cpu_set_t processors;

void pin(unsigned lane)
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

void meet(struct stage *stage, unsigned nth)
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

double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double run_slice(struct lane *lane, enum loop loop, uint64_t ops, double seconds, double *end)
{
	loop_fn *run = loops[loop];
	double start = *end;
	uint64_t done = 0;

	for (; *end < start + seconds; *end = now_seconds()) {
		run(lane, ops);
		done += ops;
	}
	return (*end - start) / (double)done * 1e9;
}

double run_for(struct lane *lane, enum loop loop, uint64_t ops, double seconds)
{
	double slice[SLICES], end = now_seconds();

	for (size_t i = 0; i < SLICES; i++)
		slice[i] = run_slice(lane, loop, ops, seconds / SLICES, &end);
	return median(slice, SLICES);
}

void prepare(struct lane *lane, const struct workload *w, uint64_t seed)
{
	memset(lane, 0, sizeof(*lane));
	lane->random = seed;
	lane->nslots = w->nslots;
	lane->least = w->least;
	lane->span = w->span;
	lane->slot = (void **)calloc(w->nslots + 1, sizeof(void *));
	if (lane->slot == NULL)
		complain("bench: calloc");
}

/* The order of addresses is not the order of slots. Few rounds would leave many slots empty. */
void fill(struct lane *lane, const struct workload *w)
{
	for (uint64_t i = 0; i < w->bystanders; i++)
		loop_malloc(lane, FIXED_SIZE);
	for (uint64_t i = 0; w->rounds < 5 && w->span != 0 && i < w->nslots; i++)
		lane->slot[i] = loop_malloc(lane, w->least + (loop_next_random(lane) >> 32) % w->span);
	loops[LOOP_RANDOM](lane, w->rounds * w->nslots);
}

static void play(struct stage *stage, unsigned number, void *heap)
{
	const struct workload *w = stage->workload;
	enum loop loop = number == 0 ? w->loop : w->loop_peer;
	struct lane lane;

	prepare(&lane, w, stage->seed * 2654435761u + number + 1);
	lane.heap = adapter.lane ? adapter.lane(heap) : heap;
	lane.ring = &stage->ring;
	fill(&lane, w);
	meet(stage, 2);
	if (w->run == run_scale) {
		play_scale(stage, number, &lane);
		return;
	}
	if (stage->fixed_ops != 0) {
		loops[loop](&lane, stage->fixed_ops);
		return;
	}
	run_for(&lane, loop, w->ops, stage->seconds / 3); /* warm up */
	if (loop != LOOP_PRODUCE)
		stage->ns[number] = run_for(&lane, loop, w->ops, stage->seconds);
	if (loop == LOOP_CONSUME)
		__atomic_store_n(&stage->ring.stop, 1, __ATOMIC_RELAXED);
	while (loop == LOOP_PRODUCE && !__atomic_load_n(&stage->ring.stop, __ATOMIC_RELAXED))
		loops[loop](&lane, w->ops);
	meet(stage, 3); /* no lane ends, and gives its memory to the others, while they measure */
}

void *must_create(struct stage *stage)
{
	void *heap = adapter.create(stage->path, stage->workload->heap);

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
	void *heap;

	pin(1);
	meet(stage, 1);
	heap = has_trait(AD_SHARED) ? adapter.open(stage->path) : must_create(stage);
	if (heap == NULL)
		complain("bench: opening the heap");
	play(stage, 1, heap);
	adapter.close(heap);
}

void run_lanes(struct stage *stage)
{
	enum setting setting = stage->workload->setting;
	pthread_t thread;
	pid_t peer = -1;

	stage->lanes = setting == ONE_THREAD ? 1 : 2;
	if (setting == TWO_PROCESSES && (peer = fork()) == 0) {
		alarm(stage->limit); /* not inherited */
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
	adapter.close(stage->heap);
}

double combined_ns(const struct stage *stage)
{
	double rate = 0;

	for (unsigned i = 0; i < stage->lanes; i++)
		rate += stage->ns[i] > 0 ? 1 / stage->ns[i] : 0;
	return 1 / rate;
}

static int run_workload(struct stage *stage)
{
	run_lanes(stage);
	printf("ns %.4f\n", combined_ns(stage));
	return 0;
}

static int cannot(const struct workload *w)
{
	if (has_trait(AD_FIXED) && (w->span > 1 || w->least > FIXED_SIZE))
		return 1;
	if (adapter.largest != 0 && w->span != 0 && w->least + w->span - 1 > adapter.largest)
		return 1;
	return w->setting == TWO_PROCESSES && has_trait(AD_FILE) && !has_trait(AD_SHARED);
}

static int run(struct stage *stage, char letter)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++) {
		stage->workload = &workloads[i];
		if (workloads[i].letter != letter)
			continue;
		if (cannot(&workloads[i]) || (stage->fixed_ops != 0 && workloads[i].setting != ONE_THREAD))
			return STATUS_CANNOT;
		return workloads[i].run(stage);
	}
	return STATUS_CANNOT;
}

/* SECONDS, or a number of operations. */
static void take_length(struct stage *stage, const char *text)
{
	char *end;

	stage->seconds = strtod(text, &end);
	if (*end == 'x')
		stage->fixed_ops = strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
	struct stage *stage =
		(struct stage *)mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	if (argc != 6) {
		fprintf(stderr, "usage: %s WORKLOAD SECONDS SEED FILE LIMIT (bench runs this)\n", argv[0]);
		return 2;
	}
	if (stage == MAP_FAILED)
		complain("bench: mmap");
	if (sched_getaffinity(0, sizeof(processors), &processors) != 0 || CPU_COUNT(&processors) == 0)
		complain("bench: sched_getaffinity");
	take_length(stage, argv[2]);
	stage->seed = strtoull(argv[3], NULL, 10);
	stage->path = argv[4];
	stage->limit = (unsigned)strtoul(argv[5], NULL, 10);
	alarm(stage->limit);
	status = run(stage, argv[1][0]);
	unlink(argv[4]);
	return status;
}
