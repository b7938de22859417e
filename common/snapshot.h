/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A copy of a map that others go on using. It takes no lock: the metadata are copied word by word, in any mixture of old and new,
 * and the mixture is settled as that of a private view is (struct ma_engine's privatize_metadata). Blocks that were there when the
 * call began, and stay, are in the copy; of those that come or go meanwhile some are.
 *
 * Metadata go first and the blocks' contents after: so what was complete when the call began, and can be found from a root
 * that was set then, is complete in the copy.
 */
#ifndef MA_SNAPSHOT_H
#define MA_SNAPSHOT_H

#include "common/image.h"

/*
 * Under no name, or a temporary one, until it is whole, checked and on disk; then it takes this name, from another file if need
 * be. 0, or -1 with errno.
 */
int ma_image_snapshot(struct ma_image *map, const char *filename);

/*
 * The same into a file that never has a name, in the folder of the map's file, else in memory; not synced. Its descriptor, or -1 with
 * errno. For struct ma_open's fork_begin.
 */
int ma_image_copy_for_fork(struct ma_image *map);
/* The same in the folder of this descriptor. */
int ma_image_copy_for_fork_in(struct ma_image *map, int dir);

#endif /* MA_SNAPSHOT_H */
