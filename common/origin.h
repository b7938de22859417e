/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a new map is made from, for map_file.c only: no file, an empty or half-made one, or one that was given its length before, and
 * that is all of zeros. That one keeps its length and its disk space; when the creation fails it is zeros again, and when its creator
 * is killed, its magic number tells the next one.
 */
#ifndef MA_ORIGIN_H
#define MA_ORIGIN_H

#include "common/map.h"

struct ma_origin {
	uint64_t given; /* Length of the file of zeros. 0: any other file. */
	bool half;      /* A creator died in it. */
};

/* May a map be made of this file? Anything but an unfinished map and zeros is somebody's data. The attach byte is ours. */
bool ma_origin_find(struct ma_image *map, const struct ma_open *how, const struct ma_header *h, enum ma_refusal why,
		    struct ma_origin *from);
/* What is asked for, with the length of the file of zeros. A map that grows by itself has at least that length. */
struct ma_open ma_origin_fit(const struct ma_open *how, const struct ma_origin *from);
/* Mark a file of zeros as half made, and make it as long as the sealed header says. 0, or -1 with errno. */
int ma_origin_size(struct ma_image *map, const struct ma_origin *from);
/* The same zeros again. 0, or -1 with errno. */
int ma_origin_undo(struct ma_image *map, const struct ma_origin *from);

#endif /* MA_ORIGIN_H */
