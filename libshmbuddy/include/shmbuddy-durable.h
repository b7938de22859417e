/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shmbuddy-durable.h
 * @brief libshmbuddy: write regions to disk: sync, checkpoints that survive a power cut, snapshots.
 *
 * Part of <shmbuddy.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <shmbuddy.h>

#ifndef SHMBUDDY_DURABLE_H
#define SHMBUDDY_DURABLE_H

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
 * @brief Write what changed to disk, and wait for it. A durable region: make a checkpoint
 * (shmbuddy_durable()).
 *
 * What is written of a region that is not durable is no unit: after a power cut later stores may be
 * there, too, and others not.
 *
 * @param[in] region  The handle.
 * @retval 0   Done: with no changes since, everything is there even when the machine dies. (Or the
 *             region is read-only, or in memory of the caller's: nothing to write.)
 * @retval -1  errno: EBADF the region is not open; else as msync(2). A durable region: as
 *             shmbuddy_capture() and shmbuddy_commit().
 * @par Cost  One msync(2): proportional to what was changed. A durable region: as
 *            shmbuddy_capture() and shmbuddy_commit().
 * @since 1.0
 */
int shmbuddy_sync(shmbuddy_t *region);

/**
 * @brief Make a region durable: from now on, each sync is a checkpoint, which survives a power cut
 * exactly.
 *
 * The pages of the region are kept as they were at its last checkpoint in a second file beside it,
 * `NAME.checkpoint`. The machine can die, or the file system go away. The next process that opens
 * the region for writing then finds the state of the last checkpoint whose call returned 0, or of a
 * later one; shmbuddy_opening() says so. Until then the region cannot be opened with
 * #SHMBUDDY_RDONLY (EUCLEAN). When only processes die, nothing is rolled back. This call makes the
 * first checkpoint. The region stays durable when it is opened again.
 *
 * A child made by _Fork(), or by clone() without fork's handlers, calls shmbuddy_sync() itself
 * after its stores. Its parent does not know of such a child, and its checkpoints may miss what
 * the child stored since its last shmbuddy_sync().
 *
 * The two files belong together: move, copy and delete them together, and copy them only while no
 * process has the region open. A copy of the region without its checkpoint file is not durable, and
 * neither is a snapshot. The checkpoint file takes as much disk space as the region has pages that
 * are not zero, and as much again as changes between two checkpoints.
 *
 * Blocks that are allocated when a checkpoint's capture begins, and not freed before it ends, are
 * in the checkpoint. Blocks that are allocated or freed during the capture may or may not be. What
 * a program stores by memory that it mapped itself, or joined (shmbuddy_join()), can be missing:
 * use the file's handle.
 *
 * @param[in] region  The handle, of a region in a file that is open for writing.
 * @retval 0   Durable, and the first checkpoint is on disk.
 * @retval -1  errno: EROFS the region is read-only, or in memory of the caller's; ENOENT its file
 *             has no name any more; ENOSPC, EDQUOT, EFBIG, EIO, EACCES the checkpoint file cannot
 *             be written; ENOMEM no memory; EUCLEAN the file of that name belongs to another
 *             region, or is damaged; EBUSY this thread has captured a checkpoint, and is to commit
 *             it first; EBADF the region is not open, or the program closed the region's
 *             descriptor.
 *
 * @par Threads  Safe. Not async-signal-safe.
 * @par Death    Killed at any point: durable or not, and consistent.
 * @par Cost     Writes all pages of the region once.
 * @since 1.0
 */
int shmbuddy_durable(shmbuddy_t *region);

/** @} */

/**
 * @name Checkpoints in two steps
 * @{
 */

/**
 * @brief The first half of a checkpoint of a durable region: note what changed. The program may
 * hold a lock of its own during it.
 *
 * The checkpoint has all that was stored before this call, and of later stores some. A program
 * whose data are consistent only under its own lock holds that lock during this call, in each
 * process that writes. It need not hold the lock while shmbuddy_commit() writes to the disk. No
 * call that allocates or frees waits for it.
 *
 * @param[in] region  The handle.
 * @retval 0   Noted; this thread is to call shmbuddy_commit(). Other threads and processes that
 *             make checkpoints wait for that.
 * @retval -1  errno: EINVAL the region is not durable; EROFS it is read-only, or in memory of the
 *             caller's; EBUSY this thread has captured already; ENOSPC, EDQUOT, EFBIG, EIO, EACCES
 *             the checkpoint file cannot be written; ENOENT the region's file has no name any more;
 *             ENOMEM no memory; EUCLEAN the checkpoint file is damaged, or another region's; EBADF
 *             the region is not open, or the program closed the region's descriptor. The last
 *             checkpoint stays.
 *
 * @par Threads  Safe. Not async-signal-safe.
 * @par Death    The last checkpoint stays.
 * @par Cost     Copies the pages that changed. The kernel knows these when this handle alone has
 *               been open for writing since the last checkpoint (Linux 6.7). Else all pages are
 *               compared by their hashes, which takes a few tenths of a second per GiB.
 * @since 1.0
 */
int shmbuddy_capture(shmbuddy_t *region);

/**
 * @brief The second half: write what shmbuddy_capture() noted to disk, and wait for it.
 * @param[in] region  The handle.
 * @retval 0   It survives the death of the machine.
 * @retval -1  errno: EINVAL nothing was captured, or the region is not durable; EROFS it is
 *             read-only, or in memory of the caller's; ENOSPC, EDQUOT, EFBIG, EIO it could not be
 *             written, and the last checkpoint stays; ENOMEM no memory; EBADF the region is not
 *             open, or the program closed the descriptor of the checkpoint file.
 * @par Threads  Safe. Not async-signal-safe.
 * @par Death    Killed: this checkpoint, or the last one.
 * @par Cost     One fdatasync(2).
 * @since 1.0
 */
int shmbuddy_commit(shmbuddy_t *region);

/** @} */

/**
 * @name Going back, and copies
 * @{
 */

/**
 * @brief Go back on purpose: make a durable region what it was at its last checkpoint. No process
 * may have it open for writing.
 *
 * The next opening for writing finishes that, as after a power cut.
 *
 * @param[in] filename  The region's file.
 * @retval 0   Done, and on disk.
 * @retval -1  errno: EINVAL @p filename is NULL; EBUSY a process has it open; ENOENT no such file,
 *             or no checkpoint; EUCLEAN the checkpoint file is damaged, or another region's;
 *             ENOSPC, EIO it could not be written, and the next opening begins again; ENOMEM no
 *             memory; and all that opening a file can end with (see the table in shmbuddy.h).
 * @par Threads  Safe. Not async-signal-safe.
 * @par Death    Killed: the next opening begins again.
 * @par Cost     Reads and writes all pages of the region.
 * @since 1.0
 */
int shmbuddy_restore(const char *filename);

/**
 * @brief Copy a region that others go on using into a file of its own, which can be opened later.
 *
 * The copy is a whole region. It is checked and on disk before it takes its name, from another file
 * if need be. Until then, and after a failure or a kill, @p filename is what it was. The call takes
 * no lock, and no other call waits for it. Blocks that are allocated when the call begins, and not
 * freed before it ends, are in the copy, at the same offsets. Blocks that are allocated or freed
 * during the call may or may not be. Roots and the tag are in it. What the program changes
 * meanwhile is copied as it is at that moment: hold a lock of your own over the call where that
 * matters.
 *
 * @param[in] region    A region: in a file, or in memory (shmbuddy_format(), shmbuddy_join());
 *                      read-only too.
 * @param[in] filename  Made with mode 0600, or replaced.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p filename is empty, no regular file, or the region's own; EISDIR it
 *             is a directory; ENOENT, ENOTDIR, EACCES, EROFS its folder is not there, or nothing
 *             can be made in it; ENOSPC, EDQUOT, EFBIG no disk space; EIO the disk failed; ENOMEM
 *             no memory; EUCLEAN the region is damaged; EAGAIN it was made larger again and again
 *             meanwhile; EBADF.
 * @par Threads  Safe. Not async-signal-safe.
 * @par Kill   Nothing is left but, on file systems without O_TMPFILE or in the last instant, a file
 *             `.snapshot-*` beside @p filename.
 * @par Cost   Copies what is in use: no data at all where the file system shares blocks (reflink),
 *             else by copy_file_range(2), and reads all words twice. Holes stay holes.
 * @since 1.0
 */
int shmbuddy_snapshot(shmbuddy_t *region, const char *filename);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* SHMBUDDY_DURABLE_H */
