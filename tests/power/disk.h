/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The disk that a power cut leaves. From disk_watch() on, each write to one file is noted, and each sync. The disk after so many
 * of these has all writes before the last sync, and any of those after it: each sector of 512 bytes old or new by itself.
 */
#ifndef TESTS_POWER_DISK_H
#define TESTS_POWER_DISK_H

#include "tests/support/support.h"

/* Begin anew, with the file at this path as it is now; it may be absent. */
void disk_watch(const char *path);
/* Operations noted so far. */
size_t disk_steps(void);
/*
 * The file as a cut after this many operations may leave it, at this path. which 0: nothing that was not synced; 1: all of it; others: any part
 * of it, the same one for the same number.
 */
void disk_after(size_t steps, uint64_t which, const char *path);
/* Are there writes after the last sync at that point? Else all disks are the same. */
gboolean disk_is_open(size_t steps);
/* The next sync of the file fails with this errno, once; what was written before stays in the page cache, and never comes to the disk. */
void disk_fail_sync(int err);
/* Writes that make the file longer than this fail with ENOSPC. 0: none. */
void disk_limit(uint64_t bytes);

/* For the table of check-power: of so many operations each stride-th was the last, and so many disks were looked at; none was wrong. */
void disk_report(size_t steps, size_t stride, size_t disks);

#endif /* TESTS_POWER_DISK_H */
