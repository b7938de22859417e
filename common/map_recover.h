/* SPDX-License-Identifier: BSD-3-Clause */
/* Opens a file that is a map already, after regfile.h took the attach byte. */
#ifndef MA_MAP_RECOVER_H
#define MA_MAP_RECOVER_H

#include "common/map.h"
#include "common/regfile.h"

/* How the file may be used, and which kinds of map may be in it. */
unsigned ma_map_kinds(const struct ma_open *how);
/* Do the numbers of an existing map please the caller? 0, or -1 with errno. */
int ma_map_accept(const struct ma_image *map, const struct ma_open *how);

/* Below, map is the image that is being opened, h what its file's first page says, and found what the opening finds. */

/* No other process is attached: recover. */
enum ma_visit ma_map_recover(struct ma_image *map, const struct ma_open *how, struct ma_header *h,
			     struct ma_opening *found);
/* The attach byte is shared: come in beside the others. */
enum ma_visit ma_map_join(struct ma_image *map, const struct ma_open *how, const struct ma_header *h,
			  struct ma_opening *found);
/* Read, or take a private view. first: no process uses it. */
enum ma_visit ma_map_look(struct ma_image *map, const struct ma_open *how, const struct ma_header *h,
			  struct ma_opening *found, bool first);

#endif /* MA_MAP_RECOVER_H */
