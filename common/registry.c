/* SPDX-License-Identifier: BSD-3-Clause */
/* See registry.h. */
#include "common/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/annotate.h"
#include "common/error.h"
#include "common/image_annotate.h"
#include "common/tls.h"

pthread_mutex_t ma_registry_mutex = MA_FORKMUTEX;
struct ma_map *ma_registry;
static uint64_t closes; /* How many maps were closed so far. */
static bool watch_all;

/* How many there are: the place of the next one's caches depends on it. */
static uint32_t count(void)
{
	uint32_t handles = 0;

	for (struct ma_map *map = ma_registry; map; map = map->next)
		handles++;
	return handles;
}

void ma_registry_enter(struct ma_map *map)
{
	map->next = ma_registry;
	ma_registry = map;
}

void ma_registry_clear(struct ma_map *map)
{
	struct ma_map *next = map->next;
	int32_t own = map->tls_own;

	ma_image_clear(&map->image, own);
	memset(&map->uses, 0, sizeof(*map) - offsetof(struct ma_map, uses));
	map->tls_own = own;
	map->next = next;
	map->fork_fd = -1;
	map->closed_at = closes;
}

static struct ma_map *rested(void)
{
	struct ma_map *map = ma_registry;

	while (map && (ma_load(&map->image.id) != MA_MAP_CLOSED || closes - map->closed_at < MA_MAP_REST))
		map = map->next;
	return map;
}

void ma_registry_begin(struct ma_map *map)
{
	map->tls_own = ma_tls_at(count() % MA_TLS_SLOTS);
	ma_registry_clear(map);
}

struct ma_map *ma_registry_new(void)
{
	struct ma_map *map = rested();

	if (map) {
		ma_registry_clear(map);
		return map;
	}
	map = calloc(1, sizeof(*map));
	if (!map)
		return ma_fail_null(ENOMEM, "cannot open a map: no memory for the %zu bytes of its handle; free memory",
				    sizeof(*map));
	ma_registry_begin(map);
	ma_registry_enter(map);
	return map;
}

void ma_registry_count_close(void)
{
	closes++;
}

struct ma_map *ma_registry_find(const struct stat *st)
{
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (ma_load(&map->image.id) != MA_MAP_CLOSED && map->image.place.device == st->st_dev &&
		    map->image.place.inode == st->st_ino)
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

bool ma_registry_is_watched(void)
{
	return watch_all;
}

void ma_map_watch_all(void)
{
	pthread_mutex_lock(&ma_registry_mutex);
	watch_all = true;
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (ma_load(&map->image.id) != MA_MAP_CLOSED)
			ma_image_watch(&map->image);
	pthread_mutex_unlock(&ma_registry_mutex);
}

/* After every other destructor and atexit() handler: those may still use the map. */
__attribute__((destructor(101))) static void at_end(void)
{
	if (!ma_under_valgrind())
		return;
	for (struct ma_map *map = ma_registry; map; map = map->next)
		if (ma_load(&map->image.id) != MA_MAP_CLOSED) {
			ma_annotate_gone(map->image.base,
					 map->image.mapped); /* Or Valgrind's last words would be of it. */
			ma_image_hide(&map->image, map->image.base + map->image.mapped);
		}
}
