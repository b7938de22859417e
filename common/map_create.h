/* SPDX-License-Identifier: BSD-3-Clause */
/* How a file, or memory without a file, becomes a map. */
#ifndef MA_MAP_CREATE_H
#define MA_MAP_CREATE_H

#include "common/map.h"
#include "common/regfile.h"

/* The attach byte is ours. 0, or -1 with errno; then regfile.c leaves no trace of it. */
int ma_map_create(struct ma_image *map, const struct ma_open *asked, const struct ma_regfile *f);
/* A map without a file: the same. */
int ma_map_anonymous(struct ma_image *map, const struct ma_open *how);

#endif /* MA_MAP_CREATE_H */
