/* SPDX-License-Identifier: BSD-3-Clause */
/* Live regions: see fuzz_live.h. What lies behind a region in memory is nobody's, and so is what lies behind its file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <region.h>
#include "tests/fuzz/fuzz_buddy_live.h"
#include "tests/fuzz/fuzz_live.h"

#define HELD  16
#define FOUND 64

struct region {
	struct fuzz_live live;
	struct shmbuddy *h;
	struct shmbuddy as_it_was; /* But for the cached locations. */
};

static struct region regions[FUZZ_LIVE_MAPS];
static unsigned region_count;
static struct region *r;
static shm_offt held[HELD];
static size_t sizes[HELD];
static shm_offt found[FOUND];
static size_t founds;

/* ---- making them ---- */

static void list_fields(const struct layout *lay)
{
	struct fuzz_live *live = &r->live;

	fuzz_live_field(live, FUZZ_LENGTH, offsetof(struct ma_header, length), 1, 8);
	fuzz_live_field(live, FUZZ_ANY, LAYOUT_CONTROL, 20, 8);
	fuzz_live_field(live, FUZZ_ANY, LAYOUT_ROOTS_AT, LAYOUT_ROOTS * LAYOUT_ROOT_BYTES / 8, 8);
	fuzz_live_field(live, FUZZ_ANY, LAYOUT_CROWN, (lay->meta_at - LAYOUT_CROWN) / 8, 8);
	for (unsigned k = 0; k <= lay->top; k++) {
		const struct level *l = &lay->level[k];
		uint64_t at = l->local ? lay->meta_at + l->words_at : l->words_at;

		fuzz_live_field(live, FUZZ_TREE, at,
				layout_words(l, ma_min(lay->first, (uint64_t)1 << lay->part_shift)), 8);
		if (l->local)
			fuzz_live_field(live, FUZZ_ANY, lay->meta_at + l->line_at[0], 8, 8);
	}
	fuzz_live_field(live, FUZZ_TREE, lay->meta_at, lay->meta_bytes / 8, 8);
}

void fuzz_buddy_live(uint64_t capacity, uint64_t range, uint64_t smallest, uint64_t largest)
{
	struct shmbuddy_options options = {
		.capacity = capacity, .range = range, .smallest = smallest, .largest = largest
	};
	char path[64], name[8];

	fuzz_require(region_count < FUZZ_LIVE_MAPS);
	options.address = (void *)(uintptr_t)(0x300000000000 + ((uint64_t)region_count << 32));
	r = &regions[region_count++];
	fuzz_live_file(&r->live, path);
	r->h = shmbuddy_open(path, &options);
	fuzz_require(r->h && r->h->base == options.address);
	for (size_t i = 0; i < 40; i++) {
		shm_offt block = shmbuddy_malloc(r->h, smallest << i % 10);

		snprintf(name, sizeof(name), "r%zu", i % 5);
		if (block && i % 4 == 1)
			shmbuddy_free(r->h, block);
		else if (block)
			shmbuddy_setroot(r->h, name, block);
	}
	fuzz_live_ready(&r->live, layout_words(&r->h->lay.level[0], capacity));
	list_fields(&r->h->lay);
	memcpy(&r->as_it_was, r->h, offsetof(struct shmbuddy, location));
}

/* With another id no thread's hints are of it. */
static void reset(void)
{
	static uint64_t ids = (uint64_t)1 << 40;

	fuzz_live_reset(&r->live);
	memcpy(r->h, &r->as_it_was, offsetof(struct shmbuddy, location));
	ma_store(&r->h->id, ++ids);
	memset(held, 0, sizeof(held));
	founds = 0;
}

/* ---- what must hold ---- */

static void require_errno(void)
{
	static const int errors[] = { ENOMEM, ENOSPC, EFBIG, EINVAL, EUCLEAN, ENOENT };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errno == errors[i])
			return;
	fuzz_failed(__FILE__, __LINE__, "errno is documented");
}

static void require_inside(shm_offt at, size_t size)
{
	fuzz_require(at >= r->h->lay.area_at && size <= ma_load(&r->h->area));
	fuzz_require(at - r->h->lay.area_at <= ma_load(&r->h->area) - size);
	fuzz_live_touch(&r->live, r->h->base + at, size);
}

static void hold(size_t place, shm_offt at, size_t size)
{
	if (!at) {
		require_errno();
		return;
	}
	require_inside(at, size);
	held[place] = at;
	sizes[place] = size;
}

static int find(shm_offt at, size_t size, void *arg)
{
	(void)arg;
	require_inside(at, size);
	found[founds++] = at;
	return founds == FOUND;
}

/* ---- calls ---- */

static size_t size_from(struct fuzz_in *in)
{
	uint16_t n = fuzz_u16(in);

	return n >> 14 == 3 ? (size_t)(n & 0x3fff) << (n & 7) : n & 0xfff;
}

static int fill(void *block, size_t size, void *arg)
{
	(void)arg;
	fuzz_live_touch(&r->live, block, size);
	return 0;
}

static int see_root(const char *name, shm_offt at, void *arg)
{
	(void)arg;
	fuzz_require(!name || strlen(name) <= SHMBUDDY_ROOT_MAX);
	require_inside(at, 1);
	return 0;
}

static void roots(struct fuzz_in *in, size_t place)
{
	char text[4] = { 'r', (char)('0' + fuzz_u8(in) % 70), '\0' };
	const char *name = fuzz_u8(in) % 8 ? text : NULL;
	shm_offt at;

	switch (fuzz_u8(in) % 5) {
	case 0:
		if (shmbuddy_setroot(r->h, name, held[place]) < 0)
			require_errno();
		return;
	case 1:
		at = shmbuddy_getroot(r->h, name);
		if (shmbuddy_casroot(r->h, name, &at, held[place]) < 0)
			require_errno();
		return;
	case 2:
		at = shmbuddy_find_or_create(r->h, name, size_from(in), fill, NULL, NULL);
		break;
	case 3:
		shmbuddy_walkroots(r->h, see_root, NULL);
		return;
	default:
		at = shmbuddy_getroot(r->h, name);
		break;
	}
	if (at)
		require_inside(at, 1);
	else
		require_errno();
}

static shm_offt some(struct fuzz_in *in, size_t place)
{
	uint8_t how = fuzz_u8(in);

	if (how & 1 && founds)
		return found[how / 2 % founds];
	return how & 2 ? held[place]
		       : r->h->lay.area_at + ((uint64_t)fuzz_u16(in) << (how & 4 ? r->h->lay.small_shift : 0));
}

static void resize(struct fuzz_in *in, size_t place)
{
	shm_offt at = some(in, place);
	size_t size = size_from(in), had = shmbuddy_usable_size(r->h, at);

	if (had)
		require_inside(at, had);
	at = shmbuddy_realloc(r->h, at, size);
	held[place] = SHM_NULL;
	hold(place, at, size);
}

static void look(struct fuzz_in *in)
{
	struct shmbuddy_stats stats;

	switch (fuzz_u8(in) % 4) {
	case 0:
		shmbuddy_check(r->h, NULL, NULL);
		break;
	case 1:
		fuzz_require(shmbuddy_stats(r->h, &stats) == 0);
		break;
	default:
		founds = 0;
		shmbuddy_walk(r->h, find, NULL);
		break;
	}
}

static void call(struct fuzz_in *in)
{
	uint8_t which = fuzz_u8(in);
	size_t place = fuzz_u8(in) % HELD, size;

	errno = 0;
	switch (which % 16) {
	case 0:
	case 1:
	case 2:
		size = size_from(in);
		hold(place, shmbuddy_malloc(r->h, size), size);
		break;
	case 3:
		size = size_from(in);
		hold(place, shmbuddy_calloc(r->h, 1, size), size);
		break;
	case 4:
	case 5:
		shmbuddy_free(r->h, held[place]);
		held[place] = SHM_NULL;
		break;
	case 6:
	case 7:
		resize(in, place);
		break;
	case 8:
	case 9:
		shmbuddy_free(r->h, some(in, place));
		break;
	case 10:
		size = shmbuddy_usable_size(r->h, some(in, place));
		fuzz_require(size <= ma_load(&r->h->area));
		break;
	case 11:
	case 12:
		roots(in, place);
		break;
	case 13:
		look(in);
		break;
	case 14:
		if (fuzz_u8(in) % 4 == 0 && shmbuddy_grow(r->h, (uint64_t)fuzz_u16(in) << 5) < 0)
			require_errno();
		break;
	default:
		if (fuzz_u8(in) % 4 == 0)
			fuzz_require(shmbuddy_mend(r->h) == 0);
		break;
	}
}

bool fuzz_buddy_live_input(struct fuzz_in *in)
{
	unsigned which = fuzz_u8(in) - FUZZ_LIVE;

	if (which >= region_count)
		return false;
	r = &regions[which];
	shmbuddy_walk(r->h, find, NULL);
	fuzz_live_steps(&r->live, in, call);
	reset();
	return true;
}
