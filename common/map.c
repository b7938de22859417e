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

#include "common/annotate.h"
#include "common/error.h"
#include "common/file.h"
#include "common/map_file.h"
#include "common/owner.h"
#include "common/proc.h"
#include "common/space.h"
#include "common/thread.h"

#define WAIT_MS 10000

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ma_map *registry;
static _Atomic uint64_t last_id;
static uint64_t closes; /* How many maps were closed so far. */
static bool watch_all;

static uint64_t new_id(void)
{
	return atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
}

bool ma_map_is_open(const struct ma_map *map)
{
	if (map && ma_load_acquire(&map->id) != MA_MAP_CLOSED)
		return true;
	ma_fail(EBADF, "%s", map ? "the map is closed" : "the map is NULL");
	return false;
}

static uint32_t handles(void)
{
	uint32_t count = 0;

	for (struct ma_map *map = registry; map; map = map->next)
		count++;
	return count;
}

static void handle_enter(struct ma_map *map)
{
	map->next = registry;
	registry = map;
}

/* A handle closed long enough ago to use again, or a new one. */
static struct ma_map *handle_new(void)
{
	struct ma_map *map;

	for (map = registry; map; map = map->next)
		if (map->id == MA_MAP_CLOSED && closes - map->closed_at >= MA_MAP_REST)
			return map;
	map = calloc(1, sizeof(*map));
	if (!map)
		return ma_fail_null(ENOMEM, "no memory for a map's handle");
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
	memset(&map->kind, 0, sizeof(*map) - offsetof(struct ma_map, kind));
	map->tls_own = own;
	map->next = next;
	map->fd = -1;
	map->slot = MA_NO_SLOT;
	map->closed_at = closes;
	pthread_mutex_init(&map->mutex, NULL);
}

static struct ma_map *handle_find(const struct stat *st)
{
	for (struct ma_map *map = registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED && map->device == st->st_dev && map->inode == st->st_ino)
			return map;
	return NULL;
}

void ma_map_hold_all(void)
{
	pthread_mutex_lock(&registry_mutex);
}

void ma_map_let_go_all(void)
{
	pthread_mutex_unlock(&registry_mutex);
}

/* ---- fork ---- */

/*
 * The inherited descriptor is the parent's open file description: its locks are the parent's, and closing our copy
 * leaves them with the parent. The parent is attached, so nobody can hold the attach byte exclusively: ours is had at once.
 */
static bool child_attach(struct ma_map *map)
{
	int fd = ma_map_reopen(map->fd, map->flags);

	close(map->fd);
	map->fd = fd;
	if (fd < 0 || ma_file_attach_shared(fd) < 0) {
		ma_debug("%s: a fork child cannot attach (is /proc there?): its handle is closed", map->name);
		return false;
	}
	ma_store(&map->slot, MA_NO_SLOT);
	return true;
}

/* Valgrind takes a new mapping for memory in use, and its leak check reads that. */
static void hide_unused(struct ma_map *map)
{
	uint64_t used = map->lay.user_off + ma_load(&ma_stream(map, 0)->backed) * MA_CHUNK;

	if (map->annotated && map->lay.streams == 1 && used < map->mapped)
		ma_annotate_unused(map->base + used, map->mapped - used);
}

/* The same addresses over the copy. Nobody else is attached to that, so what the parent's threads held is void. */
static bool take_copy(struct ma_map *map, int fd)
{
	struct stat st;

	close(map->fd);
	map->fd = fd;
	if (fd < 0 || fstat(fd, &st) < 0 || ma_file_attach_exclusive(fd) < 0 ||
	    mmap(map->base, map->mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) ==
		    MAP_FAILED)
		return false;
	map->header->device = map->device = st.st_dev;
	map->header->inode = map->inode = st.st_ino;
	if (map->engine->back(map) < 0)
		return false;
	ma_store(&map->slot, 0);
	ma_body_recover(map);
	ma_store(&map->slot, MA_NO_SLOT);
	hide_unused(map);
	return ma_file_attach_shared(fd) == 0;
}

/* Without a copy nothing is there: a fault is better than the parent's changing values. */
static bool child_copy(struct ma_map *map)
{
	if (take_copy(map, map->fork_copy(map)))
		return true;
	ma_debug("%s: a fork child has no copy of its own: its handle is closed", map->name);
	mmap(map->base, map->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (map->fd >= 0)
		close(map->fd);
	map->fd = -1;
	return false;
}

static void child_map(struct ma_map *map)
{
	bool alive = true;

	pthread_mutex_init(&map->mutex, NULL);
	if (map->fork_copy)
		alive = child_copy(map);
	else if (map->flags & (MA_MAP_PRIVATE | MA_MAP_ANON))
		ma_body_recover(map); /* The copy is ours alone, and nobody else of the parent came along. */
	else if (ma_map_writable(map))
		alive = child_attach(map);
	ma_store_release(&map->id, alive ? new_id() : MA_MAP_CLOSED);
}

static void fork_child(void)
{
	int saved = errno;

	for (struct ma_map *map = registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED)
			child_map(map);
	ma_map_let_go_all(); /* Taken before the fork, by this thread. */
	errno = saved;
}

static void watch_forks(void)
{
	pthread_atfork(ma_map_hold_all, ma_map_let_go_all, fork_child);
}

void ma_map_watch_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch_forks);
}

/* ---- watching ---- */

/* A thread finds the cache that it had all the same, by way of its list. */
void ma_map_watch(struct ma_map *map)
{
	ma_store_either(&map->tls_at, ma_tls_at(MA_TLS_WATCHED));
	atomic_fetch_and_explicit(&map->fast_limits, ~(uint64_t)UINT32_MAX, memory_order_relaxed);
	ma_store_either(&map->fast_items, 0);
}

void ma_map_watch_all(void)
{
	pthread_mutex_lock(&registry_mutex);
	watch_all = true;
	for (struct ma_map *map = registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED)
			ma_map_watch(map);
	pthread_mutex_unlock(&registry_mutex);
}

/* ---- open ---- */

/* The line of the handle that all threads read is written only when there is news. */
void ma_map_measure(struct ma_map *map)
{
	uint64_t lines = ma_load_acquire(&map->header->length) / MA_UNIT;
	uint64_t last = ma_min(UINT32_MAX, lines - ma_min(lines, MA_UNITS_MOST + 1)) << 32;
	uint64_t was = ma_load(&map->fast_limits);

	while (was >> 32 != last >> 32 && !ma_cas(&map->fast_limits, &was, last | (uint32_t)was))
		;
}

static void publish(struct ma_map *map)
{
	map->kind = map->engine->kind;
	ma_store(&map->fast_limits, ma_map_writable(map) && !map->item_bytes ? map->lay.units : 0);
	ma_map_measure(map);
	map->fast_items = ma_map_writable(map) && map->item_bytes ? map->lay.user_bytes : 0;
	map->annotated = ma_map_is_annotated(map);
	if (map->annotated && ((map->flags & MA_MAP_ANON) || map->fork_copy))
		ma_annotate_unused(map->user, map->lay.user_bytes);
	if (map->annotated || watch_all)
		ma_map_watch(map);
	map->uses = 1;
	ma_store_release(&map->id, new_id());
}

/* What was ever said to Valgrind and ASan about this map's blocks: the whole range would be a shadow of many GiB. */
static void forget_annotations(struct ma_map *map)
{
	uint64_t unit = map->item_bytes ? map->lay.group_items * map->item_bytes : MA_CHUNK;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = (uint64_t)s * map->lay.per_stream;
		uint64_t used = ma_load(&ma_stream(map, s)->backed);

		if (first < map->lay.units)
			ma_annotate_reset(map->user + first * unit, ma_min(used, map->lay.units - first) * unit);
	}
}

/*
 * Valgrind's leak check, which comes after all else, reads whatever it takes for memory in use: a hole of a file in tmpfs
 * would become a page of it, and beyond the end of a file it is a SIGBUS for every eight bytes, which never ends.
 */
static void hide_all_but_blocks(struct ma_map *map)
{
	uint64_t unit = map->item_bytes ? map->lay.group_items * map->item_bytes : MA_CHUNK;
	const char *end = map->user;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t first = ma_min((uint64_t)s * map->lay.per_stream, map->lay.units);
		uint64_t used = ma_min(ma_load(&ma_stream(map, s)->backed), map->lay.units - first);
		char *next = map->user + first * unit;

		if (used == 0)
			continue;
		ma_annotate_unused((void *)(uintptr_t)end, (size_t)(next - end));
		end = next + used * unit;
	}
	ma_annotate_unused((void *)(uintptr_t)end, (size_t)(map->base + map->mapped - end));
}

/* After every other destructor and atexit() handler: those may still use the map. */
__attribute__((destructor(101))) static void at_end(void)
{
	if (!ma_under_valgrind())
		return;
	for (struct ma_map *map = registry; map; map = map->next)
		if (map->id != MA_MAP_CLOSED)
			hide_all_but_blocks(map);
}

/* ASan's munmap() writes the range's whole shadow, an eighth of what may be a huge sparse map: go around it. */
static void unmap(struct ma_map *map)
{
	if (map->annotated)
		forget_annotations(map);
	syscall(SYS_munmap, map->base, map->mapped);
}

static void give_up(struct ma_map *map)
{
	int saved = errno;

	if (map->base)
		unmap(map);
	if (map->fd >= 0)
		close(map->fd);
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

/* Attach for writing. See the head of this file. */
static enum ma_attach attach_writer(struct ma_map *map, const struct ma_open *how)
{
	int64_t deadline = now_ms() + WAIT_MS;

	for (unsigned turn = 0; now_ms() < deadline; turn++) {
		if (ma_file_attach_exclusive(map->fd) == 0)
			return ma_map_first(map, how);
		if (errno != EAGAIN) {
			ma_fail(errno, "%s: the file system has no open-file-description locks", map->name);
			return MA_ATTACH_FAILED;
		}
		if (ma_file_attach_shared(map->fd) == 0) {
			enum ma_attach result = ma_map_join(map, how);

			if (result != MA_ATTACH_AGAIN)
				return result;
			ma_file_detach(map->fd);
		}
		nap(turn);
	}
	ma_fail(EAGAIN, "%s: another process has been creating or recovering it for %d ms", map->name, WAIT_MS);
	return MA_ATTACH_FAILED;
}

static enum ma_attach attach_reader(struct ma_map *map, const struct ma_open *how)
{
	int64_t deadline = now_ms() + WAIT_MS;
	enum ma_attach result;

	for (unsigned turn = 0; ma_file_attach_shared(map->fd) < 0; turn++) {
		if (errno != EAGAIN)
			break; /* No locks there: then nobody can be creating under one either. */
		if (now_ms() >= deadline) {
			ma_fail(EAGAIN, "%s: being created or recovered for %d ms", map->name, WAIT_MS);
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
	unsigned way = MA_MAP_RDONLY | MA_MAP_PRIVATE;

	if ((map->flags & way) != (how->flags & way))
		return ma_fail_null(EBUSY, "%s: already open in this process in another way", map->name);
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
	map->device = st.st_dev;
	map->inode = st.st_ino;
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
	struct ma_map *map;
	bool again;

	ma_map_watch_forks();
	pthread_mutex_lock(&registry_mutex);
	do {
		again = false;
		map = how->handle ? open_own(how->handle, how) : open_once(how, &again);
	} while (again);
	pthread_mutex_unlock(&registry_mutex);
	return map;
}

/* ---- close ---- */

/* When nobody else is attached, the header may say that the map was closed in order. */
static void sign_off(struct ma_map *map, bool sync)
{
	if (ma_file_attach_exclusive(map->fd) < 0)
		return;
	ma_store_release(&map->header->state, MA_STATE_CLOSED);
	if (sync && ma_space_sync(map, 0, ma_load(&map->header->length)) == 0) {
		ma_store_release(&map->header->state, MA_STATE_SYNCED);
		ma_space_sync(map, 0, MA_PAGE);
	}
}

static void close_now(struct ma_map *map, bool sync)
{
	ma_store_release(&map->id, MA_MAP_CLOSED);
	if (map->fd >= 0 && ma_map_writable(map)) {
		if (ma_load(&map->slot) != MA_NO_SLOT && ma_owner_retire_slot(map, map->slot) > 0)
			for (uint32_t i = 0; i < map->lay.streams; i++)
				ma_store(&ma_stream(map, i)->stale, 1);
		sign_off(map, sync);
	}
	closes++;
	give_up(map);
}

int ma_map_close(struct ma_map *map)
{
	int result = 0;

	pthread_mutex_lock(&registry_mutex);
	if (!ma_map_is_open(map))
		result = -1;
	else if (--map->uses == 0)
		close_now(map, false);
	pthread_mutex_unlock(&registry_mutex);
	return result;
}

int ma_map_sync(struct ma_map *map)
{
	return ma_space_sync(map, 0, ma_load(&map->header->length));
}

int ma_map_sync_all(bool then_close)
{
	int result = 0;
	int err = 0;

	pthread_mutex_lock(&registry_mutex);
	for (struct ma_map *map = registry; map; map = map->next) {
		if (map->id == MA_MAP_CLOSED)
			continue;
		if (ma_map_sync(map) < 0) {
			err = errno;
			result = -1;
		}
		if (then_close)
			close_now(map, true);
	}
	pthread_mutex_unlock(&registry_mutex);
	errno = err;
	return result;
}
