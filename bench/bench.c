/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench: how fast are we, and the others? Each measurement is a fresh process of the program
 * bench-NAME, which lies beside this one. Repetitions are interleaved: within one, each workload
 * visits all adapters in random order, so that what disturbs the machine disturbs all alike.
 *
 * A new peer: an adapter (see adapter.h), its name in adapters[]. A new workload: its loop in
 * loops.c, a line in the table of harness.c, its figures in metrics[]. A program that is not there
 * (its allocator is not installed) is left out.
 */
#define _GNU_SOURCE 1
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *const adapters[] = {
	"qalloc",  "qalloc-static", "mmalloc",  "mmalloc-anon", "shmbuddy",  "shmbuddy-wide", BASELINE,
	"glibc",   "jemalloc",      "tcmalloc", "boost",        "boost-shm", "boost-node",    "boost-cached",
	"pmemobj", "memkind",       "apr",      "xmemory",      NULL,
};

const struct metric metrics[] = {
	{ 'A', "ns", "ns", "pairs of 64 B, empty heap" },
	{ 'a', "ns", "ns", "pairs of 64 B, 300 others live" },
	{ 'B', "ns", "ns", "10,000 of 64 B, then their frees" },
	{ 'C', "ns", "ns", "16..1024 B in 10,000 slots" },
	{ 'D', "ns", "ns", "C in two threads" },
	{ 'E', "ns", "ns", "64 B from producer to consumer" },
	{ 'F', "ns", "ns", "4..256 KiB in 256 slots" },
	{ 'G', "ns", "ns", "C in two processes" },
	{ 'H', "create_1", "ms", "create 1 GiB" },
	{ 'H', "create_64", "ms", "create 64 GiB" },
	{ 'H', "reopen_1", "ms", "reopen 1 GiB" },
	{ 'H', "reopen_64", "ms", "reopen 64 GiB" },
	{ 'I', "full", "x", "memory over requested, as C" },
	{ 'I', "sparse", "x", "memory, 90 % freed at random" },
	{ 'I', "collected", "x", "memory, freed and collected" },
	{ 'J', "malloc_p999", "ns", "malloc of C, 99.9th percentile" },
	{ 'J', "malloc_most", "us", "malloc of C, slowest" },
	{ 'J', "free_p999", "ns", "free of C, 99.9th percentile" },
	{ 'J', "free_most", "us", "free of C, slowest" },
	{ 'P', "over_one", "x", "C in two processes over one" },
	{ 'K', "ns", "ns", "16..1024 B, 400,000 live" },
	{ 'k', "ns", "ns", "64 B, 3 million live" },
	{ 0, NULL, NULL, NULL },
};

enum { STATUS_CANNOT = 77, GATE_TRIES = 3 };

struct options {
	const char *workloads;
	const char *adapters; /* with commas; NULL: all */
	const char *json;
	size_t reps;
	double seconds;
	uint64_t seed;
	unsigned limit; /* seconds that one run may take */
	bool gate;
};

static char programs[PATH_MAX];    /* the folder of bench and of bench-NAME */
static char folder[PATH_MAX - 16]; /* where the heaps' files are, for the time of the run */
static char heap_path[PATH_MAX];
static volatile sig_atomic_t interrupted;
static uint64_t random_state;

static void on_signal(int number)
{
	interrupted = number;
}

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static bool program_of(size_t adapter, char *path, size_t room)
{
	int n = snprintf(path, room, "%s/bench-%s", programs, adapters[adapter]);

	return n > 0 && (size_t)n < room && access(path, X_OK) == 0;
}

static _Noreturn void be_program(const struct options *options, size_t adapter, char workload, int out)
{
	char path[PATH_MAX + 32], letter[2] = { workload, 0 }, seconds[32], seed[32], limit[32];

	snprintf(seconds, sizeof(seconds), "%g", options->seconds);
	snprintf(seed, sizeof(seed), "%llu", (unsigned long long)(next_random() >> 32));
	snprintf(limit, sizeof(limit), "%u", options->limit);
	setenv("PMEM_IS_PMEM_FORCE", "1", 0); /* see adapter_pmemobj.c; its library looks before main() */
	if (dup2(out, STDOUT_FILENO) >= 0 && program_of(adapter, path, sizeof(path)))
		execl(path, path, letter, seconds, seed, heap_path, limit, (char *)NULL);
	perror(path);
	_exit(127);
}

/* Takes one line "KEY VALUE" of a program. */
static void take_line(struct results *results, size_t adapter, char workload, size_t rep, const char *line)
{
	char key[32];
	double value;

	if (sscanf(line, "%31s %lf", key, &value) != 2)
		return;
	for (size_t m = 0; metrics[m].workload != 0; m++)
		if (metrics[m].workload == workload && strcmp(metrics[m].key, key) == 0)
			results->samples[m][adapter]->value[rep] = value;
}

/* How a run ended, for all metrics of the workload. What was too slow is not tried again. */
static void take_outcome(struct results *results, size_t adapter, char workload, enum outcome outcome)
{
	static const char *const how[] = { [OVER] = "took too long", [CRASHED] = "crashed", [FAILED] = "failed" };

	for (size_t m = 0; metrics[m].workload != 0; m++)
		if (metrics[m].workload == workload)
			results->outcome[m][adapter] = outcome;
	if (outcome != FINE)
		fprintf(stderr, "bench: %s %s on %c\n", adapters[adapter], how[outcome], workload);
}

static bool too_slow(const struct results *results, size_t adapter, char workload)
{
	for (size_t m = 0; metrics[m].workload != 0; m++)
		if (metrics[m].workload == workload && results->outcome[m][adapter] == OVER)
			return true;
	return false;
}

static enum outcome outcome_of(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGALRM ? OVER : CRASHED;
	return WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == STATUS_CANNOT ? FINE : FAILED;
}

static void measure(struct results *results, const struct options *options, size_t adapter, char workload, size_t rep)
{
	int ends[2], status = 0;
	char line[256];
	FILE *in;
	pid_t pid;

	fflush(NULL);
	if (pipe(ends) != 0 || (pid = fork()) < 0 || (pid != 0 && (in = fdopen(ends[0], "r")) == NULL)) {
		perror("bench");
		exit(2);
	}
	if (pid == 0)
		be_program(options, adapter, workload, ends[1]);
	close(ends[1]);
	while (fgets(line, sizeof(line), in) != NULL)
		take_line(results, adapter, workload, rep, line);
	fclose(in);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	unlink(heap_path);
	shm_unlink(strrchr(folder, '/')); /* adapter_boost_shm.cpp's */
	if (!interrupted && outcome_of(status) != FINE)
		take_outcome(results, adapter, workload, outcome_of(status));
}

static void shuffle(size_t *order, size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = next_random() % i, swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

static void show_progress(const char *what, size_t rep)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s %zu", what, rep);
}

static void run_repetition(struct results *results, const struct options *options, size_t rep)
{
	size_t order[MAX_ADAPTERS], n = 0;

	for (size_t i = 0; adapters[i] != NULL; i++)
		if (results->present[i])
			order[n++] = i;
	for (const char *w = options->workloads; *w != 0 && !interrupted; w++) {
		char what[] = { *w, ' ', 'r', 'e', 'p', 0 };

		shuffle(order, n);
		show_progress(what, rep + 1);
		for (size_t i = 0; i < n && !interrupted; i++)
			if (!too_slow(results, order[i], *w))
				measure(results, options, order[i], *w, rep);
	}
}

static void run_repetitions(struct results *results, const struct options *options)
{
	for (size_t left = options->reps; left != 0 && !interrupted; left--)
		run_repetition(results, options, results->nreps++);
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Is a word in a list with commas? */
static bool listed(const char *list, const char *word)
{
	size_t length = strlen(word);
	const char *at;

	for (at = list; at != NULL; at = strchr(at, ',')) {
		at += *at == ',';
		if (strncmp(at, word, length) == 0 && (at[length] == 0 || at[length] == ','))
			return true;
	}
	return false;
}

static bool prepare_results(struct results *results, const struct options *options)
{
	char path[PATH_MAX + 32];
	size_t n = 0;

	for (size_t i = 0; adapters[i] != NULL; i++) {
		if (options->adapters != NULL && !listed(options->adapters, adapters[i]))
			continue;
		results->present[i] = program_of(i, path, sizeof(path));
		n += results->present[i];
		if (!results->present[i])
			fprintf(stderr, "bench: %s is not built\n", path);
		for (size_t m = 0; metrics[m].workload != 0; m++) {
			struct samples *samples = malloc(sizeof(*samples));

			if (samples == NULL)
				return false;
			for (size_t rep = 0; rep < MAX_REPS; rep++)
				samples->value[rep] = NAN;
			results->samples[m][i] = samples;
		}
	}
	results->seed = options->seed;
	results->seconds = options->seconds;
	results->limit = options->limit;
	return n != 0;
}

static void free_results(struct results *results)
{
	for (size_t m = 0; metrics[m].workload != 0; m++)
		for (size_t i = 0; adapters[i] != NULL; i++)
			free(results->samples[m][i]);
	free(results);
}

/* The programs' folder, and a folder of our own for the heaps, on a real file system. */
static bool prepare_folders(void)
{
	ssize_t n = readlink("/proc/self/exe", programs, sizeof(programs) - 1);
	const char *tmp = getenv("TMPDIR");

	if (n <= 0)
		return false;
	*strrchr(programs, '/') = 0;
	if (snprintf(folder, sizeof(folder), "%s/bench.XXXXXX", tmp != NULL && *tmp != 0 ? tmp : ".") >=
	    (int)sizeof(folder)) {
		errno = ENAMETOOLONG;
		return false;
	}
	if (mkdtemp(folder) == NULL)
		return false;
	snprintf(heap_path, sizeof(heap_path), "%s/heap", folder);
	return true;
}

/* With --gate, a broken limit is measured again before it is believed. */
static unsigned measure_all(struct results *results, const struct options *options)
{
	unsigned broken = 0;

	for (unsigned try = 0; try < GATE_TRIES && results->nreps + options->reps <= MAX_REPS; try++) {
		run_repetitions(results, options);
		if (!options->gate || interrupted)
			break;
		broken = report_gate(results, NULL);
		if (broken == 0)
			break;
		fprintf(stderr, "bench: %u limits broken after %zu repetitions\n", broken, results->nreps);
	}
	return broken;
}

static int bench(const struct options *options)
{
	struct results *results = calloc(1, sizeof(*results));
	unsigned broken;
	int status = 0;

	random_state = options->seed;
	if (results == NULL || !prepare_folders()) {
		perror("bench");
		free(results);
		return 2;
	}
	if (!prepare_results(results, options)) {
		fputs("bench: there is nothing to measure\n", stderr);
		status = 2;
		goto out;
	}
	broken = measure_all(results, options);
	report_table(results, stdout);
	if (options->json != NULL && report_json(results, options->json) != 0) {
		perror(options->json);
		status = 2;
	}
	if (options->gate && !interrupted) {
		report_gate(results, stdout);
		printf("gate: %u limits broken\n", broken);
	}
	if (broken != 0)
		status = 1;
	if (interrupted)
		status = 128 + interrupted;
out:
	rmdir(folder);
	free_results(results);
	return status;
}

static int usage(void)
{
	fputs("usage: bench [--workloads LETTERS] [--adapters A,B] [--reps N] [--seconds S]\n"
	      "             [--limit S] [--seed N] [--json FILE] [--gate] [--list]\n"
	      "--limit: seconds until one run is given up (20)\n"
	      "--gate: measure what is promised; exit with 1 when a promise does not hold\n",
	      stderr);
	return 2;
}

static int list(void)
{
	puts("adapters:");
	for (size_t i = 0; adapters[i] != NULL; i++)
		printf("  %s\n", adapters[i]);
	puts("workloads:");
	for (size_t m = 0; metrics[m].workload != 0; m++)
		printf("  %c  %s\n", metrics[m].workload, metrics[m].title);
	return 0;
}

static bool option(struct options *options, const char *name, const char *value)
{
	if (strcmp(name, "--workloads") == 0)
		options->workloads = value;
	else if (strcmp(name, "--adapters") == 0)
		options->adapters = value;
	else if (strcmp(name, "--json") == 0)
		options->json = value;
	else if (strcmp(name, "--reps") == 0)
		options->reps = strtoul(value, NULL, 10);
	else if (strcmp(name, "--seconds") == 0)
		options->seconds = strtod(value, NULL);
	else if (strcmp(name, "--limit") == 0)
		options->limit = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(name, "--seed") == 0)
		options->seed = strtoull(value, NULL, 10);
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	struct options options = { .reps = 7, .seconds = 0.2, .limit = 20 };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	options.seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			return list();
		if (strcmp(argv[i], "--gate") == 0)
			options.gate = true;
		else if (i + 1 >= argc || !option(&options, argv[i], argv[i + 1]))
			return usage();
		else
			i++;
	}
	if (options.reps == 0 || options.reps > MAX_REPS || !(options.seconds > 0) || options.seconds > 10 ||
	    options.limit == 0 || options.seed == 0)
		return usage();
	if (options.workloads == NULL)
		options.workloads = "AaBCDEFGHIJKkP";
	if (options.adapters == NULL && options.gate)
		options.adapters =
			"qalloc,qalloc-static,mmalloc,mmalloc-anon,shmbuddy,shmbuddy-wide,boost-shm," BASELINE;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	return bench(&options);
}
