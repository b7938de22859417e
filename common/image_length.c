/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The length of a map's file, as this process knows it. The header's word may be damaged at any moment by another process, so the
 * process checks it against the file (ma_image_believe), and keeps what follows from it in the image.
 */
#include "common/image.h"
#include "common/image_annotate.h"

/*
 * What follows from this length. A thread that reads the numbers reads the length first, which is stored last; pairs with
 * image.h:ma_image_is_known. Under the mutex, or numbers of two lengths might be mixed.
 *
 * Never of a shorter one: a thread that waited here with an older length would put it back, while another one has read that the new length is
 * known, and reads the numbers next. That one would take chunks in use for free, as they lie beyond what it takes for the end.
 */
static void note_length(struct ma_image *map, uint64_t said, uint64_t length)
{
	if (pthread_mutex_trylock(&map->mutex) != 0)
		return;
	if (length < ma_load(&map->known.bytes)) {
		pthread_mutex_unlock(&map->mutex);
		return;
	}
	ma_store(&map->known.length, 0);
	ma_store_release(&map->known.segments, (uint32_t)ma_min(map->reach, ma_segments_at(&map->lay, length)));
	ma_store_release(&map->known.units, ma_units_at(map, length));
	ma_store_release(&map->known.user_end, ma_user_end_at(map, length));
	ma_store_release(&map->known.bytes, length);
	ma_store_release(&map->known.length, said); /* Pairs with common/image.h:ma_image_is_known. */
	pthread_mutex_unlock(&map->mutex);
}

/* What is 0 stays so: it says that every call must be seen. */
static void raise_limit(uint64_t *limit, uint64_t to)
{
	uint64_t was = __atomic_load_n(limit, __ATOMIC_RELAXED);

	while (was && was != to &&
	       !__atomic_compare_exchange_n(limit, &was, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/*
 * The line of the image that all threads read is written only when there is news. A free reaches at most 64 KiB beyond the line
 * that a slab descriptor names, whatever its reciprocal is: so far before the end of the file such lines end.
 */
static void measure(struct ma_image *map)
{
	/* Pairs with common/space.c:grow. */
	uint64_t said = ma_load_acquire(&map->header->length), length = ma_image_believe(map, said);
	uint64_t lines = ma_user_end_at(map, length) / MA_UNIT;
	uint32_t last = (uint32_t)ma_min(UINT32_MAX, lines - ma_min(lines, MA_CHUNK / MA_UNIT));

	if (ma_load_either(&map->fast_lines) != last)
		ma_store_either(&map->fast_lines, last);
	raise_limit(&map->fast_units, ma_units_at(map, length));
	raise_limit(&map->fast_items, map->item_bytes ? ma_capacity_at(map, length) : 0);
	ma_image_annotate_grown(map, ma_load(&map->known.bytes), length);
	note_length(map, said, length);
}

/* The file may have grown: let the fast paths know. */
void ma_image_measure(struct ma_image *map)
{
	if (!ma_image_is_known(map, ma_load_acquire(&map->header->length))) /* Pairs with common/space.c:grow. */
		measure(map);
}
