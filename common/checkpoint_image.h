/* SPDX-License-Identifier: BSD-3-Clause */
/* Checkpoints of maps and heaps; libshmbuddy has its own. What a checkpoint is, checkpoint.h says. */
#ifndef MA_CHECKPOINT_IMAGE_H
#define MA_CHECKPOINT_IMAGE_H

#include "common/checkpoint.h"
#include "common/image.h"

/*
 * From now on each sync is a checkpoint; the first one is made. 0, or -1 with errno: EROFS a read-only or private map; ENOENT the map's file has
 * no name; and as ma_checkpoint_sync().
 */
int ma_image_make_durable(struct ma_image *map);
bool ma_image_is_durable(const struct ma_image *map);

/*
 * Write what changed to disk: a checkpoint, when the map is durable. Disk space that the file lost is taken again, too. 0, or -1 with errno: that
 * of a failed write, else ENOSPC, EDQUOT, ...
 */
int ma_image_sync(struct ma_image *map);
/* The same with the registry's lock, which another thread may need before its commit: EBUSY when one has captured. */
int ma_image_sync_now(struct ma_image *map);

/* The halves of a checkpoint. -1 with errno: EINVAL the map is not durable, or nothing was captured; EBUSY; and as ma_image_sync(). */
int ma_image_capture(struct ma_image *map);
int ma_image_commit(struct ma_image *map);

/* The map is closed; a fork child uses it on. */
void ma_image_end_checkpoints(struct ma_image *map);
void ma_image_fork_checkpoints(struct ma_image *map);

#endif /* MA_CHECKPOINT_IMAGE_H */
