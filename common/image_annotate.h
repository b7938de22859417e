/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Valgrind and ASan are told of a map as a whole (annotate.h: of its blocks).
 *
 * Valgrind takes a new mapping for memory in use, and its leak check, which comes after all else (also after _exit()), reads that:
 * a hole of a file in tmpfs would become a page of it, and beyond the end of a file it is a SIGBUS for every eight bytes, which
 * never ends. So it is told what the file does not have yet, and what no block is in.
 */
#ifndef MA_IMAGE_ANNOTATE_H
#define MA_IMAGE_ANNOTATE_H

#include "common/image.h"

/* Is this map one whose blocks Valgrind or ASan is to be told of? is_copied: a fork child gets a copy of its own. */
bool ma_image_is_annotated(const struct ma_image *map, bool is_copied);

/* The map was opened. Mark the user area of an annotated map as unused. */
void ma_image_annotate_new(struct ma_image *map, bool is_copied);
/* The file was mapped, or remapped. Mark the part of the mapping beyond its end. */
void ma_image_annotate_file(struct ma_image *map);
/* The file has become longer: from..to of it are there now. */
void ma_image_annotate_grown(struct ma_image *map, uint64_t from, uint64_t to);
/* It is about to be unmapped. */
void ma_image_annotate_close(struct ma_image *map);
/* From the user area on up to last, nothing is used but what blocks lie in. */
void ma_image_hide(struct ma_image *map, const char *last);

#endif /* MA_IMAGE_ANNOTATE_H */
