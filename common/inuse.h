/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that was closed and synced says so on the disk, and is believed whatever happened to the machine since. So the first opener takes
 * that back on the disk before it changes the body: else a power cut could leave the old words beside a body that is half new.
 *
 * A file that says anything else costs nothing here: after a power cut it is checked whole.
 */
#ifndef MA_INUSE_H
#define MA_INUSE_H

#include "common/header.h"

/*
 * The file at fd, of this header and at this place, is about to be changed by this process, which has the attach byte exclusively. 0, or -1 with
 * errno and a sentence about the file of this name: then the first page is as it was. Killed anywhere: the next opener of the same run finds a
 * file that is certain.
 */
int ma_inuse_begin(int fd, const char *name, const struct ma_header *h, const struct ma_place *place);

#endif /* MA_INUSE_H */
