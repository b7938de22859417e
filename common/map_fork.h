/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry of a process's maps, for map.c and map_fork.c only. */
#ifndef MA_MAP_FORK_H
#define MA_MAP_FORK_H

#include <pthread.h>

#include "common/forkmutex.h"
#include "common/map.h"

/* Serialises opening and closing; held across a fork. */
extern pthread_mutex_t ma_registry_mutex;
/* All handles, open or closed, for ever. */
extern struct ma_map *ma_registry;
/* Of a map that is opened, or that is another one after a fork. */
uint64_t ma_registry_id(void);

#endif /* MA_MAP_FORK_H */
