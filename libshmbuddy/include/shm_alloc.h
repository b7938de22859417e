/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shm_alloc.h
 * @brief One region a process, as the original shm_alloc had it: blocks of 32 to 1024 bytes, 512
 * MiB in all.
 *
 * The calls below work on the *default region*, a file that shm_init() names. They are shmbuddy.h's
 * calls with one handle; what holds there of threads, fork, death and disks holds here. A region
 * that shmbuddy_open() made with other numbers is just as welcome.
 *
 * - @b Errors: as in shmbuddy.h.
 * - @b Signals: but for shm_init(), shm_grow() and shm_deinit(), all are async-signal-safe.
 *
 * What this means where a function's text gives no reason:
 *
 * | errno | reason                                                                        |
 * |-------|-------------------------------------------------------------------------------|
 * | EBADF | there is no default region: before shm_init(), or after shm_deinit()          |
 */
#ifndef SHM_ALLOC_H
#define SHM_ALLOC_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#ifndef __cplusplus
#include <stdatomic.h>
#include <stdbool.h>
#endif

#include <shm_user_types.h>

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/** @brief The address of an offset in this process. No check: shmbuddy_address() has one. */
#define SHM_OFFT_TO_ADDR(offset)  ((void *)((char *)get_shm_user_base() + (offset)))
/** @brief The offset of an address. No check: shmbuddy_offset() has one. */
#define SHM_ADDR_TO_OFFT(address) ((shm_offt)((char *)(address) - (char *)get_shm_user_base()))

/**
 * @name Starting and ending
 * @{
 */

/**
 * @brief Open the default region; make it when the file does not exist or is empty.
 *
 * Any number of threads and processes may race to do so on one new file: one makes it, all succeed.
 * When the process has its default region already, nothing happens, whatever the arguments. A fork
 * child has its parent's.
 *
 * @param[in] optional_addr  Where it should be mapped; NULL, or where something else is mapped:
 *                           anywhere.
 * @param[in] shm_filename   Path of the file; NULL: what `$SHM_FILE` said when the library was
 *                           loaded.
 * @retval true   The process has a default region.
 * @retval false  errno: EINVAL there is no name; else as shmbuddy_open().
 * @since 1.0, after shm_alloc's shm_init()
 */
bool shm_init(void *optional_addr, const char *shm_filename);

/**
 * @brief shmbuddy_grow() of the default region: in place, and for all processes that use it.
 * @param[in] capacity  Bytes that blocks can take afterwards; a default region has 512 MiB, and can
 *                      grow to 4 GiB.
 * @retval true   It has at least so much.
 * @retval false  Nothing has changed; errno as shmbuddy_grow().
 * @par Signals  Not safe.
 * @since 1.0
 */
bool shm_grow(uint64_t capacity);

/**
 * @brief Unmap the default region. Its blocks stay in the file. No other thread may be inside a
 * call.
 * @since 1.0, after shm_alloc's shm_deinit()
 */
void shm_deinit(void);

/** @} */

/**
 * @name Blocks by offset
 * @{
 */

/**
 * @brief Address of offset 0: a page that cannot be written to. So a store through SHM_NULL faults.
 * @return The address; NULL with errno EBADF when there is no default region.
 * @since 1.0, after shm_alloc's get_shm_user_base(), which after shm_deinit() and shm_init() gave
 *        the old address
 */
void *get_shm_user_base(void);

/**
 * @brief shmbuddy_malloc() in the default region.
 * @param[in] size  Bytes.
 * @return The block, or SHM_NULL with errno as there.
 * @since 1.0, after shm_alloc's shm_malloc(), which gave a small block for some huge sizes
 */
shm_offt shm_malloc(size_t size);

/**
 * @brief shmbuddy_calloc() in the default region.
 * @param[in] count  Number of elements.
 * @param[in] size   Bytes of each.
 * @return The block, all zero, or SHM_NULL with errno as there.
 * @since 1.0, after shm_alloc's shm_calloc(), which did not look whether the product overflowed
 */
shm_offt shm_calloc(size_t count, size_t size);

/**
 * @brief shmbuddy_free() in the default region.
 * @param[in] offset  A block, or SHM_NULL.
 *
 * errno, when nothing was changed: as shmbuddy_free().
 * @since 1.0, after shm_alloc's shm_free(), which crashed on SHM_NULL
 */
void shm_free(shm_offt offset);

/** @} */

/**
 * @name Blocks by address
 * @{
 */

/**
 * @brief shm_malloc(), by address.
 * @param[in] size  Bytes.
 * @return The block's address in this process, or NULL with errno as shm_malloc().
 * @since 1.0, after shm_alloc's ptr_malloc()
 */
void *ptr_malloc(size_t size);

/**
 * @brief shm_calloc(), by address.
 * @param[in] count  Number of elements.
 * @param[in] size   Bytes of each.
 * @return The block's address in this process, or NULL with errno as shm_calloc().
 * @since 1.0, after shm_alloc's ptr_calloc()
 */
void *ptr_calloc(size_t count, size_t size);

/**
 * @brief shm_free(), by address.
 * @param[in] ptr  A block's address in this process, or NULL.
 *
 * errno, when nothing was changed: as shm_free().
 * @since 1.0, after shm_alloc's ptr_free()
 */
void ptr_free(void *ptr);

/** @} */

/**
 * @name Sizes
 * @{
 */

/**
 * @brief Bytes of the default region, with all that it needs beside the blocks.
 * @return Bytes: of the region that is open, else of a new one.
 * @since 1.0, after shm_alloc's get_mapping_size_needed_by_shm()
 */
size_t get_mapping_size_needed_by_shm(void);

/**
 * @brief Bytes of the largest block.
 * @return Bytes: of the region that is open, else of a new one, 1024.
 * @since 1.0, after shm_alloc's get_shm_max_allocatable_size()
 */
size_t get_shm_max_allocatable_size(void);

/**
 * @brief Bytes of the smallest block, which any smaller request gets.
 * @return Bytes: of the region that is open, else of a new one, 32.
 * @since 1.0, after shm_alloc's get_shm_min_allocatable_size()
 */
size_t get_shm_min_allocatable_size(void);

/**
 * @brief Bytes of a block that the library keeps for itself.
 * @return 0. A block of 32 bytes takes 32 bytes, and its size is known from elsewhere.
 * @since 1.0, after shm_alloc's get_sizeof_block_header()
 */
size_t get_sizeof_block_header(void);

/** @} */

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif /* SHM_ALLOC_H */
