/* SPDX-License-Identifier: BSD-3-Clause */
/* See pagehash.h. XXH_INLINE_ALL: libxxhash is needed to build, and not to run. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "common/pagehash.h"

static struct ma_hash from_xxh(XXH128_hash_t hash)
{
	return (struct ma_hash){ .low = hash.low64, .high = hash.high64 };
}

struct ma_hash ma_hash_of(const void *bytes, size_t count)
{
	return from_xxh(XXH3_128bits(bytes, count));
}

struct ma_hash ma_hash_of_two(const void *first, size_t first_count, const void *second, size_t second_count)
{
	struct ma_hash parts[2] = { ma_hash_of(first, first_count), ma_hash_of(second, second_count) };

	return ma_hash_of(parts, sizeof(parts));
}
