/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mapped.h
 * @brief Where a stopped process has files mapped, so that its stores change them.
 */
#ifndef MA_TESTS_CRASH_MAPPED_H
#define MA_TESTS_CRASH_MAPPED_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct mapped_part {
	uintptr_t begin, end;
	size_t offset; /**< In the file. */
	ino_t ino;
};

/** Read what /proc tells of its shared mappings; it stays so until the process calls the kernel. */
void mapped_read(GArray *parts, pid_t pid);
/** The one in which some of these bytes are, or NULL. */
const struct mapped_part *mapped_find(const GArray *parts, uintptr_t at, size_t bytes);

#endif /* MA_TESTS_CRASH_MAPPED_H */
