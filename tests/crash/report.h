/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file report.h
 * @brief The table of a kill sweep, and the names of places in the code.
 */
#ifndef MA_TESTS_CRASH_REPORT_H
#define MA_TESTS_CRASH_REPORT_H

#include <stddef.h>
#include <stdint.h>

struct row {
	const char *name;
	size_t instructions;
	size_t states;     /**< Distinct ones. */
	size_t covered;    /**< Kill points: instruction boundaries whose state was examined. */
	size_t kills;      /**< Real ones. */
	size_t violations; /**< Failed examinations. */
};

void report_row(const struct row *row);
/** All rows, then their sum. Each line begins with "# crash:", for tests/crash/table. */
void report_table(void);
/** Function, file and line of an address in the code, as far as they can be found; to be freed with g_free(). */
char *report_place(uintptr_t at);

#endif /* MA_TESTS_CRASH_REPORT_H */
