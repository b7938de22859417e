/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk space that a file in use lost in place (lost.h says how). A store to such a page takes its space again, and on a full disk it is
 * SIGBUS. Each process looks now and then whether the file has fewer blocks than before. Then all space that the tables say
 * is there is taken again, or no more blocks are allocated: ENOSPC.
 *
 * What stays: a store, on a full disk, before this process has looked; and what the file lost and got elsewhere between two looks.
 */
#ifndef MA_REGAIN_H
#define MA_REGAIN_H

#include "common/image.h"

/* In longer maps slow paths do not look: there, to give space back is common, and to go through the tables takes long. */
#define MA_REGAIN_MOST ((uint64_t)1 << 30)

/*
 * For slow paths, without a lock of the map: looks once a second. 0, or -1 with errno (ENOSPC, ...) and a sentence: the file lacks space
 * of what is in use.
 */
int ma_regain_now_and_then(struct ma_image *map);
/* Looks, however long the map is. */
int ma_regain(struct ma_image *map);

#endif /* MA_REGAIN_H */
