/* SPDX-License-Identifier: BSD-3-Clause */
/* The steps of opening, for map.c and snapshot.c only: what is done with the file once the attach byte is had. */
#ifndef MA_MAP_FILE_H
#define MA_MAP_FILE_H

#include <sys/stat.h>

#include "common/map.h"

enum ma_attach {
	MA_ATTACH_DONE,
	MA_ATTACH_FAILED, /* errno says why. */
	MA_ATTACH_AGAIN,  /* Not ready for us: let go of the attach byte, try again. */
	MA_ATTACH_REOPEN, /* The name was taken away under us: open it anew. */
};

/* Open how's file into map->fd, or -1. */
int ma_map_open_file(struct ma_map *map, const struct ma_open *how, struct stat *st);
/* Another open file description of the same file. -1 when there is no /proc. */
int ma_map_reopen(int fd, unsigned flags);

/* The attach byte is ours exclusively: create or recover; it is shared afterwards. */
enum ma_attach ma_map_first(struct ma_map *map, const struct ma_open *how);
/* The attach byte is shared: come in beside the others. */
enum ma_attach ma_map_join(struct ma_map *map, const struct ma_open *how);
/* A map without a file. */
enum ma_attach ma_map_anonymous(struct ma_map *map, const struct ma_open *how);
/* The same as joining for a reader. */
enum ma_attach ma_map_look(struct ma_map *map, const struct ma_open *how);

/* Lay the body out and find its parts. Everything but the fast paths works afterwards. */
bool ma_map_lay_out(struct ma_map *map);
/* Recovery is over. */
void ma_map_mark_ready(struct ma_map *map);
enum ma_attach ma_map_check_whole(struct ma_map *map);

/* Do the numbers of an existing map please the caller? */
int ma_map_accept(const struct ma_map *map, const struct ma_open *how);

/* Is this map one that Valgrind or ASan is to be told of (annotate.h)? */
bool ma_map_is_annotated(const struct ma_map *map);

#endif /* MA_MAP_FILE_H */
