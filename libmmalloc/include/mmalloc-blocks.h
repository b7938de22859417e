/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-blocks.h
 * @brief libmmalloc: allocate, resize and free blocks of a heap, and return free space to the file
 * system.
 *
 * Part of <mmalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <mmalloc.h>

#ifndef MMALLOC_BLOCKS_H
#define MMALLOC_BLOCKS_H

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
 * @param[in] md    A descriptor, or NULL.
 * @param[in] size  Bytes.
 * @return The block, aligned to 16 bytes, its contents arbitrary; NULL without an error when
 *         @p size is 0; NULL with errno ENOMEM no room in the range; ENOSPC, EDQUOT, EFBIG, EIO no
 *         disk space; EROFS; EUSERS; EBADF.
 * @par Kill   It happened or it did not; the block of a killed thread may stay allocated.
 * @par Cost   A few dozen instructions up to 1 KiB, about twice that up to 64 KiB. A larger block
 *             takes a lock and a search in O(log n). A block of up to 1 MiB takes neither when this
 *             thread freed one of as many chunks of 64 KiB before. A call that fails when the range
 *             is full takes microseconds. Calls search for free blocks in steps before the range is
 *             full. When the program frees blocks meanwhile, or pauses for more than 0.2 seconds,
 *             the first call that fails may search all of it (up to 2 ms per 256 MiB). What this
 *             process frees is found at once. What another process frees, or owned when it died, is
 *             found after a second at the latest, or after four times the duration of a search if
 *             that is longer.
 * @since 1.0, after GNU mmalloc's mmalloc()
 */
void *mmalloc(void *md, size_t size);

/**
 * @brief Change the size of a block. Large blocks stay where they are when there is room behind
 * them.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] ptr   A block of @p md; NULL: mmalloc().
 * @param[in] size  Bytes; 0: mfree(), and NULL is returned.
 * @return The block, its contents kept up to the smaller size; NULL with errno as mmalloc(), and
 *         EINVAL @p ptr is no block: then nothing has changed.
 * @since 1.0, after GNU mmalloc's mrealloc()
 */
void *mrealloc(void *md, void *ptr, size_t size);

/**
 * @brief Allocate @p nmemb times @p size bytes, all zero.
 * @param[in] md     A descriptor, or NULL.
 * @param[in] nmemb  Number of elements.
 * @param[in] size   Bytes of each.
 * @return As mmalloc(); ENOMEM also when the product is more than there can be.
 * @since 1.0, after GNU mmalloc's mcalloc(), which did not look whether the product overflowed
 */
void *mcalloc(void *md, size_t nmemb, size_t size);

/**
 * @brief Free a block.
 * @param[in] md   A descriptor, or NULL.
 * @param[in] ptr  What mmalloc() or another call gave from @p md, or NULL.
 *
 * errno, when nothing was changed: EINVAL @p ptr is no block; EROFS; EUSERS (blocks over 64 KiB,
 * which take a lock); EBADF.
 *
 * @par Cost  One byte store; a few dozen instructions. Blocks over 64 KiB: a lock and O(log n). The
 *            thread caches some blocks of up to 1 MiB without a lock, 4 MiB in all, a sixteenth of
 *            the range at most.
 * @since 1.0, after GNU mmalloc's mfree()
 */
void mfree(void *md, void *ptr);

/** @} */

/**
 * @name Aligned blocks
 * @{
 */

/**
 * @brief Allocate an aligned block.
 * @param[in] md         A descriptor, or NULL.
 * @param[in] alignment  A power of two, of any size.
 * @param[in] size       Bytes; 0 gives NULL.
 * @return As mmalloc(); EINVAL @p alignment is no power of two.
 * @since 1.0, after GNU mmalloc's mmemalign()
 */
void *mmemalign(void *md, size_t alignment, size_t size);

/**
 * @brief mmemalign() with the size of a page.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] size  Bytes; 0 gives NULL.
 * @return As mmalloc().
 * @since 1.0, after GNU mmalloc's mvalloc()
 */
void *mvalloc(void *md, size_t size);

/** @} */

/**
 * @name Sizes and unused space
 * @{
 */

/**
 * @brief How many bytes of a block may be used: at least what was asked for; of a guarded block
 * (mmcheck()) just that.
 * @param[in] md   A descriptor, or NULL.
 * @param[in] ptr  A block of @p md, or NULL (gives 0).
 * @return Bytes; 0 with errno EINVAL @p ptr is no block, EBADF.
 * @since 1.0
 */
size_t mmalloc_usable_size(void *md, const void *ptr);

/**
 * @brief Return memory and disk space that is free to the system: empty slabs of this thread and of
 * threads that are gone, and all free chunks.
 *
 * Free space keeps its pages for the next block, and goes back without this call:
 * - When a process detaches.
 * - In calls for a block that needs a new slab, and in calls that allocate or free large blocks (of
 *   1 MiB, or several that have as much together). Of these, the first call in each second marks
 *   what is free, and returns what was marked before. The first such call after four seconds
 *   without one returns all that is free. A process that makes no such call keeps its free space.
 * - When free chunks have more space than those in use, and more than 64 MiB.
 * - When the disk is full and a block needs space.
 *
 * @param[in] md  A descriptor, or NULL.
 * @return Bytes given back; -1 with errno EROFS, EUSERS, EBADF.
 * @par Cost  Looks at all metadata in use; one system call per free run.
 * @since 1.0
 */
int64_t mmalloc_trim(void *md);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* MMALLOC_BLOCKS_H */
