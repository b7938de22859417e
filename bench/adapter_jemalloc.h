/* SPDX-License-Identifier: BSD-3-Clause */
/* jemalloc. Debian's library is malloc for all that link it. */
#ifndef BENCH_ADAPTER_JEMALLOC_H
#define BENCH_ADAPTER_JEMALLOC_H

#include <jemalloc/jemalloc.h>

static inline void purge(void)
{
	mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
}

#define AD_MALLOC(size) malloc(size)
#define AD_FREE(block)  free(block)
#define AD_BEGIN()      ((void)0)
#define AD_COLLECT()    purge()

#include "adapter_private.h"

#endif /* BENCH_ADAPTER_JEMALLOC_H */
