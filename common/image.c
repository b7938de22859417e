/* SPDX-License-Identifier: BSD-3-Clause */
/* See image.h. */
#include "common/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/page.h"
#include "common/tls.h"

static _Atomic uint64_t last_id;

uint64_t ma_image_new_id(void)
{
	return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

bool ma_image_is_open(const struct ma_image *image)
{
	if (image && ma_load_acquire(&image->id) != MA_MAP_CLOSED) /* Pairs with common/map_open.c:publish. */
		return true;
	if (!image)
		ma_fail(EBADF, "the map is NULL: none is open, or opening it failed; open a map first");
	else
		ma_fail(EBADF,
			"%s: the map is closed: its handle was closed before, or in this fork child; open it again",
			image->name);
	return false;
}

void ma_image_clear(struct ma_image *image, int32_t tls_at)
{
	ma_store(&image->id, MA_MAP_CLOSED);
	ma_store_either(&image->fast_units, 0);
	ma_store_either(&image->fast_items, 0);
	ma_store_either(&image->tls_at, tls_at);
	memset(&image->kind, 0, offsetof(struct ma_image, name) - offsetof(struct ma_image, kind));
	image->fd = -1;
	ma_store(&image->slot, MA_NO_SLOT);
	pthread_mutex_init(&image->mutex, NULL);
	pthread_mutex_init(&image->fd_mutex, NULL);
}

/* A thread finds the cache that it had all the same, by way of its list. */
void ma_image_watch(struct ma_image *image)
{
	ma_store(&image->is_watched, true); /* In this order: ma_search_lift() stores the limits, then looks whether it may. */
	ma_store_either(&image->tls_at, ma_tls_at(MA_TLS_WATCHED));
	ma_store_either(&image->fast_units, 0);
	ma_store_either(&image->fast_items, 0);
}

void ma_image_set_hook(struct ma_image *image, uintptr_t hook)
{
	ma_store_release(&image->hook, hook); /* Pairs with libmmalloc/src/check.c:mmalloc__take. */
}

void ma_image_set_name(struct ma_image *image, const char *name)
{
	snprintf(image->name, sizeof(image->name), "%s", name);
}

/* ---- layout ---- */

bool ma_image_plan(struct ma_image *image)
{
	if (!image->engine->layout(&image->lay, &image->sealed))
		return false;
	image->reach = image->lay.segments;
	return true;
}

/* Metadata is read here and there, much of it holes: reading ahead would only fill memory, and slowly. */
static void advise(const struct ma_image *image)
{
	const struct ma_layout *lay = &image->lay;
	uint64_t tables = ma_up(lay->user_off + lay->user_bytes, ma_page());

	madvise(image->base, lay->user_off, MADV_RANDOM);
	madvise(image->base + tables, lay->own_end - tables, MADV_RANDOM);
}

bool ma_image_lay_out(struct ma_image *image)
{
	if (!ma_image_plan(image))
		return false;
	ma_store(&image->known.length, 0);
	ma_store(&image->known.bytes, 0);
	ma_store(&image->known.most, ma_load(&image->sealed.length));
	image->user = image->base + image->lay.user_off;
	image->alloc_bytes = (_Atomic uint8_t *)(image->base + image->lay.alloc_bytes_off);
	image->slab_desc = (_Atomic uint64_t *)(void *)(image->base + image->lay.slab_desc_off);
	image->item_bytes = image->lay.item_bytes;
	if (image->item_bytes)
		image->item_magic = UINT64_MAX / image->item_bytes + 1;
	else
		ma_store_either(&image->first_chunk, (uint64_t)(uintptr_t)image->user / MA_CHUNK);
	advise(image);
	return true;
}

/* ---- without a handle ---- */

bool ma_image_make(struct ma_image *image, const struct ma_engine *engine, const struct ma_header *header,
		   const char *name)
{
	ma_image_clear(image, ma_tls_at(MA_TLS_WATCHED));
	ma_image_set_name(image, name);
	ma_store(&image->id, ma_image_new_id());
	image->engine = engine;
	image->kind = engine->kind;
	image->sealed = *header;
	image->mapped = header->reserved;
	return ma_image_plan(image);
}

void ma_image_set_file(struct ma_image *image, int fd, const struct ma_place *place)
{
	image->fd = fd;
	image->place = *place;
}

bool ma_image_place(struct ma_image *image, void *at)
{
	image->base = at;
	image->header = at;
	return ma_image_lay_out(image);
}

void ma_image_set_mode(struct ma_image *image, unsigned mode)
{
	image->mode = mode;
}

void ma_image_part(struct ma_image *image)
{
	image->mode = MA_MAP_PRIVATE;
	image->fd = -1;
	ma_store(&image->slot, 0);
}

/* ---- the length that is believed ---- */

/* Is the file so long? Memory without a file gets longer by us alone, who know it. */
static bool is_there(const struct ma_image *image, uint64_t length)
{
	struct stat st;
	int saved = errno;
	bool there = image->fd >= 0 && fstat(image->fd, &st) == 0 && (uint64_t)st.st_size >= length &&
		     (image->place.inode == 0 || (st.st_ino == image->place.inode && st.st_dev == image->place.device));

	errno = saved;
	return there;
}

/* Release: a thread that believes this length finds no less in the header then. Pairs with common/image.c:ma_image_believe. */
static void raise_to(_Atomic uint64_t *at, uint64_t to)
{
	uint64_t is = ma_load(at);

	while (is < to && !ma_cas(at, &is, to))
		;
}

uint64_t ma_image_believe(const struct ma_image *known, uint64_t length)
{
	struct ma_image *image = (struct ma_image *)(uintptr_t)known; /* What it remembers may change in any call. */
	uint64_t most = ma_load(&image->known.most);

	if (most == 0)
		return length;
	if (length > most && length <= image->lay.file_end && is_there(image, length))
		raise_to(&image->known.most, length);
	return ma_load_acquire(&image->known.most); /* Pairs with common/image.c:raise_to. */
}

void ma_image_is_long(struct ma_image *image, uint64_t length)
{
	raise_to(&image->known.most, length);
}
