/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target without libFuzzer: runs each file that is named, or standard input. Compiled by afl-clang-fast it is AFL++'s
 * persistent harness.
 */
#include <stdio.h>
#include <stdlib.h>
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
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "re");

		fprintf(stderr, "%s\n", argv[i]);
		run_stream(f);
		fclose(f);
	}
	return 0;
}
