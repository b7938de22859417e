/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-inspect.h
 * @brief libmmalloc: inspect a heap: guards, traces, check and salvage it, count and visit its
 * blocks; how it was found, and its tag.
 *
 * Part of <mmalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <mmalloc.h>

#ifndef MMALLOC_INSPECT_H
#define MMALLOC_INSPECT_H

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
 * @name Guarded blocks and traces
 * @{
 */

/**
 * @brief Guard the blocks of a heap: find writes beyond their ends, blocks freed twice, pointers
 * that are none.
 *
 * From now on, in this process, each block that is allocated from @p md has guards at both ends: 16
 * bytes or more before it, at least 8 behind it. Its bytes are 0xce at first (after mcalloc() 0),
 * and 0xde when it was freed (or 0, when its space went back to the system). mfree() and mrealloc()
 * check the guards. When one is damaged, or the pointer is no block, one line on stderr says so,
 * with the block and its size where they are known. Then @p abortfunc is called, once. If it
 * returns, the call goes on. A damaged block whose size is still known is freed or resized all the
 * same. Anything else changes nothing, as these calls' errors say. mmalloc_check() looks at the
 * guards of all blocks.
 *
 * Guards are part of the heap. Any process may free, resize, measure and walk a guarded block, now
 * and after any restart, also one that never called this. A resized block is guarded if the process
 * that resizes it guards. mmalloc_usable_size() returns what was asked for. In a process that never
 * called this, mmalloc_check() and `MMALLOC_DEBUG=1` report a damaged guard, and no function is
 * called. Blocks without guards may be in the heap too, and are freed as ever. The heap is guarded
 * until its last detach here.
 *
 * Freed blocks that are not allocated again are not looked at.
 *
 * @param[in] md         A descriptor, or NULL: the default heap, which need not be there yet.
 * @param[in] abortfunc  Called after the line was written; NULL: abort(). It may call this library,
 *                       and need not return. A further call of mmcheck() gives another one.
 * @retval 1  The heap is guarded.
 * @retval 0  errno: EBUSY it has live blocks without guards; EROFS; EBADF; as mmalloc_attach() for
 *            a default heap that cannot be made.
 * @par Threads  Calls that other threads are making at the same time may be without guards still.
 * @par Fork     A child guards as its parent does.
 * @par Kill     A process killed inside mmalloc() or mfree() may leave a block without guards that
 *               no pointer leads to.
 * @par Cost None for other heaps, nor before. In this one each call takes the slow path and writes,
 *               or reads, its guards. Contents are written when a block is allocated and when it is
 *               freed. mrealloc() always moves. A block takes 24 bytes more; one from mmemalign()
 *               its alignment, and 8 bytes, more. @since 1.0, after GNU mmalloc's mmcheck()
 */
int mmcheck(void *md, void (*abortfunc)(void));

/**
 * @brief mmcheck(), also for a heap that is in use.
 * @param[in] md         As there.
 * @param[in] abortfunc  As there.
 * @param[in] force      Not 0: never mind blocks without guards. They stay as they are until they
 *                       are freed or resized.
 * @return As there; EBUSY only when @p force is 0.
 * @since 1.0, after GNU mmalloc's mmcheckf()
 */
int mmcheckf(void *md, void (*abortfunc)(void), int force);

/**
 * @brief Trace all calls on all heaps of this process to the file that `$MALLOC_TRACE` named when
 * the library was loaded.
 *
 * The file is made with mode 0666 less the umask, or emptied, and read by the C library's `mtrace`
 * script, which lists what was not freed. It begins with `= Start`. Then come, each behind
 * `@ FILE:(SYMBOL+OFFSET)[ADDRESS]`, the place of the caller:
 *
 *     + BLOCK SIZE     mmalloc(), mcalloc(), mmemalign(), mvalloc(); BLOCK is (nil) when it failed
 *     - BLOCK          mfree()
 *     < BLOCK          mrealloc(): the old block, and in the next line
 *     > BLOCK SIZE     the new one
 *     ! BLOCK SIZE     mrealloc() failed
 *
 * SIZE is what was asked for. Calls that do nothing (for 0 bytes, or NULL) have no line. Tracing
 * lasts as long as the process.
 *
 * @retval 1  Begun, now or earlier: then nothing changes.
 * @retval 0  errno: EINVAL `MALLOC_TRACE` is not set (or the program runs with another user's
 *            rights); else open(2)'s.
 * @par Threads  Each line is written atomically, in an order consistent with the calls.
 * @par Fork     A child does not go on: the file is the trace of one process. A trace that it
 *               begins replaces its parent's file.
 * @par Kill     All lines of calls that were finished are there.
 * @par Cost     None before. Then each call writes its line at once, with write(2).
 * @since 1.0, after GNU mmalloc's mmtrace(), which was compiled out and only returned 1
 */
int mmtrace(void);

/** @} */

/**
 * @name Numbers
 * @{
 */

/** @brief Figures of mmstats(). */
struct mstats {
	size_t bytes_total; /**< bytes_used + bytes_free. */
	size_t chunks_used; /**< Number of live blocks. */
	size_t bytes_used;  /**< Bytes that they take, class waste included. */
	size_t chunks_free; /**< Number of 64 KiB chunks that are free and have their space. */
	size_t bytes_free;  /**< What the heap has and no block takes. */
};

/**
 * @brief Count what is in a heap.
 * @param[in] md  A descriptor, or NULL.
 * @return The figures, near ones while others change the heap; all zero with errno EBADF.
 * @par Cost  Reads all metadata in use.
 * @since 1.0, after GNU mmalloc's mmstats()
 */
struct mstats mmstats(void *md);

/** @brief Figures of one heap, all in bytes unless the name says otherwise. */
struct mmalloc_stats {
	uint64_t file_bytes;   /**< Length of the file; of a heap in memory, what it has grown
			        * to. */
	uint64_t disk_bytes;   /**< Of which the file system has allocated; 0 in memory. */
	uint64_t user_bytes;   /**< Most that blocks can ever take. */
	uint64_t used_bytes;   /**< Taken by live blocks, class waste included. */
	uint64_t used_blocks;  /**< Number of live blocks. */
	uint64_t largest_free; /**< Largest block that the range has room for in one piece. */
	uint32_t streams;      /**< Number of streams. */
	uint32_t processes;    /**< Live processes that allocate here. */
	void *base;            /**< Where the heap is mapped. */
	uint64_t reserved[8];  /**< 0. */
};

/**
 * @brief Count what is in a heap, in more detail.
 * @param[in]  md     A descriptor, or NULL.
 * @param[out] stats  Filled in.
 * @retval 0   Done. While others change the heap the figures are near, not exact.
 * @retval -1  errno: EINVAL @p stats is NULL; EBADF.
 * @par Cost  Reads all metadata in use.
 * @since 1.0
 */
int mmalloc_stats(void *md, struct mmalloc_stats *stats);

/** @} */

/**
 * @name Checking, salvaging, walking all blocks
 * @{
 */

/**
 * @brief Called by mmalloc_check() for each violation.
 * @param text  One sentence, without a newline.
 * @param arg   What the caller of mmalloc_check() gave.
 */
typedef void mmalloc_report_fn(const char *text, void *arg);

/**
 * @brief Check the whole heap. Works while others use it.
 * @param[in] md      A descriptor, or NULL.
 * @param[in] report  Called for each violation; may be NULL.
 * @param[in] arg     Handed to @p report.
 * @retval 0   Consistent: there is no violation.
 * @retval -1  errno: EUCLEAN at least one violation, damaged guards (mmcheck()) among them; EBADF.
 * @par Cost  Reads all metadata in use: about one byte per block; and guards, where blocks have
 *            some.
 * @since 1.0
 */
int mmalloc_check(void *md, mmalloc_report_fn *report, void *arg);

/**
 * @brief Attach a heap that mmalloc_attach() refuses with EUCLEAN: what can be proved stays, and
 * each thing that does not is reported.
 *
 * A heap that was attached when its machine died, and was not durable, can have some pages of that
 * moment and some older ones. Other programs can have written into it. Of such a heap stays
 * - each block of which slab, descriptor and allocation byte say the same, or two of these when the
 *   third is lost;
 * - the memory of slabs and blocks whose words contradict each other: each becomes one allocated
 *   block, which the program can read;
 * - each key, and each root that points into the heap.
 *
 * What is not as it was is reported, one sentence each, with its offset from the heap's base.
 * Blocks of which no word is left are free, and not reported, for nothing tells of them; but a root
 * that leads to such a block is. The contents of blocks may be of different moments: the library
 * cannot know. Of a durable heap whose last checkpoint is missing or damaged, what the machine's
 * death left is salvaged, and the heap is not durable any more.
 *
 * A consistent heap is attached, and nothing is reported. A file that cannot be salvaged keeps
 * every byte. `mapalloc repair --salvage` is this call.
 *
 * @param[in] fd      A file open for reading and writing.
 * @param[in] report  Called for each thing; may be NULL.
 * @param[in] arg     Handed to @p report.
 * @return The descriptor, or NULL. errno: EBUSY a process has it attached; EUCLEAN it cannot be
 *         salvaged; ENOMEM no memory to try it first; EMEDIUMTYPE the file is empty or holds
 *         something else; EBADF @p fd is not open; and as mmalloc_attach().
 *
 * @par Death  Killed: the next process that attaches it checks the whole heap, and refuses it or
 *             not.
 * @par Cost   Reads all metadata in use, three times.
 * @since 1.0
 */
void *mmalloc_salvage(int fd, mmalloc_report_fn *report, void *arg);

/**
 * @brief Called by mmalloc_walk() for each live block.
 * @param block  The block, as its holder knows it.
 * @param size   Its usable size in bytes; of a guarded block (mmcheck()) what was asked for.
 * @param arg    What the caller of mmalloc_walk() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int mmalloc_walk_fn(void *block, size_t size, void *arg);

/**
 * @brief Visit every live block, by rising address. @p fn may free the block that it is given.
 * @param[in] md   A descriptor, or NULL.
 * @param[in] fn   Called for each block.
 * @param[in] arg  Handed to @p fn.
 * @return 0, or what @p fn returned when it ended the walk; -1 with errno EINVAL @p fn is NULL,
 *         EBADF.
 * @since 1.0
 */
int mmalloc_walk(void *md, mmalloc_walk_fn *fn, void *arg);

/** @} */

/**
 * @name What an opening found, and the tag
 * @{
 */

/**
 * @brief What this process found when it attached a heap. Each field of 32 bits but @c closed is 1
 * or 0.
 */
struct mmalloc_opening {
	uint64_t generation;   /**< How often a process attached it with no other one attached,
			        * this attach included. */
	uint32_t created;      /**< This attach made the heap. */
	uint32_t first;        /**< No other process was attached: this attach began the
			        * generation. */
	uint32_t copied;       /**< The file is a copy, or was moved to another file system. */
	uint32_t machine_died; /**< The machine was restarted, or the file system unmounted, and
			        * the heap not synced when closed. */
	uint32_t closed;       /**< How the last process left it: 0 not closed, 1 closed, 2
			        * closed and synced. */
	uint32_t recovered;    /**< It was not closed, and what killed processes had reserved was
			        * reclaimed. */
	uint32_t verified;     /**< This attach checked the whole heap. */
	uint32_t restored;     /**< The heap was durable, and this opening made it what its last
			        * checkpoint was. */
	uint32_t reserved[6];  /**< 0. */
};

/**
 * @brief Tell what was found when this process attached a heap: whether it is new, a copy, or was
 * in use when its machine died.
 *
 * The answer is that of the first attach in this process, until the last detach. A fork child gets
 * its parent's answer. When @c first is 0, other processes had the heap attached, so @c closed is 0
 * and @c recovered is 0: only the first one can tell. The last bytes that programs stored can be
 * missing when @c machine_died is 1; the tables are consistent all the same, for a file that is
 * damaged is not opened. It is 1 also when the file was found by another mount, such as a
 * container's, and no process had it open. Of a read-only or private heap, @c first says that no
 * process had it attached for writing.
 *
 * @param[in]  md       A descriptor, or NULL.
 * @param[out] opening  Filled in.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p opening is NULL; EBADF.
 *
 * @par Threads  Safe.
 * @par Cost     Copies a few words.
 * @since 1.0
 */
int mmalloc_opening(void *md, struct mmalloc_opening *opening);

/**
 * @brief Set the application's own number of a heap: for instance the version of its data's layout.
 *
 * It is stored once, by one compare-exchange, and stays: in copies, snapshots and dumps too. So a
 * cache whose layout has changed can notice old data and begin with an empty file:
 *
 * @code
 * int fd = open("cache", O_RDWR | O_CREAT, 0600);
 * void *md = mmalloc_attach(fd, NULL);
 * if (mmalloc_settag(md, LAYOUT_VERSION) < 0 && errno == EEXIST) {
 *         mmalloc_detach(md);
 *         unlink("cache"); // processes that have the old file attached keep it
 *         ...              // and begin again
 * }
 * @endcode
 *
 * @param[in] md   A descriptor, or NULL.
 * @param[in] tag  The number, not 0.
 * @retval 0   Stored, or it was this number already.
 * @retval -1  errno: EEXIST another number is stored; EINVAL @p tag is 0; EROFS; EBADF.
 *
 * @par Threads  Safe. Of several processes that set different numbers at once, one succeeds.
 * @par Death    It is set or it is not.
 * @par Cost     One compare-exchange.
 * @since 1.0
 */
int mmalloc_settag(void *md, uint64_t tag);

/**
 * @brief The application's own number of a heap.
 * @param[in] md  A descriptor, or NULL.
 * @return What mmalloc_settag() stored; 0 when nothing was, with errno unchanged; 0 with errno
 *         EBADF.
 * @par Cost  One load.
 * @since 1.0
 */
uint64_t mmalloc_gettag(void *md);

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

#endif /* MMALLOC_INSPECT_H */
