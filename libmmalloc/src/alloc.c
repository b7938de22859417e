/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking and giving blocks. A fast path serves any open descriptor, the default heap too once it is there; whatever it
 * cannot do it leaves, by a call that ends it, to the slow one. Where mmcheck() or mmtrace() must see a call, the map is watched, so that
 * it is always a slow one.
 */
#include <errno.h>
#include <string.h>

#include "heap.h"

#include "common/error.h"
#include <mmalloc.h>

/* Where a function returns to. What comes below the public functions is told of theirs. */
#define CALLER __builtin_return_address(0)

/* ---- calls that mmcheck() or mmtrace() may have to see ---- */

static void *hooked_malloc(struct ma_image *map, size_t alignment, size_t size, const void *caller)
{
	void *block = mmalloc__take(map, alignment, size);

	if (mmalloc__trace_begin()) {
		mmalloc__trace(caller, "+ %p %#zx", block, size);
		mmalloc__trace_end();
	}
	return block;
}

static void hooked_free(struct ma_image *map, void *ptr, const void *caller)
{
	struct mmalloc__found found;

	if (mmalloc__trace_begin()) {
		mmalloc__trace(caller, "- %p", ptr);
		mmalloc__trace_end();
	}
	if (!ma_image_writable(map))
		ma_heap_free(map, ptr); /* It says so. */
	else if (mmalloc__examine(map, ptr, &found))
		mmalloc__give(map, &found);
}

static void *try_resize(struct ma_image *map, struct mmalloc__found *found, bool sound, size_t size)
{
	if (!ma_image_writable(map))
		return ma_heap_realloc(map, found->user, size); /* It says so. */
	return sound ? mmalloc__resize(map, found, size) : NULL;
}

static void *hooked_realloc(struct ma_image *map, void *ptr, size_t size, const void *caller)
{
	struct mmalloc__found found = { .user = ptr };
	bool sound = ma_image_writable(map) && mmalloc__examine(map, ptr, &found);
	bool traced = mmalloc__trace_begin();
	void *block = try_resize(map, &found, sound, size);

	if (!traced)
		return block;
	if (block) {
		mmalloc__trace(caller, "< %p", ptr);
		mmalloc__trace(caller, "> %p %#zx", block, size);
	} else {
		mmalloc__trace(caller, "! %p %#zx", ptr, size);
	}
	mmalloc__trace_end();
	return block;
}

/* ---- slow paths ---- */

static MA_NOINLINE void *malloc_from(void *md, size_t size, const void *caller)
{
	struct ma_image *map;

	if (size == 0)
		return NULL;
	map = mmalloc__map(md);
	if (!map)
		return NULL;
	if (mmalloc__is_hooked(map))
		return mmalloc__set_last_error(md, hooked_malloc(map, 16, size, caller));
	return mmalloc__set_last_error(md, ma_heap_malloc_slow(map, size));
}

static MA_NOINLINE void free_from(void *md, void *ptr, const void *caller)
{
	struct ma_image *map;
	int saved = errno;

	if (!ptr)
		return;
	map = mmalloc__map(md);
	if (!map)
		return;
	errno = 0;
	if (mmalloc__is_hooked(map))
		hooked_free(map, ptr, caller);
	else
		ma_heap_free_slow(map, ptr);
	if (errno)
		mmalloc__keep_errno(md);
	else
		errno = saved;
}

static void *memalign_from(void *md, size_t alignment, size_t size, const void *caller)
{
	struct ma_image *map;

	if (size == 0)
		return NULL;
	map = mmalloc__map(md);
	if (!map)
		return NULL;
	if (mmalloc__is_hooked(map))
		return mmalloc__set_last_error(md, hooked_malloc(map, alignment, size, caller));
	return mmalloc__set_last_error(md, ma_heap_memalign(map, alignment, size));
}

/*
 * To find out where it returns to would cost the fast path an instruction. But a slow path that is jumped to, as the end of a
 * public function, returns to the same address. Where nothing is optimized it is called, and must be told.
 */
#if defined(__OPTIMIZE__) && !MA_ASAN && !MA_TSAN
static MA_NOINLINE void *malloc_slow(void *md, size_t size)
{
	return malloc_from(md, size, CALLER);
}

static MA_NOINLINE void free_slow(void *md, void *ptr)
{
	free_from(md, ptr, CALLER);
}
#else
#define malloc_slow(md, size) malloc_from((md), (size), CALLER)
#define free_slow(md, ptr)    free_from((md), (ptr), CALLER)
#endif

/* ---- fast paths ---- */

/*
 * By a conditional move, so that the default heap costs no jump more than another one. The address is in a register before the test, and
 * the compiler does not know it there: else it would jump over the one instruction.
 */
MA_INLINE struct ma_image *fast_map(void *md)
{
	struct ma_image *map = &mmalloc__default.image;

	ma_hide(map);
	return md ? md : map;
}

MA_HOT void *mmalloc(void *md, size_t size)
{
	struct ma_image *map = fast_map(md);
	struct ma_cursor *cursor = ma_heap_cursor_full(map, size);

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_slow(md, size);
}

MA_HOT void mfree(void *md, void *ptr)
{
	struct ma_image *map = fast_map(md);

	if (MA_UNLIKELY(!ma_heap_free_fast(map, ptr)))
		free_slow(md, ptr);
}

static void *take(void *md, size_t size, const void *caller)
{
	struct ma_cursor *cursor = ma_heap_cursor_full(md ? md : &mmalloc__default.image, size);

	return MA_LIKELY(cursor != NULL) ? ma_cursor_pop(cursor) : malloc_from(md, size, caller);
}

void *mrealloc(void *md, void *ptr, size_t size)
{
	struct ma_image *map;

	if (!ptr)
		return take(md, size, CALLER);
	if (size == 0) {
		free_from(md, ptr, CALLER);
		return NULL;
	}
	map = mmalloc__map(md);
	if (!map)
		return NULL;
	if (mmalloc__is_hooked(map))
		return mmalloc__set_last_error(md, hooked_realloc(map, ptr, size, CALLER));
	return mmalloc__set_last_error(md, ma_heap_realloc(map, ptr, size));
}

void *mcalloc(void *md, size_t nmemb, size_t size)
{
	size_t bytes;
	void *block;

	if (__builtin_mul_overflow(nmemb, size, &bytes)) {
		ma_fail(ENOMEM, "cannot allocate %zu times %zu bytes: the product overflows; check both numbers", nmemb,
			size);
		return mmalloc__set_last_error(md, NULL);
	}
	block = take(md, bytes, CALLER);
	return block ? memset(block, 0, bytes) : NULL;
}

void *mmemalign(void *md, size_t alignment, size_t size)
{
	return memalign_from(md, alignment, size, CALLER);
}

void *mvalloc(void *md, size_t size)
{
	return memalign_from(md, MA_PAGE, size, CALLER);
}

size_t mmalloc_usable_size(void *md, const void *ptr)
{
	struct ma_image *map = mmalloc__map(md);
	size_t bytes;

	if (!map || !ptr)
		return 0;
	bytes = mmalloc__has_guards(map) ? mmalloc__guarded_size(map, ptr) : ma_heap_usable_size(map, ptr);
	if (!bytes)
		mmalloc__keep_errno(md);
	return bytes;
}
