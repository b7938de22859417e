/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The address plan: where maps go when the program names no address. A window of the address space that neither the kernel, nor
 * Valgrind, nor ASan use (measured under ASLR); TSan leaves another one. Nothing that is mapped is ever replaced.
 *
 * Machines with 47 or 48 bits for a program's addresses have the window. Kernels with 39 bits (arm64 with 4 KiB pages and three
 * levels) or 38 (RISC-V sv39) end before it: mmap(2) says ENOMEM, and a small window is tried, which all of them have free. A map that
 * was made in the large one cannot be mapped there.
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
/* Below two thirds of 2^38, where sv39 loads programs. One range takes at most a quarter. */
#define MA_PLAN_SMALL_FIRST ((uint64_t)0x0800000000)
#define MA_PLAN_SMALL_LAST  ((uint64_t)0x2800000000)

/* Map at exactly base, or fail: EADDRINUSE (the debug line names who sits there), or as mmap(2). */
void *ma_plan_map_at(uint64_t base, uint64_t bytes, int prot, int flags, int fd, const char *name);

/* Map anywhere in a window; seed decides where to look first. ENOMEM: no window has so much, or as mmap(2). */
void *ma_plan_map(uint64_t seed, uint64_t bytes, int prot, int flags, int fd, const char *name);

/*
 * Map over what is reserved there, as mmap(2) with MAP_FIXED. After mlockall(MCL_FUTURE), the kernel locks every new mapping and counts it,
 * whole, against RLIMIT_MEMLOCK: what a file does not have yet, and address space, are then left unlocked. MAP_FAILED with errno: EAGAIN
 * what is there is itself more than that limit.
 */
void *ma_plan_map_over(void *at, uint64_t bytes, int prot, int flags, int fd, uint64_t from);

/* Map a file, from its beginning, where the kernel likes. All of it is left unlocked when that limit does not allow so much. */
void *ma_plan_map_anywhere(uint64_t bytes, int prot, int flags, int fd);

/* Is there such a limit in this process, so that something of ours was left unlocked? */
bool ma_plan_is_short_of_locks(void);

/* What to do when mmap(2) failed so. */
const char *ma_plan_advice(int error);

#endif /* MA_PLAN_H */
