/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking and giving blocks. The fast paths do not ask of which kind the map is: one of the other kind has no cursor and no
 * range for them, nor has a closed one. Whatever they cannot do they leave, by a call that ends them, to the slow ones.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/error.h"
#include "common/heap.h"
#include <qalloc.h>
#include "static.h"

static bool fits_item(const struct ma_image *map, size_t size)
{
	if (map->kind != MA_KIND_STATIC || size <= map->item_bytes || !ma_image_writable(map)) /* That is another error. */
		return true;
	ma_fail(EINVAL, "%s: cannot allocate %zu bytes: an item of this static map has %llu; ask for less, or use a dynamic map",
		map->name, size,
		(unsigned long long)map->item_bytes);
	return false;
}

static MA_NOINLINE void *malloc_slow(struct ma_image *map, size_t size)
{
	if (!ma_image_is_open(map) || !fits_item(map, size))
		return NULL;
	return map->kind == MA_KIND_STATIC ? qalloc__static_malloc_slow(map, size) : ma_heap_malloc_slow(map, size);
}

static MA_NOINLINE void free_slow(struct ma_image *map, void *block)
{
	if (!block || !ma_image_is_open(map))
		return;
	if (map->kind == MA_KIND_STATIC)
		qalloc__static_free_slow(map, block);
	else
		ma_heap_free_slow(map, block);
}

/* The typed calls refuse the other kind: it would be the caller's mix-up. */
static bool is_kind(const struct ma_image *map, enum ma_kind kind)
{
	if (!ma_image_is_open(map))
		return false;
	if (map->kind == kind)
		return true;
	ma_fail(EINVAL, "%s: wrong call: it is a %s map; use qalloc_malloc() and qalloc_free(), or those of its kind",
		map->name, map->kind == MA_KIND_STATIC ? "static" : "dynamic");
	return false;
}

/* Only a dynamic map that is open has a cursor for a size. A thread that frees what it takes comes here every 64th time. */
static MA_NOINLINE void *malloc_slow_dyn(struct ma_image *map, size_t size)
{
	struct ma_cursor *cursor = map ? ma_heap_cursor(map, size) : NULL;

	if ((cursor && cursor != &ma_cursor_never) || is_kind(map, MA_KIND_DYNAMIC))
		return ma_heap_malloc_slow(map, size);
	return NULL;
}

static MA_NOINLINE void *malloc_slow_stat(struct ma_image *map)
{
	return is_kind(map, MA_KIND_STATIC) ? qalloc__static_malloc_slow(map, map->item_bytes) : NULL;
}

static MA_NOINLINE void free_slow_dyn(void *block, struct ma_image *map)
{
	if (!block || is_kind(map, MA_KIND_DYNAMIC))
		free_slow(map, block);
}

static MA_NOINLINE void free_slow_stat(void *block, struct ma_image *map)
{
	if (!block || is_kind(map, MA_KIND_STATIC))
		free_slow(map, block);
}

MA_INLINE struct ma_cursor *fast_item(struct ma_image *map)
{
	struct ma_tcache *tc = ma_tcache_of(map);

	return MA_LIKELY(tc->id == ma_load(&map->id) && tc->items.mask != 0) ? &tc->items : NULL;
}

MA_INLINE void *malloc_fast(struct ma_image *map, size_t size)
{
	/* Dynamic maps have items of 0 bytes. What is too large for an item has no cursor there, and so takes the slow path. */
	struct ma_cursor *cursor =
		size <= ma_load_either(&map->item_bytes) ? fast_item(map) : ma_heap_cursor_full(map, size);

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_slow(map, size);
}

MA_HOT void *qalloc_malloc(void *map, size_t size)
{
	return MA_LIKELY(map != NULL) ? malloc_fast(map, size) : malloc_slow(map, size);
}

MA_HOT void *qalloc_statmalloc(mapinfo_t *map)
{
	struct ma_image *m = (struct ma_image *)map;
	struct ma_cursor *cursor = MA_LIKELY(m != NULL) ? fast_item(m) : NULL;

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_slow_stat(m);
}

MA_HOT void *qalloc_dynmalloc(dynmapinfo_t *map, size_t size)
{
	struct ma_image *m = (struct ma_image *)map;
	struct ma_cursor *cursor = MA_LIKELY(m != NULL) ? ma_heap_cursor_full(m, size) : NULL;

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_slow_dyn(m, size);
}

MA_INLINE void free_any(struct ma_image *map, void *block)
{
	if (MA_UNLIKELY(!map || !(ma_load_either(&map->fast_items) ? qalloc__static_free_fast(map, block)
								   : ma_heap_free_fast(map, block))))
		free_slow(map, block);
}

MA_HOT void qalloc_free(void *block, void *map)
{
	free_any(map, block);
}

MA_HOT void qalloc_statfree(void *block, mapinfo_t *map)
{
	struct ma_image *m = (struct ma_image *)map;

	if (MA_UNLIKELY(!m || !qalloc__static_free_fast(m, block)))
		free_slow_stat(block, m);
}

MA_HOT void qalloc_dynfree(void *block, dynmapinfo_t *map)
{
	struct ma_image *m = (struct ma_image *)map;

	if (MA_UNLIKELY(!m || !ma_heap_free_fast(m, block)))
		free_slow_dyn(block, m);
}

void *qalloc_calloc(void *map, size_t count, size_t size)
{
	size_t bytes;
	void *block;

	if (!ma_image_is_open(map))
		return NULL;
	if (__builtin_mul_overflow(count, size, &bytes))
		return ma_fail_null(
			ENOMEM, "%s: cannot allocate %zu times %zu bytes: the product overflows; check both numbers",
			((struct ma_image *)map)->name, count, size);
	if (!fits_item(map, bytes))
		return NULL;
	block = malloc_fast(map, bytes);
	return block ? memset(block, 0, bytes) : NULL;
}

static void *realloc_item(struct ma_image *map, void *block, size_t size)
{
	if (size == 0) {
		free_any(map, block);
		return NULL;
	}
	if (!ma_image_writable(map))
		return ma_fail_null(EROFS, "%s: cannot change it: it is open read-only; open it for writing",
				    map->name);
	if (!qalloc__static_holds(map, block))
		return ma_fail_null(
			EINVAL,
			"%s: address %p is invalid: no allocated item starts there; check that it was not freed before",
			map->name, block);
	if (!fits_item(map, size))
		return NULL;
	if (map->annotated)
		ma_annotate_resize(block, size, map->item_bytes);
	return block;
}

void *qalloc_realloc(void *map, void *block, size_t size)
{
	struct ma_image *m = map;

	if (!ma_image_is_open(m))
		return NULL;
	if (m->kind == MA_KIND_DYNAMIC)
		return ma_heap_realloc(m, block, size);
	if (block)
		return realloc_item(m, block, size);
	return fits_item(m, size) ? malloc_fast(m, size) : NULL;
}

void *qalloc_memalign(void *map, size_t alignment, size_t size)
{
	struct ma_image *m = map;

	if (!ma_image_is_open(m))
		return NULL;
	if (m->kind == MA_KIND_DYNAMIC)
		return ma_heap_memalign(m, alignment, size);
	if (!ma_is_pow2(alignment) || alignment > MA_LINE || m->item_bytes % alignment)
		return ma_fail_null(EINVAL,
				    "%s: alignment of %zu is invalid here: items of %" PRIu64
				    " bytes do not have it; use a power of two that divides 64 and the item size",
				    m->name, alignment, (uint64_t)m->item_bytes);
	return fits_item(m, size) ? malloc_fast(m, size) : NULL;
}

size_t qalloc_usable_size(void *map, const void *block)
{
	struct ma_image *m = map;

	if (!ma_image_is_open(m) || !block)
		return 0;
	if (m->kind == MA_KIND_DYNAMIC)
		return ma_heap_usable_size(m, block);
	if (qalloc__static_holds(m, block))
		return m->item_bytes;
	ma_fail(EINVAL, "%s: address %p is invalid: no allocated item starts there; check that it was not freed before",
		m->name, block);
	return 0;
}
