/* SPDX-License-Identifier: BSD-3-Clause */
/* libxmemory within its budget: the C library's blocks, counted and known by their place in the source. */
#ifndef BENCH_ADAPTER_XMEMORY_H
#define BENCH_ADAPTER_XMEMORY_H

#define XMEMORY_NO_SHIMS 1
#include <malloc.h>
#include <stdint.h>
#include <xmemory.h>

#define AD_MALLOC(size) xmemory_malloc(size, __FILE__, __LINE__)
#define AD_FREE(block)  xmemory_free(block, __FILE__, __LINE__)
#define AD_BEGIN()      xmemory_setlimit(SIZE_MAX)
#define AD_COLLECT()    malloc_trim(0)

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_XMEMORY_H */
