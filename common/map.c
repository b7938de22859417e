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
#include "common/map_annotate.h"
#include "common/map_file.h"
#include "common/map_fork.h"
#include "common/owner.h"
#include "common/proc.h"
#include "common/regain.h"
#include "common/space.h"
#include "common/thread.h"

#define WAIT_MS      10000
#define WAIT_BUSY_MS 100 /* For processes that only look, or are about to go. */

pthread_mutex_t ma_registry_mutex = MA_FORKMUTEX;
struct ma_map *ma_registry;
static _Atomic uint64_t last_id;
static uint64_t closes; /* How many maps were closed so far. */
static bool watch_all;

uint64_t ma_registry_id(void)
{
	return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

bool ma_map_is_open(const struct ma_map *map)
{
	if (map && ma_load_acquire(&map->id) != MA_MAP_CLOSED)
		return true;
	if (!map)
		ma_fail(EBADF, "the map is NULL: none is open, or opening it failed; open a map first");
	else
		ma_fail(EBADF,
			"%s: the map is closed: its handle was closed before, or in this fork child; open it again",
			map->name);
	return false;
}

static uint32_t handles(void)
{
	uint32_t count = 0;

	for (struct ma_map *map = ma_registry; map; map = map->next)
		count++;
	return count;
}

static void handle_enter(struct ma_map *map)
{
	map->next = ma_registry;
	ma_registry = map;
}

/* A handle closed long enough ago to use again, or a new one. */
static struct ma_map *handle_new(void)
{
	struct ma_map *map;

	for (map = ma_registry; map; map = map->next)
		if (map->id == MA_MAP_CLOSED && closes - map->closed_at >= MA_MAP_REST)
			return map;
	map = calloc(1, sizeof(*map));
	if (!map)
		return ma_fail_null(ENOMEM, "cannot open a map: no memory for the %zu bytes of its handle; free memory",
				    sizeof(*map));
	map->id = MA_MAP_CLOSED;
	map->tls_own = ma_tls_at(handles() % MA_TLS_SLOTS);
	handle_enter(map);
	return map;
}

/* What the fast paths read is never torn: other threads may look at the default heap's handle in any state. */
static void handle_clear(struct ma_map *map)
{
	struct ma_map *next = map->next;
	int32_t own = map->tls_own;

	ma_store(&map->id, MA_MAP_CLOSED);
	ma_store(&map->fast_limits, 0);
	ma_store_either(&map->fast_items, 0);
	ma_store_either(&map->tls_at, own);
	memset(&map->kind, 0, offsetof(struct ma_map, name) - offsetof(struct ma_map, kind));
	map->tls_own = own;
	map->next = next;
	map->fd = -1;
	map->fork_fd = -1;
	map->slot = MA_NO_SLOT;
	map->closed_at = closes;
	pthread_mutex_init(&map->mutex, NULL);
	pthread_mutex_init(&map->fd_mutex, NULL);
}

static struct ma_map *handle_find(const struct stat *st)
{
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED && map->device == st->st_dev && map->inode == st->st_ino)
			return map;
	return NULL;
}

void ma_map_hold_all(void)
{
	pthread_mutex_lock(&ma_registry_mutex);
}

bool ma_map_try_hold_all(void)
{
	return pthread_mutex_trylock(&ma_registry_mutex) == 0;
}

void ma_map_let_go_all(void)
{
	pthread_mutex_unlock(&ma_registry_mutex);
}

/* ---- watching ---- */

/* A thread finds the cache that it had all the same, by way of its list. */
void ma_map_watch(struct ma_map *map)
{
	ma_store(&map->is_watched, true); /* In this order: ma_search_lift() stores the limits, then looks whether it may. */
	ma_store_either(&map->tls_at, ma_tls_at(MA_TLS_WATCHED));
	atomic_fetch_and_explicit(&map->fast_limits, ~(uint64_t)UINT32_MAX, memory_order_relaxed);
	ma_store_either(&map->fast_items, 0);
}

void ma_map_watch_all(void)
{
	pthread_mutex_lock(&ma_registry_mutex);
	watch_all = true;
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED)
			ma_map_watch(map);
	pthread_mutex_unlock(&ma_registry_mutex);
}

/* ---- open ---- */

static void publish(struct ma_map *map)
{
	map->kind = map->engine->kind;
	ma_store(&map->known.length, 0);
	ma_store(&map->known.bytes, 0);
	ma_store(&map->fast_limits, ma_map_writable(map) && !map->item_bytes ? 1 : 0);
	map->fast_items = ma_map_writable(map) && map->item_bytes ? 1 : 0;
	ma_map_measure(map);
	map->annotated = ma_map_is_annotated(map);
	ma_map_annotate_new(map);
	ma_map_annotate_file(map);
	if (map->annotated || watch_all)
		ma_map_watch(map);
	map->uses = 1;
	ma_store_release(&map->id, ma_registry_id()); /* Pairs with common/thread.c:ma_tcache_get. */
}

/* ASan's munmap() writes the range's whole shadow, an eighth of what may be a huge sparse map: go around it. */
static void unmap(struct ma_map *map)
{
	ma_map_annotate_close(map);
	if (map->hole_end) {
		syscall(SYS_munmap, map->base, map->hole_at);
		syscall(SYS_munmap, map->base + map->hole_end, map->mapped - map->hole_end);
	} else {
		syscall(SYS_munmap, map->base, map->mapped);
	}
}

static void give_up(struct ma_map *map)
{
	int saved = errno;

	if (map->base)
		unmap(map);
	ma_map_close_fd(map);
	handle_clear(map);
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
static bool is_busy(const struct ma_map *map, int64_t began)
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
	if (!(map->flags & MA_MAP_EXCLUSIVE))
		return false;
	ma_fail(EBUSY, "%s: cannot open it exclusively: another process has it open; wait for it to close it", map->name);
	return true;
}

static void fail_waiting(const struct ma_map *map)
{
	if (!ma_file_blame(map->fd, MA_FILE_ATTACH_BYTE, map->name, "cannot open it"))
		ma_fail(EAGAIN,
			"%s: cannot open it: another process has been creating or recovering it for %d s; try again",
			map->name, WAIT_MS / 1000);
}

/* Attach for writing. See the head of this file. */
static enum ma_attach attach_writer(struct ma_map *map, const struct ma_open *how)
{
	int64_t began = now_ms();
	int64_t deadline = began + WAIT_MS;

	for (unsigned turn = 0; now_ms() < deadline; turn++) {
		if (ma_file_attach_exclusive(map->fd) == 0)
			return ma_map_first(map, how);
		if (errno != EAGAIN) {
			ma_fail(errno,
				"%s: cannot lock it: its file system has no open-file-description locks; use another "
				"file system",
				map->name);
			return MA_ATTACH_FAILED;
		}
		if (is_busy(map, began))
			return MA_ATTACH_FAILED;
		if (!(map->flags & MA_MAP_EXCLUSIVE) && ma_file_attach_shared(map->fd) == 0) {
			enum ma_attach result = ma_map_join(map, how);

			if (result != MA_ATTACH_AGAIN)
				return result;
			ma_file_detach(map->fd);
		}
		nap(turn);
	}
	fail_waiting(map);
	return MA_ATTACH_FAILED;
}

static enum ma_attach attach_reader(struct ma_map *map, const struct ma_open *how)
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
	result = ma_map_look(map, how);
	if (result == MA_ATTACH_DONE && map->fd >= 0) /* Else closing it did, or will: errno stays as it is. */
		ma_file_detach(map->fd);
	return result;
}

static struct ma_map *share_handle(struct ma_map *map, const struct ma_open *how)
{
	if ((map->flags & MA_MAP_WAY) != (how->flags & MA_MAP_WAY))
		return ma_fail_null(EBUSY,
				    "%s: cannot open it: this process has it open in another mode; close that first, "
				    "or use the same mode",
				    map->name);
	if (ma_map_accept(map, how) < 0)
		return NULL;
	map->uses++;
	return map;
}

/* Closed handles in the registry are used again: the caller's own one enters it when it is open for good. */
static struct ma_map *open_own(struct ma_map *map, const struct ma_open *how)
{
	if (map->id != MA_MAP_CLOSED)
		return map;
	map->tls_own = ma_tls_at(handles() % MA_TLS_SLOTS);
	handle_clear(map);
	if (ma_map_anonymous(map, how) != MA_ATTACH_DONE) {
		give_up(map);
		return NULL;
	}
	handle_enter(map);
	publish(map);
	return map;
}

static struct ma_map *open_once(const struct ma_open *how, bool *again)
{
	struct ma_map *map = handle_new();
	enum ma_attach result;
	struct ma_map *known;
	struct stat st;

	if (!map)
		return NULL;
	handle_clear(map);
	map->fork_copy = how->fork_copy;
	map->fork_begin = how->fork_begin;
	if (how->flags & MA_MAP_ANON) {
		if (ma_map_anonymous(map, how) != MA_ATTACH_DONE) {
			give_up(map);
			return NULL;
		}
		publish(map);
		return map;
	}
	if (ma_map_open_file(map, how, &st) < 0) {
		give_up(map);
		return NULL;
	}
	known = handle_find(&st);
	if (known) {
		give_up(map);
		return share_handle(known, how);
	}
	result = map->flags & (MA_MAP_RDONLY | MA_MAP_PRIVATE) ? attach_reader(map, how) : attach_writer(map, how);
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
static void sign_off(struct ma_map *map, bool sync)
{
	if (ma_file_attach_exclusive(map->fd) < 0 || ma_proc_is_used_unlocked(map))
		return;
	ma_store_release(&map->header->state, MA_STATE_CLOSED);
	if (sync && ma_space_sync_all(map) == 0) {
		ma_store_release(&map->header->state, MA_STATE_SYNCED);
		ma_space_sync(map, 0, MA_PAGE);
	}
}

/* All that this process's threads own is anybody's. */
static void leave(struct ma_map *map)
{
	if (ma_load(&map->slot) == MA_NO_SLOT)
		return;
	if (ma_owner_retire_slot(map, map->slot) > 0)
		for (uint32_t i = 0; i < ma_lanes(map); i++)
			ma_store(&ma_stream(map, i)->stale, 1);
	if (map->engine->rest)
		map->engine->rest(map);
	ma_proc_leave(map);
}

/* The mapping may still hold the attach byte, by a description that has no descriptor: it goes first. */
static void sign_off_unmapped(struct ma_map *map, bool sync)
{
	uint32_t closed = MA_STATE_CLOSED, synced = MA_STATE_SYNCED;
	off_t at = offsetof(struct ma_header, state);

	if (ma_proc_is_used_unlocked(map))
		return;
	unmap(map);
	map->base = NULL;
	if (ma_file_attach_exclusive(map->fd) < 0 || pwrite(map->fd, &closed, sizeof(closed), at) < 0)
		return;
	if (sync && fsync(map->fd) == 0 && pwrite(map->fd, &synced, sizeof(synced), at) > 0 && fdatasync(map->fd) < 0)
		ma_debug("%s: fdatasync(2) failed", map->name);
}

static void close_now(struct ma_map *map, bool sync)
{
	bool has_file = map->fd >= 0 && ma_map_writable(map);
	bool may_sign = has_file && ma_map_fd(map) >= 0;

	ma_store_release(&map->id, MA_MAP_CLOSED); /* Pairs with common/thread.c:ma_tcache_get. */
	if (has_file)
		leave(map);
	if (may_sign && map->was_replaced)
		sign_off_unmapped(map, sync);
	else if (may_sign)
		sign_off(map, sync);
	closes++;
	give_up(map);
}

/* Nobody comes in any more: the attach byte stays exclusively ours until the kernel takes it back. */
void ma_map_sign_off(struct ma_map *map)
{
	MA_UNCANCELLED;
	if (map->fd < 0 || !ma_map_writable(map))
		return;
	leave(map);
	if (ma_fd_is(map->fd, ma_map_fd_id(map))) /* To open it again would take a lock. */
		sign_off(map, false);
}

int ma_map_close(struct ma_map *map)
{
	MA_UNCANCELLED;
	int result = 0;

	pthread_mutex_lock(&ma_registry_mutex);
	if (!ma_map_is_open(map))
		result = -1;
	else if (--map->uses == 0)
		close_now(map, false);
	pthread_mutex_unlock(&ma_registry_mutex);
	return result;
}

int ma_map_sync(struct ma_map *map)
{
	MA_UNCANCELLED;
	int regained = ma_regain(map);

	return ma_space_sync_all(map) < 0 ? -1 : regained;
}

int ma_map_sync_all(bool then_close)
{
	MA_UNCANCELLED;
	int result = 0;
	int err = 0;

	pthread_mutex_lock(&ma_registry_mutex);
	for (struct ma_map *map = ma_registry; map; map = map->next) {
		if (map->id == MA_MAP_CLOSED)
			continue;
		if (ma_map_sync(map) < 0) {
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
