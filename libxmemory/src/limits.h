/* SPDX-License-Identifier: BSD-3-Clause */
/* What limits the RAM that blocks may take. */
#ifndef XMEMORY_LIMITS_H
#define XMEMORY_LIMITS_H

#include "common/base.h"

#define NO_LIMIT ((int64_t)1 << 60)

/* What $XMEMORY_LIMIT says, in bytes; -1 when it says nothing sensible. */
int64_t xmemory__limit_parse(const char *text);

/* The smallest of what the process, its control groups and the machine allow; charged are bytes of blocks in RAM. */
int64_t xmemory__limit_found(int64_t charged, int *source);

/* Addresses that RLIMIT_AS leaves to the process, in bytes; NO_LIMIT without that limit. */
int64_t xmemory__space_left(void);

/* Which limit an error of mmap(2) or mremap(2) comes from. */
const char *xmemory__limit_of_error(int error);

#endif /* XMEMORY_LIMITS_H */
