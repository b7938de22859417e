/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * malloc, free and their kin.
 *
 * A thread remembers, for each size of level 0, the word that it took from last; so threads and processes work in different words.
 * That is a hint like all else: a handler that interrupts us may change it between any two instructions, so an index that
 * is read from it is held against the layout, and read once.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "index.h"
#include "tree.h"

#define MOST_TRIES 65536u /* Listings that turn out wrong, in one call: more are not the work of threads. */
#define MOST_LOST  64u    /* Words that have room and do not give it: they are damaged. */
#define SPOTS      2u

/* Where a thread works in a region. */
struct spot {
	uint64_t id; /* Of the region; 0: of none. */
	uint64_t seed;
	size_t word[WORD_ORDERS];
};

static __thread struct spot spots[SPOTS] __attribute__((tls_model("initial-exec")));

/* Another place, anywhere in the part of `near`. */
static size_t elsewhere(const struct shmbuddy *h, struct spot *spot, uint64_t near)
{
	const struct level *l = region_level(h, 0);
	uint64_t mask = ((uint64_t)1 << l->fan_shift) - 1, first = near & ~mask;

	spot->seed += 0x9e3779b97f4a7c15u;
	return (size_t)(first + ma_mix(spot->seed) % ma_min(mask + 1, l->words - first));
}

MA_INLINE struct spot *spot_of(uint64_t id)
{
	return &spots[id % SPOTS];
}

static void settle(const struct shmbuddy *h, struct spot *spot, uint64_t id)
{
	spot->seed = ma_mix((uint64_t)gettid() << 32 ^ (uint64_t)getpid() ^ (uint64_t)(uintptr_t)spot) + id;
	for (unsigned k = 0; k < WORD_ORDERS; k++)
		spot->word[k] = elsewhere(h, spot, 0);
	spot->id = id;
}

static uint64_t start_of(const struct shmbuddy *h, const struct spot *spot, const struct want *want)
{
	uint64_t word = spot->word[want->level ? 0 : want->order];

	return word < region_level(h, 0)->words ? word : 0;
}

/* ---- malloc ---- */

static uint64_t take_from(struct shmbuddy *h, const struct want *want, unsigned level, uint64_t i, bool only_backed,
			  int *error)
{
	if (level == want->level)
		return shmbuddy__tree_take(h, want, i, only_backed, error);
	return shmbuddy__tree_split(h, want, level, i, only_backed, error);
}

static uint64_t search_local(struct shmbuddy *h, const struct want *want, unsigned level, uint64_t *from, int *error)
{
	const struct level *l = region_level(h, level);
	unsigned order = level == want->level ? want->order : 0;
	uint64_t found, i, last = INDEX_NONE, part;
	unsigned lost = 0;

	for (unsigned turn = 0; turn < MOST_TRIES && lost < MOST_LOST; turn++) {
		i = shmbuddy__index_find(h, l, order, *from);
		if (i == INDEX_NONE) {
			part = l->top ? shmbuddy__index_find_unbacked(h, l, order) : INDEX_NONE;
			if (part == INDEX_NONE)
				return TREE_NONE;
			if (shmbuddy__region_back(h, part << h->lay.part_shift, 1) < 0) {
				*error = errno;
				return TREE_NONE;
			}
			continue;
		}
		lost += i == last;
		last = i;
		*from = i;
		found = take_from(h, want, level, i, false, error);
		if (found != TREE_NONE)
			return found;
		shmbuddy__index_correct(h, l, i);
		if (lost && i + 1 < l->words)
			*from = i + 1;
	}
	return TREE_NONE;
}

/* First what has its space, then anything. */
static uint64_t search_crown(struct shmbuddy *h, const struct want *want, unsigned level, int *error)
{
	const struct level *l = region_level(h, level);
	unsigned order = level == want->level ? want->order : 0;
	uint64_t found;

	for (int only_backed = 1; only_backed >= 0; only_backed--) {
		for (uint64_t i = 0; (i = shmbuddy__index_find_crown(h, l, order, i)) != INDEX_NONE; i++) {
			found = take_from(h, want, level, i, only_backed, error);
			if (found != TREE_NONE)
				return found;
			shmbuddy__index_correct(h, l, i);
		}
	}
	return TREE_NONE;
}

static uint64_t search(struct shmbuddy *h, const struct want *want, struct spot *spot, int *error)
{
	uint64_t start = start_of(h, spot, want), found = TREE_NONE;

	for (unsigned level = want->level; level <= h->lay.top && found == TREE_NONE; level++) {
		uint64_t from = start >> 3 * level;

		if (!region_level(h, level)->local)
			found = search_crown(h, want, level, error);
		else
			found = search_local(h, want, level, &from, error);
	}
	if (found == TREE_NONE || want->level)
		return found;
	/* Has a handler moved our place meanwhile? Then it is he whom we leave. */
	if (start_of(h, spot, want) != start)
		shmbuddy__index_correct(h, region_level(h, 0), start_of(h, spot, want));
	spot->word[want->order] = (size_t)(found >> region_level(h, 0)->cover_shift);
	return found;
}

/* The word that we worked in has no more room of this size. */
static void leave(struct shmbuddy *h, const struct want *want, const struct spot *spot)
{
	const struct level *l = region_level(h, 0);
	uint64_t i = start_of(h, spot, want), w;

	if (want->level || !region_is_backed(h, i >> l->fan_shift))
		return;
	w = region_view(l, ma_load_acquire(region_word(h, l, i)));
	if (word_is_open(w, l->leaves) && !word_places(w, l->leaves, want->order))
		shmbuddy__index_correct(h, l, i);
}

static MA_NOINLINE shm_offt malloc_slow(struct shmbuddy *h, unsigned shift)
{
	struct want want = { .shift = shift };
	int error = ENOMEM, saved = errno;
	struct spot *spot;
	uint64_t id, found;

	if (!shmbuddy__region_may_write(h))
		return SHM_NULL;
	if (shift > h->lay.large_shift) {
		shmbuddy__fail(h, ENOMEM, "asked for more than the largest block");
		return SHM_NULL;
	}
	id = ma_load(&h->id);
	spot = spot_of(id);
	if (spot->id != id)
		settle(h, spot, id);
	want.level = region_level_for(h, shift);
	want.order = shift - region_level(h, want.level)->leaf_shift;
	leave(h, &want, spot);
	found = search(h, &want, spot, &error);
	if (found == TREE_NONE && shmbuddy__region_mend_some(h))
		found = search(h, &want, spot, &error);
	if (found == TREE_NONE) {
		shmbuddy__fail(h, error, error == ENOMEM ? "no room for a block of this size" : "no disk space");
		return SHM_NULL;
	}
	errno = saved;
	return (shm_offt)(h->lay.area_at + found);
}

/* log2 of the block for so many bytes. */
MA_INLINE unsigned shift_for(const struct shmbuddy *h, size_t size)
{
	unsigned small = h->lay.small_shift;
	size_t most = size - 1;

	if (MA_UNLIKELY(size == 0) || most >> small == 0)
		return small;
	return (unsigned)(sizeof(most) * 8) - (unsigned)__builtin_clzl(most);
}

shm_offt shmbuddy_malloc(shmbuddy_t *h, size_t size)
{
	const struct level *l;
	struct spot *spot;
	_Atomic uint64_t *word;
	unsigned shift, order, leaf;
	uint64_t w, id, at;
	uint32_t places;
	size_t i;

	if (MA_UNLIKELY(!h)) {
		errno = EBADF;
		return SHM_NULL;
	}
	id = ma_load(&h->id);
	shift = shift_for(h, size);
	order = shift - h->lay.small_shift;
	spot = spot_of(id);
	l = region_level(h, 0);
	if (MA_UNLIKELY(id == 0 || spot->id != id || order > l->cap || shift >= (unsigned)l->cover_shift + l->top))
		return malloc_slow(h, shift);
	i = *(volatile size_t *)&spot->word[order];
	if (MA_UNLIKELY(i >= l->words || !region_is_backed(h, i >> l->fan_shift)))
		return malloc_slow(h, shift);
	word = region_word(h, l, i);
	w = ma_load_acquire(word);
	places = word_is_open(w, WORD_LEAVES) ? word_places(w, WORD_LEAVES, order) : 0;
	if (MA_UNLIKELY(!places))
		return malloc_slow(h, shift);
	leaf = (unsigned)__builtin_ctz(places);
	at = ((uint64_t)i << l->cover_shift) + ((uint64_t)leaf << l->leaf_shift);
	if (MA_UNLIKELY(at + ((uint64_t)1 << shift) > h->lay.area)) /* Damage. */
		return malloc_slow(h, shift);
	if (MA_UNLIKELY(!ma_cas(word, &w, word_take(w, WORD_LEAVES, leaf, order)))) {
		spot->word[order] = elsewhere(h, spot, i); /* Somebody else works here. */
		return malloc_slow(h, shift);
	}
	return (shm_offt)(h->lay.area_at + at);
}

shm_offt shmbuddy_calloc(shmbuddy_t *h, size_t count, size_t size)
{
	shm_offt offset;
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		shmbuddy__fail(h, ENOMEM, "the product of count and size is more than there can be");
		return SHM_NULL;
	}
	offset = shmbuddy_malloc(h, bytes);
	if (offset)
		memset(h->base + offset, 0, bytes);
	return offset;
}

/* ---- by offset ---- */

/* The block that begins there. False: errno EINVAL. */
static bool find(const struct shmbuddy *h, shm_offt offset, struct place *place)
{
	uint64_t at = (uint64_t)offset - h->lay.area_at;

	if (MA_LIKELY(offset >= h->lay.area_at && at < h->lay.area) && region_is_backed(h, region_part_of(h, at)) &&
	    shmbuddy__tree_find(h, at, place))
		return true;
	shmbuddy__fail(h, EINVAL, "no block begins at this offset: it was freed before, or never dealt out");
	return false;
}

int shmbuddy_free(shmbuddy_t *h, shm_offt offset)
{
	struct place place;
	int saved = errno;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (offset == SHM_NULL)
		return 0;
	if (!find(h, offset, &place))
		return -1;
	if (!shmbuddy__tree_give(h, &place))
		return shmbuddy__fail(h, EINVAL, "the block was freed by somebody else at the same time");
	errno = saved;
	return 0;
}

size_t shmbuddy_usable_size(shmbuddy_t *h, shm_offt offset)
{
	struct place place;

	if (!region_is_open(h)) {
		errno = EBADF;
		return 0;
	}
	if (offset == SHM_NULL || !find(h, offset, &place))
		return 0;
	return (size_t)1 << (place.l->leaf_shift + place.order);
}

/* Elsewhere, contents and all. */
static shm_offt move(struct shmbuddy *h, shm_offt offset, const struct place *old, size_t size, unsigned shift)
{
	size_t had = (size_t)1 << (old->l->leaf_shift + old->order);
	shm_offt to = shmbuddy_malloc(h, size);

	if (!to) /* A smaller one would only have been thriftier. */
		return shift < old->l->leaf_shift + old->order ? offset : SHM_NULL;
	memcpy(h->base + to, h->base + offset, size < had ? size : had);
	shmbuddy_free(h, offset);
	return to;
}

shm_offt shmbuddy_realloc(shmbuddy_t *h, shm_offt offset, size_t size)
{
	int saved = errno;
	struct place place;
	unsigned shift, has;

	if (offset == SHM_NULL)
		return shmbuddy_malloc(h, size);
	if (!shmbuddy__region_may_write(h) || !find(h, offset, &place))
		return SHM_NULL;
	shift = shift_for(h, size);
	has = place.l->leaf_shift + place.order;
	if (shift == has)
		return offset;
	if (shift > h->lay.large_shift) {
		shmbuddy__fail(h, ENOMEM, "asked for more than the largest block");
		return SHM_NULL;
	}
	if (region_level_for(h, shift) == place.level && shmbuddy__tree_resize(h, &place, shift - place.l->leaf_shift))
		return offset;
	offset = move(h, offset, &place, size, shift);
	if (offset)
		errno = saved;
	return offset;
}

void *shmbuddy_address(shmbuddy_t *h, shm_offt offset)
{
	if (!region_is_open(h)) {
		errno = EBADF;
		return NULL;
	}
	if (MA_UNLIKELY(offset < h->lay.area_at || offset - h->lay.area_at >= h->lay.area)) {
		if (offset != SHM_NULL)
			shmbuddy__fail(h, EINVAL, "the offset is not one of a block");
		return NULL;
	}
	return h->base + offset;
}

shm_offt shmbuddy_offset(shmbuddy_t *h, const void *address)
{
	uintptr_t at = (uintptr_t)address, first;

	if (!region_is_open(h)) {
		errno = EBADF;
		return SHM_NULL;
	}
	first = (uintptr_t)h->base + (uintptr_t)h->lay.area_at;
	if (MA_UNLIKELY(at < first || at - first >= h->lay.area)) {
		if (address)
			shmbuddy__fail(h, EINVAL, "the address is not one of a block");
		return SHM_NULL;
	}
	return (shm_offt)(at - (uintptr_t)h->base);
}

void *shmbuddy_base(shmbuddy_t *h)
{
	if (region_is_open(h))
		return h->base;
	errno = EBADF;
	return NULL;
}
