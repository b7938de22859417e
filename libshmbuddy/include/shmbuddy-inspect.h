/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shmbuddy-inspect.h
 * @brief libshmbuddy: inspect a region: check and salvage it, count and visit its blocks; how it
 * was found, and its tag.
 *
 * Part of <shmbuddy.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <shmbuddy.h>

#ifndef SHMBUDDY_INSPECT_H
#define SHMBUDDY_INSPECT_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#if defined(__cplusplus) /* Functions with the names of their structures. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#pragma GCC visibility push(default)
#endif

/**
 * @name What an opening found, and the tag
 * @{
 */

/** @brief What this process found when it opened a region. Each field of 32 bits is 1 or 0. */
struct shmbuddy_opening {
	uint64_t generation;   /**< How often it was opened with no other process attached, up to
			        * this opening. */
	uint32_t created;      /**< This opening made the region. */
	uint32_t first;        /**< No other process had it open: this opening began the
			        * generation. */
	uint32_t copied;       /**< The file is a copy, or was moved to another file system. */
	uint32_t machine_died; /**< The machine was restarted, or the file system unmounted,
			        * since it was last opened. */
	uint32_t closed;       /**< The last process closed it. */
	uint32_t recovered;    /**< It was not closed: its last users were killed, or ended
			        * without shmbuddy_close(). */
	uint32_t verified;     /**< This opening checked the whole region. */
	uint32_t restored;     /**< The region was durable, and this opening made it what its
			        * last checkpoint was. */
	uint32_t reserved[6];  /**< 0. */
};

/**
 * @brief Tell what was found when this process opened a region: whether it is new, a copy, or was
 * in use when its machine died.
 *
 * A fork child gets its parent's answer. When @c first is 0, other processes had the region open,
 * so @c closed and @c recovered are 0 too: only the first one can tell. The last bytes that
 * programs stored can be missing when @c machine_died is 1; the tables are consistent all the same,
 * for a region that is damaged is not opened. It is 1 also when the file was found by another
 * mount, such as a container's, and no process had it open. Of a region that is open for reading
 * only, @c first says that no process had it open for writing. On file systems without
 * open-file-description locks no process is the first. Of memory of the caller's, only
 * shmbuddy_format() is, and shmbuddy_join() knows the generation alone, which is 1.
 *
 * @param[in]  region   The handle.
 * @param[out] opening  Filled in.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p opening is NULL; EBADF.
 * @par Signals  Safe.
 * @par Cost     Copies a few words.
 * @since 1.0
 */
int shmbuddy_opening(shmbuddy_t *region, struct shmbuddy_opening *opening);

/**
 * @brief Set the application's own number of a region: for instance the version of its data's
 * layout.
 *
 * It is stored once, by one compare-exchange, and stays, in copies and snapshots too. So a cache
 * whose layout has changed can notice old data, unlink the file and begin with a new one.
 *
 * @param[in] region  The handle.
 * @param[in] tag     The number, not 0.
 * @retval 0   Stored, or it was this number already.
 * @retval -1  errno: EEXIST another number is stored; EINVAL @p tag is 0; EROFS; EBADF.
 * @par Signals  Safe. Of several processes that set different numbers at once, one succeeds.
 * @par Kill     It is set or it is not.
 * @par Cost     One compare-exchange.
 * @since 1.0
 */
int shmbuddy_settag(shmbuddy_t *region, uint64_t tag);

/**
 * @brief The application's own number of a region.
 * @param[in] region  The handle.
 * @return What shmbuddy_settag() stored; 0 when nothing was, with errno unchanged; 0 with errno
 *         EBADF.
 * @par Signals  Safe.
 * @par Cost     One load.
 * @since 1.0
 */
uint64_t shmbuddy_gettag(shmbuddy_t *region);

/** @} */

/**
 * @name Numbers
 * @{
 */

/** @brief Figures of one region, in bytes unless the name says otherwise. */
struct shmbuddy_stats {
	uint64_t region_bytes; /**< All of it. */
	uint64_t capacity;     /**< What blocks can take. */
	uint64_t backed_bytes; /**< Of which this much has its disk space. */
	uint64_t used_bytes;   /**< Taken by live blocks. */
	uint64_t used_blocks;  /**< Number of live blocks. */
	uint64_t largest_free; /**< Largest block that there is room for. */
	uint64_t smallest;     /**< Smallest block. */
	uint64_t largest;      /**< Largest block. */
	uint64_t disk_bytes;   /**< What the file system has allocated; 0 for memory of the
			        * caller's. */
	uint32_t levels;       /**< Number of levels. */
	uint32_t parts;        /**< Number of parts. */
	uint64_t range;        /**< What capacity can grow to. */
	uint64_t reserved[7];  /**< 0. */
};

/**
 * @brief Count what is in a region.
 * @param[in]  region  The handle.
 * @param[out] stats   Filled in. While others change the region the figures are near, not exact.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p stats is NULL; EBADF.
 * @par Cost  Reads all tables in use.
 * @since 1.0
 */
int shmbuddy_stats(shmbuddy_t *region, struct shmbuddy_stats *stats);

/** @} */

/**
 * @name Checking, salvaging, walking all blocks
 * @{
 */

/**
 * @brief Called by shmbuddy_check() for each violation.
 * @param text  One sentence, without a newline.
 * @param arg   What the caller of shmbuddy_check() gave.
 */
typedef void shmbuddy_report_fn(const char *text, void *arg);

/**
 * @brief Check the whole region. Works while others use it.
 * @param[in] region  The handle.
 * @param[in] report  Called for each violation; may be NULL.
 * @param[in] arg     Handed to @p report.
 * @retval 0   Consistent: there is no violation.
 * @retval -1  errno: EUCLEAN at least one violation; EBADF.
 * @par Cost  Reads all tables in use.
 * @since 1.0
 */
int shmbuddy_check(shmbuddy_t *region, shmbuddy_report_fn *report, void *arg);

/**
 * @brief Open a region that shmbuddy_open() refuses with EUCLEAN: what can be proved stays, and
 * each violation is reported.
 *
 * A word of the tables that breaks a rule says nothing any more. Every block that the words left
 * agree on stays, with its bytes. No two blocks overlap then, and no other block is handed out
 * where one stays. What a lost word said of blocks cannot be known: such blocks are free. Of a
 * durable region whose last checkpoint is missing or damaged, what the machine's death left is
 * salvaged, and the region is not durable any more.
 *
 * A consistent region is opened, and nothing is reported. The salvage is tried in memory first: a
 * region that cannot be salvaged keeps every byte of its file. `mapalloc repair --salvage` is this
 * call.
 *
 * @param[in] filename  Path.
 * @param[in] report    Called for each violation, before it is mended; may be NULL.
 * @param[in] arg       Handed to @p report.
 * @return The handle, or NULL. errno: EINVAL @p filename is NULL; EBUSY a process has it open;
 *         EUCLEAN it cannot be salvaged; ENOMEM no memory to try it first; and all that opening a
 *         file can end with (see the table in shmbuddy.h).
 * @par Death  Killed: the region is as it was; or the next opener checks all of it, and refuses it
 *             or not. The next salvage goes on.
 * @par Cost   Reads all tables of a consistent region once, and those of any other a few times.
 * @since 1.0
 */
shmbuddy_t *shmbuddy_salvage(const char *filename, shmbuddy_report_fn *report, void *arg);

/**
 * @brief Called by shmbuddy_walk() for each live block.
 * @param offset  The block.
 * @param size    Its size in bytes.
 * @param arg     What the caller of shmbuddy_walk() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int shmbuddy_walk_fn(shm_offt offset, size_t size, void *arg);

/**
 * @brief Visit every live block, by rising offset. @p fn may free the block that it is given.
 * @param[in] region  The handle.
 * @param[in] fn      Called for each block. Blocks that others allocate or free meanwhile may be
 *                    visited or not.
 * @param[in] arg     Handed to @p fn.
 * @return 0, or what @p fn returned; -1 with errno EINVAL @p fn is NULL, EBADF.
 * @par Cost  Reads all tables in use.
 * @since 1.0
 */
int shmbuddy_walk(shmbuddy_t *region, shmbuddy_walk_fn *fn, void *arg);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#if defined(__cplusplus)
#pragma GCC diagnostic pop
#endif
#endif
#ifdef __cplusplus
}
#endif

#endif /* SHMBUDDY_INSPECT_H */
