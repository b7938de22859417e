/* SPDX-License-Identifier: BSD-3-Clause */
/* The application's own number of a map. */
#ifndef MA_TAG_H
#define MA_TAG_H

#include "common/image.h"

/* 0, or what was set. Setting it again to another one fails with EEXIST. */
uint64_t ma_image_tag(const struct ma_image *image);
int ma_image_set_tag(struct ma_image *image, uint64_t tag);

#endif /* MA_TAG_H */
