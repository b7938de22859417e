/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings that may be longer than their file, which others may cut at any moment: where the kernel would send SIGBUS, zeros appear. From
 * the end that the file has then to the end of the mapping, so that it happens once.
 */
#ifndef TOOLS_GUARD_H
#define TOOLS_GUARD_H

#include <stdint.h>

void guard_add(void *base, uint64_t bytes, int fd);
void guard_drop(void *base);

#endif /* TOOLS_GUARD_H */
