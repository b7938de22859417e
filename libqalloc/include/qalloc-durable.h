/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc-durable.h
 * @brief libqalloc: write maps to disk: sync, checkpoints that survive a power cut, snapshots.
 *
 * Part of <qalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <qalloc.h>

#ifndef QALLOC_DURABLE_H
#define QALLOC_DURABLE_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/**
 * @name Checkpoints
 * @{
 */

/**
 * @brief Write every open map of this process to disk, and wait for it. Of a durable map, make a
 * checkpoint (qalloc_durable()).
 *
 * After it, and with no later writes, everything is there even when the machine dies. With later
 * writes, a map that is not durable may have some of these and not others, or be refused when it is
 * opened. Failures are reported through errno (set to 0 when all went well) and the debug channel.
 *
 * @par Cost  One msync(2) per map: proportional to what was changed. A durable map: as
 *            qalloc_capture() and qalloc_commit().
 * @since 1.0, after qthreads' qalloc_checkpoint()
 */
void qalloc_checkpoint(void);

/**
 * @brief qalloc_checkpoint(), then close every open map of this process, however often it was
 * loaded.
 * @since 1.0, after qthreads' qalloc_cleanup()
 */
void qalloc_cleanup(void);

/**
 * @brief Write what was changed in one map to disk, and wait for it. A durable map: make a
 * checkpoint (qalloc_durable()).
 *
 * What is written of a map that is not durable is no unit: after a power cut later stores may be
 * there, too, and others not.
 *
 * @param[in] map  A map.
 * @retval 0   Written (or the map is read-only or private: nothing to write).
 * @retval -1  errno: EIO the disk failed; EBADF. A durable map: as qalloc_capture() and
 *             qalloc_commit().
 * @par Cost  One msync(2): proportional to what was changed. A durable map: as qalloc_capture() and
 *            qalloc_commit().
 * @since 1.0
 */
int qalloc_sync(void *map);

/**
 * @brief Make a map durable: from now on, each sync is a checkpoint, which survives a power cut
 * exactly.
 *
 * The pages of the map are kept as they were at its last checkpoint in a second file beside it,
 * `NAME.checkpoint`. The machine can die, or the file system go away. The next process that opens
 * the map for writing then finds exactly the state of the last checkpoint whose call returned 0, or
 * of a later one; qalloc_opening() says so. When only processes die, nothing is rolled back. This
 * call makes the first checkpoint. The map stays durable when it is opened again.
 *
 * A child made by _Fork(), or by clone() without fork's handlers, calls qalloc_sync() itself after
 * its stores. Its parent does not know of such a child, and its checkpoints may miss what the
 * child stored before its first qalloc_sync() or allocation.
 *
 * The two files belong together: move, copy and delete them together, and copy them only while no
 * process has the map open. A copy of the map without its checkpoint file is not durable. The
 * checkpoint file takes as much disk space as the map has pages that are not zero, and as much
 * again as changes between two checkpoints.
 *
 * @param[in] map  A map that is open for writing.
 * @retval 0   Durable, and the first checkpoint is on disk.
 * @retval -1  errno: EROFS the map is read-only or private, or has no file; ENOENT its file has no
 *             name any more; ENOSPC, EDQUOT, EFBIG, EIO, EACCES the checkpoint file cannot be
 *             written; ENOMEM no memory; EUCLEAN the file of that name belongs to another map, or
 *             is damaged; EBADF.
 *
 * @par Threads  Safe.
 * @par Death    Killed at any point: durable or not, and consistent.
 * @par Cost     Writes all pages of the map once.
 * @since 1.0
 */
int qalloc_durable(void *map);

/** @} */

/**
 * @name Checkpoints in two steps
 * @{
 */

/**
 * @brief The first half of a checkpoint of a durable map: note what changed. The program may hold a
 * lock of its own during it.
 *
 * The checkpoint has all that was stored before this call, and of later stores some. A program
 * whose data are consistent only under its own lock holds that lock during this call, in each
 * process that writes. It need not hold the lock while qalloc_commit() writes to the disk.
 *
 * @param[in] map  A map that is open for writing.
 * @retval 0   Noted; this thread is to call qalloc_commit(). Other threads and processes that make
 *             checkpoints wait for that.
 * @retval -1  errno: EINVAL the map is not durable; EBUSY this thread has captured already; ENOSPC,
 *             EDQUOT, EFBIG, EIO, EACCES the checkpoint file cannot be written; ENOENT the map's
 *             file has no name any more; ENOMEM no memory; ETIMEDOUT a stopped process holds a
 *             lock of the map; EBADF. The last checkpoint stays.
 *
 * @par Threads  Safe.
 * @par Death    The last checkpoint stays.
 * @par Cost     Copies the pages that changed. The kernel knows these when this process alone has
 *               used the map since the last checkpoint (Linux 6.7). Else all pages are compared by
 *               their hashes, which takes a few tenths of a second per GiB. Allocations that need a
 *               lock wait while the changed pages of the tables are copied.
 * @since 1.0
 */
int qalloc_capture(void *map);

/**
 * @brief The second half: write what qalloc_capture() noted to disk, and wait for it.
 * @param[in] map  A map that is open for writing.
 * @retval 0   It survives the death of the machine.
 * @retval -1  errno: EINVAL nothing was captured; ENOSPC, EDQUOT, EFBIG, EIO it could not be
 *             written, and the last checkpoint stays; EBADF the program closed the descriptor of
 *             the checkpoint file.
 * @par Threads  Safe.
 * @par Death    Killed: this checkpoint, or the last one.
 * @par Cost     One fdatasync(2).
 * @since 1.0
 */
int qalloc_commit(void *map);

/** @} */

/**
 * @name Going back, and copies
 * @{
 */

/**
 * @brief Go back on purpose: make a durable map what it was at its last checkpoint. No process may
 * have it open.
 * @param[in] filename  The map's file.
 * @retval 0   Done, and on disk.
 * @retval -1  errno: EBUSY a process has it open; ENOENT no such file, or no checkpoint; EUCLEAN
 *             the checkpoint file is damaged; ENOSPC, EIO it could not be written, and the next
 *             opening begins again; ENOMEM no memory; and all that opening a file can end with (see
 *             the table in qalloc.h).
 * @par Death    Killed: the next opening begins again.
 * @par Cost     Reads and writes all pages of the map.
 * @since 1.0
 */
int qalloc_restore(const char *filename);

/**
 * @brief Copy a map that goes on being used into a file of its own, which can be loaded later, at
 * the same addresses.
 *
 * The copy is a whole map. It is checked and on disk before it takes its name, from another file if
 * need be. Until then, and after a failure or a kill, @p filename is what it was. It takes no lock,
 * and delays no other process. Blocks that are there when the call begins, and are not freed before
 * it ends, are in the copy; of those that come and go meanwhile some are. What was complete when
 * the call began, can be found from a root, and is not changed any more, is complete in the copy.
 * Whatever the program does change is copied while it changes: the copy of it is as consistent as
 * the program's own locks make it. So hold them:
 *
 * @code
 * qalloc_lock(map, &table->lock);
 * qalloc_snapshot(map, "table.bak"); // in the copy its holder is gone
 * qalloc_unlock(map, &table->lock);
 * @endcode
 *
 * @param[in] map       A map, loaded in whatever way. Of a private one the view is copied.
 * @param[in] filename  Made with mode 0600, or replaced.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p filename is empty, no regular file, or the map's own; EISDIR it is a
 *             directory; ENOENT, ENOTDIR, EACCES, EROFS its folder is not there, or nothing can be
 *             made in it; ENOSPC, EDQUOT, EFBIG no disk space; EIO the disk failed; ENOMEM no
 *             memory; EUCLEAN the map is damaged; EBADF.
 * @par Kill   Nothing is left but, on file systems without O_TMPFILE or in the last instant, a file
 *             `.snapshot-*` beside @p filename.
 * @par Cost   Copies what is in use: no data at all where the file system shares blocks (reflink),
 *             else by copy_file_range(2), and reads all metadata in use. Holes stay holes.
 * @since 1.0
 */
int qalloc_snapshot(void *map, const char *filename);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* QALLOC_DURABLE_H */
