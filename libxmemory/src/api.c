/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls that may be a program's first: each of them sees that the library is set up. The fast paths serve blocks in RAM within what the
 * thread has left of the budget; all that they cannot do they leave to the slow ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "budget.h"
#include "falloc.h"
#include "large.h"
#include "lock.h"
#include "look.h"
#include "serve.h"
#include "setup.h"
#include "site.h"
#include "state.h"
#include "table.h"
#include "warn.h"

#include "common/error.h"

/* ---- the slow ones ---- */

/* Counted already. */
static MA_NOINLINE void give_slow(void *ptr, _Atomic uint64_t *place)
{
	size_t size = xmemory__entry_size(ma_load(place));

	if (xmemory__keep_more(xmemory__self, ptr, place))
		return;
	/* Before the block is given back: then its place may be another thread's at once. */
	ma_store(place, 0);
	if (!xmemory__large_is(ptr, size)) {
		xmemory__ram.free(ptr);
		return;
	}
	xmemory__large_free(ptr);
	xmemory__budget_fit();
}

static MA_NOINLINE void *malloc_slow(size_t size, const char *file, int line)
{
	xmemory__ready();
	return xmemory__get(&(struct xmemory__ask){ .size = size, .file = file, .line = line });
}

static MA_NOINLINE void free_slow(void *ptr, const char *file, int line)
{
	struct xmemory__ask ask = { .file = file, .line = line };
	_Atomic uint64_t *place;
	int saved = errno;
	uint64_t entry;

	xmemory__ready();
	place = ptr ? xmemory__find(ptr, &entry) : NULL;
	if (place)
		xmemory__ram_free(ptr, place, entry);
	else if (ma_load(&xmemory__mode) & XMEMORY__OFF && (!ptr || !xmemory__look(ptr, &(struct xmemory__block){ 0 })))
		xmemory__ram.free(ptr);
	else if (!ptr)
		xmemory__warn(XMEMORY__FREE_NULL, "free", NULL, file, line);
	else if (!xmemory__elsewhere_free(ptr)) {
		xmemory__refuse(XMEMORY__FREE_UNKNOWN, "free", ptr, file, line);
		saved = EINVAL;
	}
	xmemory__trace("freed", &ask, ptr);
	errno = saved;
}

/* ---- the fast paths ---- */

/* The budget has to be asked first, or what was counted was not to be. */
static MA_NOINLINE void *malloc_again_slow(uint64_t word)
{
	const struct xmemory__site *site = xmemory__site_of(xmemory__entry_site(word));

	return malloc_slow(xmemory__entry_size(word), site->file, site->line);
}

MA_INLINE void *take_kept(struct xmemory__thread *t, size_t class, uint64_t word)
{
	void *block = t->kept[class];
	_Atomic uint64_t *place = xmemory__place(block, xmemory__class_is_wide(class));

	t->kept[class] = (void *)(uintptr_t)ma_load(place);
	t->kept_room += (int32_t) class;
	ma_store(place, xmemory__entry_make(block, word));
	return block;
}

/* Counted, and the thread keeps nothing that fits. */
static MA_NOINLINE void *malloc_fresh_slow(uint64_t word)
{
	size_t size = xmemory__entry_size(word), class = xmemory__kept_class(size);
	void *block;

	if (size <= XMEMORY__KEPT_MAX && xmemory__kept_fetch(xmemory__self, class))
		return take_kept(xmemory__self, class, word);
	block = xmemory__ram.malloc(size);
	if (MA_LIKELY(block) && MA_LIKELY(xmemory__put_at(block, word, size >= XMEMORY__WIDE_FROM)))
		return block;
	if (block)
		xmemory__ram.free(block);
	xmemory__give(size);
	return malloc_again_slow(word);
}

/* All is counted before the block is there, so that little must be kept while the C library works. */
MA_INLINE void *malloc_at(size_t size, uint32_t site)
{
	struct xmemory__thread *t = xmemory__self;
	int64_t left = ma_load(&t->left) - (int64_t)size - XMEMORY__BESIDE;
	int64_t count = ma_load(&t->count) + 1;
	uint64_t word = xmemory__word(site, size);
	size_t class = xmemory__kept_class(size);

	if (MA_UNLIKELY(left < ma_load(&t->low))) {
		if (left < 0)
			return malloc_again_slow(word);
		ma_store(&t->low, left);
		ma_store(&t->low_count, count);
	}
	if (MA_UNLIKELY(count > ma_load(&t->high)))
		ma_store(&t->high, count);
	ma_store(&t->left, left);
	ma_store(&t->count, count);
	if (size > XMEMORY__KEPT_MAX || !t->kept[class])
		return malloc_fresh_slow(word);
	return take_kept(t, class, word);
}

static MA_NOINLINE void *malloc_far_slow(size_t size, const char *file, int line)
{
	return malloc_at(size, xmemory__site_slow(file, line));
}

void *xmemory_malloc(size_t size, const char *file, int line)
{
	const struct xmemory__head *head = xmemory__head(file, line);

	if (MA_UNLIKELY(size - 1 >= ma_load(&xmemory__fast_max)))
		return malloc_slow(size, file, line);
	if (!xmemory__head_is(head, file, line))
		return malloc_far_slow(size, file, line);
	return malloc_at(size, head->id);
}

/* The class follows from the size. The block itself is not read: it may be in no processor cache. */
MA_INLINE void keep_block(struct xmemory__thread *t, void *ptr, _Atomic uint64_t *place, uint64_t entry)
{
	size_t size = xmemory__entry_size(entry), class = xmemory__kept_class(size);

	if (MA_UNLIKELY(size > XMEMORY__KEPT_MAX) || MA_UNLIKELY(t->kept_room <= 0)) {
		give_slow(ptr, place);
		return;
	}
	ma_store(place, (uint64_t)(uintptr_t)t->kept[class]);
	t->kept[class] = ptr;
	t->kept_room -= (int32_t) class;
}

/* Count it; false: this thread has too much of the budget. */
MA_INLINE bool count_freed(struct xmemory__thread *t, uint64_t entry)
{
	int64_t left = ma_load(&t->left) + (int64_t)xmemory__entry_size(entry) + XMEMORY__BESIDE;

	if (MA_UNLIKELY(left > ma_load(&t->most)))
		return false;
	ma_store(&t->left, left);
	ma_store(&t->count, ma_load(&t->count) - 1);
	return true;
}

/* The wide places first, as xmemory__find() does. */
void xmemory_free(void *ptr, const char *file, int line)
{
	struct xmemory__thread *t = xmemory__self;
	struct xmemory__leaf *leaf = xmemory__leaf(ptr);
	_Atomic uint64_t *place = MA_LIKELY(leaf) ? xmemory__wide(leaf, ptr) : NULL;
	uint64_t entry;

	if (place && xmemory__entry_fits(ptr, entry = ma_load(place)) && count_freed(t, entry)) {
		keep_block(t, ptr, place, entry);
		return;
	}
	place = MA_LIKELY(leaf) ? xmemory__narrow(leaf, ptr) : NULL;
	if (MA_LIKELY(place) && MA_LIKELY(xmemory__entry_fits(ptr, entry = ma_load(place))) && count_freed(t, entry)) {
		keep_block(t, ptr, place, entry);
		return;
	}
	free_slow(ptr, file, line);
}

/* ---- other calls for blocks ---- */

void *xmemory_calloc(size_t nmemb, size_t size, const char *file, int line)
{
	struct xmemory__ask ask = { .zeroed = true, .file = file, .line = line };

	if (__builtin_mul_overflow(nmemb, size, &ask.size))
		return ma_fail_null(ENOMEM, "calloc: %zu times %zu bytes are more than a block can have; ask for fewer",
				    nmemb, size);
	xmemory__ready();
	return xmemory__get(&ask);
}

/* A block that the C library gave. */
static void *resize_while_off(void *ptr, size_t size)
{
	void *block = xmemory__ram.realloc(ptr, size);

	if (!block && size > 0)
		ma_fail(errno, "%zu bytes: the C library has no memory; xmemory_on() lets blocks be in VM files", size);
	return block;
}

void *xmemory_realloc(void *ptr, size_t size, const char *file, int line)
{
	struct xmemory__ask ask = { .size = size, .file = file, .line = line };
	int saved = errno;
	void *block;

	xmemory__ready();
	if (!ptr)
		return xmemory_malloc(size, file, line);
	if (ma_load(&xmemory__mode) & XMEMORY__OFF && !xmemory__look(ptr, &(struct xmemory__block){ 0 }))
		return resize_while_off(ptr, size);
	if (size == 0) {
		xmemory_free(ptr, file, line);
		return NULL;
	}
	block = xmemory__resize(ptr, &ask);
	xmemory__trace("resized to", &ask, block);
	if (block)
		errno = saved;
	return block;
}

char *xmemory_strdup(const char *s, const char *file, int line)
{
	size_t bytes;
	char *copy;

	if (!s)
		return NULL;
	bytes = strlen(s) + 1;
	copy = xmemory_malloc(bytes, file, line);
	return copy ? memcpy(copy, s, bytes) : NULL;
}

void *xmemory_memalign(size_t alignment, size_t size, const char *file, int line)
{
	struct xmemory__ask ask = { .size = size, .alignment = alignment, .file = file, .line = line };

	if (!ma_is_pow2(alignment))
		return ma_fail_null(EINVAL, "memalign: alignment %zu: not a power of two; round it up to one",
				    alignment);
	xmemory__ready();
	return xmemory__get(&ask);
}

/* ---- mapped files ---- */

char *xmemory_falloc(const char *name, size_t offs, size_t *size, const char *file, int line)
{
	xmemory__ready();
	if (ma_load(&xmemory__mode) & XMEMORY__OFF)
		return ma_fail_null(EPERM, "falloc: %s: xmemory_off() was called; call xmemory_on() first",
				    name ? name : "NULL");
	if (!name)
		return ma_fail_null(EINVAL, "falloc: the name of the file is NULL; name a regular file");
	return xmemory__mapped_new(name, offs, size, file, line);
}

void xmemory_fdealloc(void *ptr, size_t offs, size_t size, const char *file, int line)
{
	bool done;

	(void)size; /* The mapping knows. */
	xmemory__ready();
	if (!ptr) {
		xmemory__warn(XMEMORY__FDEALLOC_NULL, "fdealloc", NULL, file, line);
		return;
	}
	xmemory__lock();
	done = xmemory__mapped_free(ptr) || xmemory__mapped_free_at(ptr, offs);
	xmemory__unlock();
	if (done)
		return;
	if (xmemory_kind(ptr) != XMEMORY_UNKNOWN)
		xmemory_free(ptr, file, line);
	else
		xmemory__refuse(XMEMORY__FDEALLOC_UNKNOWN, "fdealloc", ptr, file, line);
}

/* ---- what is set ---- */

int xmemory_setlimit(size_t bytes)
{
	xmemory__ready();
	xmemory__budget_set(bytes);
	return 0;
}

int xmemory_setwarnings(int most)
{
	xmemory__ready();
	return xmemory__warnings_most(most);
}
