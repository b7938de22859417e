/* SPDX-License-Identifier: BSD-3-Clause */
/* tcmalloc (gperftools' minimal one). */
#ifndef BENCH_ADAPTER_TCMALLOC_H
#define BENCH_ADAPTER_TCMALLOC_H

#include <gperftools/malloc_extension_c.h>
#include <gperftools/tcmalloc.h>

#define AD_MALLOC(size) tc_malloc(size)
#define AD_FREE(block)  tc_free(block)
#define AD_BEGIN()      ((void)0)
#define AD_COLLECT()    MallocExtension_ReleaseFreeMemory()

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_TCMALLOC_H */
