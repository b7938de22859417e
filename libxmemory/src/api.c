/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls. The fast paths serve blocks in RAM within what the thread has left of the budget; whatever they cannot do they
 * leave to the slow ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include "core.h"

#include "common/error.h"

#define VM_FROM ((size_t)256 << 10) /* From this size on a block has a VM file of its own. */

/* ---- blocks in RAM ---- */

static void *ram_ask(const struct xmemory__ask *ask)
{
	if (ask->alignment > 16)
		return xmemory__ram.memalign(ask->alignment, ask->size);
	return ask->zeroed ? xmemory__ram.calloc(1, ask->size) : xmemory__ram.malloc(ask->size);
}

/* NULL: over budget, or no memory. */
static void *ram_new(const struct xmemory__ask *ask)
{
	void *block;

	if (!xmemory__take(ask->size))
		return NULL;
	block = ram_ask(ask);
	if (block && xmemory__put(block, xmemory__word(xmemory__site(ask->file, ask->line), ask->size)))
		return block;
	if (block)
		xmemory__ram.free(block);
	xmemory__give(ask->size);
	return NULL;
}

static MA_NOINLINE void give_slow(void *ptr, _Atomic uint64_t *place)
{
	/* Before the block is given back: then its place may be another thread's at once. */
	ma_store(place, 0);
	xmemory__ram.free(ptr);
}

static void ram_free(void *ptr, _Atomic uint64_t *place, uint64_t entry)
{
	give_slow(ptr, place);
	xmemory__give(xmemory__entry_size(entry));
}

/* It was charged before, and is again, whatever others took meanwhile. */
static void recharge(size_t size)
{
	xmemory__depth++;
	xmemory__take(size);
	xmemory__depth--;
}

/* NULL: over budget, or no memory; the block is as it was. */
static void *ram_resize(void *ptr, _Atomic uint64_t *place, uint64_t entry, const struct xmemory__ask *ask)
{
	size_t had = xmemory__entry_size(entry);
	uint32_t site = xmemory__site(ask->file, ask->line);
	void *block = NULL;

	xmemory__give(had);
	if (xmemory__take(ask->size)) {
		ma_store(place, 0);
		block = xmemory__ram.realloc(ptr, ask->size);
		if (!block)
			xmemory__give(ask->size);
	}
	if (!block) {
		ma_store(place, entry);
		recharge(had);
		return NULL;
	}
	/* Without memory for the table it cannot be known; it is the caller's all the same. */
	if (!xmemory__put(block, xmemory__word(site, ask->size)))
		xmemory__give(ask->size);
	return block;
}

/* ---- blocks in VM files ---- */

static bool is_lack_of_mappings(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE || error == EAGAIN;
}

static void *vm_new(const struct xmemory__ask *ask)
{
	void *block = NULL;

	if (ask->size >= VM_FROM || ask->alignment > VM_FROM) {
		block = xmemory__vm_new(ask);
		if (block || !is_lack_of_mappings(errno) || ask->size > INT64_MAX)
			return block;
	}
	xmemory__lock();
	block = xmemory__small_new(ask);
	xmemory__unlock();
	if (!block && errno == EBADF) /* The program closed the shared VM file's descriptor: a file for this block alone. */
		block = xmemory__vm_new(ask);
	return block;
}

static void trace(const char *what, const struct xmemory__ask *ask, const void *ptr)
{
	if (MA_UNLIKELY(ma_load(&xmemory__mode) & XMEMORY__TRACE))
		xmemory__say("xmemory: %s %zu bytes at %p, %s:%d", what, ask->size, ptr, ask->file ? ask->file : "?",
			     ask->line);
}

static void *get_while_off(const struct xmemory__ask *ask)
{
	void *block = ram_ask(ask);

	if (!block && ask->size > 0)
		ma_fail(errno, "%zu bytes: the C library has no memory; xmemory_on() lets blocks be in VM files",
			ask->size);
	return block;
}

void *xmemory__get(const struct xmemory__ask *ask)
{
	int saved = errno;
	bool early;
	void *block;

	xmemory__ready();
	if (ma_load(&xmemory__mode) & XMEMORY__OFF)
		return get_while_off(ask);
	if (ask->size == 0)
		return NULL;
	early = ma_load(&xmemory__mode) & XMEMORY__UNREADY;
	xmemory__depth += early;
	block = ram_new(ask);
	if (!block && xmemory__depth == 0)
		block = vm_new(ask);
	xmemory__depth -= early;
	trace("took", ask, block);
	if (block)
		errno = saved;
	return block;
}

static bool elsewhere_free(void *ptr)
{
	bool done;

	if (xmemory__vm_free(ptr))
		return true;
	xmemory__lock();
	done = xmemory__small_has(ptr) ? xmemory__small_free(ptr) : xmemory__mapped_free(ptr);
	xmemory__unlock();
	return done;
}

/* Copy into a new block; the old one goes. */
static void *moved(const struct xmemory__block *from, void *to, size_t size)
{
	if (!to)
		return NULL;
	memcpy(to, from->ptr, ma_min(from->size, size));
	elsewhere_free(from->ptr);
	return to;
}

/* To RAM, if there is room now; else as it is, or to another VM file. */
static void *elsewhere_resize(const struct xmemory__block *block, const struct xmemory__ask *ask)
{
	bool off = ma_load(&xmemory__mode) & XMEMORY__OFF;
	void *fresh = ram_new(ask);

	if (!fresh && block->kind == XMEMORY_VMFILE && ask->size >= VM_FROM) {
		fresh = xmemory__vm_resize(block->ptr, ask->size, xmemory__site(ask->file, ask->line));
		if (fresh || !is_lack_of_mappings(errno))
			return fresh;
	}
	if (!fresh && !off)
		fresh = vm_new(ask);
	return moved(block, fresh, ask->size);
}

/* ---- the slow ways ---- */

/* What is no block: nothing happens but a warning, and a failure for xmemory_errmsg(). */
static void refuse(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line)
{
	xmemory__warn(kind, call, ptr, file, line);
	ma_fail_quiet(EINVAL,
		      "%s(%p) in %s, line %d: not a block of this library: freed before, or never allocated by it; "
		      "free a block once, and by the allocator that it came from",
		      call, ptr, file ? file : "?", line);
}

static MA_NOINLINE void *malloc_slow(size_t size, const char *file, int line)
{
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
		ram_free(ptr, place, entry);
	else if (ma_load(&xmemory__mode) & XMEMORY__OFF && (!ptr || !xmemory__look(ptr, &(struct xmemory__block){ 0 })))
		xmemory__ram.free(ptr);
	else if (!ptr)
		xmemory__warn(XMEMORY__FREE_NULL, "free", NULL, file, line);
	else if (!elsewhere_free(ptr)) {
		refuse(XMEMORY__FREE_UNKNOWN, "free", ptr, file, line);
		saved = EINVAL;
	}
	trace("freed", &ask, ptr);
	errno = saved;
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
		refuse(XMEMORY__FDEALLOC_UNKNOWN, "fdealloc", ptr, file, line);
}

static void *realloc_known(void *ptr, const struct xmemory__ask *ask)
{
	struct xmemory__block block;
	uint64_t entry;
	_Atomic uint64_t *place = xmemory__find(ptr, &entry);

	if (!xmemory__look(ptr, &block)) {
		refuse(XMEMORY__REALLOC_UNKNOWN, "realloc", ptr, ask->file, ask->line);
		return NULL;
	}
	if (block.kind == XMEMORY_RAM) {
		void *fresh = ram_resize(ptr, place, entry, ask);

		if (fresh || xmemory__depth > 0)
			return fresh;
		fresh = vm_new(ask);
		if (fresh) {
			memcpy(fresh, ptr, ma_min(block.size, ask->size));
			ram_free(ptr, place, entry);
		}
		return fresh;
	}
	return elsewhere_resize(&block, ask);
}

/* ---- the original's calls ---- */

/* The budget has to be asked first, or what was counted was not to be. */
static MA_NOINLINE void *malloc_again_slow(uint64_t word)
{
	const struct xmemory__site *site = xmemory__site_of(xmemory__entry_site(word));

	return malloc_slow(xmemory__entry_size(word), site->file, site->line);
}

/* Counted, and nothing kept that fits. */
static MA_NOINLINE void *malloc_fresh_slow(uint64_t word)
{
	size_t size = xmemory__entry_size(word);
	void *block = xmemory__ram.malloc(size);

	if (MA_LIKELY(block) && MA_LIKELY(xmemory__put_at(block, word, size >= XMEMORY__WIDE_FROM)))
		return block;
	if (block)
		xmemory__ram.free(block);
	xmemory__give(size);
	return malloc_again_slow(word);
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

/*
 * Its class is had from the C library's own word in front of it, which has the size and three bits of another sort: by way of
 * the table it would come later, and a block that is wanted at once has to wait for it. Where the C library gave more than
 * was asked for, that class may be of the other sort than the entry: then it is not kept.
 */
MA_INLINE void keep_block(struct xmemory__thread *t, void *ptr, _Atomic uint64_t *place, bool is_wide)
{
	size_t end = is_wide ? XMEMORY__KEPT_CLASSES : (XMEMORY__WIDE_FROM + 23) / 16;
	size_t class = t->kept_room > 0 ? ((const size_t *)ptr)[-1] / 16 : SIZE_MAX;

	if (class >= end) {
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
		keep_block(t, ptr, place, true);
		return;
	}
	place = MA_LIKELY(leaf) ? xmemory__narrow(leaf, ptr) : NULL;
	if (MA_LIKELY(place) && MA_LIKELY(xmemory__entry_fits(ptr, entry = ma_load(place))) && count_freed(t, entry)) {
		keep_block(t, ptr, place, false);
		return;
	}
	free_slow(ptr, file, line);
}

void *xmemory_calloc(size_t nmemb, size_t size, const char *file, int line)
{
	struct xmemory__ask ask = { .zeroed = true, .file = file, .line = line };

	if (__builtin_mul_overflow(nmemb, size, &ask.size))
		return ma_fail_null(ENOMEM, "calloc: %zu times %zu bytes are more than a block can have; ask for fewer",
				    nmemb, size);
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
	block = realloc_known(ptr, &ask);
	trace("resized to", &ask, block);
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
	return xmemory__get(&ask);
}
