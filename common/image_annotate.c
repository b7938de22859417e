/* SPDX-License-Identifier: BSD-3-Clause */
/* See image_annotate.h. */
#include "common/image_annotate.h"

#include "common/annotate.h"
#include "common/error.h"
#include "common/page.h"

bool ma_image_is_annotated(const struct ma_image *map, bool is_copied)
{
	if (!MA_ASAN && !ma_under_valgrind())
		return false;
	return (map->mode & (MA_MAP_PRIVATE | MA_MAP_ANON)) || is_copied || ma_env_on("ANNOTATE");
}

/* Tell of each place where these bytes of the file are mapped. */
static void each_place(struct ma_image *map, uint64_t from, uint64_t to, void (*tell)(void *, size_t))
{
	for (uint32_t i = 0; i < map->lay.seg[map->reach - 1].slices; i++) {
		const struct ma_slice *slice = &map->lay.slice[i];
		uint64_t lo = ma_max(from, slice->file), hi = ma_min(to, slice->file + slice->bytes);

		if (lo < hi)
			tell(map->base + slice->at + (lo - slice->file), (size_t)(hi - lo));
	}
}

static bool has_shared_file(const struct ma_image *map)
{
	return map->fd >= 0 && !(map->mode & MA_MAP_PRIVATE);
}

void ma_image_annotate_new(struct ma_image *map, bool is_copied)
{
	if (map->annotated && ((map->mode & MA_MAP_ANON) || is_copied))
		ma_annotate_unused(map->user, map->lay.user_bytes);
}

void ma_image_annotate_file(struct ma_image *map)
{
	uint64_t end = ma_up(ma_image_length(map), ma_page());

	if (!ma_under_valgrind() || (map->mode & MA_MAP_ANON))
		return;
	/* Only this process can extend a private map, so it needs no exemption from invalid-access reports. */
	each_place(map, end, UINT64_MAX, has_shared_file(map) ? ma_annotate_beyond : ma_annotate_unused);
}

void ma_image_annotate_grown(struct ma_image *map, uint64_t from, uint64_t to)
{
	if (ma_under_valgrind() && !(map->mode & MA_MAP_ANON))
		each_place(map, ma_down(from, ma_page()), ma_up(to, ma_page()), ma_annotate_arrived);
}

/* Of a range so long all is forgotten, whatever the map says of what was used of it: that may be damaged, and then blocks beyond it were freed. */
#define FORGET_ALL ((uint64_t)1 << 28)

/* What was ever said of this map's blocks: the whole of a long range would be a shadow of many GiB to ASan. */
static void forget_blocks(struct ma_image *map)
{
	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t count = ma_range_count(map, s);
		uint64_t used = count * map->lay.unit_bytes <= FORGET_ALL
					? count
					: ma_min(ma_load(&ma_stream(map, s)->backed), count);

		ma_annotate_reset(map->user + ma_range_first(map, s) * map->lay.unit_bytes, used * map->lay.unit_bytes);
	}
}

void ma_image_annotate_close(struct ma_image *map)
{
	if (map->annotated)
		forget_blocks(map);
	ma_annotate_gone(map->base, map->mapped);
}

void ma_image_hide(struct ma_image *map, const char *last)
{
	const char *end = map->user;

	for (uint32_t s = 0; s < ma_lanes(map); s++) {
		uint64_t used = ma_min(ma_load(&ma_stream(map, s)->backed), ma_range_count(map, s));
		char *next = map->user + ma_range_first(map, s) * map->lay.unit_bytes;

		if (used == 0)
			continue;
		ma_annotate_unused((void *)(uintptr_t)end, (size_t)(next - end));
		end = next + used * map->lay.unit_bytes;
	}
	if (end < last)
		ma_annotate_unused((void *)(uintptr_t)end, (size_t)(last - end));
}
