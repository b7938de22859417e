/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which run of the machine this is: the kernel's boot id, 16 bytes. A file stores the boot id of its last use. When that is another
 * one, no process has the file open from that time, and its last changes may be missing on the disk.
 *
 * A file system can go away while the machine runs: it is unmounted after a failed write, shut down, its disk pulled out. What the kernel had
 * in memory is gone with it, as in a restart. So a file also stores which mount it was opened by.
 */
#ifndef MA_BOOT_H
#define MA_BOOT_H

#include "common/base.h"

#define MA_BOOT_ID 16

/* All zero where there is no /proc. errno stays. */
void ma_boot_id(uint8_t id[MA_BOOT_ID]);
/* Is this run the one with that id? Never where there is no /proc. errno stays. */
bool ma_boot_is(const uint8_t id[MA_BOOT_ID]);
/*
 * The mount by which this descriptor's file was opened: a number that no other mount has in this run of the machine (before Linux 6.8: at
 * this moment). 0: the kernel gives none. errno stays.
 */
uint64_t ma_boot_mount(int fd);
/*
 * The file system of this descriptor's file, by its own id or by statfs(2)'s: a number that stays the same when the machine starts again, or when
 * the disk is attached again. st_dev need not: disks are numbered as they are found. 0: there is none. errno stays.
 */
uint64_t ma_boot_filesystem(int fd);

#endif /* MA_BOOT_H */
