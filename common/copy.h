/* SPDX-License-Identifier: BSD-3-Clause */
/* The contents of a file, copied into another one: by the kernel where it does that, else by read and write. */
#ifndef MA_COPY_H
#define MA_COPY_H

#include "common/base.h"

/*
 * Copy bytes [at, end) of file from to the same place of file to. The kernel copies them, and shares the blocks of file systems that can.
 * When it does not, read and write copy the rest. Pages of zeros may be left out: to has zeros there already.
 * 0, or -1 with errno: that of pread(2) or pwrite(2), or ENODATA: from ends before.
 */
int ma_copy_range(int from, int to, uint64_t at, uint64_t end);

/* The same by read and write alone, from a file such as /proc/self/mem (or, when from is -1, out of memory), where the bytes lie shift further on. */
int ma_copy_by_hand(int from, uint64_t shift, int to, uint64_t at, uint64_t end);

/* The same for what is no hole in from: holes stay holes. */
int ma_copy_data(int from, int to, uint64_t at, uint64_t end);

/* Write all count bytes at this place of the file. 0, or -1 with errno as pwrite(2), and ENOSPC when it writes nothing. */
int ma_write_all(int to, const void *from, size_t count, uint64_t at);

#endif /* MA_COPY_H */
