/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench: the driver. Runs the programs bench-NAME (see harness.h), gathers what they print,
 * compares.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_REPS = 1000, MAX_ADAPTERS = 32, MAX_METRICS = 64 };

/* A row of the table: one figure of one workload, smaller is better. */
struct metric {
	char workload;
	const char *key; /* as its program prints it */
	const char *unit;
	const char *title;
};

/* Samples of one metric for one adapter, by repetition; a NaN where there is none. */
struct samples {
	double value[MAX_REPS];
};

/* How the runs of one workload by one adapter ended, if not all were fine. */
enum outcome { FINE, OVER, CRASHED, FAILED };

struct results {
	size_t nreps;
	uint64_t seed;
	double seconds;
	bool present[MAX_ADAPTERS]; /* its program is there, and it was asked for */
	unsigned limit;             /* seconds that a run may take */
	enum outcome outcome[MAX_METRICS][MAX_ADAPTERS];
	struct samples *samples[MAX_METRICS][MAX_ADAPTERS]; /* NULL: the adapter was not asked for */
};

/* Both end with a zero entry. The adapter that the others are compared with is BASELINE. */
extern const struct metric metrics[];
extern const char *const adapters[];
#define BASELINE "mimalloc"

/* The median; NaN when there is no sample. */
double result_median(const struct results *results, size_t metric, size_t adapter);

/*
 * Time over the baseline's: the median of the ratios of each repetition, whose runs lie next to
 * each other in time; so a machine that was slow for a while does not show. NaN when there is none.
 */
double result_ratio(const struct results *results, size_t metric, size_t adapter);
/* The same over any adapter. */
double result_ratio_to(const struct results *results, size_t metric, size_t adapter, size_t base);

bool result_any(const struct results *results, size_t metric);

/* report.c */
void report_table(const struct results *results, FILE *out);
int report_json(const struct results *results, const char *path);

/* Where an adapter stands in adapters[]; a metric in metrics[]. The end's place when there is none. */
size_t adapter_place(const char *name);
size_t metric_place(char workload, const char *key);

/* gate.c. What we promise: */
enum limit_kind {
	LIMIT_RATIO, /* time over the baseline's */
	LIMIT_PEER,  /* time over that of the adapter `than`; left out where that one is not measured */
	LIMIT_PLAIN, /* the figure itself */
	LIMIT_GROWTH /* the figure over that of the metric with the key `than` */
};
struct limit {
	const char *adapter;
	char workload;
	const char *key;
	enum limit_kind kind;
	double most;
	const char *than;
};

extern const struct limit limits[]; /* ends with a zero entry */

/* Limits on what was not measured are left out. Prints each one and whether it held, unless out is NULL; returns how
 * many did not. */
unsigned report_gate(const struct results *results, FILE *out);

#endif /* BENCH_BENCH_H */
