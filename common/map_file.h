/* SPDX-License-Identifier: BSD-3-Clause */
/* The steps of opening, for map.c and snapshot.c only: what is done with the file once the attach byte is had. */
#ifndef MA_MAP_FILE_H
#define MA_MAP_FILE_H

#include <sys/stat.h>

#include "common/map.h"
#include "common/origin.h"

enum ma_attach {
	MA_ATTACH_DONE,
	MA_ATTACH_FAILED, /* errno says why. */
	MA_ATTACH_AGAIN,  /* Not ready for us: let go of the attach byte, try again. */
	MA_ATTACH_REOPEN, /* The name was taken away under us: open it anew. */
};

/*
 * Below, map is the image that is being opened, and found what the opening finds (found->named: the name was made by it).
 *
 * Open how's file: its descriptor is the image's then. -1 with errno.
 */
int ma_map_open_file(struct ma_image *map, const struct ma_open *how, struct ma_opening *found, struct stat *st);

/* The attach byte is ours exclusively: create or recover; it is shared afterwards. */
enum ma_attach ma_map_first(struct ma_image *map, const struct ma_open *how, struct ma_opening *found);
/* The attach byte is shared: come in beside the others. */
enum ma_attach ma_map_join(struct ma_image *map, const struct ma_open *how, struct ma_opening *found);
/* The same as joining for a reader. */
enum ma_attach ma_map_look(struct ma_image *map, const struct ma_open *how, struct ma_opening *found);
/* The file is to become a map (map_create.c). After a failure: leave no trace of it. */
enum ma_attach ma_map_create(struct ma_image *map, const struct ma_open *asked, const struct ma_origin *from,
			     struct ma_opening *found);
void ma_map_undo_create(struct ma_image *map, const struct ma_open *how, const struct ma_origin *from, bool named);
/* A map without a file. */
enum ma_attach ma_map_anonymous(struct ma_image *map, const struct ma_open *how, struct ma_opening *found);

/* Do the numbers of an existing map please the caller? */
int ma_map_accept(const struct ma_image *map, const struct ma_open *how);

#endif /* MA_MAP_FILE_H */
