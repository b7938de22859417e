/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shmbuddy-blocks.h
 * @brief libshmbuddy: allocate, resize and free blocks of a region; offsets and addresses.
 *
 * Part of <shmbuddy.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <shmbuddy.h>

#ifndef SHMBUDDY_BLOCKS_H
#define SHMBUDDY_BLOCKS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/**
 * @name Allocating and freeing
 * @{
 */

/**
 * @brief Allocate a block.
 * @param[in] region  The handle.
 * @param[in] size    Bytes, rounded up to a power of two and to the smallest block; 0 gives a
 *                    smallest block.
 * @return Its offset; SHM_NULL with errno ENOMEM no room, or more than the largest block; ENOSPC,
 *         EDQUOT, EIO no disk space; EROFS; EBADF.
 * @par Signals  Safe.
 * @par Kill     It happened or it did not; the block of a killed thread may stay allocated.
 * @par Cost     See the top of shmbuddy.h.
 * @since 1.0, after shm_alloc's shm_malloc()
 */
shm_offt shmbuddy_malloc(shmbuddy_t *region, size_t size);

/**
 * @brief Allocate @p count times @p size bytes, all zero.
 * @param[in] region  The handle.
 * @param[in] count   Number of elements.
 * @param[in] size    Bytes of each.
 * @return As shmbuddy_malloc(); ENOMEM also when the product is more than there can be.
 * @par Signals  Safe.
 * @since 1.0, after shm_alloc's shm_calloc()
 */
shm_offt shmbuddy_calloc(shmbuddy_t *region, size_t count, size_t size);

/**
 * @brief Change the size of a block: where it is when it shrinks or its buddies are free, else by
 * moving it.
 * @param[in] region  The handle.
 * @param[in] offset  A block; SHM_NULL: shmbuddy_malloc().
 * @param[in] size    Bytes; 0 is the smallest block.
 * @return The block's offset, its contents kept up to the smaller size; SHM_NULL with errno as
 *         shmbuddy_malloc(), and EINVAL @p offset is no block: then nothing has changed. Making a
 *         block smaller never fails.
 * @par Signals  Safe.
 * @par Kill     The old block is as it was, or the new one has its contents; between the two both
 *               are allocated.
 * @since 1.0
 */
shm_offt shmbuddy_realloc(shmbuddy_t *region, shm_offt offset, size_t size);

/**
 * @brief Free a block.
 * @param[in] region  The handle.
 * @param[in] offset  What shmbuddy_malloc() or another call gave, or SHM_NULL.
 * @retval 0   Done.
 * @retval -1  Nothing has changed. errno: EINVAL no block begins there (freed twice, of another
 *             region, misaligned); EROFS; EBADF.
 * @par Signals  Safe.
 * @par Kill     It happened or it did not.
 * @par Cost     See the top of shmbuddy.h.
 * @since 1.0, after shm_alloc's shm_free()
 */
int shmbuddy_free(shmbuddy_t *region, shm_offt offset);

/** @} */

/**
 * @name Sizes and addresses
 * @{
 */

/**
 * @brief Bytes of a block: a power of two, at least what was asked for.
 * @param[in] region  The handle.
 * @param[in] offset  A block, or SHM_NULL (gives 0).
 * @return Bytes; 0 with errno EINVAL no block begins there, EBADF.
 * @par Signals  Safe.
 * @since 1.0
 */
size_t shmbuddy_usable_size(shmbuddy_t *region, shm_offt offset);

/**
 * @brief The address of an offset, which may lie inside a block.
 * @param[in] region  The handle.
 * @param[in] offset  Of something in the part of the region that blocks lie in; SHM_NULL gives
 *                    NULL.
 * @return The address in this process; NULL with errno EINVAL it lies outside, ENOMEM it lies
 *         beyond what this process has mapped (see shmbuddy_grow()), EBADF.
 * @par Signals  Safe.
 * @since 1.0
 */
void *shmbuddy_address(shmbuddy_t *region, shm_offt offset);

/**
 * @brief The offset of an address, which may lie inside a block.
 * @param[in] region   The handle.
 * @param[in] address  NULL gives SHM_NULL.
 * @return The offset; SHM_NULL with errno EINVAL it lies outside the blocks' part, EBADF.
 * @par Signals  Safe.
 * @since 1.0
 */
shm_offt shmbuddy_offset(shmbuddy_t *region, const void *address);

/**
 * @brief The address of offset 0. Its page cannot be written to, in a region that this library
 * mapped.
 * @param[in] region  The handle.
 * @return The address; NULL with errno EBADF.
 * @par Signals  Safe.
 * @since 1.0
 */
void *shmbuddy_base(shmbuddy_t *region);

/** @} */

/**
 * @name Dead processes
 * @{
 */

/**
 * @brief Make available now what killed processes left half split, half merged or out of the index.
 *
 * A malloc that finds no room does this by itself, up to half a million words at a time. (A region
 * of 512 MiB with the default sizes has as many.) It does so at most once in 10 ms, or 16 times as
 * long as it took.
 *
 * @param[in] region  The handle.
 * @retval 0   Done.
 * @retval -1  errno: EROFS; EBADF.
 * @par Cost  Reads all tables in use.
 * @since 1.0
 */
int shmbuddy_mend(shmbuddy_t *region);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* SHMBUDDY_BLOCKS_H */
