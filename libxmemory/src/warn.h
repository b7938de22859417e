/* SPDX-License-Identifier: BSD-3-Clause */
/* Warnings of what a call without a result was wrongly given. */
#ifndef XMEMORY_WARN_H
#define XMEMORY_WARN_H

#include "common/base.h"

enum xmemory__warning {
	XMEMORY__FREE_NULL,
	XMEMORY__FREE_UNKNOWN,
	XMEMORY__REALLOC_UNKNOWN,
	XMEMORY__FDEALLOC_NULL,
	XMEMORY__FDEALLOC_UNKNOWN,
	XMEMORY__WARNINGS,
};

/* One line, or another count; errno is kept. For a pointer, the thread's last failure is EINVAL and says the same. */
void xmemory__warn(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line);
/* How many there were, printed or not. */
uint64_t xmemory__warnings(void);
/* So many lines of each kind; below 0: as the environment says, or by default. What it was before. */
int xmemory__warnings_most(int most);
void xmemory__warnings_set_up(void);
void xmemory__warnings_forked(void);

#endif /* XMEMORY_WARN_H */
