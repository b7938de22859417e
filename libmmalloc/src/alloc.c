/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking and giving blocks. A fast path serves any open descriptor, the default heap too once it is there; whatever it
 * cannot do it leaves, by a call that ends it, to the slow one.
 */
#include <errno.h>
#include <string.h>

#include "heap.h"

#include "common/error.h"
#include "common/heap.h"
#include <mmalloc.h>

static MA_NOINLINE void *malloc_slow(void *md, size_t size)
{
	struct ma_map *map;

	if (size == 0)
		return NULL;
	map = mmalloc__map(md);
	return map ? mmalloc__told(md, ma_heap_malloc_slow(map, size)) : NULL;
}

static MA_NOINLINE void free_slow(void *md, void *ptr)
{
	struct ma_map *map;
	int saved = errno;

	if (!ptr)
		return;
	map = mmalloc__map(md);
	if (!map)
		return;
	errno = 0;
	ma_heap_free_slow(map, ptr);
	if (errno)
		mmalloc__failed(md);
	else
		errno = saved;
}

MA_INLINE struct ma_map *fast_map(void *md)
{
	return md ? md : ma_load_acquire(&mmalloc__default);
}

/* Size 0 is beyond the largest one here. */
MA_INLINE struct ma_cursor *fast_cursor(struct ma_map *map, size_t size)
{
	struct ma_tcache *tc = *ma_tcache_slot(map->tls_at);
	struct ma_cursor *cursor;

	if (MA_UNLIKELY(size - 1 >= MA_BY_SIZE_MAX) || MA_UNLIKELY(tc->id != ma_load(&map->id)))
		return NULL;
	cursor = tc->by_size[(size + 15) / 16];
	return MA_LIKELY(cursor->mask != 0) ? cursor : NULL;
}

void *mmalloc(void *md, size_t size)
{
	struct ma_map *map = fast_map(md);
	struct ma_cursor *cursor = MA_LIKELY(map != NULL) ? fast_cursor(map, size) : NULL;

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_slow(md, size);
}

void mfree(void *md, void *ptr)
{
	struct ma_map *map = fast_map(md);

	if (MA_UNLIKELY(!map || !ma_heap_free_fast(map, ptr)))
		free_slow(md, ptr);
}

void *mrealloc(void *md, void *ptr, size_t size)
{
	struct ma_map *map;

	if (!ptr)
		return mmalloc(md, size);
	if (size == 0) {
		mfree(md, ptr);
		return NULL;
	}
	map = mmalloc__map(md);
	return map ? mmalloc__told(md, ma_heap_realloc(map, ptr, size)) : NULL;
}

void *mcalloc(void *md, size_t nmemb, size_t size)
{
	size_t bytes;
	void *block;

	if (__builtin_mul_overflow(nmemb, size, &bytes)) {
		ma_fail(ENOMEM, "%zu times %zu bytes are more than there can be", nmemb, size);
		return mmalloc__told(md, NULL);
	}
	block = mmalloc(md, bytes);
	return block ? memset(block, 0, bytes) : NULL;
}

void *mmemalign(void *md, size_t alignment, size_t size)
{
	struct ma_map *map;

	if (size == 0)
		return NULL;
	map = mmalloc__map(md);
	return map ? mmalloc__told(md, ma_heap_memalign(map, alignment, size)) : NULL;
}

void *mvalloc(void *md, size_t size)
{
	return mmemalign(md, MA_PAGE, size);
}

size_t mmalloc_usable_size(void *md, const void *ptr)
{
	struct ma_map *map = mmalloc__map(md);
	size_t bytes = map ? ma_heap_usable_size(map, ptr) : 0;

	if (map && ptr && !bytes)
		mmalloc__failed(md);
	return bytes;
}
