/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening and closing, which alone may wait and take memory. */
#ifndef SHMBUDDY_HANDLE_H
#define SHMBUDDY_HANDLE_H

#include "common/finding.h"
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
/* It is a new one, and has the area that its layout begins with. */
void shmbuddy__handle_new_area(struct shmbuddy *h);
/* A new region, whose tables are all zero: marks the parts that have their space from the start. */
void shmbuddy__handle_mark_backed(struct shmbuddy *h);
/* The header of a new region, all but its magic. */
void shmbuddy__handle_header(const struct shmbuddy *h, struct ma_header *header);
/* Why the numbers of an existing region, or header, are refused: -1 with errno. */
int shmbuddy__handle_accept(struct shmbuddy *h, const struct ma_header *header, enum ma_refusal why,
			    const struct shmbuddy_options *options);

/* What a region lies in: a file, one that has all its space from the start, or the caller's memory. */
enum storage { REGION_SPARSE, REGION_EAGER, REGION_MEMORY };

/* The layout that options ask for. False: errno EINVAL. */
bool shmbuddy__handle_plan(const struct shmbuddy_options *options, enum storage where, struct layout *lay);
/*
 * The same in a file of given bytes, which the region must not be longer than; without a capacity, the largest one. Its range may be
 * more than the file has room for, as that of any other file.
 */
bool shmbuddy__handle_fit(const struct shmbuddy_options *options, enum storage where, uint64_t given,
			  struct layout *lay);
/* Are they sound by themselves? flags is what may be given. False: errno EINVAL. */
bool shmbuddy__handle_options(const struct shmbuddy_options *options, unsigned flags, unsigned *small, unsigned *large);

/* Close what it has, where that is ours. */
void shmbuddy__handle_close_fd(struct shmbuddy *h);

/* We are attached, and may be the last: then the header says that the region was closed. The attach byte is shared afterwards. */
void shmbuddy__handle_sign_off(struct shmbuddy *h);

/* Map h->fd, aligned as blocks are, if possible at this address, and if possible all that it may grow to. -1 with errno. */
int shmbuddy__handle_map(struct shmbuddy *h, void *address);

/* What an existing region's header says, for shmbuddy_opening(). */
void shmbuddy__handle_note_opening(struct shmbuddy *h, const struct ma_header *header, bool first);
/* No other process is attached: a new generation begins, of a file with this header. */
int shmbuddy__handle_begin_generation(struct shmbuddy *h, const struct ma_header *found);
/* From now on this file, on this run of the machine, is certain. Killed before or while writing: the next opener checks it all again. */
int shmbuddy__handle_make_certain(struct shmbuddy *h, struct ma_header *header);

/* ---- checkpoints: durable.c ---- */

/* Does a sync make one? */
bool shmbuddy__checkpoint_is_on(const struct shmbuddy *h);
int shmbuddy__checkpoint_sync(struct shmbuddy *h);
/* This process came in beside others, and writes: what they know of changed pages is not all any more. -1 with errno. */
int shmbuddy__checkpoint_attach(struct shmbuddy *h);
/* The same of a fork child. locked: it has a lock of its own. */
void shmbuddy__checkpoint_fork(struct shmbuddy *h, bool locked);
void shmbuddy__checkpoint_end(struct shmbuddy *h);

/*
 * settle.c: the words of this region are a mixture of older and newer ones, and no process has it open. Make one of them: the blocks that
 * were there in both stay. Of h: lay, base, fd, area, and what shmbuddy__handle_point() sets. errno stays.
 */
void shmbuddy__settle(struct shmbuddy *h);
/* A region that does not pass the check: what can be proved stays, the rest is told. 0, or -1 with errno: no disk space. */
int shmbuddy__salvage(struct shmbuddy *h, const struct ma_reporter *to);
/*
 * Would a region with this header pass the check after that? It is tried in memory: no byte of the file changes, and nothing is reported.
 * 0, or -1 with errno: EUCLEAN it would not; ENOMEM; no disk space.
 */
int shmbuddy__salvage_rehearse(const struct shmbuddy *h, const struct ma_header *header);
/* Of an open one: roots that point out of it are taken away, and told. */
void shmbuddy__salvage_roots(struct shmbuddy *h, const struct ma_reporter *to);

#endif /* SHMBUDDY_HANDLE_H */
