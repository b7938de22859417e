/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Owner records: one for each thread that allocates, naming its process's slot.
 *
 *      63  52 51         16 15             0
 *     |  0    | generation  | process slot+1 |     slot part 0: unowned
 *
 * A unit (slab or group) names its owner by a tag: record index + 1 and generation. The tag is alive while the record
 * still has that generation and its process slot is alive. So to give up all that a thread owns, at its end, at close, or
 * after its death, is one store: the slot part goes to 0; taking the record again raises the generation. Units with a
 * dead tag are free: any thread may adopt them.
 */
#ifndef MA_OWNER_H
#define MA_OWNER_H

#include "common/image.h"

struct ma_owner {
	_Atomic uint64_t word;
	uint64_t zero[7];
};

_Static_assert(sizeof(struct ma_owner) == 64, "format 1");

/* A tag: generation (36 bits) << 16 | record + 1. 0: no owner. */
#define MA_TAG_BITS        52
#define MA_TAG_GENERATIONS ((uint64_t)1 << 36)

/* Take a record for this process slot, which is the caller's. The tag, or 0 with errno EUSERS. */
uint64_t ma_owner_take(struct ma_image *map, uint32_t slot);
/* Give it and all that is tagged with it up. */
void ma_owner_give(struct ma_image *map, uint64_t tag);
/* Does the tag's record still name a process? Its death may not have been noticed yet (ma_body_reap): this asks memory only. */
bool ma_owner_is_held(struct ma_image *map, uint64_t tag);
/* May the holder of this tag still act? Errs on the side of yes. */
bool ma_owner_alive(struct ma_image *map, uint64_t tag);
/* Retire the records that name a process slot, or all; how many there were. */
uint32_t ma_owner_retire_slot(struct ma_image *map, uint32_t slot);
uint32_t ma_owner_retire_all(struct ma_image *map);
/*
 * No record has an owner, and they were perhaps copied before what names them. Let each go on from another generation, so
 * that no tag anywhere in the copy fits.
 */
void ma_owner_move_on(struct ma_image *map, uint64_t salt);

#endif /* MA_OWNER_H */
