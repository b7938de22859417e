/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc_scene.h
 * @brief What the scenarios of libmmalloc's kill sweep are made of, and what must hold after each kill.
 */
#ifndef MA_TESTS_CRASH_MMALLOC_SCENE_H
#define MA_TESTS_CRASH_MMALLOC_SCENE_H

#include "tests/crash/scene.h"
#include "tests/support/support_mmalloc.h"

#define SCENE_RESERVE (8 * MIB)
#define SCENE_KEY     3 /* of the prepared heap */
#define SCENE_NEW_KEY 7 /* that calls set */

/** How the heap is before anybody comes. */
enum prepared {
	USED,        /**< All its range was in use once; what is free now has no disk space. */
	FRESH,       /**< Its file is as long as its first blocks needed. */
	OWN_IS_FULL, /**< The stream of every process's first thread is full, the other one is not. */
	EMPTY_SLABS, /**< All chunks are slabs of the dead, nearly all of them empty. */
	NOT_THERE,
};

struct scenario {
	struct crash_scenario base;
	enum effect effect;
	enum prepared prepared;
	unsigned streams; /**< 0: 2 */
	size_t reserve;   /**< 0: SCENE_RESERVE */
	size_t victims;   /**< Size of the block that is prepared for the call to free, or 0. */
	bool adds_table;  /**< The fixed table of roots is full before the call. */
	bool moves;       /**< A block filled with SCENE_TAG is being reallocated. */
	bool grows;       /**< The call must make the file longer. */
	bool grown;       /**< The earlier one dies while it makes the file longer. */
	void (*warm_up)(void *md);
	void (*call)(void *md);
	void (*earlier_call)(void *md);
};

/** In shared memory. */
struct scene {
	struct scene_blocks blocks;
	void *victims; /**< Of the prepared heap. */
	void *remote;  /**< Of the survivor. */
	void *filler[160];
	size_t fillers;
	_Atomic uint64_t length; /**< Of the file, as the header has it, before the call. */
};

extern struct scene *scene;

/** Make the heap of @p s. In a process of its own. */
void scene_prepare(const struct scenario *s);
/** Attach, with the options of @p s should the file be new. */
void *scene_attach(const struct scenario *s);
/** Length of the file as the header has it. */
uint64_t scene_length(const void *md);
/** After a death: done or not at all, nothing lost, all of it usable; in the end the heap is empty. */
void scene_examine(const struct scenario *s, void *md);

/** A test: processes are killed while several of their threads extend the heap (mmalloc_races.c). */
void races_of_growth(void);

#endif /* MA_TESTS_CRASH_MMALLOC_SCENE_H */
