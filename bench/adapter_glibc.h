/* SPDX-License-Identifier: BSD-3-Clause */
/* The C library's malloc. */
#ifndef BENCH_ADAPTER_GLIBC_H
#define BENCH_ADAPTER_GLIBC_H

#include <malloc.h>
#include <stdlib.h>

#define AD_MALLOC(size) malloc(size)
#define AD_FREE(block)  free(block)
#define AD_BEGIN()      ((void)0)
#define AD_COLLECT()    malloc_trim(0)

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_GLIBC_H */
