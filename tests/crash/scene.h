/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file scene.h
 * @brief What the scenarios of several libraries' kill sweeps share: what a call may have done, and what must hold of blocks.
 */
#ifndef MA_TESTS_CRASH_SCENE_H
#define MA_TESTS_CRASH_SCENE_H

#include "tests/crash/crash.h"
#include "tests/support/support_block.h"

#define SCENE_KEEP  24 /* marked blocks in the prepared map */
#define SCENE_LARGE (200 * KIB)
#define SCENE_TAG   77 /* what a block that is reallocated was filled with */

#define SCENE_NEW "new name, of several words" /* of a root that calls set */

/** What a call may have done to the number of blocks when it was cut off. */
enum effect {
	KEEPS,
	TAKES,
	GIVES,
};

/** What was there before the call. */
struct scene_blocks {
	_Atomic size_t before; /**< Live blocks. */
	size_t kept;
	struct support_block keep[SCENE_KEEP];
};

/** Assert that the call was done or not, that the kept blocks are whole, and that one holds what SCENE_TAG did if it @p moves. */
void scene_done_or_not(const struct support_calls *calls, void *map, const struct scene_blocks *blocks,
		       enum effect effect, bool moves);
/** Take blocks of several classes (or of @p one_size, if not 0) inside [base, end), fill, verify and free them. */
void scene_use_all_classes(const struct support_calls *calls, void *map, const char *base, const char *end,
			   const struct scene_blocks *blocks, size_t one_size);

/**
 * When the driver asks for one: a fork child makes the call @p arrive, which needs a place in the table of processes, and
 * stays. A free place is the dead one's: whoever takes it does his work.
 */
pid_t scene_newcomer(void (*arrive)(void));
void scene_newcomer_leaves(pid_t newcomer);

/** The call ends when its thread does. @p use makes the library know the thread first. */
void scene_watch_the_end(void *map, void (*use)(void *map));
/** A call: end the thread. */
void scene_end_thread(void *map);

/** The table of processes: who, and since when. */
bool scene_varies(size_t at);
/**
 * Is the lock of the roots, of the length, or of one of two streams held, and has something changed since, so often? With
 * @p intents a stream counts once its intent is there.
 */
bool scene_half_done(const char *bytes, size_t stream_stride, bool intents, int changes);
/** The lock over the file's length is held, and something has changed since. */
bool scene_half_grown(const char *bytes);

#endif /* MA_TESTS_CRASH_SCENE_H */
