/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A region of this process: where it is mapped, how it is laid out.
 *
 * struct shmbuddy is the handle that callers hold. Its memory is never given back to the system, only used again for another region,
 * and not soon: so a call on a closed handle fails and does no harm.
 *
 * Everything in alloc.c, area.c, search.c, tree.c, index.c, mend.c and space.c may run in a signal handler that interrupted the same function: no lock,
 * no memory, no stdio, and only system calls that do not wait. tests/install/signals holds the list of symbols against them.
 */
#ifndef SHMBUDDY_REGION_H
#define SHMBUDDY_REGION_H

#include "layout.h"
#include "location.h"
#include <shmbuddy.h>

struct checkpoints;

struct shmbuddy {
	_Atomic uint64_t id; /* Unique for ever in this process, another one in a fork child; 0: closed. */
	_Atomic uint64_t
		reach; /* Offsets in the area below it may be freed the fast way: all that we know of, or with 0 none. */
	struct class class[LOCATION_CLASSES];
	unsigned classes; /* Sizes with hints, from the smallest on. */
	char *base;
	char *meta;
	struct control *control;
	_Atomic uint64_t *backed; /* A bit for each part: it has its disk space. */
	struct layout lay;        /* From the checked header; the region's own copy is not read again. */
	_Atomic uint64_t seen;    /* The region's length when we looked last ... */
	_Atomic uint64_t
		area; /* ... and the most that it was, when that was true: bytes of the area. Neither ever gets less. */
	uint64_t most; /* No more area is ever believed. */
	uint64_t own; /* Bytes of the area that this process has mapped, or may: what is beyond it does not allocate. */
	uint64_t mapped; /* By us, bytes; 0: the memory is the caller's. */
	struct ma_place place; /* As in common/regfile.h. */
	int fd;   /* As it was opened; -1: none. shmbuddy__region_fd() says which one is ours now. */
	int mark; /* common/fd.h */
	_Atomic uint64_t again; /* The program closed it: mark and number + 1 of one that was opened since. 0: none. */
	bool writable;
	bool attached; /* fd holds the attach byte, shared, or kept exclusively. */
	bool exclusive;
	bool barred; /* While forking: the child does not get its memory. */
	bool rehearses; /* Its pages are private: what is tried there must change no byte of the file. */
	struct shmbuddy_opening opening;
	_Atomic(struct checkpoints *) checkpoints; /* durable.c. NULL: none was made by this handle. */
	_Atomic int32_t process;                   /* That opened it, or was noticed since as a child of that. */
	bool debug; /* SHMBUDDY_DEBUG. */
	uint64_t closed_at;
	uint64_t named; /* Whose name it is: the first id of the region, also after it was closed. */
	struct shmbuddy *next;
	char name[256];          /* For messages. */
	struct location location
		[LOCATIONS]; /* The last: a handle that is used again keeps them, their id says whose they are. */
};

/*
 * A failure in a call that a signal handler may make: errno, a sentence for shmbuddy_errmsg(), and a debug line when asked for. The
 * format is what fail.c knows: PRIu64, PRIx64, and one %s at its end. h is NULL where there is none.
 */
int shmbuddy__fail(const struct shmbuddy *h, int err, const char *format, ...) MA_PRINTF(3, 4);
/* The same without the line: what a program asks for in order to learn that it is not there. */
int shmbuddy__fail_quiet(const struct shmbuddy *h, int err, const char *format, ...) MA_PRINTF(3, 4);
/* A call on no region, or on one that was closed. */
int shmbuddy__fail_closed(const struct shmbuddy *h);

/* Is this open, and for writing? Else errno EBADF, EROFS. */
MA_INLINE bool region_is_open(const struct shmbuddy *h)
{
	return h && ma_load(&h->id) != 0;
}
bool shmbuddy__region_may_write(const struct shmbuddy *h);

MA_INLINE const struct level *region_level(const struct shmbuddy *h, unsigned k)
{
	return &h->lay.level[k];
}

MA_INLINE char *region_meta(const struct shmbuddy *h, uint64_t part)
{
	return h->meta + part * h->lay.meta_bytes;
}

/* Word i of a local level. Its part must be backed. */
MA_INLINE _Atomic uint64_t *region_local_word(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	char *at = region_meta(h, i >> l->fan_shift) + (i & (((uint64_t)1 << l->fan_shift) - 1)) * 8;

	return (_Atomic uint64_t *)(void *)(at + l->words_at);
}

/* Of any level. */
MA_INLINE _Atomic uint64_t *region_word(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	if (MA_LIKELY(l->local))
		return region_local_word(h, l, i);
	return (_Atomic uint64_t *)(void *)(h->base + i * 8 + l->words_at);
}

/* What a word says: a top word that was never written is OPEN. */
MA_INLINE uint64_t region_view(const struct level *l, uint64_t w)
{
	return l->top && w == 0 ? word_open(l->leaves) : w;
}

MA_INLINE uint64_t region_part_of(const struct shmbuddy *h, uint64_t at)
{
	return at >> h->lay.part_shift;
}

MA_INLINE bool region_is_backed(const struct shmbuddy *h, uint64_t part)
{
	/* Pairs with libshmbuddy/src/space.c:shmbuddy__region_reserve_part. */
	return ma_load_acquire(&h->backed[part / 64]) >> part % 64 & 1;
}

/* ---- the descriptor: space.c ---- */

/*
 * For one system call: looked at, and opened again when the program closed it. -1: that cannot be, or there is no file. errno stays. A
 * region needs it to have disk space, to grow, and to say at its end that it was closed.
 */
int shmbuddy__region_fd(struct shmbuddy *h);

/* ---- how large it is now: area.c ---- */

MA_INLINE struct ma_header *region_header(const struct shmbuddy *h)
{
	return (struct ma_header *)(void *)h->base;
}

/* Its length may have changed: reads it. Returns the area, if what the region says is true. */
uint64_t shmbuddy__region_update_area(const struct shmbuddy *h);

/*
 * Bytes of the area. Sequentially consistent, as are the looks at the index: a thread that takes a listing off looks again afterwards, and
 * who makes the area larger lists what lies at its end afterwards.
 */
MA_INLINE uint64_t region_area(const struct shmbuddy *h)
{
	uint64_t seen = ma_load_acquire(&h->seen); /* Pairs with libshmbuddy/src/area.c:shmbuddy__region_update_area. */

	if (MA_LIKELY(atomic_load(&region_header(h)->length) == seen)) /* Pairs with libshmbuddy/src/grow.c:publish. */
		return ma_load(&h->area);
	return shmbuddy__region_update_area(h);
}

/* What of it this process allocates from. */
MA_INLINE uint64_t region_own(const struct shmbuddy *h)
{
	return ma_min(region_area(h), h->own);
}

/* An existing region, or a new one, has so much area, and is mapped. */
void shmbuddy__region_adopt(struct shmbuddy *h, uint64_t area);

/* Does word i end within what we know of the area? It is never less. */
MA_INLINE bool region_is_within(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	return (i + 1) << l->cover_shift <= ma_load(&h->area);
}

/* The leaves of word i of which nothing lies in the first `area` bytes. */
MA_INLINE uint32_t region_beyond(const struct level *l, uint64_t i, uint64_t area)
{
	uint64_t at = i << l->cover_shift;

	if (at + ((uint64_t)1 << l->cover_shift) <= area)
		return 0;
	if (at >= area)
		return word_leaves(l->leaves);
	return word_leaves(l->leaves) & ~word_leaves((unsigned)((area - at + l->leaf_rest) >> l->leaf_shift));
}

/* The leaves of word i of which nothing lies in the area. */
MA_INLINE uint32_t region_fence(const struct shmbuddy *h, const struct level *l, uint64_t i)
{
	if (MA_LIKELY(region_is_within(h, l, i)))
		return 0;
	return region_beyond(l, i, region_area(h));
}

/* The leaves of word i at which a block of so many bytes may begin and ends within the first `area` bytes. */
MA_INLINE uint32_t region_fits(const struct level *l, uint64_t i, uint64_t bytes, uint64_t area)
{
	uint64_t at = i << l->cover_shift;

	if (at + ((uint64_t)1 << l->cover_shift) <= area)
		return word_leaves(l->leaves);
	if (at + bytes > area)
		return 0;
	return word_leaves(l->leaves) & word_leaves((unsigned)(((area - at - bytes) >> l->leaf_shift) + 1));
}

/* The same within what this process allocates from. */
MA_INLINE uint32_t region_places(const struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t bytes)
{
	if (MA_LIKELY(region_is_within(h, l, i) && (i + 1) << l->cover_shift <= h->own))
		return word_leaves(l->leaves);
	return region_fits(l, i, bytes, region_own(h));
}

/* The level that deals out blocks of 2^shift bytes. */
MA_INLINE unsigned region_level_for(const struct shmbuddy *h, unsigned shift)
{
	unsigned word = h->lay.small_shift + 5u, k;

	if (MA_LIKELY(shift < word))
		return 0;
	k = 1 + (shift - word) / 3;
	return k < h->lay.top ? k : h->lay.top;
}

/* ---- disk space: space.c ---- */

/*
 * Make sure of the space for bytes [at, at + bytes) of the area, and for all that is known of them. 0, or -1 with errno; errno
 * stays else.
 */
int shmbuddy__region_reserve_space(struct shmbuddy *h, uint64_t at, uint64_t bytes);
/* The same of one part, whatever is said of it. */
int shmbuddy__region_reserve_part(struct shmbuddy *h, uint64_t part);
bool shmbuddy__region_has(const struct shmbuddy *h, uint64_t at, uint64_t bytes);

/* ---- mending: mend.c ---- */

/* Mend the words of each level at this offset of the area, and after it: list what room they have. */
void shmbuddy__region_list_at(struct shmbuddy *h, uint64_t at);

/* Mend some of what the dead left, unless that was done just before. False: it was. */
bool shmbuddy__region_mend_some(struct shmbuddy *h);
/* All of it. */
void shmbuddy__region_mend_all(struct shmbuddy *h);

#endif /* SHMBUDDY_REGION_H */
