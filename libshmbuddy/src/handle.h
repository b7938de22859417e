/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing, which alone may wait and take memory. */
#ifndef SHMBUDDY_HANDLE_H
#define SHMBUDDY_HANDLE_H

#include "region.h"

#define HANDLE_REST 64 /* So many regions must be closed after one before its handle is used again. */

/* A handle that is not open yet. NULL: ENOMEM. */
struct shmbuddy *shmbuddy__handle_new(void);
/* It has all but its pointers: from now on it is open. */
void shmbuddy__handle_open(struct shmbuddy *h);
/* Whether it was opened or not: unmap, close, let it rest. */
void shmbuddy__handle_drop(struct shmbuddy *h);

/* Where base and layout say that things are. */
void shmbuddy__handle_point(struct shmbuddy *h);
/* A new region whose tables are all zero: parts that have their space from the start, and what there is beyond the area. */
void shmbuddy__handle_furnish(struct shmbuddy *h);
/* The header of a new region, all but its magic. */
void shmbuddy__handle_header(const struct shmbuddy *h, struct ma_header *header);
/* Why the numbers of an existing region, or header, are refused: -1 with errno. */
int shmbuddy__handle_accept(struct shmbuddy *h, const struct ma_header *header, enum ma_refusal why,
			    const struct shmbuddy_options *options);

/* The layout that options ask for, in a file. False: errno EINVAL. */
bool shmbuddy__handle_plan(const struct shmbuddy_options *options, bool sparse, struct layout *lay);
/* Are they sound by themselves? flags is what may be given. False: errno EINVAL. */
bool shmbuddy__handle_options(const struct shmbuddy_options *options, unsigned flags, unsigned *small, unsigned *large);

/* Did only processes die since this region was last opened, and is it the same file? Else nothing is certain. By h->device, h->inode. */
bool shmbuddy__handle_is_certain(const struct shmbuddy *h, const struct ma_header *header);

/*
 * Is nothing known of parts without disk space, as it should be? Else the bit that says of one that it has it was lost on the way to the
 * disk. By h->fd.
 */
bool shmbuddy__handle_no_part_was_lost(const struct shmbuddy *h);

/* Map h->fd, aligned as blocks are, if possible at this address. -1 with errno. */
int shmbuddy__handle_map(struct shmbuddy *h, void *address);

#endif /* SHMBUDDY_HANDLE_H */
