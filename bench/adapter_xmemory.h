/* SPDX-License-Identifier: BSD-3-Clause */
/* libxmemory within its budget: the C library's blocks, counted and known by their place in the source. */
#ifndef BENCH_ADAPTER_XMEMORY_H
#define BENCH_ADAPTER_XMEMORY_H

#define XMEMORY_NO_SHIMS 1
#include <malloc.h>
#include <stdint.h>
#include <xmemory.h>

#define AD_MALLOC(size) xmemory_malloc(size, __FILE__, __LINE__)
/* It warns of free(NULL), which the loops make of slots that are empty yet. */
#define AD_FREE(block)  ((block) ? xmemory_free(block, __FILE__, __LINE__) : (void)0)
#define AD_BEGIN()      xmemory_setlimit(SIZE_MAX)
#define AD_COLLECT()    malloc_trim(0)

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_XMEMORY_H */
