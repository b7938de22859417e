/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all bodies with owners have, at work: streams and their locks, the process's membership, what is done for dead processes, and
 * private copies of metadata. layout.h says where it is in the file.
 */
#ifndef MA_BODY_H
#define MA_BODY_H

#include "common/image.h"
#include "common/lock.h"

/* The stream that the calling thread belongs to. */
uint32_t ma_stream_mine(struct ma_image *map);

/* Take a stream's lock; when a dead holder had it, what it left undone is mended first. False: errno; there is no process slot, or the lock is stuck. */
bool ma_stream_lock(struct ma_image *map, uint32_t index);
void ma_stream_unlock(struct ma_image *map, uint32_t index);

/*
 * Taking over a process slot: mend and free all locks that still name it; when its last holder did not close in order, retire all
 * owners that do.
 */
void ma_body_sweep(struct ma_image *map, uint32_t slot, bool was_used);
/* Nobody else is attached: do that for every slot. */
void ma_body_recover(struct ma_image *map);

/* A private view: make own copies of the pages of a range. A snapshot: copy its words. */
void ma_body_own(struct ma_image *map, uint64_t from, uint64_t bytes);
/*
 * A snapshot: copy the streams once more. What came into use before the roots were copied has to be in use. A view: copy those of later
 * segments.
 */
void ma_body_privatize_again(struct ma_image *map);
/*
 * A range that is not in use: zeros of its own, for reading a hole of the file may take disk space. A snapshot has
 * them already.
 */
void ma_body_void(struct ma_image *map, uint64_t from, uint64_t bytes);

/*
 * A private view: metadata that comes into use only now reads as what others have made of it in the file meanwhile. Make
 * the range zero, as it was at the time of the view; the same for a snapshot. Nothing for other maps.
 */
void ma_body_fresh(struct ma_image *map, uint64_t from, uint64_t bytes);

/* The default number of process slots of a new map of so many bytes. */
uint64_t ma_body_processes(uint64_t bytes);

/* The numbers that all kinds have. False: they are impossible. */
bool ma_body_numbers(struct ma_layout *lay, const struct ma_header *sealed, struct ma_segment_plan *plan);

/*
 * The fixed tables of a layout under construction, for so many bytes at first: roots and processes are set; sets owners and where each
 * begins; returns their end.
 */
uint64_t ma_body_layout(struct ma_layout *lay, uint64_t bytes);

#endif /* MA_BODY_H */
