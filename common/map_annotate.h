/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Valgrind and ASan are told of a map as a whole (annotate.h: of its blocks).
 *
 * Valgrind takes a new mapping for memory in use, and its leak check, which comes after all else (also after _exit()), reads that:
 * a hole of a file in tmpfs would become a page of it, and beyond the end of a file it is a SIGBUS for every eight bytes, which
 * never ends. So it is told what the file does not have yet, and what no block is in.
 */
#ifndef MA_MAP_ANNOTATE_H
#define MA_MAP_ANNOTATE_H

#include "common/map.h"

/* Is this map one whose blocks Valgrind or ASan is to be told of? */
bool ma_map_is_annotated(const struct ma_map *map);

/* The map was opened. Mark the user area of an annotated map as unused. */
void ma_map_annotate_new(struct ma_map *map);
/* The file was mapped, or remapped. Mark the part of the mapping beyond its end. */
void ma_map_annotate_file(struct ma_map *map);
/* The file has become longer: from..to of it are there now. */
void ma_map_annotate_grown(struct ma_map *map, uint64_t from, uint64_t to);
/* It is about to be unmapped. */
void ma_map_annotate_close(struct ma_map *map);
/* From the user area on up to last, nothing is used but what blocks lie in. */
void ma_map_hide(struct ma_map *map, const char *last);

#endif /* MA_MAP_ANNOTATE_H */
