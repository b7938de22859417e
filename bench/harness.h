/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A benchmark program: bench-NAME WORKLOAD SECONDS SEED FILE LIMIT measures one workload once, on the allocator of its adapter, and
 * prints its figures, one "KEY VALUE" per line. Status 77: cannot do this one. After LIMIT seconds it dies of SIGALRM.
 * SECONDS as "5000x" means 5000 operations, however long they take (instructions.sh counts them).
 *
 * One program per allocator, because several of them take over malloc for the whole process that links them. All of them share the
 * harness: harness.c (workloads, lanes, time), and a file for each kind of measurement that is not plain time per operation. An
 * allocator's own are its adapter (adapter.h) and its loops (loops.h).
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adapter.h"
#include "loops.h"

enum { SLICES = 25, LANES = 2, STATUS_CANNOT = 77 };

#define GIB ((uint64_t)1 << 30)

enum setting { ONE_THREAD, TWO_THREADS, TWO_PROCESSES };

struct stage;

struct workload {
	char letter;
	int (*run)(struct stage *stage); /* prints the figures; the program's status */
	enum setting setting;
	uint64_t heap;       /* bytes */
	enum loop loop;      /* of lane 0 */
	enum loop loop_peer; /* of lane 1 */
	uint64_t ops;        /* between two looks at the clock */
	uint64_t nslots, least, span;
	uint64_t bystanders;
	uint64_t rounds; /* of random replacing before measuring, in nslots */
};

/* What all lanes see: threads and processes. */
struct stage {
	const struct workload *workload;
	const char *path;
	double seconds;
	uint64_t fixed_ops; /* not 0: as many, instead of a time */
	uint64_t seed;
	unsigned limit; /* seconds until this process is given up */
	void *heap;     /* lane 0's */
	unsigned lanes;
	unsigned arrived;
	double ns[LANES];                            /* an operation */
	double alone[SLICES], beside[LANES][SLICES]; /* P: the same, slice by slice */
	struct ring ring;
};

/* ---- harness.c ---- */

bool has_trait(unsigned trait);
double now_seconds(void);
_Noreturn void complain(const char *what);
double median(double *values, size_t n);
/* Each lane to a processor of its own, as far as there are enough. */
void pin(unsigned lane);
/* All lanes wait for each other, for the nth time. */
void meet(struct stage *stage, unsigned nth);

/* Nanoseconds per operation, for at least so long from *end on, which is the end's time afterwards. */
double run_slice(struct lane *lane, enum loop loop, uint64_t ops, double seconds, double *end);
/* Nanoseconds per operation: the median of slices, so that being preempted now and then does not show. */
double run_for(struct lane *lane, enum loop loop, uint64_t ops, double seconds);

void prepare(struct lane *lane, const struct workload *w, uint64_t seed);
/* Live blocks to begin with: bystanders, or as good as all slots full. */
void fill(struct lane *lane, const struct workload *w);
void *must_create(struct stage *stage);
/* All lanes of the workload, from a new heap to its end. */
void run_lanes(struct stage *stage);
/* Time per operation of all lanes together: with two lanes at the same speed, half of each one's. */
double combined_ns(const struct stage *stage);

/* ---- other kinds of measurement ---- */

int run_heaps(struct stage *stage);  /* H, heaps.c */
int run_memory(struct stage *stage); /* I, memory.c */
int run_tail(struct stage *stage);   /* J, tail.c */
int run_scale(struct stage *stage);  /* P, scale.c; in each lane: */
void play_scale(struct stage *stage, unsigned number, struct lane *lane);

#endif /* BENCH_HARNESS_H */
