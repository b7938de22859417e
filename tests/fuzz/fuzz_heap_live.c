/* SPDX-License-Identifier: BSD-3-Clause */
/* Live heaps and static maps: see fuzz_live.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/body.h"
#include "common/heap_internal.h"
#include "common/lock.h"
#include "common/owner.h"
#include "common/roots.h"
#include "common/space.h"
#include "tests/fuzz/fuzz_heap.h"
#include "tests/fuzz/fuzz_live.h"

#define HELD  16
#define FOUND 64

struct heap {
	struct fuzz_live live;
	struct ma_image *map;
	struct ma_image as_it_was;
};

static struct heap heaps[FUZZ_LIVE_MAPS];
static unsigned heap_count;
static struct heap *h;
static const struct fuzz_library *const lib = &fuzz_library;
static struct {
	char *at;
	size_t size;
} held[HELD];
static char *found[FOUND];
static size_t founds;

/* ---- making them ---- */

static void field(enum fuzz_kind kind, uint64_t at, uint64_t count, uint32_t stride)
{
	uint64_t file, bytes = ma_segment_run(&h->map->lay, at, count * stride, &file);

	if (bytes >= 8)
		fuzz_live_field(&h->live, kind, file, ma_min(count, bytes / stride), stride);
}

static void list_common(const struct ma_layout *lay)
{
	field(FUZZ_LENGTH, offsetof(struct ma_header, length), 1, 8);
	field(FUZZ_ANY, offsetof(struct ma_header, generation), 9, 8);
	field(FUZZ_LOCK, MA_PAGE, 1, 4);
	field(FUZZ_LINK, MA_PAGE + offsetof(struct ma_body, owner_top), 1, 4);
	field(FUZZ_ANY, MA_PAGE + offsetof(struct ma_body, root_link), 1, 8);
	field(FUZZ_LOCK, MA_PAGE + offsetof(struct ma_body, length_lock), 1, 4);
	field(FUZZ_BYTE, MA_PAGE + offsetof(struct ma_body, guarded), 1, 8);
	field(FUZZ_LINK, MA_PAGE + offsetof(struct ma_body, process_hint), 2, 4);
	field(FUZZ_LINK, lay->process_off, 8, 16);
	field(FUZZ_TAG, lay->owner_off, 8, sizeof(struct ma_owner));
	field(FUZZ_ANY, lay->root_off, lay->roots * sizeof(struct ma_root) / 8, 8);
	for (uint32_t i = 0; i < lay->streams && i < 2; i++) {
		uint64_t at = lay->seg[0].stream_off + i * lay->stream_stride;

		field(FUZZ_LOCK, at, 1, 4);
		field(FUZZ_ANY, at, lay->stream_stride / 8, 8);
		if (!lay->item_bytes)
			field(FUZZ_LINK, at, lay->stream_stride / 4 - 1, 4);
	}
	field(FUZZ_ANY, lay->user_off, 16384, 8);
}

static void list_heap(const struct ma_layout *lay)
{
	const struct ma_segment *seg = &lay->seg[0];
	uint64_t areas = lay->area_units * lay->streams * MA_UNIT;

	field(FUZZ_ANY, seg->leaf_off, lay->streams * seg->leaves, 8);
	field(FUZZ_ANY, seg->hole_off, lay->streams * seg->leaves * 2, 8);
	field(FUZZ_LINK, seg->span_off, lay->streams * 2 * seg->span_base * 3, 4);
	field(FUZZ_LINK, lay->area_off, areas / 4 - 1, 4);
	field(FUZZ_BYTE, lay->area_off, areas - 8, 1);
	field(FUZZ_WORD, lay->area_off, areas / 8, 8);
	field(FUZZ_WORD, lay->unit_off, seg->count, 8);
	field(FUZZ_WORD, lay->unit_off, seg->count, 8); /* Twice as often. */
	field(FUZZ_SPOT, lay->slab_desc_off, seg->count, 8);
	field(FUZZ_SPOT, lay->slab_desc_off, seg->count, 8);
	field(FUZZ_LINK, lay->next_off, seg->count, 4);
}

static void list_items(const struct ma_layout *lay)
{
	field(FUZZ_TAG, lay->unit_off, lay->seg[0].count, 8);
	field(FUZZ_ANY, lay->unit_off, lay->seg[0].count, 8);
	field(FUZZ_BYTE, lay->alloc_bytes_off, lay->seg[0].count * lay->group_items, 1);
}

int fuzz_heap_live_file(char path[64])
{
	fuzz_require(heap_count < FUZZ_LIVE_MAPS);
	return fuzz_live_file(&heaps[heap_count].live, path);
}

void fuzz_heap_live(void *map)
{
	static const size_t sizes[] = { 1, 16, 40, 64, 100, 500, 3000, 9000, 40000, 65536, 70000, 130000 };

	fuzz_require(map);
	h = &heaps[heap_count++];
	h->map = map;
	ma_lock_patience_ns = 0;
	ma_heap_age_seconds = 0;
	for (size_t i = 0; i < 30; i++) {
		void *block = lib->malloc(map, sizes[i % FUZZ_COUNT(sizes)]);
		char name[8];

		snprintf(name, sizeof(name), "r%zu", i % 5);
		if (block && i % 4 == 1)
			lib->free(map, block);
		else if (block)
			lib->setroot(map, name, block);
	}
	fuzz_live_ready(&h->live, h->map->lay.seg[0].count);
	list_common(&h->map->lay);
	if (h->map->lay.item_bytes)
		list_items(&h->map->lay);
	else
		list_heap(&h->map->lay);
	memcpy(&h->as_it_was, h->map, sizeof(*h->map));
}

/* With another id no thread has a cache of it, nor a lock. */
static void reset(void)
{
	fuzz_live_reset(&h->live);
	memcpy(h->map, &h->as_it_was, sizeof(*h->map));
	ma_store(&h->map->id, ma_image_new_id());
	memset(held, 0, sizeof(held));
	founds = 0;
}

/* ---- calls ---- */

static void require_inside(const void *at, size_t size)
{
	uint64_t offset = (uint64_t)((const char *)at - h->map->user);

	fuzz_require(offset < h->map->lay.user_bytes && size <= h->map->lay.user_bytes - offset);
}

static void require_errno(void)
{
	static const int errors[] = { ENOMEM,  ENOSPC, EFBIG,  EINVAL, ETIMEDOUT, EUSERS,
				      EUCLEAN, ENOENT, EEXIST, EBUSY,  EPERM };

	for (size_t i = 0; i < FUZZ_COUNT(errors); i++)
		if (errno == errors[i])
			return;
	fuzz_failed(__FILE__, __LINE__, "errno is documented");
}

/* Of what is dealt out, all is there: the first byte, and the last. */
static void hold(size_t place, void *at, size_t size)
{
	if (!at) {
		if (size || !lib->nothing_for_zero)
			require_errno();
		return;
	}
	if (h->map->item_bytes)
		size = h->map->item_bytes;
	require_inside(at, size);
	fuzz_live_touch(&h->live, at, size);
	held[place].at = at;
	held[place].size = size;
}

static int find(void *at, size_t size, void *arg)
{
	(void)arg;
	require_inside(at, size);
	found[founds++] = at;
	return founds == FOUND;
}

static void look(void)
{
	founds = 0;
	lib->walk(h->map, find, NULL);
}

static void measure(const void *at)
{
	size_t size = at ? lib->usable_size(h->map, at) : 0;

	if (size)
		require_inside(at, size);
	fuzz_live_touch(&h->live, at, size);
}

static size_t size_from(struct fuzz_in *in)
{
	uint16_t n = fuzz_u16(in);

	return n >> 14 == 3 ? (size_t)(n & 0x3fff) << (n & 15) : n >> 14 ? (size_t)(n & 0x3fff) * 16 : n & 0x3ff;
}

static int nothing(void *block, size_t size, void *arg)
{
	(void)arg;
	fuzz_live_touch(&h->live, block, size);
	return 0;
}

static int see_root(const char *name, void *at, void *arg)
{
	(void)arg;
	fuzz_require(strlen(name) < 120);
	require_inside(at, 1);
	return 0;
}

static void roots(struct fuzz_in *in, size_t place)
{
	char name[4] = { 'r', (char)('0' + fuzz_u8(in) % 70), '\0' };
	void *was = NULL, *at;
	int created;

	switch (fuzz_u8(in) % 5) {
	case 0:
		if (lib->setroot(h->map, name, held[place].at) < 0)
			require_errno();
		break;
	case 1:
		was = lib->getroot(h->map, name);
		if (lib->casroot(h->map, name, &was, held[place].at) < 0)
			require_errno();
		break;
	case 2:
		at = lib->find_or_create(h->map, name, size_from(in), nothing, NULL, &created);
		if (at)
			require_inside(at, 1);
		else
			require_errno();
		break;
	case 3:
		lib->walkroots(h->map, see_root, NULL);
		break;
	default:
		at = lib->getroot(h->map, name);
		if (at)
			require_inside(at, 1);
		break;
	}
}

static void lock(struct fuzz_in *in, size_t place)
{
	uint64_t offset = fuzz_u16(in) % (held[place].size + 1);
	char *at = held[place].at ? held[place].at + (offset & ~UINT64_C(7)) : h->map->user + fuzz_u16(in) * 8;
	int result = fuzz_u8(in) & 1 ? lib->trylock(h->map, at) : lib->unlock(h->map, at);

	if (result && result != EOWNERDEAD) {
		errno = result;
		require_errno();
	}
}

static void some_free(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	if (how & 1 && founds)
		lib->free(h->map, found[fuzz_u8(in) % founds]);
	else
		lib->free(h->map, h->map->user + fuzz_u16(in) * (how & 2 ? 16u : 1u) * (how & 4 ? 16u : 1u));
}

static void resize(struct fuzz_in *in, size_t place)
{
	char *at = held[place].at ? held[place].at : founds ? found[place % founds] : NULL;
	size_t size = size_from(in);

	held[place].at = NULL;
	at = lib->realloc(h->map, at, size);
	if (at)
		hold(place, at, size);
}

static void call(struct fuzz_in *in)
{
	uint8_t which = fuzz_u8(in);
	size_t place = fuzz_u8(in) % HELD, size;

	errno = 0;
	switch (which % 16) {
	case 0:
	case 1:
		size = size_from(in);
		hold(place, lib->malloc(h->map, size), size);
		break;
	case 2:
		size = size_from(in);
		hold(place, lib->calloc(h->map, 1, size), size);
		break;
	case 3:
		size = size_from(in);
		hold(place, lib->memalign(h->map, (size_t)1 << fuzz_u8(in) % 20, size), size);
		break;
	case 4:
	case 5:
		lib->free(h->map, held[place].at);
		held[place].at = NULL;
		break;
	case 6:
		resize(in, place);
		break;
	case 7:
	case 8:
		some_free(in);
		break;
	case 9:
		measure(founds ? found[place % founds] : held[place].at);
		break;
	case 10:
		look();
		break;
	case 11:
		roots(in, place);
		break;
	case 12:
		lock(in, place);
		break;
	case 13:
		if (fuzz_u8(in) & 1)
			lib->stats(h->map, false);
		else
			lib->check(h->map, NULL, NULL);
		break;
	case 14:
		if (fuzz_u8(in) % 4)
			break;
		if (ma_space_grow(h->map, (uint64_t)fuzz_u16(in) << 7) < 0)
			require_errno();
		ma_image_measure(h->map);
		break;
	default:
		if (fuzz_u8(in) % 8 == 0 && !h->map->item_bytes && ma_heap_trim(h->map) < 0)
			require_errno();
		break;
	}
}

bool fuzz_heap_live_input(struct fuzz_in *in)
{
	unsigned which = fuzz_u8(in) - FUZZ_LIVE;

	if (which >= heap_count)
		return false;
	h = &heaps[which];
	look();
	fuzz_live_steps(&h->live, in, call);
	reset();
	return true;
}
