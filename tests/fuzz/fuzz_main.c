/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target without libFuzzer: runs each file that is named, or standard input. Compiled by afl-clang-fast it is AFL++'s
 * persistent harness.
 *
 * -random SEED COUNT [FIRST]: so many made-up inputs, from number FIRST on. Each follows from the seed and its number, which is printed
 * when one fails; most are for maps that stay open.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (1u << 20)

#ifdef __AFL_FUZZ_TESTCASE_LEN
__AFL_FUZZ_INIT();
#endif

static int run_stream(FILE *f)
{
	uint8_t *bytes = malloc(INPUT_MAX);
	size_t size;

	fuzz_require(f && bytes);
	size = fread(bytes, 1, INPUT_MAX, f);
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	return 0;
}

/* ---- made-up inputs ---- */

#define RANDOM_MAX 512

static uint64_t seed, number;

/* A number of 64 bits for each step: SplitMix64. */
static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void tell(int signal)
{
	char text[100];
	int length = snprintf(text, sizeof(text), "signal %d at: -random %llu 1 %llu\n", signal, (unsigned long long)seed,
			      (unsigned long long)number);

	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		_exit(3);
	_exit(2);
}

static void run_random(unsigned maps)
{
	uint64_t state = seed * 0x100000001b3u + number;
	uint8_t bytes[RANDOM_MAX];
	size_t size = 8 + next(&state) % (RANDOM_MAX - 8);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)next(&state);
	if (maps)
		bytes[0] =
			(uint8_t)(next(&state) % 16 ? 0x40 + next(&state) % maps : 1 + next(&state) % fuzz_templates());
	LLVMFuzzerTestOneInput(bytes, size);
}

/* So many live maps has the target, for it takes no input for another one. */
static unsigned live_maps(void)
{
	unsigned maps = 0;

	while (maps < 8 && LLVMFuzzerTestOneInput((const uint8_t[]){ (uint8_t)(0x40 + maps), 0, 0 }, 1) == 0)
		maps++;
	return maps;
}

static int run_many(int argc, char **argv)
{
	static char stack[65536];
	const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_handler = tell, .sa_flags = SA_ONSTACK };
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
	unsigned maps = live_maps();
	struct timespec began, ended;
	uint64_t first, count;
	double seconds;

	seed = strtoull(argv[2], NULL, 0);
	count = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	first = argc > 4 ? strtoull(argv[4], NULL, 0) : 0;
	sigaltstack(&other, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
	for (number = first; number < first + count; number++) {
		if (number % 1024 == 0)
			alarm(100);
		run_random(maps);
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
	seconds = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
	printf("%s: %llu inputs, seed %llu, %.0f per second of CPU time\n", fuzz_name, (unsigned long long)count,
	       (unsigned long long)seed, (double)count / seconds);
	return 0;
}

int main(int argc, char **argv)
{
	LLVMFuzzerInitialize(&argc, &argv);
#ifdef __AFL_FUZZ_TESTCASE_LEN
	__AFL_INIT();
	const uint8_t *bytes = __AFL_FUZZ_TESTCASE_BUF;

	while (__AFL_LOOP(10000))
		LLVMFuzzerTestOneInput(bytes, (size_t)__AFL_FUZZ_TESTCASE_LEN);
	if (argc == 1)
		return 0;
#endif
	if (argc == 1)
		return run_stream(stdin);
	if (argc > 2 && strcmp(argv[1], "-random") == 0)
		return run_many(argc, argv);
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "re");

		fprintf(stderr, "%s\n", argv[i]);
		run_stream(f);
		fclose(f);
	}
	return 0;
}
