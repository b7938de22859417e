/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc-blocks.h
 * @brief libqalloc: allocate, resize and free blocks of a map, and return free space to the file
 * system.
 *
 * Part of <qalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <qalloc.h>

#ifndef QALLOC_BLOCKS_H
#define QALLOC_BLOCKS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/**
 * @name Allocating
 * @{
 */

/**
 * @brief Take an item from a static map.
 *
 * @param[in] map  A static map.
 * @return The item, its contents undefined; or NULL. errno: ENOMEM every item of every stream is
 *         taken (or held in reserve by a live thread, at most 1/16 of the map per thread); ENOSPC
 *         the disk is full; EUSERS; EROFS; EBADF.
 *
 * @par Death  The item is taken or it is not.
 * @par Cost   A few dozen instructions, one byte store; every 64th call or so looks for more items.
 *             In a full map as qalloc_dynmalloc().
 * @since 1.0, after qthreads' qalloc_statmalloc()
 */
void *qalloc_statmalloc(mapinfo_t *map);

/**
 * @brief Take a block from a dynamic map.
 *
 * Aligned to 16 bytes. Class waste is at most 12.5 % from 128 bytes to 64 KiB; larger blocks are
 * multiples of 64 KiB.
 *
 * @param[in] map   A dynamic map.
 * @param[in] size  Size in bytes; 0 gives a smallest block of its own.
 * @return The block, its contents undefined; or NULL. errno: ENOMEM no room for @p size bytes in
 *         one piece; ENOSPC the disk is full; EUSERS; EROFS; EBADF.
 *
 * @par Death  The block is taken or it is not.
 * @par Cost   A few dozen instructions up to 1 KiB, about twice that up to 64 KiB. A larger block
 *             takes a lock and a search in O(log size of the map). A block of up to 1 MiB takes
 *             neither when this thread freed one of as many chunks of 64 KiB before. A call that
 *             fails in a full map takes microseconds. Calls search for free blocks in steps before
 *             the map is full. The program may free blocks meanwhile, or pause for more than 0.2
 *             seconds. Then the first call that fails may search all of the map (up to 2 ms per 256
 *             MiB). What this process frees is found at once. What another process frees, or owned
 *             when it died, is found after a second at the latest, or after four times the duration
 *             of a search if that is longer.
 * @since 1.0, after qthreads' qalloc_dynmalloc()
 */
void *qalloc_dynmalloc(dynmapinfo_t *map, size_t size);

/**
 * @brief Take a block from a map of either kind. A static map gives an item, whatever @p size up to
 * the item's size is asked for.
 *
 * @param[in] map   A map.
 * @param[in] size  Size in bytes.
 * @return As qalloc_dynmalloc() or qalloc_statmalloc(); EINVAL @p size is larger than a static
 *         map's item.
 * @since 1.0, after qthreads' qalloc_malloc()
 */
void *qalloc_malloc(void *map, size_t size);

/** @} */

/**
 * @name Freeing
 * @{
 */

/**
 * @brief Give an item back to its static map.
 * @param[in] block  What qalloc_statmalloc() returned, or NULL (nothing happens).
 * @param[in] map    The map it came from.
 *
 * errno: as qalloc_free().
 * @since 1.0, after qthreads' qalloc_statfree()
 */
void qalloc_statfree(void *block, mapinfo_t *map);

/**
 * @brief Give a block back to its dynamic map.
 * @param[in] block  What qalloc_dynmalloc() returned, or NULL (nothing happens).
 * @param[in] map    The map it came from.
 *
 * errno: as qalloc_free().
 * @since 1.0, after qthreads' qalloc_dynfree()
 */
void qalloc_dynfree(void *block, dynmapinfo_t *map);

/**
 * @brief Give a block back to the map that it came from.
 *
 * Any thread of any process that has the map open may free any block. `errno` changes only on
 * failure.
 *
 * @param[in] block  What qalloc_malloc(), or another allocating call on @p map, returned, or NULL
 *                   (nothing happens).
 * @param[in] map    The map that the block came from.
 *
 * errno: EINVAL, @p block is not the start of an allocated block of @p map (of another map,
 * interior, freed twice): the map is unchanged; EROFS; EUSERS (blocks over 64 KiB, which take a
 * lock: the block stays); EBADF.
 *
 * @par Death  The block is free or it is not; nothing else can be seen.
 * @par Cost   One byte store; a few dozen instructions. Blocks over 64 KiB: a lock and O(log size
 *             of the map). The thread caches some blocks of up to 1 MiB without a lock, 4 MiB in
 *             all, a sixteenth of the map at most.
 * @since 1.0, after qthreads' qalloc_free()
 */
void qalloc_free(void *block, void *map);

/** @} */

/**
 * @name Zeroed, resized and aligned blocks
 * @{
 */

/**
 * @brief Take a block of @p count times @p size bytes, all zero.
 * @param[in] map    A map. A static map's item must be large enough.
 * @param[in] count  Number of elements.
 * @param[in] size   Size of one in bytes.
 * @return As qalloc_malloc(); ENOMEM also when the product overflows; EINVAL it is larger than a
 *         static map's item.
 * @since 1.0
 */
void *qalloc_calloc(void *map, size_t count, size_t size);

/**
 * @brief Change the size of a block, in place where possible.
 *
 * When it must move, the new block is filled before the old one is freed. A process killed in
 * between leaves both.
 *
 * @param[in] map    A map.
 * @param[in] block  A block of @p map; NULL makes this qalloc_malloc().
 * @param[in] size   The new size in bytes; 0 frees @p block and returns NULL with errno unchanged.
 * @return The block, perhaps elsewhere; or NULL with the old block untouched. errno: as
 *         qalloc_malloc(); EINVAL @p block is not an allocated block of @p map, or @p size is
 *         larger than a static map's item.
 * @since 1.0
 */
void *qalloc_realloc(void *map, void *block, size_t size);

/**
 * @brief Take a block whose address is a multiple of @p alignment.
 * @param[in] map        A dynamic map; a static map serves alignments that all its items have.
 * @param[in] alignment  A power of two, in bytes.
 * @param[in] size       Size in bytes.
 * @return As qalloc_malloc(); EINVAL @p alignment is not a power of two, or more than a static map
 *         has.
 * @since 1.0
 */
void *qalloc_memalign(void *map, size_t alignment, size_t size);

/** @} */

/**
 * @name Sizes and unused space
 * @{
 */

/**
 * @brief How many bytes of a block may be used: at least what was asked for.
 * @param[in] map    A map.
 * @param[in] block  A block of @p map, or NULL (gives 0).
 * @return Bytes; 0 with errno EINVAL when @p block is not an allocated block of @p map, EBADF when
 *         the map is closed.
 * @since 1.0
 */
size_t qalloc_usable_size(void *map, const void *block);

/**
 * @brief Return memory and disk space that is free to the file system.
 *
 * Free space of a dynamic map keeps its pages for the next block, and goes back without this call:
 * - When a process closes the map.
 * - In calls for a block that needs a new slab, and in calls that allocate or free large blocks (of
 *   1 MiB, or several that have as much together). Of these, the first call in each second marks
 *   what is free, and returns what was marked before. The first such call after four seconds
 *   without one returns all that is free. A process that makes no such call keeps its free space.
 * - When free chunks have more space than those in use, and more than 64 MiB.
 * - When the disk is full and a block needs space.
 *
 * This call returns at once: slabs without a block, of the calling thread and of threads that are
 * gone, and all free space. The file keeps its length. A later allocation must reserve disk space
 * again, which can fail.
 *
 * Static maps have nothing to return: items keep the disk space that was reserved for them.
 *
 * @param[in] map  A map.
 * @return Bytes given back, 0 for a static map. -1: errno EROFS the map is open read-only; EUSERS
 *         no process slot is free; ENOMEM no memory; EBADF.
 *
 * @par Threads  Safe.
 * @par Death    Blocks in use keep their bytes; free space can be allocated.
 * @par Cost     Reads all metadata in use; one system call per free range that has disk space.
 * @since 1.0
 */
int64_t qalloc_trim(void *map);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* QALLOC_BLOCKS_H */
