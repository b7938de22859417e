/* SPDX-License-Identifier: BSD-3-Clause */
/* What the command mapalloc asks of the library: static maps, which need not be open. Every call is safe on any bytes. */
#ifndef QALLOC_SRC_INSPECT_H
#define QALLOC_SRC_INSPECT_H

#include "common/image.h"

extern const struct ma_engine qalloc__static_engine;

struct qalloc__group {
	uint64_t items; /* The last group may have fewer than the others. */
	uint64_t used;
	bool is_table; /* It serves as a table of roots. */
	bool is_bad;   /* An allocation byte of it is none. */
};
struct qalloc__group qalloc__static_group(struct ma_image *map, uint64_t index);

/* Groups of the lane that were ever in use. */
uint64_t qalloc__static_used(struct ma_image *map, uint32_t lane);
/* The file ends before the allocation bytes of the others: count so many only. */
void qalloc__static_cut(struct ma_image *map, uint32_t lane, uint64_t groups);

/* Checks the allocation bytes of items [from, end), which are in use. Returns the number of violations. */
uint64_t qalloc__static_check_some(struct ma_image *map, uint64_t from, uint64_t end, ma_finding_fn *fn, void *arg);

#endif /* QALLOC_SRC_INSPECT_H */
