/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings that may be longer than their file, which others may cut at any moment: where the kernel would send SIGBUS, zeros appear. From
 * the end that the file has then to the end of the mapping, so that it happens once.
 */
#ifndef TOOLS_ZERO_FILL_H
#define TOOLS_ZERO_FILL_H

#include <stdint.h>

void zero_fill_add(void *base, uint64_t bytes, int fd);
void zero_fill_drop(void *base);

#endif /* TOOLS_ZERO_FILL_H */
