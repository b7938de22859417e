/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recovery of a whole map that no other process uses: the one sequence that an open, a private view, a fork child's copy, a snapshot and
 * the tool all run. Whether what the tables say can be believed is another question: ma_image_certainty().
 */
#ifndef MA_RECOVER_H
#define MA_RECOVER_H

#include "common/image.h"

/* What is done besides freeing what dead processes held. */
enum ma_recovery {
	MA_RECOVER_MARK = 1, /* Meanwhile the header says that recovery is not finished, until ma_image_mark_ready(). */
	MA_RECOVER_RENEW =
		2, /* Nothing is certain: what is not in use becomes zero, and what is derived is computed again. */
	MA_RECOVER_TAGS =
		4, /* No tag that stands anywhere in it is an owner's any more: it is a copy, or may be one. */
	MA_RECOVER_CHECK = 8, /* The whole check. */
};

/* How is a mask of the above. The calling process may be in any process slot, or in none. 0, or -1 with errno. */
int ma_image_recover(struct ma_image *image, unsigned how);

/* By the header as it was when the file was opened. */
struct ma_certainty ma_image_certainty(const struct ma_image *image);

/*
 * Before a recovery, and with all streams locked: what the tables say has its disk space has it. Holes may have come in place since, under
 * the same inode (lost.h).
 */
int ma_image_take_space(struct ma_image *image);
/* The whole check: 0, or -1 with errno EUCLEAN. */
int ma_image_check_whole(struct ma_image *image);
/* Its engine's salvage, of a file of which nothing is certain from now on. A recovery with all but MA_RECOVER_TAGS follows. */
void ma_image_salvage(struct ma_image *image, struct ma_findings *to);
/* Recovery is over, in a file of this process's: a new generation begins, in which the map is in use. */
void ma_image_mark_ready(struct ma_image *image);
/* This process writes to the map from now on: what others know of its pages is not all any more (checkpoint.h). */
void ma_image_count_attach(struct ma_image *image);
/* No process uses it any more; with sync, and all of it is on the disk. 0, or -1 with errno. */
int ma_image_mark_closed(struct ma_image *image, bool sync);

#endif /* MA_RECOVER_H */
