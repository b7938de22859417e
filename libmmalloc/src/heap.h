/* SPDX-License-Identifier: BSD-3-Clause */
/* What the library's files share: a descriptor is a struct ma_map, which begins with its image, or NULL for the default heap. */
#ifndef MMALLOC_HEAP_H
#define MMALLOC_HEAP_H

#include "common/heap.h"
#include "common/map.h"
#include "inspect.h"

/* The default heap: its address is known, so a NULL descriptor costs no load. Made when it is first needed. */
extern struct ma_map mmalloc__default;

/* What md stands for, the default heap made if need be; NULL with errno when it is not open. */
struct ma_image *mmalloc__map(void *md);

/* Remember errno for mmalloc_errno(). */
void mmalloc__keep_errno(const void *md);

/* Hand a result on; when it is NULL, or below 0, remember errno. */
MA_INLINE void *mmalloc__set_last_error(const void *md, void *result)
{
	if (MA_UNLIKELY(!result))
		mmalloc__keep_errno(md);
	return result;
}

MA_INLINE int64_t mmalloc__set_last_error_int(const void *md, int64_t result)
{
	if (result < 0)
		mmalloc__keep_errno(md);
	return result;
}

/* ---- guards (check.c): of a map that is open, and writable where something changes ---- */

/* A block as its holder sees it: in a block of the heap, perhaps with guards around. */
struct mmalloc__found {
	struct ma_block block;
	char *user;
	size_t size;     /* Usable bytes. */
	bool is_guarded; /* user is behind the block's start, and size is what was asked for. */
	unsigned broken; /* What of its guards is; see check.c. */
};

/* What ptr is. False: no block, errno is EINVAL, and mmcheck()'s function was called. It is too when a guard is broken. */
bool mmalloc__examine(struct ma_image *map, const void *ptr, struct mmalloc__found *found);
/* A block, guarded while mmcheck() is on. */
void *mmalloc__take(struct ma_image *map, size_t alignment, size_t size);
void mmalloc__give(struct ma_image *map, const struct mmalloc__found *found);
void *mmalloc__resize(struct ma_image *map, const struct mmalloc__found *found, size_t size);
/* For a map that has guarded blocks: the call of this name. */
size_t mmalloc__guarded_size(struct ma_image *map, const void *ptr);

/* ---- trace (trace.c) ---- */

extern _Atomic bool mmalloc__tracing;

/* Lines are written between these two, by one thread at a time. False: no process traces. */
bool mmalloc__trace_begin(void);
void mmalloc__trace_end(void);
/* One line about a call that returns to this address. errno stays. */
void mmalloc__trace(const void *caller, const char *format, ...) MA_PRINTF(2, 3);

/* Must calls on this map go by way of what is above? */
MA_INLINE bool mmalloc__is_hooked(struct ma_image *map)
{
	return MA_UNLIKELY(mmalloc__has_guards(map) || ma_load(&map->hook) || ma_load(&mmalloc__tracing));
}

#endif /* MMALLOC_HEAP_H */
