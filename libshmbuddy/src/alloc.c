/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * malloc, free and their kin.
 *
 * The fast paths are for words that lie with their parts: malloc takes from the word on top of the thread's hints (location.h) by one
 * compare-exchange, and free gives by another and pushes the word. Both leave the index alone while the word is listed anyway.
 * A handler that interrupts us may change the location between any two instructions: each hint is read once, and held against the
 * layout.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "index.h"
#include "search.h"

/* ---- malloc ---- */

static uint64_t block_bytes(unsigned shift)
{
	return shift < 64 ? (uint64_t)1 << shift : UINT64_MAX;
}

static shm_offt fail_too_large(const struct shmbuddy *h, unsigned shift)
{
	shmbuddy__fail(h, ENOMEM,
		       "cannot allocate a block of %" PRIu64 " bytes: the region's largest block has %" PRIu64
		       " bytes; ask for less, or create a region with a larger option largest",
		       block_bytes(shift), block_bytes(h->lay.large_shift));
	return SHM_NULL;
}

static shm_offt fail_no_space(const struct shmbuddy *h, unsigned shift)
{
	if (errno == ENOMEM)
		shmbuddy__fail(h, ENOMEM,
			       "region is full: no free block of %" PRIu64 " bytes among %" PRIu64
			       "; free blocks, or use a larger region",
			       block_bytes(shift), region_own(h));
	else
		shmbuddy__fail(h, errno,
			       "no disk space for a block of %" PRIu64
			       " bytes: fallocate(2) failed; free space on its file system",
			       block_bytes(shift));
	return SHM_NULL;
}

static MA_NOINLINE shm_offt malloc_slow(struct shmbuddy *h, unsigned shift)
{
	struct want want = { .shift = shift };
	uint64_t found;

	if (!shmbuddy__region_may_write(h))
		return SHM_NULL;
	if (shift > h->lay.large_shift)
		return fail_too_large(h, shift);
	want.level = region_level_for(h, shift);
	want.order = shift - region_level(h, want.level)->leaf_shift;
	found = shmbuddy__search(h, shmbuddy__location_settle(h), &want);
	if (found == TREE_NONE)
		return fail_no_space(h, shift);
	return (shm_offt)(h->lay.area_at + found);
}

/* log2 of the block for so many bytes. */
MA_INLINE unsigned shift_for(const struct shmbuddy *h, size_t size)
{
	uint64_t most = ((uint64_t)size - (size != 0)) | (((uint64_t)1 << h->lay.small_shift) - 1);

	return 64 - (unsigned)__builtin_clzll(most);
}

static MA_NOINLINE shm_offt malloc_without(void)
{
	shmbuddy__fail_closed(NULL);
	return SHM_NULL;
}

MA_HOT shm_offt shmbuddy_malloc(shmbuddy_t *h, size_t size)
{
	const struct class *class;
	_Atomic uint64_t *word;
	uint64_t hint, w, next, at;
	uint32_t ends, leaf;
	struct location *location;
	unsigned shift, k;

	if (MA_UNLIKELY(!h))
		return malloc_without();
	shift = shift_for(h, size);
	k = shift - h->lay.small_shift;
	location = location_of(h);
	if (MA_UNLIKELY(k >= h->classes || ma_load(&location->id) != ma_load(&h->id)))
		return malloc_slow(h, shift);
	class = &h->class[k];
	hint = ma_load(&location->now[k]);
	if (MA_UNLIKELY(!hint))
		return malloc_slow(h, shift);
	word = (_Atomic uint64_t *)(void *)(h->meta + ((hint & UINT32_MAX) - 1) * 8);
	w = ma_load_acquire(word); /* Pairs with libshmbuddy/src/alloc.c:give. */
	ends = word_ends(w, class->beyond, class->highest);
	if (MA_UNLIKELY(!ends || !(w & class->open)))
		return malloc_slow(h, shift);
	leaf = (uint32_t)__builtin_ctz(ends) - class->rest;
	at = (hint >> 32) * class->cover + leaf * class->leaf;
	/* As word_take(): for leaf 0 the bit of the head is that of OPEN, which is set. */
	next = (w + class->stamp) | class->take << leaf;
	/* Beyond the end of the area words may have leaves, which no block has. */
	if (MA_UNLIKELY(at >= ma_load_either(&class->end) || !ma_cas(word, &w, next)))
		return malloc_slow(h, shift);
	location_pop(location, k, hint, (ends & (ends - 1)) == 0);
	return (shm_offt)(h->lay.area_at + at);
}

shm_offt shmbuddy_calloc(shmbuddy_t *h, size_t count, size_t size)
{
	shm_offt offset;
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		shmbuddy__fail(h, ENOMEM,
			       "cannot allocate %" PRIu64 " times %" PRIu64
			       " bytes: the product overflows; check both numbers",
			       (uint64_t)count, (uint64_t)size);
		return SHM_NULL;
	}
	offset = shmbuddy_malloc(h, bytes);
	if (offset)
		memset(h->base + offset, 0, bytes);
	return offset;
}

/* ---- by offset ---- */

static uint64_t bytes_of(const struct block *block)
{
	return (uint64_t)1 << (block->l->leaf_shift + block->order);
}

/* The block that begins there. False: errno EINVAL. */
static bool find(const struct shmbuddy *h, shm_offt offset, struct block *block)
{
	uint64_t at = (uint64_t)offset - h->lay.area_at, area = region_area(h);

	/* A damaged word may say that its block goes on beyond the area. */
	if (MA_LIKELY(offset >= h->lay.area_at && at < area) && region_is_backed(h, region_part_of(h, at)) &&
	    shmbuddy__tree_find(h, at, block) && bytes_of(block) <= area - at)
		return true;
	shmbuddy__fail(h, EINVAL,
		       "offset %#" PRIx64
		       " is invalid: no allocated block begins there; look for a double free or a wrong offset",
		       (uint64_t)offset);
	return false;
}

/* A word has no block any more: it stays open for a while, when this thread has a location to remember it. */
static void vacate(struct shmbuddy *h, const struct level *l, uint64_t i)
{
	unsigned level = (unsigned)(l - h->lay.level);
	struct location *location = location_of(h);

	if (l->local && ma_load(&location->id) == ma_load(&h->id))
		shmbuddy__search_vacate(h, location, level, i);
	else
		shmbuddy__tree_merge(h, level, i);
}

static void remember(struct shmbuddy *h, const struct block *block)
{
	unsigned class = block->l->leaf_shift + block->order - h->lay.small_shift;
	uint64_t at = (uint64_t)((const char *)block->at - h->meta);

	if (class < h->classes)
		location_push(shmbuddy__location_settle(h), class, location_hint(block->i, at));
}

static MA_NOINLINE int free_slow(struct shmbuddy *h, shm_offt offset)
{
	struct block block;
	int saved = errno;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (offset == SHM_NULL)
		return 0;
	if (!find(h, offset, &block))
		return -1;
	if (!shmbuddy__tree_give(h, &block))
		return shmbuddy__fail(
			h, EINVAL,
			"offset %#" PRIx64
			" is invalid: another thread freed the block at the same time; look for a double free",
			(uint64_t)offset);
	remember(h, &block);
	if (!block.l->top && word_is_empty(block.w, block.l->leaves))
		vacate(h, block.l, block.i);
	errno = saved;
	return 0;
}

/* What is left to do after the change: the listing was taken off meanwhile, or the word has no block any more. */
static MA_NOINLINE int free_slow_end(struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t next)
{
	int saved = errno;

	if (!index_is_listed(l, region_meta(h, i >> l->fan_shift), i & l->fan))
		shmbuddy__index_list(h, l, i, l->cap);
	if (!l->top && word_is_empty(next, l->leaves))
		vacate(h, l, i);
	errno = saved;
	return 0;
}

/* A block that lies in word i of a level of n leaves, which says w. */
struct given {
	shm_offt offset;
	uint64_t at; /* The same in the area. */
	const struct level *l;
	char *meta; /* Of its part. */
	uint64_t i, w;
};

MA_INLINE _Atomic uint64_t *given_word(const struct given *g)
{
	return (_Atomic uint64_t *)(void *)(g->meta + g->l->words_at + (g->i & g->l->fan) * 8);
}

/* Of level 0 all sizes have hints, if any has. */
MA_INLINE int give(struct shmbuddy *h, const struct given *g, unsigned n)
{
	uint64_t stamp = n == WORD_UPPER ? (uint64_t)1 << WORD_STAMP_SHIFT : 0, w = g->w, first, block, next;
	const struct level *l = g->l;
	uint32_t leaf = (uint32_t)(g->at >> l->leaf_shift) & (n - 1), leaves, class;
	_Atomic uint64_t *word = given_word(g);
	struct location *location = location_of(h);

	first = (uint64_t)1 << leaf;
	block = word_block(w, n, first);
	leaves = (uint32_t)__builtin_ctzll(block + first) - leaf;
	if (MA_UNLIKELY((g->at & l->leaf_rest) || !block || ((leaf | leaves) & (leaves - 1)) ||
			word_is_split(w, n, leaf) || !index_is_listed(l, g->meta, g->i & l->fan)))
		return free_slow(h, g->offset);
	class = l->first + (uint32_t)__builtin_ctz(leaves);
	if (MA_UNLIKELY((n == WORD_UPPER && class >= h->classes) || ma_load(&location->id) != ma_load(&h->id)))
		return free_slow(h, g->offset);
	/* As word_give(): these bits are all set, but for the head's of leaf 0, which is OPEN. The block is known last. */
	next = w + stamp - (first << n & ~word_open(n)) - block;
	/*
	 * Sequentially consistent, as are all reads of the index: a thread that takes the listing off before the second read here sees the
	 * change.
	 */
	/* Pairs with libshmbuddy/src/alloc.c:shmbuddy_malloc. */
	if (MA_UNLIKELY(!atomic_compare_exchange_strong(word, &w, next)))
		return free_slow(h, g->offset);
	location_push(location, class, location_hint(g->i, (uint64_t)((char *)word - h->meta)));
	if (MA_UNLIKELY(!index_is_listed(l, g->meta, g->i & l->fan) || (!l->top && word_busy(next, n) == 0)))
		return free_slow_end(h, l, g->i, next);
	return 0;
}

MA_INLINE void look_up(struct given *g)
{
	g->i = g->at >> g->l->cover_shift;
	g->w = ma_load_acquire(given_word(g)); /* Pairs with libshmbuddy/src/tree.c:open_down. */
}

MA_HOT int shmbuddy_free(shmbuddy_t *h, shm_offt offset)
{
	struct given g = { .offset = offset };
	uint64_t part;

	if (MA_UNLIKELY(!h))
		return free_slow(h, offset);
	g.at = (uint64_t)offset - h->lay.area_at;
	part = region_part_of(h, g.at);
	if (MA_UNLIKELY(g.at >= ma_load(&h->reach) || !region_is_backed(h, part)))
		return free_slow(h, offset);
	/* The next malloc of this size takes this block, and its caller writes to it. */
	__builtin_prefetch(h->base + offset, 1);
	g.meta = region_meta(h, part);
	g.l = region_level(h, 0);
	look_up(&g);
	if (g.w & word_open(WORD_LEAVES))
		return give(h, &g, WORD_LEAVES);
	do {
		g.l++;
		if (MA_UNLIKELY(!g.l->local))
			return free_slow(h, offset);
		look_up(&g);
	} while (!(g.w & word_open(WORD_UPPER)));
	return give(h, &g, WORD_UPPER);
}

size_t shmbuddy_usable_size(shmbuddy_t *h, shm_offt offset)
{
	struct block block;

	if (!region_is_open(h)) {
		shmbuddy__fail_closed(h);
		return 0;
	}
	if (offset == SHM_NULL || !find(h, offset, &block))
		return 0;
	return (size_t)bytes_of(&block);
}

/* The region has grown by more than this process had addresses for when it mapped it. */
static void fail_unmapped(const struct shmbuddy *h, shm_offt offset)
{
	shmbuddy__fail(h, ENOMEM,
		       "block at offset %#" PRIx64 " cannot be reached: this process has mapped only %" PRIu64
		       " bytes of the region; raise `ulimit -v`, and open it again",
		       (uint64_t)offset, h->lay.area_at + h->own);
}

/* Elsewhere, contents and all. */
static shm_offt move(struct shmbuddy *h, shm_offt offset, const struct block *old, size_t size, unsigned shift)
{
	size_t had = (size_t)bytes_of(old);
	shm_offt to;

	if (offset - h->lay.area_at + had > region_own(h)) {
		fail_unmapped(h, offset);
		return SHM_NULL;
	}
	to = shmbuddy_malloc(h, size);

	if (!to) /* A smaller one would only have been thriftier. */
		return shift < old->l->leaf_shift + old->order ? offset : SHM_NULL;
	ma_move_block(h->base + to, h->base + offset, size < had ? size : had);
	shmbuddy_free(h, offset);
	return to;
}

shm_offt shmbuddy_realloc(shmbuddy_t *h, shm_offt offset, size_t size)
{
	int saved = errno;
	struct block block;
	unsigned shift, has;

	if (offset == SHM_NULL)
		return shmbuddy_malloc(h, size);
	if (!shmbuddy__region_may_write(h) || !find(h, offset, &block))
		return SHM_NULL;
	shift = shift_for(h, size);
	has = block.l->leaf_shift + block.order;
	if (shift == has)
		return offset;
	if (shift > h->lay.large_shift)
		return fail_too_large(h, shift);
	if (region_level_for(h, shift) == block.level && shmbuddy__tree_resize(h, &block, shift - block.l->leaf_shift))
		return offset;
	offset = move(h, offset, &block, size, shift);
	if (offset)
		errno = saved;
	return offset;
}

static MA_NOINLINE void address_fail(const struct shmbuddy *h, shm_offt offset)
{
	if (offset == SHM_NULL)
		return;
	if (offset >= h->lay.area_at && offset - h->lay.area_at < region_area(h))
		fail_unmapped(h, offset);
	else
		shmbuddy__fail(h, EINVAL,
			       "offset %#" PRIx64 " is invalid: blocks lie from %#" PRIx64 " to %#" PRIx64
			       "; check where it comes from",
			       (uint64_t)offset, h->lay.area_at, h->lay.area_at + region_area(h) - 1);
}

void *shmbuddy_address(shmbuddy_t *h, shm_offt offset)
{
	if (!region_is_open(h)) {
		shmbuddy__fail_closed(h);
		return NULL;
	}
	if (MA_UNLIKELY(offset < h->lay.area_at || offset - h->lay.area_at >= region_own(h))) {
		address_fail(h, offset);
		return NULL;
	}
	return h->base + offset;
}

shm_offt shmbuddy_offset(shmbuddy_t *h, const void *address)
{
	uintptr_t at = (uintptr_t)address, first;

	if (!region_is_open(h)) {
		shmbuddy__fail_closed(h);
		return SHM_NULL;
	}
	first = (uintptr_t)h->base + (uintptr_t)h->lay.area_at;
	if (MA_UNLIKELY(at < first || at - first >= region_own(h))) {
		if (address)
			shmbuddy__fail(h, EINVAL,
				       "address %#" PRIx64 " is invalid: blocks lie from %#" PRIx64 " to %#" PRIx64
				       "; check which region it belongs to",
				       (uint64_t)at, (uint64_t)first, (uint64_t)first + region_own(h) - 1);
		return SHM_NULL;
	}
	return (shm_offt)(at - (uintptr_t)h->base);
}

void *shmbuddy_base(shmbuddy_t *h)
{
	if (region_is_open(h))
		return h->base;
	shmbuddy__fail_closed(h);
	return NULL;
}
