/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registry: the handles of all maps of this process, open or closed, for ever. Its mutex serialises opening and closing, and is held
 * across a fork. What is declared below the line wants it held.
 */
#ifndef MA_REGISTRY_H
#define MA_REGISTRY_H

#include <pthread.h>
#include <sys/stat.h>

#include "common/forkmutex.h"
#include "common/map.h"

extern pthread_mutex_t ma_registry_mutex;

/* ---- */

/* The first handle; the others follow by next. */
extern struct ma_map *ma_registry;
/* A handle that is closed, and was for long enough, or a new one; cleared. NULL: errno ENOMEM. */
struct ma_map *ma_registry_new(void);
/* The caller's own handle: clear it, and, when the map is open, let it in for good. */
void ma_registry_begin(struct ma_map *map);
void ma_registry_enter(struct ma_map *map);
/* Nothing of a handle is left but its name, and its place in the list. */
void ma_registry_clear(struct ma_map *map);
/* A map was closed: the handles that rest have rested for one more. */
void ma_registry_count_close(void);
/* The open map of this file; NULL: none. */
struct ma_map *ma_registry_find(const struct stat *st);
/* Are all calls on all maps to take the slow path? */
bool ma_registry_is_watched(void);

#endif /* MA_REGISTRY_H */
