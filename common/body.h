/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all bodies with owners have, at work: streams and their locks, the process's membership, what is done for dead processes.
 * layout.h says where it is in the file.
 */
#ifndef MA_BODY_H
#define MA_BODY_H

#include "common/image.h"

/* The stream that the calling thread belongs to. */
uint32_t ma_stream_mine(struct ma_image *map);

/*
 * Take a stream's lock. When a dead process held it, repair first what that process left unfinished. False: errno; there is no process
 * slot, or the lock is stuck.
 */
bool ma_stream_lock(struct ma_image *map, uint32_t index);
void ma_stream_unlock(struct ma_image *map, uint32_t index);

/*
 * All streams: from here on no slab, chunk or group comes or goes. False: errno, as for ma_stream_lock(), and none is held. Then as many as
 * *lanes says are to be given back.
 */
bool ma_body_hold(struct ma_image *map, uint32_t *lanes);
void ma_body_let_go(struct ma_image *map, uint32_t lanes);

/* No other process is attached: mend and free all locks, retire all owners, and forget all process slots. */
void ma_body_recover(struct ma_image *map);

/* This process's slot in the map, taken at the first call. MA_NO_SLOT with errno EUSERS when all are taken. */
uint32_t ma_body_slot(struct ma_image *map);
/*
 * Look for processes that died, and mend and give up what they left: then their owners' tags are dead for all to see. True when there
 * were any. One call asks the kernel of a few; calls without begin go on until all were asked once since the last one with it.
 */
bool ma_body_reap(struct ma_image *map, bool begin);
/* Of all at once. */
void ma_body_reap_all(struct ma_image *map);

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
