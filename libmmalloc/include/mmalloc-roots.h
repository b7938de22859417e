/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-roots.h
 * @brief libmmalloc: keys and named roots, by which the next process finds what is in a heap, and
 * locks for the program's own data.
 *
 * Part of <mmalloc.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <mmalloc.h>

#ifndef MMALLOC_ROOTS_H
#define MMALLOC_ROOTS_H

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

/** @brief Keys of a heap: 0 to MMALLOC_KEYS - 1. */
#define MMALLOC_KEYS     64
/** @brief Longest name of a root, in bytes without the closing zero. */
#define MMALLOC_ROOT_MAX 63

/**
 * @name Keys
 * @{
 */

/**
 * @brief Store a pointer under a number, in the heap: the way for the next process to find what is
 * there.
 * @param[in] md      A descriptor, or NULL.
 * @param[in] keynum  0 to #MMALLOC_KEYS - 1.
 * @param[in] key     Any pointer.
 * @retval 1  Stored, by one store: every reader, and every process that attaches after a kill, sees
 *            the old pointer or the new one.
 * @retval 0  errno: EINVAL @p keynum is out of range; EROFS; EBADF.
 * @since 1.0, after GNU mmalloc's mmalloc_setkey()
 */
int mmalloc_setkey(void *md, int keynum, void *key);

/**
 * @brief What was last stored under a number.
 * @param[in] md      A descriptor, or NULL.
 * @param[in] keynum  0 to #MMALLOC_KEYS - 1.
 * @return The pointer; NULL when none was stored, or with errno EINVAL @p keynum is out of range,
 *         EBADF.
 * @since 1.0, after GNU mmalloc's mmalloc_getkey()
 */
void *mmalloc_getkey(void *md, int keynum);

/**
 * @brief Store a pointer under a number only if what is stored there is still what the caller saw.
 *
 * Returns and @p expected are those of C11's atomic_compare_exchange_strong().
 *
 * @param[in]     md        A descriptor, or NULL.
 * @param[in]     keynum    0 to #MMALLOC_KEYS - 1.
 * @param[in,out] expected  What has to be stored there; NULL in it: nothing was stored. On return
 *                          of 0 it holds what is.
 * @param[in]     desired   Any pointer.
 * @retval 1   Stored.
 * @retval 0   Not stored: another pointer is, which @p expected now holds. errno stays.
 * @retval -1  errno: EINVAL @p keynum is out of range, or @p expected is NULL; EROFS; EBADF.
 * @par Death  Stored or not.
 * @par Cost   One compare-exchange.
 * @since 1.0
 */
int mmalloc_caskey(void *md, int keynum, void **expected, void *desired);

/** @} */

/**
 * @name Roots
 * @{
 */

/**
 * @brief Give a pointer into the heap a name: any number of them, beside the numbered keys.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] name  1 to #MMALLOC_ROOT_MAX bytes.
 * @param[in] ptr   An address in the part of the heap that holds blocks; NULL takes the name away.
 * @retval 0   Done: every reader, and every process that attaches after a kill, sees the old
 *             pointer or the new one.
 * @retval -1  errno: EINVAL bad @p name, or @p ptr lies outside; ENOSPC no room for more names;
 *             EUSERS; EROFS; EBADF.
 * @since 1.0
 */
int mmalloc_setroot(void *md, const char *name, void *ptr);

/**
 * @brief The pointer that was last given a name.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] name  As for mmalloc_setroot().
 * @return The pointer; NULL with errno ENOENT no root has this name, EINVAL bad name, EBADF.
 * @since 1.0
 */
void *mmalloc_getroot(void *md, const char *name);

/**
 * @brief Change a root only if it still is what the caller saw.
 *
 * The way to change a root that several threads or processes change at once: setroot alone
 * overwrites what another one has set in between. Returns and @p expected are those of C11's
 * atomic_compare_exchange_strong(). For a list that gets one more note at its head:
 *
 * @code
 * void *head = mmalloc_getroot(md, "list");
 * int done;
 *
 * do
 *         note->next = head;
 * while ((done = mmalloc_casroot(md, "list", &head, note)) == 0);
 * @endcode
 *
 * @param[in]     md        A descriptor, or NULL.
 * @param[in]     name      As for mmalloc_setroot().
 * @param[in,out] expected  What the root has to be; NULL in it: there is no such root. On return of
 *                          0 it holds what the root is.
 * @param[in]     desired   What it becomes, as for mmalloc_setroot(); NULL takes the name away.
 * @retval 1   Changed.
 * @retval 0   Not changed: the root is another one, which @p expected now holds. errno stays.
 * @retval -1  errno: EINVAL bad @p name, @p expected is NULL, or @p desired lies outside the
 *             heap; ENOSPC no room for more names; EUSERS; EROFS; EBADF.
 *
 * @par Death  The root is changed or it is not.
 * @par Cost   As mmalloc_setroot().
 * @since 1.0
 */
int mmalloc_casroot(void *md, const char *name, void **expected, void *desired);

/**
 * @brief Called by mmalloc_find_or_create() to fill a new block.
 * @param block  The block, all zero. No other thread or process can see it yet.
 * @param size   What the caller of mmalloc_find_or_create() asked for, in bytes.
 * @param arg    What the caller of mmalloc_find_or_create() gave.
 * @return 0 when the block is complete; anything else: the block is freed, and the call fails.
 */
typedef int mmalloc_init_fn(void *block, size_t size, void *arg);

/**
 * @brief The root of this name; if there is none, a new block becomes it, in one atomic step.
 *
 * A new block is all zero, then @p init fills it, and only then it gets the name. So every other
 * thread and process finds either no root or a complete one. When several callers create at once,
 * one block gets the name and all callers return it; the blocks of the others are freed. So @p init
 * may run in several of them, and what it allocates itself is not freed with its block: let it only
 * fill the block.
 *
 * The size of a root that is found is not compared with @p size: mmalloc_usable_size() tells it.
 *
 * @param[in]  md       A descriptor, or NULL.
 * @param[in]  name     As for mmalloc_setroot().
 * @param[in]  size     Size of a new block in bytes.
 * @param[in]  init     Fills a new block; NULL leaves it all zero.
 * @param[in]  arg      Handed to @p init.
 * @param[out] created  1: the block is this call's own; 0: it was found, or the call failed. May be
 *                      NULL.
 * @return The root; NULL with errno EINVAL bad @p name; EROFS, EUSERS, ENOSPC as mmalloc_setroot();
 *         else as mcalloc(). When @p init fails, errno is what it left.
 *
 * @par Death  There is no root or a complete one. A process killed before the block gets its name
 *             leaves the block allocated: at most one block for each killed thread.
 * @par Cost   When the root exists, that of mmalloc_getroot(); else an allocation, and
 *             mmalloc_setroot().
 * @since 1.0
 */
void *mmalloc_find_or_create(void *md, const char *name, size_t size, mmalloc_init_fn *init,
			     void *arg, int *created);

/**
 * @brief Called by mmalloc_walkroots() for each root.
 * @param name  Its name. Valid during the call only.
 * @param ptr   What the name stands for.
 * @param arg   What the caller of mmalloc_walkroots() gave.
 * @return 0 to go on; anything else ends the walk.
 */
typedef int mmalloc_root_fn(const char *name, void *ptr, void *arg);

/**
 * @brief Visit every root, in no particular order. @p fn may change roots.
 *
 * Roots that are set or taken away during the walk may or may not be visited; every other root is
 * visited once. The #MMALLOC_KEYS numbered keys are not roots: mmalloc_getkey() tells of each.
 *
 * @param[in] md   A descriptor, or NULL.
 * @param[in] fn   Called for each root.
 * @param[in] arg  Handed to @p fn.
 * @return 0, or what @p fn returned when it ended the walk; -1 with errno EINVAL @p fn is NULL,
 *         EBADF.
 * @par Cost  Reads all tables of roots; takes no lock.
 * @since 1.0
 */
int mmalloc_walkroots(void *md, mmalloc_root_fn *fn, void *arg);

/** @} */

/**
 * @name Locks
 * @{
 */

/**
 * @brief A lock for the program's own data, anywhere in a block: mmalloc_lock(). All zero is free.
 */
struct mmalloc_lock {
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
 * - its process closed the heap;
 * - it belongs to another file: the lock was copied with the heap, by a snapshot, cp(1) or a
 *   private view;
 * - it is the parent of a fork child that has its own copy (a private heap). On a shared heap the
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
 *         struct mmalloc_lock lock;
 *         struct row *_Atomic rows;
 * };
 *
 * int error = mmalloc_lock(md, &table->lock);
 *
 * if (error == EOWNERDEAD)
 *         repair(table); // free what its dead holder did not commit, if that can be found out
 * else if (error)
 *         return error;
 * atomic_store(&table->rows, new_rows); // the commit
 * mmalloc_unlock(md, &table->lock);
 * @endcode
 *
 * As the pthread_mutex calls, these four return an error number instead of -1. On failure errno is
 * the same number. Waiting threads get the lock in no particular order. A lock is not recursive.
 *
 * @param[in] md    A descriptor, or NULL.
 * @param[in] lock  At a multiple of 8 bytes, in the part of the heap that holds blocks.
 * @return 0, or the error: EOWNERDEAD locked all the same: its last holder is gone and did not
 *         unlock; EDEADLK this thread holds it already; EINVAL @p lock is no such place; EUSERS as
 *         many processes, or threads, as the heap can serve use it (a thread that locks counts as
 *         one that allocates); ENOMEM no memory for what the library keeps of each thread; EROFS;
 *         EBADF.
 * @par Signals  Not safe. A signal does not end the wait.
 * @par Death    The lock is taken or it is not. Other threads notice within about 64 ms that a
 *               holder is gone.
 * @par Cost     One compare-exchange when it is free; else futex(2).
 * @since 1.0
 */
int mmalloc_lock(void *md, struct mmalloc_lock *lock);

/**
 * @brief Lock if that is possible without waiting.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] lock  As for mmalloc_lock().
 * @return 0, or the error: EBUSY a live thread holds it, perhaps this one; else as mmalloc_lock().
 * @par Cost  One compare-exchange when it is free; else a system call that asks whether the holder
 *            is alive.
 * @since 1.0
 */
int mmalloc_trylock(void *md, struct mmalloc_lock *lock);

/**
 * @brief Lock, and wait no longer than so many milliseconds.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] lock        As for mmalloc_lock().
 * @param[in] timeout_ms  Milliseconds, by the monotonic clock; 0 does not wait.
 * @return 0, or the error: ETIMEDOUT a live thread held it all the time; else as mmalloc_lock().
 * @since 1.0
 */
int mmalloc_timedlock(void *md, struct mmalloc_lock *lock, unsigned timeout_ms);

/**
 * @brief Unlock.
 * @param[in] md    A descriptor, or NULL.
 * @param[in] lock  What this thread locked.
 * @return 0, or the error: EPERM this thread does not hold it, and nothing has changed; EINVAL
 *         @p lock is no place for a lock; EROFS; EBADF.
 * @par Death  The lock is free or it is not.
 * @par Cost   One exchange; futex(2) when a thread waits.
 * @since 1.0
 */
int mmalloc_unlock(void *md, struct mmalloc_lock *lock);

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

#endif /* MMALLOC_ROOTS_H */
