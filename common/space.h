/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk space. A page of a map is written to only after its space is there, so a full disk is an error code, never SIGBUS.
 * Ranges are in bytes from the base, wherever the file has them (segment.h), and are widened to whole pages; lengths are those of the file.
 */
#ifndef MA_SPACE_H
#define MA_SPACE_H

#include "common/base.h"

struct ma_image;

/* Make sure of the space for a range inside the file. 0, or -1 with ENOSPC, EDQUOT, EIO, ... */
int ma_space_take(struct ma_image *map, uint64_t from, uint64_t bytes);

/* The same for a stretch that grows: bytes [0, had) behind from are taken already, [had, want) are wanted. */
int ma_space_extend(struct ma_image *map, uint64_t from, uint64_t had, uint64_t want);

/* Give the space of the whole pages inside a range back; they read as zero afterwards. Best effort: false if not. */
bool ma_space_punch(struct ma_image *map, uint64_t from, uint64_t bytes);

/* Make the file at least this long. 0, or -1 with EFBIG (over RLIMIT_FSIZE, or over the reservation), ENOSPC, ... */
int ma_space_grow(struct ma_image *map, uint64_t length);

/* Memory without a file: what a file's bytes [from, to) would hold may be used from now on. 0, or -1 with ENOMEM. ma_space_grow() does it. */
int ma_space_open(struct ma_image *map, uint64_t from, uint64_t to);
/* A file that grows by itself gets its next segment. False: it does not, or has them all; or errno says why not. */
bool ma_space_add(struct ma_image *map);

/*
 * Make bytes of the file zero that no process uses yet, without taking space for them: a copy of a file that was in use, or one
 * that was forged, may have anything there. Exactly these bytes. Of a view without a descriptor: in memory alone.
 */
void ma_space_blank(struct ma_image *map, uint64_t from, uint64_t bytes);

/* Write what changed in a range to disk and wait. */
int ma_space_sync(struct ma_image *map, uint64_t from, uint64_t bytes);

/* The same for all of it. */
int ma_space_sync_all(struct ma_image *map);

#endif /* MA_SPACE_H */
