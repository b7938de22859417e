/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_golden.h
 * @brief Golden files: copies of them, and damaged ones that a library must refuse, each for its own reason.
 */
#ifndef MA_TESTS_SUPPORT_GOLDEN_H
#define MA_TESTS_SUPPORT_GOLDEN_H

#include "tests/support/support_block.h"

struct support_damaged {
	const char *name;
	int error;
	const char *text; /**< Part of the debug line. */
};

/** What opens files: NULL and errno when it refuses. */
typedef void *support_open_fn(const char *path);

/** A copy, so that the original stays as it was made. */
const char *support_golden_copy(const char *name);
/** ThreadSanitizer leaves no room at the golden files' base: then skip. */
bool support_no_place_for_golden(void);
/** Asserts that a copy is refused, twice, with its errno, and with its text: the process has the library's debug variable set. Returns the copy. */
const char *support_refuses(const struct support_damaged *d, support_open_fn *open);

#endif /* MA_TESTS_SUPPORT_GOLDEN_H */
