/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing: handles, and what regfile.c calls for a map. One mutex serialises both within the process, and is held across a
 * fork (registry.h).
 */
#include "common/map.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/checkpoint_image.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_annotate.h"
#include "common/image_fd.h"
#include "common/map_create.h"
#include "common/map_recover.h"
#include "common/owner.h"
#include "common/recover.h"
#include "common/regfile.h"
#include "common/registry.h"
#include "common/slot.h"
#include "common/space.h"

static void publish(struct ma_map *map)
{
	struct ma_image *image = &map->image;

	image->kind = image->engine->kind;
	ma_store(&image->known.length, 0);
	ma_store(&image->known.bytes, 0);
	image->fast_units = ma_image_writable(image) && !image->item_bytes ? 1 : 0;
	image->fast_items = ma_image_writable(image) && image->item_bytes ? 1 : 0;
	ma_image_measure(image);
	image->annotated = ma_image_is_annotated(image, map->fork_copy);
	ma_image_annotate_new(image, map->fork_copy);
	ma_image_annotate_file(image);
	if (image->annotated || ma_registry_is_watched())
		ma_image_watch(image);
	map->uses = 1;
	if (image->fd >= 0 && ma_image_writable(image) && !(image->mode & MA_MAP_PRIVATE))
		ma_image_count_attach(image);
	ma_store_release(&image->id, ma_image_new_id()); /* Pairs with common/thread.c:ma_tcache_get. */
}

/* ASan's munmap() writes the range's whole shadow, an eighth of what may be a huge sparse map: go around it. */
static void unmap(struct ma_image *map)
{
	ma_image_annotate_close(map);
	if (map->hole_end) {
		syscall(SYS_munmap, map->base, map->hole_at);
		syscall(SYS_munmap, map->base + map->hole_end, map->mapped - map->hole_end);
	} else {
		syscall(SYS_munmap, map->base, map->mapped);
	}
	map->base = NULL;
}

static void give_up(struct ma_map *map)
{
	int saved = errno;

	ma_image_end_checkpoints(&map->image);
	if (map->image.base)
		unmap(&map->image);
	ma_image_close_fd(&map->image);
	ma_registry_clear(map);
	errno = saved;
}

/* ---- the calls of regfile.c ---- */

struct opening {
	struct ma_map *map;
	const struct ma_open *how;
	struct ma_map *known; /* The process has it open already. */
};

static enum ma_visit opened(struct ma_regfile *f)
{
	struct opening *o = f->arg;
	struct ma_image *image = &o->map->image;

	ma_image_set_file(image, *f->fd, &f->place);
	ma_image_set_fd(image, *f->fd);
	o->known = ma_registry_find(&f->st);
	if (o->known)
		return MA_VISIT_DONE;
	if (!(f->flags & MA_REGFILE_READ))
		ma_image_probe(image);
	return MA_VISIT_AGAIN;
}

static void lose(struct ma_regfile *f)
{
	struct opening *o = f->arg;

	ma_image_close_fd(&o->map->image);
}

static int create(struct ma_regfile *f)
{
	struct opening *o = f->arg;

	o->map->opening = (struct ma_opening){ .created = true, .first = true };
	return ma_map_create(&o->map->image, o->how, f);
}

static enum ma_visit recover(struct ma_regfile *f)
{
	struct opening *o = f->arg;
	enum ma_visit visit;

	o->map->image.place = f->place;
	visit = ma_map_recover(&o->map->image, o->how, &f->header, &o->map->opening);
	if (o->map->opening.restored)
		ma_regfile_is_whole(f);
	return visit;
}

static enum ma_visit join(struct ma_regfile *f)
{
	struct opening *o = f->arg;

	o->map->image.place = f->place;
	return ma_map_join(&o->map->image, o->how, &f->header, &o->map->opening);
}

static enum ma_visit look(struct ma_regfile *f)
{
	struct opening *o = f->arg;

	o->map->image.place = f->place;
	return ma_map_look(&o->map->image, o->how, &f->header, &o->map->opening, ma_regfile_is_unused(f));
}

/* ---- open ---- */

static struct ma_map *share_handle(struct ma_map *map, const struct ma_open *how)
{
	if (how->salvage)
		return ma_fail_null(EBUSY, "%s: cannot salvage it: this process has it open; close it first",
				    map->image.name);
	if ((map->image.mode & MA_MAP_WAY) != (how->flags & MA_MAP_WAY))
		return ma_fail_null(EBUSY,
				    "%s: cannot open it: this process has it open in another mode; close that first, "
				    "or use the same mode",
				    map->image.name);
	if (ma_map_accept(&map->image, how) < 0)
		return NULL;
	map->uses++;
	return map;
}

static bool open_anonymous(struct ma_map *map, const struct ma_open *how)
{
	ma_image_set_name(&map->image, "map without a file");
	map->opening = (struct ma_opening){ .created = true, .first = true };
	return ma_map_anonymous(&map->image, how) == 0;
}

static bool open_file(struct opening *o)
{
	static const struct ma_regfile_calls calls = { opened, lose, create, recover, join, look };
	struct ma_image *image = &o->map->image;
	unsigned flags = o->how->flags;
	struct ma_regfile f = {
		.filename = o->how->filename,
		.from = o->how->fd,
		.flags = (flags & MA_MAP_CREATE ? MA_REGFILE_CREATE : 0) |
			 (flags & MA_MAP_EXCLUSIVE ? MA_REGFILE_EXCLUSIVE : 0) |
			 (flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? MA_REGFILE_READ : 0),
		.kinds = ma_map_kinds(o->how),
		.name = image->name,
		.calls = &calls,
		.arg = o,
		.fd = &image->fd,
	};

	if (f.filename)
		ma_image_set_name(image, f.filename);
	else
		ma_file_name(f.from, image->name, sizeof(image->name));
	return ma_regfile_enter(&f) == MA_VISIT_DONE;
}

/* The handle is new, or the caller's own, or one that is used again. */
static struct ma_map *open_handle(struct ma_map *map, const struct ma_open *how)
{
	struct opening o = { .map = map, .how = how };
	bool done;

	map->image.mode = how->flags;
	map->fork_copy = how->fork_copy;
	map->fork_begin = how->fork_begin;
	done = how->flags & MA_MAP_ANON ? open_anonymous(map, how) : open_file(&o);
	if (!done || o.known)
		give_up(map);
	else
		publish(map);
	if (!done)
		return NULL;
	return o.known ? share_handle(o.known, how) : map;
}

/* Closed handles in the registry are used again: the caller's own one enters it when it is open for good. */
static struct ma_map *open_own(struct ma_map *map, const struct ma_open *how)
{
	if (ma_load(&map->image.id) != MA_MAP_CLOSED)
		return map;
	ma_registry_begin(map);
	if (!open_handle(map, how))
		return NULL;
	ma_registry_enter(map);
	return map;
}

static struct ma_map *open_new(const struct ma_open *how)
{
	struct ma_map *map = ma_registry_new();

	return map ? open_handle(map, how) : NULL;
}

struct ma_map *ma_map_open(const struct ma_open *how)
{
	MA_UNCANCELLED;
	struct ma_map *map;

	ma_map_watch_forks();
	pthread_mutex_lock(&ma_registry_mutex);
	map = how->handle ? open_own(how->handle, how) : open_new(how);
	pthread_mutex_unlock(&ma_registry_mutex);
	return map;
}

/* ---- close ---- */

/* When no other process is attached, the header may say that the map was closed in order. */
static void sign_off(struct ma_image *map, bool sync)
{
	if (ma_file_attach_exclusive(map->fd) < 0 || ma_slot_is_used_unlocked(map))
		return;
	ma_image_mark_closed(map, sync);
}

/* All that this process's threads own is free for other owners. */
static void leave(struct ma_image *map)
{
	if (ma_load(&map->slot) == MA_NO_SLOT)
		return;
	if (ma_owner_retire_slot(map, ma_load(&map->slot)) > 0)
		for (uint32_t i = 0; i < ma_lanes(map); i++)
			ma_store(&ma_stream(map, i)->stale, 1);
	if (map->engine->rest)
		map->engine->rest(map);
	ma_slot_leave(map);
}

/* The mapping may still hold the attach byte, by a description that has no descriptor: it goes first. */
static void sign_off_unmapped(struct ma_image *map, bool sync)
{
	uint32_t closed = MA_STATE_CLOSED, synced = MA_STATE_SYNCED;
	off_t at = offsetof(struct ma_header, state);

	if (ma_slot_is_used_unlocked(map))
		return;
	unmap(map);
	if (ma_file_attach_exclusive(map->fd) < 0 || pwrite(map->fd, &closed, sizeof(closed), at) < 0)
		return;
	if (sync && fsync(map->fd) == 0 && pwrite(map->fd, &synced, sizeof(synced), at) > 0 && fdatasync(map->fd) < 0)
		ma_debug("%s: fdatasync(2) failed", map->name);
}

static void close_now(struct ma_map *map, bool sync)
{
	bool has_file = map->image.fd >= 0 && ma_image_writable(&map->image);
	bool may_sign = has_file && ma_image_fd(&map->image) >= 0;

	ma_store_release(&map->image.id, MA_MAP_CLOSED); /* Pairs with common/thread.c:ma_tcache_get. */
	if (has_file)
		leave(&map->image);
	if (may_sign && map->image.was_replaced)
		sign_off_unmapped(&map->image, sync);
	else if (may_sign)
		sign_off(&map->image, sync);
	ma_registry_count_close();
	give_up(map);
}

/* No process comes in any more: the attach byte stays exclusively ours until the kernel takes it back. */
void ma_map_sign_off(struct ma_map *map)
{
	MA_UNCANCELLED;
	if (map->image.fd < 0 || !ma_image_writable(&map->image))
		return;
	leave(&map->image);
	if (ma_fd_is(map->image.fd, ma_image_fd_id(&map->image))) /* To open it again would take a lock. */
		sign_off(&map->image, false);
}

int ma_map_close(struct ma_map *map)
{
	MA_UNCANCELLED;
	int result = 0;

	pthread_mutex_lock(&ma_registry_mutex);
	if (!ma_image_is_open(ma_image_of(map)))
		result = -1;
	else if (--map->uses == 0)
		close_now(map, false);
	pthread_mutex_unlock(&ma_registry_mutex);
	return result;
}

int ma_map_sync_all(bool then_close)
{
	MA_UNCANCELLED;
	int result = 0;
	int err = 0;

	pthread_mutex_lock(&ma_registry_mutex);
	for (struct ma_map *map = ma_registry; map; map = map->next) {
		if (ma_load(&map->image.id) == MA_MAP_CLOSED)
			continue;
		if (ma_image_sync_now(&map->image) < 0) {
			err = errno;
			result = -1;
		}
		if (then_close)
			close_now(map, true);
	}
	pthread_mutex_unlock(&ma_registry_mutex);
	errno = err;
	return result;
}
