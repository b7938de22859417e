/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc-inspect.h
 * @brief libqalloc: inspect a map: check and salvage it, count and visit its blocks; how it was
 * found, and its tag.
 *
 * Part of <qalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <qalloc.h>

#ifndef QALLOC_INSPECT_H
#define QALLOC_INSPECT_H

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
 * @name Checking and salvaging
 * @{
 */

/**
 * @brief Called by qalloc_check() for each violation.
 * @param text  One sentence, without a newline.
 * @param arg   What the caller of qalloc_check() gave.
 */
typedef void qalloc_report_fn(const char *text, void *arg);

/**
 * @brief Check the whole map: header, locks, every chunk, every slot, every root.
 *
 * Works while others use the map: what is in motion under a live lock is waited for.
 *
 * @param[in] map     A map.
 * @param[in] report  Called for each violation; may be NULL.
 * @param[in] arg     Handed to @p report.
 * @retval 0   Consistent: there is no violation.
 * @retval -1  errno: EUCLEAN at least one violation; EBADF.
 * @par Cost  Reads all metadata in use: about one byte per block.
 * @since 1.0
 */
int qalloc_check(void *map, qalloc_report_fn *report, void *arg);

/**
 * @brief Open a map that qalloc_open() refuses with EUCLEAN: what can be proved stays, the rest is
 * reported.
 *
 * After a power cut, a map that is not durable can have pages of different moments. Another program
 * can also damage a map. The call keeps each block that its slab, descriptor and allocation byte
 * agree on, or two of these if the third is lost. Where they contradict each other, the memory
 * becomes one allocated block, so malloc does not reuse it. The call reports each change, with its
 * offset from the base, and each root that leads to no block. A block of which no word is left
 * becomes free. The contents of a block can be of different moments. If the last checkpoint of a
 * durable map is missing or damaged, the map is not durable after the call. A consistent map opens
 * without a report. A map that cannot be salvaged is not changed. `mapalloc repair --salvage` is
 * this call.
 *
 * @param[in] filename  Path of the file.
 * @param[in] report    Called for each thing; may be NULL.
 * @param[in] arg       Handed to @p report.
 * @return The map, as by qalloc_loadmap(), or NULL. errno: EINVAL @p filename is NULL; EBUSY a
 *         process has it open; EUCLEAN it cannot be salvaged; ENOMEM no memory to try it first; and
 *         all that opening a file can end with (see the table in qalloc.h).
 * @par Death    Killed: the next opener checks the whole map, and refuses it or not.
 * @par Cost     Reads all metadata in use, three times.
 * @since 1.0
 */
void *qalloc_salvage(const char *filename, qalloc_report_fn *report, void *arg);

/** @} */

/**
 * @name What an opening found, and the tag
 * @{
 */

/**
 * @brief What this process found when it opened a map. Each field of 32 bits but @c closed is 1
 * or 0.
 */
struct qalloc_opening {
	uint64_t generation;   /**< How often a process opened it with no other one attached, up
			        * to this opening. */
	uint32_t created;      /**< This opening made the map. */
	uint32_t first;        /**< No other process was attached: this opening began the
			        * generation. */
	uint32_t copied;       /**< The file is a copy, or was moved to another file system. */
	uint32_t machine_died; /**< The machine was restarted, or the file system unmounted, and
			        * the map not synced when closed. */
	uint32_t closed;       /**< How the last process left it: 0 not closed, 1 closed, 2
			        * closed and synced (qalloc_cleanup()). */
	uint32_t recovered;    /**< It was not closed, and what killed processes had reserved was
			        * reclaimed. */
	uint32_t verified;     /**< This opening checked the whole map. */
	uint32_t restored;     /**< The map was durable, and this opening made it what its last
			        * checkpoint was. */
	uint32_t reserved[6];  /**< 0. */
};

/**
 * @brief Tell what was found when this process opened a map: whether it is new, a copy, or was in
 * use when its machine died.
 *
 * The answer is that of the first open in this process, until the last close. A fork child gets its
 * parent's answer. When @c first is 0, other processes had the map open, so @c closed is 0 and
 * @c recovered is 0: only the first one can tell. The last bytes that programs stored can be
 * missing when @c machine_died is 1; the tables are consistent all the same, for a file that is
 * damaged is not opened. It is 1 also when the file was found by another mount, such as a
 * container's, and no process had it open. Of a read-only or private map, @c first says that no
 * process had it open for writing.
 *
 * @param[in]  map       A map.
 * @param[out] opening  Filled in.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p opening is NULL; EBADF.
 *
 * @par Threads  Safe.
 * @par Cost     Copies a few words.
 * @since 1.0
 */
int qalloc_opening(void *map, struct qalloc_opening *opening);

/**
 * @brief Set the application's own number of a map: for instance the version of its data's layout.
 *
 * It is stored once, by one compare-exchange, and stays: in copies, snapshots and dumps too. So a
 * cache whose layout has changed can notice old data and begin with an empty file:
 *
 * @code
 * void *map = qalloc_makedynmap(64 << 20, NULL, "cache", 0);
 * if (qalloc_settag(map, LAYOUT_VERSION) < 0 && errno == EEXIST) {
 *         qalloc_close(map);
 *         unlink("cache"); // processes that have the old file open keep it
 *         map = qalloc_makedynmap(64 << 20, NULL, "cache", 0);
 *         ...
 * }
 * @endcode
 *
 * @param[in] map   A map open for writing.
 * @param[in] tag  The number, not 0.
 * @retval 0   Stored, or it was this number already.
 * @retval -1  errno: EEXIST another number is stored; EINVAL @p tag is 0; EROFS; EBADF.
 *
 * @par Threads  Safe. Of several processes that set different numbers at once, one succeeds.
 * @par Death    It is set or it is not.
 * @par Cost     One compare-exchange.
 * @since 1.0
 */
int qalloc_settag(void *map, uint64_t tag);

/**
 * @brief The application's own number of a map.
 * @param[in] map  A map.
 * @return What qalloc_settag() stored; 0 when nothing was, with errno unchanged; 0 with errno
 *         EBADF.
 * @par Cost  One load.
 * @since 1.0
 */
uint64_t qalloc_gettag(void *map);

/** @} */

/**
 * @name Numbers, and walking all blocks
 * @{
 */

/** @brief Figures of one map, all in bytes unless the name says otherwise. */
struct qalloc_stats {
	uint64_t file_bytes;   /**< Length of the file. */
	uint64_t disk_bytes;   /**< Of which the file system has allocated. */
	uint64_t user_bytes;   /**< Most that blocks can take, at this length of the file. */
	uint64_t used_bytes;   /**< Taken by live blocks, class waste included. */
	uint64_t used_blocks;  /**< Number of live blocks. */
	uint64_t free_bytes;   /**< user_bytes - used_bytes: free, reserved by a thread, or lost
			        * at the edges. */
	uint64_t largest_free; /**< Largest block that can be allocated now in one piece. */
	uint64_t item_bytes;   /**< Item size of a static map, else 0. */
	uint32_t streams;      /**< Number of streams. */
	uint32_t processes;    /**< Live processes that allocate here. */
	void *base;            /**< Where the map is mapped. */
	uint32_t is_static;    /**< 1 for a static map. */
	uint32_t slots;        /**< So many processes can allocate at a time. */
	uint64_t range_bytes;  /**< The longest that the file can get: qalloc_grow(). */
	uint32_t reserved[4];  /**< 0. */
};

/**
 * @brief Count what is in a map.
 * @param[in]  map    A map.
 * @param[out] stats  Filled in.
 * @retval 0   Done. While others change the map the figures are near, not exact.
 * @retval -1  errno: EINVAL @p stats is NULL; EBADF.
 * @par Cost  Reads all metadata in use.
 * @since 1.0
 */
int qalloc_stats(void *map, struct qalloc_stats *stats);

/**
 * @brief Called by qalloc_walk() for each live block.
 * @param block  The block.
 * @param size   Its usable size in bytes.
 * @param arg    What the caller of qalloc_walk() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int qalloc_walk_fn(void *block, size_t size, void *arg);

/**
 * @brief Visit every live block, by rising address. @p fn may free the block that it is given.
 *
 * Blocks taken or freed by others meanwhile may or may not be seen; every other block is seen once.
 *
 * @param[in] map  A map.
 * @param[in] fn   Called for each block.
 * @param[in] arg  Handed to @p fn.
 * @return 0, or what @p fn returned when it ended the walk; -1 with errno EINVAL @p fn is NULL,
 *         EBADF.
 * @since 1.0
 */
int qalloc_walk(void *map, qalloc_walk_fn *fn, void *arg);

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

#endif /* QALLOC_INSPECT_H */
