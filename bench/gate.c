/* SPDX-License-Identifier: BSD-3-Clause */
/* The limits of --gate, and whether they hold. */
#define _GNU_SOURCE 1
#include "bench.h"

#include <math.h>
#include <string.h>

const struct limit limits[] = {
	{ "qalloc", 'A', "ns", LIMIT_RATIO, 0.6, NULL },
	{ "qalloc", 'a', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "qalloc", 'B', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "qalloc", 'C', "ns", LIMIT_RATIO, 0.9, NULL },
	{ "qalloc", 'D', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "qalloc", 'E', "ns", LIMIT_RATIO, 0.25, NULL },
	{ "qalloc", 'F', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "qalloc", 'G', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "qalloc", 'H', "create_64", LIMIT_GROWTH, 2, "create_1" },
	{ "qalloc", 'H', "reopen_64", LIMIT_GROWTH, 2, "reopen_1" },
	{ "qalloc", 'I', "full", LIMIT_PLAIN, 1.15, NULL },
	/* An allocator that does not move blocks cannot come below about 5.7 (doc/performance.md): so against the baseline. */
	{ "qalloc", 'I', "collected", LIMIT_RATIO, 1.5, NULL },
	{ "qalloc", 'J', "malloc_p999", LIMIT_RATIO, 1.0, NULL },
	{ "qalloc", 'K', "ns", LIMIT_RATIO, 0.8, NULL },
	{ "qalloc", 'k', "ns", LIMIT_RATIO, 0.8, NULL },
	{ "qalloc-static", 'A', "ns", LIMIT_RATIO, 0.5, NULL },
	{ "qalloc-static", 'a', "ns", LIMIT_RATIO, 0.8, NULL },
	{ "qalloc-static", 'H', "create_64", LIMIT_GROWTH, 2, "create_1" },
	{ "qalloc-static", 'H', "reopen_64", LIMIT_GROWTH, 2, "reopen_1" },
	/* Two processes cannot share a heap in memory: G is for files. */
	{ "mmalloc", 'A', "ns", LIMIT_RATIO, 0.6, NULL },
	{ "mmalloc", 'a', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "mmalloc", 'B', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "mmalloc", 'C', "ns", LIMIT_RATIO, 0.9, NULL },
	{ "mmalloc", 'D', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "mmalloc", 'E', "ns", LIMIT_RATIO, 0.25, NULL },
	{ "mmalloc", 'F', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "mmalloc", 'G', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "mmalloc", 'K', "ns", LIMIT_RATIO, 0.8, NULL },
	{ "mmalloc-anon", 'A', "ns", LIMIT_RATIO, 0.6, NULL },
	{ "mmalloc-anon", 'a', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "mmalloc-anon", 'B', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "mmalloc-anon", 'C', "ns", LIMIT_RATIO, 0.9, NULL },
	{ "mmalloc-anon", 'D', "ns", LIMIT_RATIO, 0.95, NULL },
	{ "mmalloc-anon", 'E', "ns", LIMIT_RATIO, 0.25, NULL },
	{ "mmalloc-anon", 'F', "ns", LIMIT_RATIO, 1.0, NULL },
	{ "mmalloc-anon", 'K', "ns", LIMIT_RATIO, 0.8, NULL },
	{ "shmbuddy", 'C', "ns", LIMIT_RATIO, 3, NULL },
	{ "shmbuddy", 'G', "ns", LIMIT_PEER, 1 / 50.0, "boost-shm" },
	{ "shmbuddy", 'P', "over_one", LIMIT_PLAIN, 1 / 1.8, NULL },
	/* It counts and knows what the C library deals out. */
	{ "xmemory", 'A', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ "xmemory", 'a', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ "xmemory", 'B', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ "xmemory", 'C', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ "xmemory", 'D', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ "xmemory", 'F', "ns", LIMIT_PEER, 1.5, "glibc" },
	{ NULL, 0, NULL, LIMIT_PLAIN, 0, NULL },
};

/* Noise: five percent, and for times of files, which are short and few, some of a millisecond. */
#define NOISE     1.05
#define GROWTH_MS 0.25

/* What is compared with the limit; NaN when it was not measured. */
static double figure_of(const struct results *results, const struct limit *limit)
{
	size_t adapter = adapter_place(limit->adapter), metric = metric_place(limit->workload, limit->key);

	if (limit->kind == LIMIT_RATIO)
		return result_ratio(results, metric, adapter);
	if (limit->kind == LIMIT_PEER)
		return result_ratio_to(results, metric, adapter, adapter_place(limit->than));
	if (limit->kind == LIMIT_PLAIN)
		return result_median(results, metric, adapter);
	return result_median(results, metric, adapter) /
	       result_median(results, metric_place(limit->workload, limit->than), adapter);
}

static bool holds(const struct results *results, const struct limit *limit, double figure)
{
	double small;

	if (limit->kind != LIMIT_GROWTH)
		return figure <= limit->most * NOISE;
	small = result_median(results, metric_place(limit->workload, limit->than), adapter_place(limit->adapter));
	return figure * small <= limit->most * small + GROWTH_MS;
}

static unsigned check_limit(const struct results *results, const struct limit *limit, FILE *out)
{
	static const char *const over[] = {
		[LIMIT_RATIO] = " of " BASELINE "'s", [LIMIT_PLAIN] = "", [LIMIT_GROWTH] = " of 1 GiB's"
	};
	int digits = limit->most < 0.1 ? 4 : 2;
	size_t metric = metric_place(limit->workload, limit->key);
	double figure = figure_of(results, limit);
	bool good = !isnan(figure) && holds(results, limit, figure);

	if (results->samples[metric][adapter_place(limit->adapter)] == NULL || !result_any(results, metric))
		return 0;
	if (limit->kind == LIMIT_PEER && isnan(result_median(results, metric, adapter_place(limit->than))) &&
	    !isnan(result_median(results, metric, adapter_place(limit->adapter)))) {
		if (out != NULL)
			fprintf(out, "gate: left out  %s  %c: %s was not measured\n", limit->adapter, limit->workload,
				limit->than);
		return 0;
	}
	if (out != NULL)
		fprintf(out, "gate: %-6s  %-13s  %c %-33s %6.*f, limit %4.*f%s%s\n", good ? "held" : "BROKEN",
			limit->adapter, limit->workload, metrics[metric].title, digits, figure, digits, limit->most,
			limit->kind == LIMIT_PEER ? " of " : over[limit->kind],
			limit->kind == LIMIT_PEER ? limit->than : "");
	return !good;
}

/* Whatever else our own libraries did, they must not have died. */
static unsigned check_outcomes(const struct results *results, size_t adapter, FILE *out)
{
	unsigned broken = 0;

	for (size_t m = 0; metrics[m].workload != 0; m++) {
		if (results->outcome[m][adapter] == FINE)
			continue;
		if (out != NULL)
			fprintf(out, "gate: BROKEN  %-13s  %c %s: a run was not fine\n", adapters[adapter],
				metrics[m].workload, metrics[m].title);
		broken++;
	}
	return broken;
}

unsigned report_gate(const struct results *results, FILE *out)
{
	unsigned broken = 0;

	for (const struct limit *limit = limits; limit->adapter != NULL; limit++)
		broken += check_limit(results, limit, out);
	for (size_t i = 0; adapters[i] != NULL; i++)
		if (strncmp(adapters[i], "qalloc", 6) == 0 || strncmp(adapters[i], "mmalloc", 7) == 0 ||
		    strncmp(adapters[i], "shmbuddy", 8) == 0 || strcmp(adapters[i], "xmemory") == 0)
			broken += check_outcomes(results, i, out);
	return broken;
}
