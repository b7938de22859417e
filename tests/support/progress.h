/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file progress.h
 * @brief What a running test tells those who watch it, in a file that both have mapped: $MA_TEST_PROGRESS.
 */
#ifndef MA_TESTS_PROGRESS_H
#define MA_TESTS_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

#define PROGRESS_ENVIRONMENT "MA_TEST_PROGRESS"
#define PROGRESS_NAME        256

struct progress {
	char name[PROGRESS_NAME];  /**< The case that runs, then a newline: the first line of the file. */
	_Atomic uint64_t steps;    /**< Each finished step adds one. */
	_Atomic uint32_t patience; /**< Seconds that the present step may stand still; 0: what the watcher thinks. */
};

#endif /* MA_TESTS_PROGRESS_H */
