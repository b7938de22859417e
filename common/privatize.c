/* SPDX-License-Identifier: BSD-3-Clause */
/* See privatize.h. */
#include "common/privatize.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/image_fd.h"
#include "common/page.h"

/* The disk is full: what has no space must not be touched. The copy is read on in memory, until its maker looks at privatize_errno. */
static void give_copy_up(struct ma_image *map, int error)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (!map->privatize_errno)
		mmap(map->base, map->mapped, PROT_READ | PROT_WRITE, flags, -1, 0);
	map->privatize_errno = error;
}

static ssize_t copy_to(struct ma_image *map, const void *bytes, size_t count, off_t at)
{
	int fd = ma_image_fd(map);

	return fd < 0 ? -1 : pwrite(fd, bytes, count, at);
}

/*
 * A snapshot takes each word whole. By a write, because the disk may be full. The magic number is left out: half a copy is not
 * to look like a map.
 */
static void copy_words(struct ma_image *map, uint64_t from, uint64_t end)
{
	uint64_t words[MA_PAGE / 8];
	uint64_t file, count;
	ssize_t done;

	while (from < end) {
		count = ma_segment_run(&map->lay, from, ma_min(sizeof(words), ma_up(end, 8) - from), &file) / 8;
		if (count == 0)
			return;

		/* Pairs with common/roots.c:insert: the streams, copied again after the roots, are not older. */
		for (uint64_t i = 0; i < count; i++)
			words[i] = ma_load_acquire((_Atomic uint64_t *)(void *)(map->source->base + from) + i);
		if (from == 0)
			words[0] = 0;
		done = copy_to(map, words, count * 8, (off_t)file);
		if (done != (ssize_t)(count * 8)) {
			give_copy_up(map, done < 0 ? errno : ENOSPC);
			return;
		}
		from += count * 8;
	}
}

void ma_privatize(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	if (map->source) {
		if (!map->privatize_errno)
			copy_words(map, ma_down(from, 8), from + bytes);
		return;
	}
	for (uint64_t at = ma_down(from, MA_PAGE); at < from + bytes; at += MA_PAGE) {
		_Atomic uint8_t *page = (_Atomic uint8_t *)(map->base + at);
		uint8_t byte = ma_load(page);

		/*
		 * A write makes the kernel copy the page. It must be one indivisible step with its own look: a byte that was
		 * read before the copy and written after it would tear a word that changed in between.
		 * Pairs with common/roots.c:insert, as in copy_words().
		 */
		while (!ma_cas(page, &byte, byte))
			;
	}
}

void ma_privatize_streams(struct ma_image *map)
{
	/* A view has those of the first segment with the front; of the others nothing was copied yet. */
	for (uint32_t k = map->source ? 0 : 1; k < ma_segments(map); k++)
		ma_privatize(map, map->lay.seg[k].stream_off, (uint64_t)map->lay.streams * map->lay.stream_stride);
}

/* Pages that hold nothing else are not even read; those at the ends are copied. */
void ma_privatize_void(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	uint64_t end = from + bytes;
	uint64_t first = ma_up(from, ma_page());
	uint64_t last = ma_down(end, ma_page());

	if (map->source)
		return;
	if (first >= last || mmap(map->base + first, last - first, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		first = last = end;
	ma_privatize(map, from, first - from);
	memset(map->base + from, 0, first - from);
	ma_privatize(map, last, end - last);
	memset(map->base + last, 0, end - last);
}

void ma_privatize_fresh(struct ma_image *map, uint64_t from, uint64_t bytes)
{
	if ((map->mode & MA_MAP_PRIVATE) || map->source)
		memset(map->base + from, 0, bytes);
}
