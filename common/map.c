/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing. One mutex serialises both within the process (and is held across fork); between processes the
 * attach byte decides (proc.h):
 *
 *   got it exclusively: nobody is attached. The file is empty or half made: create. It is whole: recover what the
 *     dead left. Then turn the lock into a shared one.
 *   got it shared: somebody finished that before us, if the header says so; else let go and try again.
 *
 * A reader (read-only or private) holds the attach byte only while it opens, to sit out a creation.
 */
#include "common/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/error.h"
#include "common/file.h"
#include "common/image_annotate.h"
#include "common/image_fd.h"
#include "common/map_file.h"
#include "common/owner.h"
#include "common/recover.h"
#include "common/regain.h"
#include "common/registry.h"
#include "common/slot.h"
#include "common/space.h"

#define WAIT_MS      10000
#define WAIT_BUSY_MS 100 /* For processes that only look, or are about to go. */

/* ---- open ---- */

static void publish(struct ma_map *map)
{
	struct ma_image *image = &map->image;

	image->kind = image->engine->kind;
	ma_store(&image->known.length, 0);
	ma_store(&image->known.bytes, 0);
	ma_store(&image->fast_limits, ma_image_writable(image) && !image->item_bytes ? 1 : 0);
	image->fast_items = ma_image_writable(image) && image->item_bytes ? 1 : 0;
	ma_image_measure(image);
	image->annotated = ma_image_is_annotated(image, map->fork_copy);
	ma_image_annotate_new(image, map->fork_copy);
	ma_image_annotate_file(image);
	if (image->annotated || ma_registry_is_watched())
		ma_image_watch(image);
	map->uses = 1;
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

	if (map->image.base)
		unmap(&map->image);
	ma_image_close_fd(&map->image);
	ma_registry_clear(map);
	errno = saved;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void nap(unsigned turn)
{
	struct timespec t = { .tv_nsec = 200000 + (long)(ma_mix((uint64_t)getpid() + turn) % 2000000) };

	nanosleep(&t, NULL);
}

/* Another process has the attach byte. An open does not wait for one that keeps it, and an exclusive open waits for none. */
static bool is_busy(const struct ma_image *map, int64_t began)
{
	if (ma_file_is_kept(map->fd)) {
		ma_fail(EBUSY, "%s: cannot open it: another process has it open exclusively; wait for it to close it",
			map->name);
		return true;
	}
	if (now_ms() - began < WAIT_BUSY_MS)
		return false;
	if (ma_file_blame_self(map->fd, map->name))
		return true;
	if (!(map->mode & MA_MAP_EXCLUSIVE))
		return false;
	ma_fail(EBUSY, "%s: cannot open it exclusively: another process has it open; wait for it to close it", map->name);
	return true;
}

static void fail_waiting(const struct ma_image *map)
{
	if (!ma_file_blame(map->fd, MA_FILE_ATTACH_BYTE, map->name, "cannot open it"))
		ma_fail(EAGAIN,
			"%s: cannot open it: another process has been creating or recovering it for %d s; try again",
			map->name, WAIT_MS / 1000);
}

/* Attach for writing. See the head of this file. */
static enum ma_attach attach_writer(struct ma_image *map, const struct ma_open *how, struct ma_opening *found)
{
	int64_t began = now_ms();
	int64_t deadline = began + WAIT_MS;

	for (unsigned turn = 0; now_ms() < deadline; turn++) {
		if (ma_file_attach_exclusive(map->fd) == 0)
			return ma_map_first(map, how, found);
		if (errno != EAGAIN) {
			ma_fail(errno,
				"%s: cannot lock it: its file system has no open-file-description locks; use another "
				"file system",
				map->name);
			return MA_ATTACH_FAILED;
		}
		if (is_busy(map, began))
			return MA_ATTACH_FAILED;
		if (!(map->mode & MA_MAP_EXCLUSIVE) && ma_file_attach_shared(map->fd) == 0) {
			enum ma_attach result = ma_map_join(map, how, found);

			if (result != MA_ATTACH_AGAIN)
				return result;
			ma_file_detach(map->fd);
		}
		nap(turn);
	}
	fail_waiting(map);
	return MA_ATTACH_FAILED;
}

static enum ma_attach attach_reader(struct ma_image *map, const struct ma_open *how, struct ma_opening *found)
{
	int64_t began = now_ms(), deadline = began + WAIT_MS;
	enum ma_attach result;

	for (unsigned turn = 0; ma_file_attach_shared(map->fd) < 0; turn++) {
		if (errno != EAGAIN)
			break; /* No locks there: then nobody can be creating under one either. */
		if (is_busy(map, began))
			return MA_ATTACH_FAILED;
		if (now_ms() >= deadline) {
			fail_waiting(map);
			return MA_ATTACH_FAILED;
		}
		nap(turn);
	}
	result = ma_map_look(map, how, found);
	if (result == MA_ATTACH_DONE && map->fd >= 0) /* Else closing it did, or will: errno stays as it is. */
		ma_file_detach(map->fd);
	return result;
}

static struct ma_map *share_handle(struct ma_map *map, const struct ma_open *how)
{
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

/* Closed handles in the registry are used again: the caller's own one enters it when it is open for good. */
static struct ma_map *open_own(struct ma_map *map, const struct ma_open *how)
{
	if (map->image.id != MA_MAP_CLOSED)
		return map;
	ma_registry_begin(map);
	if (ma_map_anonymous(&map->image, how, &map->opening) != MA_ATTACH_DONE) {
		give_up(map);
		return NULL;
	}
	ma_registry_enter(map);
	publish(map);
	return map;
}

static struct ma_map *open_once(const struct ma_open *how, bool *again)
{
	struct ma_map *map = ma_registry_new();
	enum ma_attach result;
	struct ma_map *known;
	struct stat st;

	if (!map)
		return NULL;
	map->fork_copy = how->fork_copy;
	map->fork_begin = how->fork_begin;
	if (how->flags & MA_MAP_ANON) {
		if (ma_map_anonymous(&map->image, how, &map->opening) != MA_ATTACH_DONE) {
			give_up(map);
			return NULL;
		}
		publish(map);
		return map;
	}
	if (ma_map_open_file(&map->image, how, &map->opening, &st) < 0) {
		give_up(map);
		return NULL;
	}
	known = ma_registry_find(&st);
	if (known) {
		give_up(map);
		return share_handle(known, how);
	}
	result = map->image.mode & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? attach_reader(&map->image, how, &map->opening)
								    : attach_writer(&map->image, how, &map->opening);
	if (result == MA_ATTACH_DONE) {
		publish(map);
		return map;
	}
	*again = result == MA_ATTACH_REOPEN;
	give_up(map);
	return NULL;
}

struct ma_map *ma_map_open(const struct ma_open *how)
{
	MA_UNCANCELLED;
	struct ma_map *map;
	bool again;

	ma_map_watch_forks();
	pthread_mutex_lock(&ma_registry_mutex);
	do {
		again = false;
		map = how->handle ? open_own(how->handle, how) : open_once(how, &again);
	} while (again);
	pthread_mutex_unlock(&ma_registry_mutex);
	return map;
}

/* ---- close ---- */

/* When nobody else is attached, the header may say that the map was closed in order. */
static void sign_off(struct ma_image *map, bool sync)
{
	if (ma_file_attach_exclusive(map->fd) < 0 || ma_slot_is_used_unlocked(map))
		return;
	ma_image_mark_closed(map, sync);
}

/* All that this process's threads own is anybody's. */
static void leave(struct ma_image *map)
{
	if (ma_load(&map->slot) == MA_NO_SLOT)
		return;
	if (ma_owner_retire_slot(map, map->slot) > 0)
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

/* Nobody comes in any more: the attach byte stays exclusively ours until the kernel takes it back. */
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
	if (!ma_image_is_open(&map->image))
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
		if (map->image.id == MA_MAP_CLOSED)
			continue;
		if (ma_image_sync(&map->image) < 0) {
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
