/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bench makes of its samples: medians, ratios to the baseline, a table, JSON.
 */
#define _GNU_SOURCE 1
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	if (n == 0)
		return NAN;
	qsort(values, n, sizeof(*values), by_value);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

double result_median(const struct results *results, size_t metric, size_t adapter)
{
	const struct samples *samples = results->samples[metric][adapter];
	double values[MAX_REPS];
	size_t n = 0;

	for (size_t i = 0; samples != NULL && i < results->nreps; i++)
		if (!isnan(samples->value[i]))
			values[n++] = samples->value[i];
	return median(values, n);
}

size_t adapter_place(const char *name)
{
	size_t i = 0;

	while (adapters[i] != NULL && strcmp(adapters[i], name) != 0)
		i++;
	return i;
}

size_t metric_place(char workload, const char *key)
{
	size_t m = 0;

	while (metrics[m].workload != 0 && (metrics[m].workload != workload || strcmp(metrics[m].key, key) != 0))
		m++;
	return m;
}

double result_ratio_to(const struct results *results, size_t metric, size_t adapter, size_t base)
{
	const struct samples *ours = results->samples[metric][adapter], *theirs = results->samples[metric][base];
	double values[MAX_REPS];
	size_t n = 0;

	for (size_t i = 0; ours != NULL && theirs != NULL && i < results->nreps; i++)
		if (!isnan(ours->value[i]) && !isnan(theirs->value[i]))
			values[n++] = ours->value[i] / theirs->value[i];
	return median(values, n);
}

double result_ratio(const struct results *results, size_t metric, size_t adapter)
{
	return result_ratio_to(results, metric, adapter, adapter_place(BASELINE));
}

bool result_any(const struct results *results, size_t metric)
{
	for (size_t i = 0; adapters[i] != NULL; i++)
		if (!isnan(result_median(results, metric, i)) || results->outcome[metric][i] != FINE)
			return true;
	return false;
}

enum { COLUMNS = 4 };

/* Is it a time? Memory is bytes over bytes already. */
static bool metric_has_ratio(size_t metric)
{
	return strcmp(metrics[metric].unit, "x") != 0;
}

static const char *const outcome_names[] = {
	[FINE] = "fine", [OVER] = "over", [CRASHED] = "crash", [FAILED] = "failed"
};

static void format_cell(const struct results *results, size_t metric, size_t adapter, char *cell, size_t room)
{
	double value = result_median(results, metric, adapter), ratio = result_ratio(results, metric, adapter);
	int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

	if (results->outcome[metric][adapter] == OVER)
		snprintf(cell, room, "over %u s", results->limit);
	else if (results->outcome[metric][adapter] != FINE)
		snprintf(cell, room, "%s", outcome_names[results->outcome[metric][adapter]]);
	else if (isnan(value))
		snprintf(cell, room, "-");
	else if (isnan(ratio) || !metric_has_ratio(metric))
		snprintf(cell, room, "%.*f      ", digits, value);
	else
		snprintf(cell, room, "%.*f %6.*f", digits, value, ratio < 99.95 ? 2 : 0, ratio);
}

/* The columns of one block of the table: the baseline, and up to COLUMNS others from the i-th adapter on. */
static size_t choose_columns(const struct results *results, size_t *next, size_t *column)
{
	size_t base = adapter_place(BASELINE), n = 0;

	if (adapters[base] != NULL && results->present[base])
		column[n++] = base;
	for (size_t most = n + COLUMNS; adapters[*next] != NULL && n < most; ++*next)
		if (results->present[*next] && *next != base)
			column[n++] = *next;
	return n;
}

static void table_block(const struct results *results, const size_t *column, size_t n, FILE *out)
{
	char cell[64];

	fprintf(out, "\n%-38s", "");
	for (size_t i = 0; i < n; i++)
		fprintf(out, " %15s", adapters[column[i]]);
	for (size_t m = 0; metrics[m].workload != 0; m++) {
		if (!result_any(results, m))
			continue;
		fprintf(out, "\n%c %-33s %-2s ", metrics[m].workload, metrics[m].title, metrics[m].unit);
		for (size_t i = 0; i < n; i++) {
			format_cell(results, m, column[i], cell, sizeof(cell));
			fprintf(out, " %15s", cell);
		}
	}
	fputs("\n", out);
}

void report_table(const struct results *results, FILE *out)
{
	size_t column[COLUMNS + 1], next = 0, done = 0;

	fprintf(out, "\nMedians of %zu repetitions; behind each the ratio to %s. Smaller is better.\n", results->nreps,
		BASELINE);
	fputs("I: the file's bytes on disk, or the growth of the process's resident memory, over the bytes requested\n"
	      "that are live: no ratio. -: cannot; over: one run took longer than --limit.\n",
	      out);
	while (adapters[next] != NULL) {
		size_t n = choose_columns(results, &next, column);

		if (n > 1 || done == 0)
			table_block(results, column, n, out);
		done += n;
	}
	fputs("\n", out);
}

static void json_number(FILE *out, const char *name, double value)
{
	if (isfinite(value))
		fprintf(out, ", \"%s\": %.6g", name, value);
	else
		fprintf(out, ", \"%s\": null", name);
}

static void json_result(const struct results *results, size_t m, size_t adapter, FILE *out)
{
	const struct samples *samples = results->samples[m][adapter];
	const char *comma = "";

	fprintf(out, "{\"workload\": \"%c\", \"metric\": \"%s\", \"unit\": \"%s\"", metrics[m].workload, metrics[m].key,
		metrics[m].unit);
	fprintf(out, ", \"title\": \"%s\", \"adapter\": \"%s\"", metrics[m].title, adapters[adapter]);
	fprintf(out, ", \"outcome\": \"%s\"", outcome_names[results->outcome[m][adapter]]);
	json_number(out, "median", result_median(results, m, adapter));
	json_number(out, "ratio", result_ratio(results, m, adapter));
	fputs(", \"samples\": [", out);
	for (size_t i = 0; samples != NULL && i < results->nreps; i++) {
		if (isnan(samples->value[i]))
			continue;
		fprintf(out, "%s%.6g", comma, samples->value[i]);
		comma = ", ";
	}
	fputs("]}", out);
}

/* The first value of a /proc file's line that begins with a name; quotes are dropped. */
static void proc_value(const char *file, const char *name, char *value, size_t room)
{
	FILE *in = fopen(file, "r");
	char line[512];

	*value = 0;
	while (in != NULL && *value == 0 && fgets(line, sizeof(line), in) != NULL) {
		char *colon = strchr(line, ':'), *to = value;

		if (strncmp(line, name, strlen(name)) != 0 || colon == NULL)
			continue;
		for (colon += 1 + strspn(colon + 1, " \t"); *colon != 0 && *colon != '\n'; colon++)
			if (*colon != '"' && *colon != '\\' && to < value + room - 1)
				*to++ = *colon;
		*to = 0;
	}
	if (in != NULL)
		fclose(in);
}

static void json_machine(FILE *out)
{
	struct utsname host;
	double load[3] = { NAN, NAN, NAN };
	char cpu[128], memory[64];

	if (uname(&host) != 0)
		memset(&host, 0, sizeof(host));
	getloadavg(load, 3);
	proc_value("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	proc_value("/proc/meminfo", "MemTotal", memory, sizeof(memory));
	fprintf(out, "\"machine\": {\"system\": \"%s %s %s\", \"processors\": %ld", host.sysname, host.release,
		host.machine, sysconf(_SC_NPROCESSORS_ONLN));
	fprintf(out, ", \"processor\": \"%s\", \"memory\": \"%s\", \"compiler\": \"%s\"", cpu, memory, __VERSION__);
	json_number(out, "load", load[0]);
	fputs("}", out);
}

int report_json(const struct results *results, const char *path)
{
	FILE *out = fopen(path, "w");
	const char *comma = "";

	if (out == NULL)
		return -1;
	fputs("{\"format\": 2, ", out);
	json_machine(out);
	fprintf(out, ", \"baseline\": \"%s\", \"repetitions\": %zu, \"seconds\": %g", BASELINE, results->nreps,
		results->seconds);
	fprintf(out, ", \"limit\": %u, \"seed\": %llu,\n \"results\": [", results->limit,
		(unsigned long long)results->seed);
	for (size_t m = 0; metrics[m].workload != 0; m++) {
		for (size_t i = 0; adapters[i] != NULL; i++) {
			if (results->samples[m][i] == NULL)
				continue;
			fprintf(out, "%s\n  ", comma);
			json_result(results, m, i, out);
			comma = ",";
		}
	}
	fputs("\n]}\n", out);
	return fclose(out);
}
