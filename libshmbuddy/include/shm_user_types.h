/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file shm_user_types.h
 * @brief What an address in a region is called where addresses differ from process to process.
 */
#ifndef SHM_USER_TYPES_H
#define SHM_USER_TYPES_H

/**
 * @brief Distance in bytes from the first byte of a region, the same in every process. On 32-bit
 * machines it has 32 bits, which bounds the region.
 */
typedef unsigned long shm_offt;

/** @brief To print one: `printf("%" PRIu_shm_offt, offset)`. */
#define PRIu_shm_offt "lu"

/** @brief No block. */
#define SHM_NULL ((shm_offt)0)

#endif /* SHM_USER_TYPES_H */
