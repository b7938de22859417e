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

#endif /* MMALLOC_HEAP_H */
