/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hashes of 128 bits: of a page, to see whether it changed, and of a record, to see whether it is whole. libxxhash's XXH3, which reads
 * memory about as fast as it can be read. Files have these values in them, and XXH3's are fixed for ever.
 */
#ifndef MA_PAGEHASH_H
#define MA_PAGEHASH_H

#include "common/base.h"

struct ma_hash {
	uint64_t low, high;
};

MA_INLINE bool ma_hash_equal(struct ma_hash a, struct ma_hash b)
{
	return a.low == b.low && a.high == b.high;
}

struct ma_hash ma_hash_of(const void *bytes, size_t count);

/* Of parts, one behind the other. */
struct ma_hash ma_hash_of_two(const void *first, size_t first_count, const void *second, size_t second_count);

#endif /* MA_PAGEHASH_H */
