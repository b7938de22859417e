/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library's files share: a descriptor is a struct ma_map, or NULL for the default heap. */
#ifndef MMALLOC_HEAP_H
#define MMALLOC_HEAP_H

#include "common/map.h"

/* The default heap once it is made. */
extern struct ma_map *_Atomic mmalloc__default;

/* What md stands for, the default heap made if need be; NULL with errno when it is not open. */
struct ma_map *mmalloc__map(void *md);

/* Remember errno for mmalloc_errno(). */
void mmalloc__failed(const void *md);

/* Hand a result on; when it is NULL, or below 0, remember errno. */
MA_INLINE void *mmalloc__told(const void *md, void *result)
{
	if (MA_UNLIKELY(!result))
		mmalloc__failed(md);
	return result;
}

MA_INLINE int64_t mmalloc__told_int(const void *md, int64_t result)
{
	if (result < 0)
		mmalloc__failed(md);
	return result;
}

#endif /* MMALLOC_HEAP_H */
