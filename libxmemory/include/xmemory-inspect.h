/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file xmemory-inspect.h
 * @brief libxmemory: inspect blocks: what a pointer is, figures, and where live blocks come from.
 *
 * Part of <xmemory.h>, which says what holds for every function.
 */
/* First, also when a program includes this header alone: declarations have one order. */
#include <xmemory.h>

#ifndef XMEMORY_INSPECT_H
#define XMEMORY_INSPECT_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#if defined(__cplusplus) /* Functions with the names of their types. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#pragma GCC visibility push(default)
#endif

/**
 * @name Status
 * @{
 */

/**
 * @brief Print on stderr what there is.
 *
 * Each key is in a line with its value. Of all blocks: ALL_npointers, ALL_size (bytes),
 * ALL_maxalloc_kb and ALL_maxpointers (the most there ever was). Of blocks in RAM: RAM_alloc
 * (bytes). Of blocks in VM files: SWP_alloc (bytes), SWP_files. Of blocks of falloc(): MAP_files,
 * MAP_mappings. Then a line for each live block: R (RAM), S (VM file) or M (mapped file), pointer,
 * file, line, bytes. Where several threads work, the two maxima leave out what a thread did within
 * the part of the budget that it holds.
 *
 * @param[in] file  As in xmemory_malloc().
 * @param[in] line  As there.
 * @par Cost  Reads all tables, about a millisecond for each 4 MiB of small blocks.
 * @since 1.0, after xmemory's xmemory_status_()
 */
void xmemory_status_(const char *file, int line);

/** @} */

/**
 * @name What a block is
 * @{
 */

/** @brief What a pointer is. */
enum xmemory_kind {
	XMEMORY_UNKNOWN = 0, /**< No block. */
	XMEMORY_RAM = 1,     /**< A block in RAM. */
	XMEMORY_VMFILE = 2,  /**< One in a VM file. */
	XMEMORY_MAPPED = 3   /**< One that falloc() gave. */
};

/** @brief Where the budget comes from. */
enum xmemory_limit_source {
	XMEMORY_LIMIT_NONE = 0,    /**< Nowhere: there is no limit. */
	XMEMORY_LIMIT_SET,         /**< xmemory_setlimit() */
	XMEMORY_LIMIT_ENVIRONMENT, /**< `$XMEMORY_LIMIT` */
	XMEMORY_LIMIT_DATA,        /**< RLIMIT_DATA */
	XMEMORY_LIMIT_AS,          /**< RLIMIT_AS */
	XMEMORY_LIMIT_CGROUP,      /**< A control group. */
	XMEMORY_LIMIT_AVAILABLE    /**< The machine's available memory. */
};

/** @} */

/**
 * @name Numbers and leaks
 * @{
 */

/** @brief Figures, in bytes where they are bytes. */
struct xmemory_stats {
	uint64_t pointers;      /**< Live blocks of all kinds. */
	uint64_t bytes;         /**< What was asked for, for them. */
	uint64_t ram_pointers;  /**< Blocks in RAM. */
	uint64_t ram_bytes;     /**< What was asked for, for them. */
	uint64_t vm_bytes;      /**< What was asked for, for blocks in VM files. */
	uint64_t vm_files;      /**< VM files; the shared one stays once it was needed. */
	uint64_t vm_disk_bytes; /**< Disk space that they take. */
	uint64_t mapped_files;  /**< Mapped files. */
	uint64_t mappings;      /**< Blocks of falloc(). */
	uint64_t peak_pointers; /**< The most blocks there ever were. */
	uint64_t peak_bytes;    /**< The most bytes. */
	uint64_t limit;         /**< The budget; UINT64_MAX: none. */
	enum xmemory_limit_source limit_source; /**< Where it comes from. */
	uint64_t warnings;                      /**< Of bad calls of free() and its like, printed
						 * or not. */
	uint64_t reserved[3];                   /**< 0. */
};

/** @brief Live blocks that come from one place in the source. */
struct xmemory_leak {
	const char *file; /**< Name of the source file; stays as it is for ever. */
	int line;         /**< Line in it. */
	uint64_t blocks;  /**< Live blocks that come from there. */
	uint64_t bytes;   /**< What was asked for, for them. */
};
/**
 * @brief Called by xmemory_leaks() for each place. It may call every function of this library.
 * @param leak  The place, with all its blocks summed up.
 * @param arg   What the caller of xmemory_leaks() gave.
 * @return 0 to go on; anything else ends it.
 */
typedef int xmemory_leak_fn(const struct xmemory_leak *leak, void *arg);

/**
 * @brief What a pointer is.
 * @param[in] ptr  Any pointer.
 * @return Its kind: #XMEMORY_UNKNOWN unless it is a live block's first byte.
 * @since 1.0
 */
enum xmemory_kind xmemory_kind(const void *ptr);

/**
 * @brief How large a block is.
 * @param[in] ptr  A block.
 * @return Bytes that were asked for; 0 with errno EINVAL when @p ptr is no block.
 * @since 1.0
 */
size_t xmemory_size(const void *ptr);

/**
 * @brief The VM file that a block is in, by its ID. The files are numbered from 1 on, in the order
 *        in which they were made. A number is never used again. Small blocks share a file.
 * @param[in] ptr  A block.
 * @return The ID; 0 for a block in no VM file; 0 with errno EINVAL when @p ptr is no block.
 * @since 1.0
 */
unsigned xmemory_vmfile_id(const void *ptr);

/**
 * @brief Count what there is.
 * @param[out] stats  Filled in.
 * @retval 0   Done.
 * @retval -1  errno: EINVAL @p stats is NULL.
 * @par Cost  Proportional to the VM files.
 * @since 1.0
 */
int xmemory_stats(struct xmemory_stats *stats);

/**
 * @brief Visit all places in the source that live blocks come from, those with the most bytes
 * first.
 * @param[in] fn   Called for each, with all its blocks summed up.
 * @param[in] arg  Handed to it.
 * @return What the last call returned, 0 if there was none; -1 with errno EINVAL @p fn is NULL;
 *         ENOMEM no memory.
 * @since 1.0
 */
int xmemory_leaks(xmemory_leak_fn *fn, void *arg);

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

#endif /* XMEMORY_INSPECT_H */
