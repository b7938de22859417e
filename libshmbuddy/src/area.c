/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How large a region is. The truth is one word of its header, the length, which others may make larger at any time. A handle
 * remembers what it saw there last, and what that stood for: so a look is one load, until the word changes.
 *
 * What is new is believed only when the file is that long: a length that lies must not lead us beyond the end of the file, where a
 * look is SIGBUS. What a handle knows never gets less. So whatever order two threads store in, or a signal handler in between, the
 * largest stays, and all that was ever true of the area remains so.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/page.h"
#include "common/annotate.h"
#include "region.h"
#include "update.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* As raise_word(): a word that the fast paths read as a plain one. */
static void raise_end(struct class *class, uint64_t to)
{
	uint64_t is = __atomic_load_n(&class->end, __ATOMIC_RELAXED);

	while (is < to && !__atomic_compare_exchange_n(&class->end, &is, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Where there is no descriptor any more, the kernel tells whether the last page can be read. */
static bool is_there(const struct shmbuddy *h, uint64_t length)
{
	struct stat st;

	if (!h->mapped && h->fd < 0)
		return true; /* The caller's memory: `most` is what there is of it. */
	if (h->fd >= 0 && fstat(h->fd, &st) == 0 && (uint64_t)st.st_dev == h->place.device &&
	    (uint64_t)st.st_ino == h->place.inode)
		return (uint64_t)st.st_size >= length;
	return length <= h->mapped && madvise(h->base + ma_down(length - 1, ma_page()), ma_page(), MADV_POPULATE_READ) == 0;
}

/* The sizes that have hints, and free: each may go up to the end, as far as it is ours. */
static void move_ends(struct shmbuddy *h, uint64_t area)
{
	uint64_t own = ma_min(area, h->own);

	for (unsigned k = 0; k < h->classes; k++) {
		uint64_t bytes = (uint64_t)1 << (h->lay.small_shift + k);

		if (own >= bytes)
			raise_end(&h->class[k], own - bytes + 1);
	}
	if (h->writable && h->classes)
		raise_word(&h->reach, area);
}

void shmbuddy__region_adopt(struct shmbuddy *h, uint64_t area)
{
	uint64_t had = ma_load(&h->area);

	if (area > had)
		ma_annotate_arrived(h->base + h->lay.area_at + had, (size_t)(area - had));
	raise_word(&h->area, area);
	move_ends(h, ma_load(&h->area));
}

uint64_t shmbuddy__region_update_area(const struct shmbuddy *known)
{
	struct shmbuddy *h = (struct shmbuddy *)(uintptr_t)known; /* What it remembers may change in any call. */
	/* Pairs with libshmbuddy/src/grow.c:publish. */
	uint64_t length = atomic_load(&region_header(h)->length), area = shmbuddy__layout_area(&h->lay, length);
	int saved = errno;

	if (area > ma_load(&h->area) && area <= h->most && is_there(h, length))
		shmbuddy__region_adopt(h, area);
	errno = saved;
	ma_store_release(&h->seen, length); /* Pairs with libshmbuddy/src/region.h:region_area. */
	return ma_load(&h->area);
}
