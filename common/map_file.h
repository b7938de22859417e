/* SPDX-License-Identifier: BSD-3-Clause */
/* The steps of opening, for map.c and snapshot.c only: what is done with the file once the attach byte is had. */
#ifndef MA_MAP_FILE_H
#define MA_MAP_FILE_H

#include <sys/stat.h>

#include "common/fd.h"
#include "common/map.h"
#include "common/origin.h"

enum ma_attach {
	MA_ATTACH_DONE,
	MA_ATTACH_FAILED, /* errno says why. */
	MA_ATTACH_AGAIN,  /* Not ready for us: let go of the attach byte, try again. */
	MA_ATTACH_REOPEN, /* The name was taken away under us: open it anew. */
};

/* Open how's file into map->fd, or -1. */
int ma_map_open_file(struct ma_map *map, const struct ma_open *how, struct stat *st);
struct ma_fd_id ma_map_fd_id(const struct ma_map *map);
/* From now on this one, which nobody else has; it is marked. */
void ma_map_set_fd(struct ma_map *map, int fd);
/* Close it, when it still is ours. */
void ma_map_close_fd(struct ma_map *map);
/* Find out whether locks outlive their descriptor here. */
void ma_map_probe(struct ma_map *map);
/* Another open file description of the same file. -1 when there is no /proc. */
int ma_map_reopen(int fd, unsigned flags);

/* The attach byte is ours exclusively: create or recover; it is shared afterwards. */
enum ma_attach ma_map_first(struct ma_map *map, const struct ma_open *how);
/* The attach byte is shared: come in beside the others. */
enum ma_attach ma_map_join(struct ma_map *map, const struct ma_open *how);
/* The file is to become a map (map_create.c). After a failure: leave no trace of it. */
enum ma_attach ma_map_create(struct ma_map *map, const struct ma_open *asked, const struct ma_origin *from);
void ma_map_undo_create(struct ma_map *map, const struct ma_open *how, const struct ma_origin *from);
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

#endif /* MA_MAP_FILE_H */
