/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The address plan: where maps go when nobody says. A window of the address space that neither the kernel, nor
 * Valgrind, nor ASan use (measured under ASLR); TSan leaves another one. Nothing that is mapped is ever replaced.
 */
#ifndef MA_PLAN_H
#define MA_PLAN_H

#include "common/base.h"

#define MA_PLAN_ALIGN ((uint64_t)1 << 30)
#if MA_TSAN
#define MA_PLAN_FIRST ((uint64_t)0x7e8000000000)
#define MA_PLAN_LAST  ((uint64_t)0x7f0000000000)
#else
#define MA_PLAN_FIRST ((uint64_t)0x108000000000)
#define MA_PLAN_LAST  ((uint64_t)0x550000000000)
#endif

/* Map at exactly base, or fail: EADDRINUSE (the debug line names who sits there), or as mmap(2). */
void *ma_plan_map_at(uint64_t base, uint64_t bytes, int prot, int flags, int fd, const char *name);

/* Map anywhere in the window; seed decides where to look first. */
void *ma_plan_map(uint64_t seed, uint64_t bytes, int prot, int flags, int fd, const char *name);

#endif /* MA_PLAN_H */
