/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc_scene.h
 * @brief What the scenarios of libqalloc's kill sweep are made of, and what must hold after each kill.
 */
#ifndef MA_TESTS_CRASH_QALLOC_SCENE_H
#define MA_TESTS_CRASH_QALLOC_SCENE_H

#include "tests/crash/scene.h"
#include "tests/support/support_qalloc.h"

#define SCENE_BYTES         (2 * MIB)
#define SCENE_CREATED       "created" /* A root that find-or-create makes, ... */
#define SCENE_CREATED_BYTES 64        /* ... all SCENE_TAG. */

/** How the map is before anybody comes. */
enum prepared {
	USED,        /**< All its space was in use once. */
	FRESH,       /**< Its disk space was not taken yet. */
	OWN_IS_FULL, /**< The stream of every process's first thread is full, the other one is not. */
	EMPTY_SLABS, /**< All chunks are slabs of the dead, nearly all of them empty. */
	NOT_THERE,
};

struct scenario {
	struct crash_scenario base;
	bool is_static;
	enum effect effect;
	enum prepared prepared;
	size_t streams;  /**< 0: 2 */
	size_t bytes;    /**< Of the prepared map; 0: SCENE_BYTES */
	size_t grows;    /**< The warm-up or the call makes the map so long. */
	size_t victims;  /**< Size of the block that is prepared for the call to free, or 0. */
	bool adds_table; /**< The fixed table of roots is full before the call... */
	bool one_place;  /**< ... or has just one place left, where a name was before. */
	bool is_durable; /**< The prepared map is. */
	bool moves;      /**< A block filled with SCENE_TAG is being reallocated. */
	void (*warm_up)(void *map);
	void (*call)(void *map);
	void (*earlier_call)(void *map);
};

/** In shared memory. */
struct scene {
	struct scene_blocks blocks;
	void *victims; /**< Of the prepared map. */
	void *remote;  /**< Of the survivor. */
	void *filler[64];
	size_t fillers;
	size_t items;   /**< Of the whole static map, else 0. */
	size_t largest; /**< Of the empty map. */
	size_t grows;   /**< As the scenario's. */
};

extern struct scene *scene;

/** Make the map of @p s. In a process of its own. */
void scene_prepare(const struct scenario *s);
/** Make or load it. */
void *scene_open(const struct scenario *s);
/** After a death: done or not at all, nothing lost, all of it usable; in the end the map is empty. */
void scene_examine(const struct scenario *s, void *map);

/** A test: owner records of dead threads are used again (qalloc_deaths.c). */
void deaths_owners_come_back(void);

#endif /* MA_TESTS_CRASH_QALLOC_SCENE_H */
