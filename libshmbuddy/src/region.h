/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A region of this process: where it is mapped, how it is laid out.
 *
 * struct shmbuddy is the handle that callers hold. Its memory is never given back to the system, only used again for another region,
 * and not soon: so a call on a closed handle fails and does no harm.
 *
 * Everything in alloc.c, search.c, tree.c, index.c, mend.c and back.c may run in a signal handler that interrupted the same function: no lock,
 * no memory, no stdio, and only system calls that wait for nobody. tests/install/signals holds the list of symbols against them.
 */
#ifndef SHMBUDDY_REGION_H
#define SHMBUDDY_REGION_H

#include "layout.h"
#include "spot.h"
#include <shmbuddy.h>

struct shmbuddy {
	_Atomic uint64_t id;    /* Unique for ever in this process, another one in a fork child; 0: closed. */
	_Atomic uint64_t reach; /* Offsets in the area below it may be freed the fast way: all, or with 0 none. */
	struct class class[SPOT_CLASSES];
	unsigned classes; /* Sizes with hints, from the smallest on. */
	char *base;
	char *meta;
	struct control *control;
	struct layout lay; /* From the checked header; the region's own copy is not read again. */
	uint64_t mapped;   /* By us, bytes; 0: the memory is the caller's. */
	uint64_t device, inode;
	int fd; /* To have disk space with; -1: none. */
	bool writable;
	bool debug; /* SHMBUDDY_DEBUG, as it was when the region was opened: getenv() is not for signal handlers. */
	uint64_t closed_at;
	struct shmbuddy *next;
	char name[256];          /* For messages. */
	struct spot spot[SPOTS]; /* The last: a handle that is used again keeps them, their id says whose they are. */
};

/* What failed in a call that a signal handler may make: errno, and one fixed line when asked for. */
int shmbuddy__fail(const struct shmbuddy *h, int err, const char *text);

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
	return ma_load_acquire(&h->control->backed[part / 64]) >> part % 64 & 1;
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

/* ---- disk space: back.c ---- */

/*
 * Make sure of the space for bytes [at, at + bytes) of the area, and for all that is known of them. 0, or -1 with errno; errno
 * stays else.
 */
int shmbuddy__region_back(struct shmbuddy *h, uint64_t at, uint64_t bytes);
/* The same of one part, whatever is said of it. */
int shmbuddy__region_back_part(struct shmbuddy *h, uint64_t part);
bool shmbuddy__region_has(const struct shmbuddy *h, uint64_t at, uint64_t bytes);

/* ---- roots: roots.c ---- */

/* The root in place i, its name with a closing zero. False: there is none. Any file will do; the offset may be anything then. */
bool shmbuddy__root_at(const struct shmbuddy *h, unsigned i, char name[SHMBUDDY_ROOT_MAX + 1], uint64_t *offset);

/* ---- mending: mend.c ---- */

/* Mend some of what the dead left, unless that was done just before. False: it was. */
bool shmbuddy__region_mend_some(struct shmbuddy *h);

/* ---- looking: inspect.c ---- */

/* shmbuddy_check() of the words [first, end) of level k. Returns how many are wrong. */
uint64_t shmbuddy__check_words(const struct shmbuddy *h, unsigned k, uint64_t first, uint64_t end,
			       shmbuddy_report_fn *report, void *arg);

#endif /* SHMBUDDY_REGION_H */
