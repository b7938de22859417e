/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making a map: its numbers, its file, its first page. The magic number is stored last; before it, a half magic marks the file as
 * ours to redo.
 */
#include "common/body.h"
#include "common/map_create.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "common/error.h"
#include "common/page.h"
#include "common/plan.h"
#include "common/recover.h"
#include "common/space.h"

#define LARGEST ((uint64_t)1 << 46) /* No map is as long. */

static void fill_header(struct ma_image *map, const struct ma_open *how)
{
	struct ma_header *h = &map->sealed;
	bool grows = how->length == 0 || how->param[MA_PARAM_GROWS];
	uint64_t first = grows ? ma_min(how->reserved, MA_FIRST_MAX) : how->length;

	*h = (struct ma_header){
		.kind = how->engines[0]->kind,
		.format = MA_FORMAT,
		.order = MA_ORDER,
		.word_bytes = sizeof(void *),
		.page_shift = ma_page_shift(),
		.base = how->base,
		.reserved = UINT64_MAX, /* Until that is known. */
	};
	memcpy(h->param, how->param, sizeof(h->param));
	h->param[MA_PARAM_FIRST] = first;
	h->param[MA_PARAM_GROWS] = grows;
	h->param[MA_PARAM_RANGE] = ma_max(how->reserved, first);
	if (!h->param[MA_PARAM_PROCESSES])
		h->param[MA_PARAM_PROCESSES] = ma_body_processes(first);
	if (!h->param[0] && how->streams)
		h->param[0] = how->streams(how->length);
	ma_header_uuid(h->uuid);
	ma_store(&h->length, first);
}

/* The range; the file's part of it is mapped when the base, and with it where the user area begins, is known. */
static bool map_new(struct ma_image *map, const struct ma_open *how)
{
	int prot = PROT_NONE; /* RLIMIT_DATA and overcommit_memory=2 count what can be written. */
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint64_t seed;

	memcpy(&seed, map->sealed.uuid, sizeof(seed));
	map->mapped = map->sealed.reserved;
	if (how->base)
		map->base = ma_plan_map_at(how->base, map->mapped, prot, flags, -1, map->name);
	else
		map->base = ma_plan_map(seed, map->mapped, prot, flags, -1, map->name);
	if (!map->base)
		return false;
	map->header = (struct ma_header *)(void *)map->base;
	map->sealed.base = (uint64_t)(uintptr_t)map->base;
	ma_image_lay_out(map); /* Again: where units begin depends on the base. */
	if (map->fd < 0)
		return ma_space_open(map, 0, ma_load(&map->sealed.length)) == 0;
	if (ma_segment_map(&map->lay, map->base, map->reach, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, map->fd,
			   UINT64_MAX) == 0)
		return true;
	ma_fail(errno, "%s: cannot create it: mmap(2) failed; %s", map->name, ma_plan_advice(errno));
	return false;
}

static bool would_fit(struct ma_image *map, uint64_t bytes)
{
	map->sealed.reserved = UINT64_MAX;
	map->sealed.param[MA_PARAM_FIRST] = map->sealed.param[MA_PARAM_RANGE] = bytes;
	ma_store(&map->sealed.length, bytes);
	return ma_image_plan(map);
}

/* The least number of bytes that such a map can have; 0: no number will do. */
static uint64_t smallest_of(struct ma_image *map)
{
	uint64_t low = 0, high = MA_PAGE;

	while (!would_fit(map, high)) {
		low = high;
		high *= 2;
		if (high > LARGEST)
			return 0;
	}
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (would_fit(map, middle))
			high = middle;
		else
			low = middle;
	}
	return high;
}

/* Why a new map cannot have these numbers. */
static void fail_new(struct ma_image *map, const struct ma_open *how)
{
	uint64_t bytes = how->asked ? how->asked : how->length ? how->length : how->reserved;
	uint64_t smallest = smallest_of(map);

	if (smallest && bytes < smallest)
		ma_fail(EINVAL,
			"%s: cannot create it with %" PRIu64 " bytes: with these numbers the smallest map has %" PRIu64
			"; ask for that, or more",
			map->name, bytes, smallest);
	else if (smallest)
		ma_fail(EINVAL,
			"%s: cannot create it with %" PRIu64 " bytes: a map has less than %" PRIu64 "; ask for less",
			map->name, bytes, LARGEST);
	else if (how->param[0] < 1 || how->param[0] > MA_STREAMS_MAX)
		ma_fail(EINVAL, "%s: cannot create it with %" PRIu64 " streams: invalid number; use 1 to %u", map->name,
			how->param[0], MA_STREAMS_MAX);
	else
		ma_fail(EINVAL, "%s: cannot create it with items of %" PRIu64 " bytes: invalid size; use 1 or more",
			map->name, how->param[1]);
}

/* The numbers of a new map, but for its base. */
static bool plan_new(struct ma_image *map, const struct ma_open *how)
{
	fill_header(map, how);
	map->engine = how->engines[0];
	if (ma_image_plan(map)) {
		/* The user area begins at a chunk, as an address: so somewhat more may be needed at another base. */
		map->sealed.reserved = ma_up(map->lay.own_end + ma_max(MA_CHUNK, ma_page()), ma_page());
		return true;
	}
	fail_new(map, how);
	return false;
}

/* The header, all but its first word: that says later that the map is whole. */
static void write_header(struct ma_image *map)
{
	map->sealed.crc = ma_header_crc(&map->sealed);
	memcpy((char *)map->header + 8, (char *)&map->sealed + 8, sizeof(struct ma_header) - 8);
}

/* What is asked for, with the length of the file of zeros. A map that grows by itself has at least that length. */
static struct ma_open fit(const struct ma_open *how, uint64_t given)
{
	struct ma_open as = *how;

	if (!given)
		return as;
	as.reserved = how->reserved == how->length ? given : ma_max(how->reserved, ma_up(given, ma_page()));
	if (how->length) {
		as.length = given;
	} else { /* It grows from there. */
		as.length = ma_down(given, ma_page());
		as.param[MA_PARAM_GROWS] = 1;
	}
	return as;
}

/* With the length that it begins with. */
static bool plan_whole(struct ma_image *map, const struct ma_open *how)
{
	if (!plan_new(map, how))
		return false;
	if (map->lay.grows)
		ma_store(&map->sealed.length, ma_max(how->length, ma_segment_length(&map->lay, MA_CHUNK)));
	return true;
}

int ma_map_create(struct ma_image *map, const struct ma_open *asked, const struct ma_regfile *f)
{
	struct ma_open as = fit(asked, f->given);
	uint64_t magic;

	if (!plan_whole(map, &as) || ma_regfile_size(f, ma_load(&map->sealed.length)) < 0 || !map_new(map, &as))
		return -1;
	write_header(map);
	if (ma_space_take(map, 0, map->lay.fixed_end) < 0)
		return -1;
	ma_image_mark_ready(map);
	memcpy(&magic, MA_MAGIC, sizeof(magic));
	/* Pairs with common/header.c:check_identity. */
	ma_store_kill((_Atomic uint64_t *)(void *)map->header->magic, magic);
	return 0;
}

/* No file, and no other process. It grows as a file does. */
int ma_map_anonymous(struct ma_image *map, const struct ma_open *how)
{
	if (!plan_whole(map, how) || !map_new(map, how))
		return -1;
	write_header(map);
	memcpy(map->header->magic, MA_MAGIC, 8);
	ma_image_mark_ready(map);
	ma_store(&map->slot, 0);
	return 0;
}
