/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shmbuddy-roots.h
 * @brief libshmbuddy: named roots, by which the next process finds what is in a region.
 *
 * Part of <shmbuddy.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <shmbuddy.h>

#ifndef SHMBUDDY_ROOTS_H
#define SHMBUDDY_ROOTS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/** @brief Longest name of a root, in bytes without the closing zero. */
#define SHMBUDDY_ROOT_MAX 63
/** @brief So many names a region has room for. */
#define SHMBUDDY_ROOTS    64

/**
 * @brief Give an offset a name, for others to find it by.
 * @param[in] region  The handle.
 * @param[in] name    1 to #SHMBUDDY_ROOT_MAX bytes; NULL: the region's one root without a name.
 * @param[in] offset  Of something in the part of the region that blocks lie in; SHM_NULL takes the
 *                    name away.
 * @retval 0   Done, by one store: every reader, and every process that opens the region after a
 *             kill, sees the old offset or the new one.
 * @retval -1  errno: EINVAL bad @p name or @p offset; ENOSPC there are #SHMBUDDY_ROOTS names
 *             already; EROFS; EBADF.
 * @par Signals  Safe. When two calls set one name at the same time, one of the two offsets stays.
 * @par Kill     A place that a killed process had claimed is used again when it is needed.
 * @par Cost     Reads each place.
 * @since 1.0
 */
int shmbuddy_setroot(shmbuddy_t *region, const char *name, shm_offt offset);

/**
 * @brief The offset that has a name.
 * @param[in] region  The handle.
 * @param[in] name    As for shmbuddy_setroot().
 * @return The offset; SHM_NULL with errno ENOENT no root has this name, EINVAL bad @p name, EBADF.
 * @par Signals  Safe.
 * @since 1.0
 */
shm_offt shmbuddy_getroot(shmbuddy_t *region, const char *name);

/**
 * @brief Change a root only if it still is what the caller saw.
 *
 * The way to change a root that several threads or processes change at once: shmbuddy_setroot()
 * alone overwrites what another one has set in between. Returns and @p expected are those of C11's
 * atomic_compare_exchange_strong().
 *
 * @param[in]     region    The handle.
 * @param[in]     name      As for shmbuddy_setroot(); NULL is the root without a name.
 * @param[in,out] expected  What the root has to be; SHM_NULL in it: there is no such root. On
 *                          return of 0 it holds what the root is.
 * @param[in]     desired   What it becomes, as for shmbuddy_setroot(); SHM_NULL takes the name
 *                          away.
 * @retval 1   Changed.
 * @retval 0   Not changed: the root is another one, which @p expected now holds.
 * @retval -1  errno: EINVAL bad @p name, @p expected is NULL, or @p desired lies outside the part
 *             that holds blocks; ENOSPC all #SHMBUDDY_ROOTS places are taken; EROFS; EBADF.
 * @par Signals  Safe.
 * @par Kill     The root is changed or it is not.
 * @par Cost     As shmbuddy_setroot().
 * @since 1.0
 */
int shmbuddy_casroot(shmbuddy_t *region, const char *name, shm_offt *expected, shm_offt desired);

/**
 * @brief Called by shmbuddy_find_or_create() to fill a new block.
 * @param block  Its address, all zero. No other thread or process can see it yet.
 * @param size   What the caller of shmbuddy_find_or_create() asked for, in bytes.
 * @param arg    What the caller of shmbuddy_find_or_create() gave.
 * @return 0 when the block is complete; anything else: the block is freed, and the call fails.
 */
typedef int shmbuddy_init_fn(void *block, size_t size, void *arg);

/**
 * @brief The root of this name; if there is none, a new block becomes it, in one atomic step.
 *
 * A new block is all zero, then @p init fills it, and only then it gets the name. So every other
 * thread and process finds either no root or a complete one. When several callers create at once,
 * one block gets the name and all callers return it; the blocks of the others are freed. So @p init
 * may run in several of them, and what it allocates itself is not freed with its block: let it only
 * fill the block.
 *
 * The size of a root that is found is not compared with @p size: shmbuddy_usable_size() tells it.
 *
 * @param[in]  region   The handle.
 * @param[in]  name     As for shmbuddy_setroot(); NULL is the root without a name.
 * @param[in]  size     Size of a new block in bytes.
 * @param[in]  init     Fills a new block; NULL leaves it all zero.
 * @param[in]  arg      Handed to @p init.
 * @param[out] created  1: the block is this call's own; 0: it was found, or the call failed. May be
 *                      NULL.
 * @return The root's offset; SHM_NULL with errno EINVAL bad @p name; ENOSPC, EROFS as
 *         shmbuddy_setroot(); else as shmbuddy_calloc(). When @p init fails, errno is what it left.
 * @par Signals  Safe, if @p init is.
 * @par Kill     There is no root or a complete one. A process killed before the block gets its name
 *               leaves the block allocated: at most one block for each killed thread.
 * @par Cost     When the root exists, that of shmbuddy_getroot(); else an allocation, and
 *               shmbuddy_setroot().
 * @since 1.0
 */
shm_offt shmbuddy_find_or_create(shmbuddy_t *region, const char *name, size_t size,
				 shmbuddy_init_fn *init, void *arg, int *created);

/**
 * @brief Called by shmbuddy_walkroots() for each root.
 * @param name    Its name, valid during the call only; NULL for the root without a name.
 * @param offset  What the name stands for.
 * @param arg     What the caller of shmbuddy_walkroots() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int shmbuddy_root_fn(const char *name, shm_offt offset, void *arg);

/**
 * @brief Visit every root, first the one without a name. @p fn may change roots.
 *
 * Roots that are set or taken away during the walk may or may not be visited; every other root is
 * visited once.
 *
 * @param[in] region  The handle.
 * @param[in] fn      Called for each root.
 * @param[in] arg     Handed to @p fn.
 * @return 0, or what @p fn returned when it ended the walk; -1 with errno EINVAL @p fn is NULL,
 *         EBADF.
 * @par Signals  Safe, if @p fn is.
 * @par Cost     Looks at #SHMBUDDY_ROOTS places.
 * @since 1.0
 */
int shmbuddy_walkroots(shmbuddy_t *region, shmbuddy_root_fn *fn, void *arg);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* SHMBUDDY_ROOTS_H */
