/* SPDX-License-Identifier: BSD-3-Clause */
/* Private copies of metadata: what a private view and a snapshot make of a map that other processes change meanwhile. */
#ifndef MA_PRIVATIZE_H
#define MA_PRIVATIZE_H

#include "common/image.h"

/* A private view: make own copies of the pages of a range. A snapshot: copy its words. */
void ma_privatize(struct ma_image *map, uint64_t from, uint64_t bytes);
/*
 * A snapshot: copy the streams once more. What came into use before the roots were copied has to be in use. A view: copy those of later
 * segments.
 */
void ma_privatize_streams(struct ma_image *map);
/*
 * A range that is not in use: zeros of its own, for reading a hole of the file may take disk space. A snapshot has
 * them already.
 */
void ma_privatize_void(struct ma_image *map, uint64_t from, uint64_t bytes);

/*
 * A private view: metadata that comes into use only now reads as what others have made of it in the file meanwhile. Make
 * the range zero, as it was at the time of the view; the same for a snapshot. Nothing for other maps.
 */
void ma_privatize_fresh(struct ma_image *map, uint64_t from, uint64_t bytes);

#endif /* MA_PRIVATIZE_H */
