/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Restores disk space that a file has lost. Programs that rewrite a file in place (cp --sparse, rsync --sparse --inplace), fallocate
 * --dig-holes, and a journal that lost a change replace pages of zeros by holes; the inode stays the same. The first opener of a
 * generation allocates this space again.
 */
#ifndef MA_LOST_H
#define MA_LOST_H

#include "common/base.h"

/*
 * Take the space of bytes [from, to), which had it once. Cheap when all of it holds data: one lseek(2). Space that was taken and never
 * written to looks like a hole, and is taken once more, which changes nothing. 0, or -1 with errno as ma_file_take().
 */
int ma_lost_take(int fd, uint64_t from, uint64_t to);

#endif /* MA_LOST_H */
