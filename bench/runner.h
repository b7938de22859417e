/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rest of a benchmark program: bench-NAME WORKLOAD SECONDS SEED FILE LIMIT measures one workload
 * once, on the allocator of the adapter that includes this, and prints its figures, one "KEY VALUE"
 * a line. Status 77: cannot do this one. After LIMIT seconds it dies of SIGALRM. SECONDS as "5000x"
 * means 5000 operations, however long they take (instructions.sh counts them).
 *
 * One program an allocator, because several of them take over malloc for the whole process that
 * links them. C and C++. Beside what workload.h wants, an adapter defines
 *
 *   AD_TRAITS                of the enum below
 *   ad_create(path, bytes)   a new heap, in this file if it is AD_FILE; NULL when it cannot
 *   ad_open(path)            the same heap, from another process or after it was closed
 *   ad_close(heap)
 *
 * and where it applies, with 1 for the macro of the same name in capitals,
 *
 *   ad_lane(heap)            another handle of the heap, for one lane alone
 *   ad_space(path)           bytes that the heap has now of its file or of the memory
 *   ad_collect(heap)         give back what is free, as far as the allocator offers that
 *   AD_LARGEST               bytes of the largest block it gives; workloads with larger ones are left out
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
	AD_FIXED = 1,  /* gives blocks of FIXED_SIZE only */
	AD_FILE = 2,   /* lies in a file or in shared memory; else in the process's private memory */
	AD_AGAIN = 4,  /* can be opened again */
	AD_SHARED = 8, /* serves several processes at a time */
	AD_WHOLE = 16, /* takes all of its file when it is made */
};

#define AD_IS(trait) ((AD_TRAITS & (trait)) != 0)

enum { SLICES = 25, LANES = 2, STATUS_CANNOT = 77 };

#define GIB ((uint64_t)1 << 30)

enum setting { ONE_THREAD, TWO_THREADS, TWO_PROCESSES };

struct workload {
	char letter;
	enum setting setting;
	uint64_t heap;      /* bytes */
	loop_fn *loop;      /* of lane 0 */
	loop_fn *loop_peer; /* of lane 1 */
	uint64_t ops;       /* between two looks at the clock */
	uint64_t nslots, least, span;
	uint64_t bystanders;
	uint64_t rounds; /* of random replacing before measuring, in nslots */
};

static const struct workload workloads[] = {
	{ 'A', ONE_THREAD, GIB, loop_pairs, NULL, 10000, 0, 0, 0, 0, 0 },
	{ 'a', ONE_THREAD, GIB, loop_pairs, NULL, 10000, 0, 0, 0, BYSTANDERS, 0 },
	{ 'B', ONE_THREAD, GIB, loop_batch, NULL, BATCH, BATCH, 0, 0, 0, 0 },
	{ 'C', ONE_THREAD, GIB, loop_random, NULL, 5000, 10000, 16, 1009, 0, 5 },
	{ 'D', TWO_THREADS, GIB, loop_random, loop_random, 5000, 10000, 16, 1009, 0, 5 },
	{ 'E', TWO_THREADS, GIB, loop_consume, loop_produce, 3200, 0, 0, 0, 0, 0 },
	{ 'F', ONE_THREAD, GIB, loop_random, NULL, 200, 256, 4 << 10, 252 << 10, 0, 5 },
	{ 'G', TWO_PROCESSES, GIB, loop_random, loop_random, 5000, 10000, 16, 1009, 0, 5 },
	{ 'I', ONE_THREAD, GIB, NULL, NULL, 0, 200000, 16, 1009, 0, 5 },
	{ 'J', ONE_THREAD, GIB, loop_random, NULL, 5000, 10000, 16, 1009, 0, 5 },
	{ 'P', TWO_PROCESSES, GIB, loop_random, loop_random, 1000, 10000, 16, 1009, 0, 5 },
	{ 'K', ONE_THREAD, 2 * GIB, loop_random, NULL, 5000, 400000, 16, 1009, 0, 2 },
	{ 'k', ONE_THREAD, 2 * GIB, loop_random, NULL, 5000, 3000000, FIXED_SIZE, 1, 0, 1 },
};

/* What all lanes see: threads and processes. */
struct stage {
	const struct workload *workload;
	const char *path;
	double seconds;
	uint64_t fixed_ops; /* not 0: as many, instead of a time */
	uint64_t seed;
	unsigned limit; /* seconds until this process is given up */
	ad_heap heap;   /* lane 0's */
	unsigned lanes;
	unsigned arrived;
	double ns[LANES];                            /* an operation */
	double alone[SLICES], beside[LANES][SLICES]; /* P: the same, slice by slice */
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

/* Nanoseconds an operation, for at least so long from *end on, which is the end's time afterwards. */
static double run_slice(struct lane *lane, loop_fn *loop, uint64_t ops, double seconds, double *end)
{
	double start = *end;
	uint64_t done = 0;

	for (; *end < start + seconds; *end = now_seconds()) {
		loop(lane, ops);
		done += ops;
	}
	return (*end - start) / (double)done * 1e9;
}

/* Nanoseconds an operation. The median of slices, so that being preempted now and then does not
 * show. */
static double run_for(struct lane *lane, loop_fn *loop, uint64_t ops, double seconds)
{
	double slice[SLICES], end = now_seconds();

	for (size_t i = 0; i < SLICES; i++)
		slice[i] = run_slice(lane, loop, ops, seconds / SLICES, &end);
	return median(slice, SLICES);
}

static void prepare(struct lane *lane, const struct workload *w, uint64_t seed)
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

/* Live blocks to begin with: bystanders, or as good as all slots full. The order of addresses is not
 * the order of slots. Few rounds would leave many slots empty. */
static void fill(struct lane *lane, const struct workload *w)
{
	for (uint64_t i = 0; i < w->bystanders; i++)
		take(lane, FIXED_SIZE);
	for (uint64_t i = 0; w->rounds < 5 && w->span != 0 && i < w->nslots; i++)
		lane->slot[i] = take(lane, w->least + (next_random(lane) >> 32) % w->span);
	loop_random(lane, w->rounds * w->nslots);
}

#ifndef AD_LANE
static ad_heap ad_lane(ad_heap heap)
{
	return heap;
}
#endif

static void play_scale(struct stage *stage, unsigned number, struct lane *lane);

static void play(struct stage *stage, unsigned number, ad_heap heap)
{
	const struct workload *w = stage->workload;
	loop_fn *loop = number == 0 ? w->loop : w->loop_peer;
	struct lane lane;

	prepare(&lane, w, stage->seed * 2654435761u + number + 1);
	lane.heap = ad_lane(heap);
	lane.ring = &stage->ring;
	fill(&lane, w);
	meet(stage, 2);
	if (w->letter == 'P') {
		play_scale(stage, number, &lane);
		return;
	}
	if (stage->fixed_ops != 0) {
		loop(&lane, stage->fixed_ops);
		return;
	}
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
	ad_heap heap = ad_create(stage->path, stage->workload->heap);

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
	heap = AD_IS(AD_SHARED) ? ad_open(stage->path) : must_create(stage);
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

static int run_workload(struct stage *stage)
{
	run_lanes(stage);
	printf("ns %.4f\n", combined_ns(stage));
	return 0;
}

#include "heaps.h"
#include "memory.h"
#include "scale.h"
#include "tail.h"

static int cannot(const struct workload *w)
{
	if (AD_IS(AD_FIXED) && (w->span > 1 || w->least > FIXED_SIZE))
		return 1;
#ifdef AD_LARGEST
	if (w->span != 0 && w->least + w->span - 1 > AD_LARGEST)
		return 1;
#endif
	return w->setting == TWO_PROCESSES && AD_IS(AD_FILE) && !AD_IS(AD_SHARED);
}

static int run(struct stage *stage, char letter)
{
	if (letter == 'H')
		return run_heaps(stage->path);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(*workloads); i++) {
		stage->workload = &workloads[i];
		if (workloads[i].letter != letter)
			continue;
		if (cannot(&workloads[i]) || (stage->fixed_ops != 0 && workloads[i].setting != ONE_THREAD))
			return STATUS_CANNOT;
		return letter == 'I'   ? run_memory(stage)
		       : letter == 'J' ? run_tail(stage)
		       : letter == 'P' ? run_scale(stage)
				       : run_workload(stage);
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

#endif /* BENCH_RUNNER_H */
