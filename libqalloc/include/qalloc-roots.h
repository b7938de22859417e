/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc-roots.h
 * @brief libqalloc: named roots, by which the next process finds what is in a map, and locks for
 * the program's own data.
 *
 * Part of <qalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <qalloc.h>

#ifndef QALLOC_ROOTS_H
#define QALLOC_ROOTS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#if defined(__cplusplus) /* A function with the name of its structure. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#pragma GCC visibility push(default)
#endif

/** @brief Longest name of a root, in bytes without the closing zero. */
#define QALLOC_ROOT_MAX 63

/**
 * @name Roots
 * @{
 */

/**
 * @brief Give a pointer into the map a name by which the next process finds it.
 *
 * Changing a root is atomic: every reader, and every opener after a kill, sees the old pointer or
 * the new one. A map has any number of roots. The first 64 need no room; in static maps under 4 MiB
 * it is one per 64 KiB, and 8 at least. More take 64 KiB per 250 to 500 roots from a dynamic map,
 * and a group of up to 64 items from a static one. Names that are taken away leave their places to
 * others; no call sees that room as a block.
 *
 * @param[in] map   A map open for writing.
 * @param[in] name  1 to #QALLOC_ROOT_MAX bytes.
 * @param[in] ptr   An address inside the map's user area; NULL takes the name away.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL bad @p name, or @p ptr lies outside the map; ENOSPC the map, or its
 *             disk, has no room for more names; EUSERS; EROFS; EBADF.
 *
 * @par Cost  A hash look-up (its steps grow with the logarithm of the number of roots), and a lock.
 * @since 1.0
 */
int qalloc_setroot(void *map, const char *name, void *ptr);

/**
 * @brief The pointer that was last given a name.
 * @param[in] map   A map.
 * @param[in] name  As for qalloc_setroot().
 * @return The pointer; NULL with errno ENOENT when no root has this name, EINVAL bad name, EBADF.
 * @par Cost  A hash look-up, as qalloc_setroot()'s; takes no lock.
 * @since 1.0
 */
void *qalloc_getroot(void *map, const char *name);

/**
 * @brief Change a root only if it still is what the caller saw.
 *
 * The way to change a root that several threads or processes change at once: setroot alone
 * overwrites what another one has set in between. Returns and @p expected are those of C11's
 * atomic_compare_exchange_strong(). For a list that gets one more note at its head:
 *
 * @code
 * void *head = qalloc_getroot(map, "list");
 * int done;
 *
 * do
 *         note->next = head;
 * while ((done = qalloc_casroot(map, "list", &head, note)) == 0);
 * @endcode
 *
 * @param[in]     map       A map.
 * @param[in]     name      As for qalloc_setroot().
 * @param[in,out] expected  What the root has to be; NULL in it: there is no such root. On return of
 *                          0 it holds what the root is.
 * @param[in]     desired   What it becomes, as for qalloc_setroot(); NULL takes the name away.
 * @retval 1   Changed.
 * @retval 0   Not changed: the root is another one, which @p expected now holds. errno stays.
 * @retval -1  errno: EINVAL bad @p name, @p expected is NULL, or @p desired lies outside the
 *             map; ENOSPC no room for more names; EUSERS; EROFS; EBADF.
 *
 * @par Death  The root is changed or it is not.
 * @par Cost   As qalloc_setroot().
 * @since 1.0
 */
int qalloc_casroot(void *map, const char *name, void **expected, void *desired);

/**
 * @brief Called by qalloc_find_or_create() to fill a new block.
 * @param block  The block, all zero. No other thread or process can see it yet.
 * @param size   What the caller of qalloc_find_or_create() asked for, in bytes.
 * @param arg    What the caller of qalloc_find_or_create() gave.
 * @return 0 when the block is complete; anything else: the block is freed, and the call fails.
 */
typedef int qalloc_init_fn(void *block, size_t size, void *arg);

/**
 * @brief The root of this name; if there is none, a new block becomes it, in one atomic step.
 *
 * A new block is all zero, then @p init fills it, and only then it gets the name. So every other
 * thread and process finds either no root or a complete one. When several callers create at once,
 * one block gets the name and all callers return it; the blocks of the others are freed. So @p init
 * may run in several of them, and what it allocates itself is not freed with its block: let it only
 * fill the block.
 *
 * The size of a root that is found is not compared with @p size: qalloc_usable_size() tells it.
 *
 * @param[in]  map      A map.
 * @param[in]  name     As for qalloc_setroot().
 * @param[in]  size     Size of a new block in bytes.
 * @param[in]  init     Fills a new block; NULL leaves it all zero.
 * @param[in]  arg      Handed to @p init.
 * @param[out] created  1: the block is this call's own; 0: it was found, or the call failed. May be
 *                      NULL.
 * @return The root; NULL with errno EINVAL bad @p name; EROFS, EUSERS, ENOSPC as qalloc_setroot();
 *         else as qalloc_calloc(). When @p init fails, errno is what it left.
 *
 * @par Death  There is no root or a complete one. A process killed before the block gets its name
 *             leaves the block allocated: at most one block for each killed thread.
 * @par Cost   When the root exists, that of qalloc_getroot(); else an allocation, and
 *             qalloc_setroot().
 * @since 1.0
 */
void *qalloc_find_or_create(void *map, const char *name, size_t size, qalloc_init_fn *init,
			    void *arg, int *created);

/**
 * @brief Called by qalloc_walkroots() for each root.
 * @param name  Its name. Valid during the call only.
 * @param ptr   What the name stands for.
 * @param arg   What the caller of qalloc_walkroots() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int qalloc_root_fn(const char *name, void *ptr, void *arg);

/**
 * @brief Visit every root, in no particular order. @p fn may change roots.
 *
 * Roots that are set or taken away during the walk may or may not be visited; every other root is
 * visited once.
 *
 * @param[in] map  A map.
 * @param[in] fn   Called for each root.
 * @param[in] arg  Handed to @p fn.
 * @return 0, or what @p fn returned when it ended the walk; -1 with errno EINVAL @p fn is NULL,
 *         EBADF.
 * @par Cost  Reads all tables of roots; takes no lock.
 * @since 1.0
 */
int qalloc_walkroots(void *map, qalloc_root_fn *fn, void *arg);

/** @} */

/**
 * @name Locks
 * @{
 */

/**
 * @brief A lock for the program's own data, anywhere in a block: qalloc_lock(). All zero is free.
 */
struct qalloc_lock {
	uint64_t word; /**< The library's; 0 when free and no thread waits. */
};

/**
 * @brief Lock, and wait as long as a live thread holds the lock.
 *
 * Make the lock part of the structure that it protects. There is nothing to initialise and nothing
 * to destroy. Its holder is a thread. When the holder is gone, the next thread that locks gets the
 * lock, and EOWNERDEAD. A holder is gone when
 * - its process was killed or has ended, or its machine went down;
 * - its thread ended without unlocking (as soon as the thread's thread-specific data is destroyed);
 * - its process closed the map;
 * - it belongs to another file: the lock was copied with the map, by a snapshot, cp(1) or a private
 *   view;
 * - it is the parent of a fork child that has its own copy (a private map). On a shared map the
 *   parent goes on holding its locks, and the child holds none.
 *
 * For each holder that is gone, one thread gets EOWNERDEAD. It holds the lock then, and has to make
 * the data consistent before it unlocks; no other call is needed. If it dies as well, the next
 * thread gets EOWNERDEAD. The pattern that needs no repair at all: lock; build what is new where no
 * reader looks; commit with one store; unlock. Killed before the store nothing has changed, after
 * it everything has.
 *
 * @code
 * struct table {
 *         struct qalloc_lock lock;
 *         struct row *_Atomic rows;
 * };
 *
 * int error = qalloc_lock(map, &table->lock);
 *
 * if (error == EOWNERDEAD)
 *         repair(table); // free what its dead holder did not commit, if that can be found out
 * else if (error)
 *         return error;
 * atomic_store(&table->rows, new_rows); // the commit
 * qalloc_unlock(map, &table->lock);
 * @endcode
 *
 * As the pthread_mutex calls, these four return an error number instead of -1. On failure errno is
 * the same number. Waiting threads get the lock in no particular order. A lock is not recursive.
 *
 * @param[in] map   A map.
 * @param[in] lock  At a multiple of 8 bytes, in the part of the map that holds blocks.
 * @return 0, or the error: EOWNERDEAD locked all the same: its last holder is gone and did not
 *         unlock; EDEADLK this thread holds it already; EINVAL @p lock is no such place; EUSERS as
 *         many processes, or threads, as the map can serve use it (a thread that locks counts as
 *         one that allocates); ENOMEM no memory for what the library keeps of each thread; EROFS;
 *         EBADF.
 * @par Signals  Not safe. A signal does not end the wait.
 * @par Death    The lock is taken or it is not. Other threads notice within about 64 ms that a
 *               holder is gone.
 * @par Cost     One compare-exchange when it is free; else futex(2).
 * @since 1.0
 */
int qalloc_lock(void *map, struct qalloc_lock *lock);

/**
 * @brief Lock if that is possible without waiting.
 * @param[in] map   A map.
 * @param[in] lock  As for qalloc_lock().
 * @return 0, or the error: EBUSY a live thread holds it, perhaps this one; else as qalloc_lock().
 * @par Cost  One compare-exchange when it is free; else a system call that asks whether the holder
 *            is alive.
 * @since 1.0
 */
int qalloc_trylock(void *map, struct qalloc_lock *lock);

/**
 * @brief Lock, and wait no longer than so many milliseconds.
 * @param[in] map   A map.
 * @param[in] lock        As for qalloc_lock().
 * @param[in] timeout_ms  Milliseconds, by the monotonic clock; 0 does not wait.
 * @return 0, or the error: ETIMEDOUT a live thread held it all the time; else as qalloc_lock().
 * @since 1.0
 */
int qalloc_timedlock(void *map, struct qalloc_lock *lock, unsigned timeout_ms);

/**
 * @brief Unlock.
 * @param[in] map   A map.
 * @param[in] lock  What this thread locked.
 * @return 0, or the error: EPERM this thread does not hold it, and nothing has changed; EINVAL
 *         @p lock is no place for a lock; EROFS; EBADF.
 * @par Death  The lock is free or it is not.
 * @par Cost   One exchange; futex(2) when a thread waits.
 * @since 1.0
 */
int qalloc_unlock(void *map, struct qalloc_lock *lock);

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

#endif /* QALLOC_ROOTS_H */
