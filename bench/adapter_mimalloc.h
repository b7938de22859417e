/* SPDX-License-Identifier: BSD-3-Clause */
/* mimalloc. What all others are compared with. */
#ifndef BENCH_ADAPTER_MIMALLOC_H
#define BENCH_ADAPTER_MIMALLOC_H

#include <mimalloc.h>

#define AD_MALLOC(size) mi_malloc(size)
#define AD_FREE(block)  mi_free(block)
#define AD_BEGIN()      ((void)0)
#define AD_COLLECT()    mi_collect(true)

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_MIMALLOC_H */
