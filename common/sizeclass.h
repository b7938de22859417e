/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Size classes of slabs: 16 to 128 bytes in steps of 16, then eight a doubling up to 64 KiB. So from 128 bytes on at
 * most an eighth of a slot is wasted, and every slot is a multiple of 16.
 */
#ifndef MA_SIZECLASS_H
#define MA_SIZECLASS_H

#include "common/base.h"

#define MA_SMALL_MAX ((uint64_t)8192)  /* Largest slot of a one-chunk slab. */
#define MA_SLAB_MAX  ((uint64_t)65536) /* Largest slot of any slab; larger blocks are runs. */

/* size from 0 to MA_SLAB_MAX. */
MA_INLINE uint32_t ma_class_of(uint64_t size)
{
	uint64_t last = size - 1;
	uint32_t shift;

	if (size <= 128)
		return size ? (uint32_t)(last / 16) : 0;
	shift = 63 - (uint32_t)__builtin_clzll(last);
	return 8 + (shift - 7) * 8 + (uint32_t)((last >> (shift - 3)) & 7);
}

MA_INLINE uint64_t ma_class_bytes(uint32_t class)
{
	uint32_t shift = 7 + (class - 8) / 8;

	if (class < 8)
		return (uint64_t)(class + 1) * 16;
	return ((uint64_t)1 << shift) + (uint64_t)((class - 8) % 8 + 1) * ((uint64_t)1 << (shift - 3));
}

#endif /* MA_SIZECLASS_H */
