/* SPDX-License-Identifier: BSD-3-Clause */
/* libmmalloc's default heap. */
#ifndef BENCH_ADAPTER_MMALLOC_ANON_H
#define BENCH_ADAPTER_MMALLOC_ANON_H

#include <mmalloc.h>

#define AD_MALLOC(size) mmalloc(NULL, size)
#define AD_FREE(block)  mfree(NULL, block)
#define AD_BEGIN()      ((void)0)
#define AD_COLLECT()    mmalloc_trim(NULL)

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_MMALLOC_ANON_H */
