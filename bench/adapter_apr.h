/* SPDX-License-Identifier: BSD-3-Clause */
/* APR's relocatable memory: blocks known by their offsets, in a mapped file, under one process-shared lock. */
#ifndef BENCH_ADAPTER_APR_H
#define BENCH_ADAPTER_APR_H

#include <apr_rmm.h>

typedef apr_rmm_t *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	apr_rmm_off_t offset = apr_rmm_malloc(heap, size);

	return offset == 0 ? NULL : apr_rmm_addr_get(heap, offset);
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != NULL)
		apr_rmm_free(heap, apr_rmm_offset_get(heap, block));
}

#endif /* BENCH_ADAPTER_APR_H */
