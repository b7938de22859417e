/* SPDX-License-Identifier: BSD-3-Clause */
/* libpmemobj: a persistent heap in a file, for one process at a time, through its atomic calls. */
#ifndef BENCH_ADAPTER_PMEMOBJ_H
#define BENCH_ADAPTER_PMEMOBJ_H

#include <libpmemobj.h>

typedef PMEMobjpool *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	PMEMoid id;

	return pmemobj_alloc(heap, &id, size, 0, NULL, NULL) == 0 ? pmemobj_direct(id) : NULL;
}

static inline void ad_free(ad_heap heap, void *block)
{
	PMEMoid id = pmemobj_oid(block);

	(void)heap;
	pmemobj_free(&id);
}

#endif /* BENCH_ADAPTER_PMEMOBJ_H */
