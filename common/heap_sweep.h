/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The search through a full heap, made in steps before the heap is full.
 *
 * A free is one store into an allocation byte. So the first malloc that fails would have to read the allocation bytes of all blocks of
 * its class: 16 MiB of them for blocks of 16 bytes in a map of 256 MiB. A sweep reads them earlier. It begins when a sixteenth of the
 * chunks, or less, is free in a map that cannot grow by itself. It first sends the frees of this process through the slow path, which
 * counts them (reclaim.h). From then on each refill looks through a few chunks more, for all classes. When the last chunk was looked
 * through, and nothing was freed or given back meanwhile, it is known for each class whether a slab without an owner has room, and whether
 * one is empty. This is the claim. A malloc that finds no chunk and no queued slab believes it, and fails without a search.
 *
 * What makes a claim untrue ends it:
 * - A free by this process, and slabs or chunks that any process returns, are news. A slab that its owner disowns while it is full is not.
 * - Slabs that get room in another way are added to a short list (ma_sweep_note_room). The next calls search these again.
 * - A free by another process leaves no trace, nor does its death. So a claim is believed for a second at most. Then the call searches as
 *   without it.
 *
 * When a program frees blocks while its map is nearly full, each sweep ends without a claim, and each one sends a free through the
 * slow path. So the number of refills before the next sweep doubles each time.
 */
#ifndef MA_HEAP_SWEEP_H
#define MA_HEAP_SWEEP_H

#include "common/heap_internal.h"

#define MA_SWEEP_EMPTY MA_CLASSES /* In place of a class: an empty slab, of any class. */

/*
 * A claim is believed for so long at least; where the sweep took longer, ma_patience times as long as it took, or so long at most. Only tests
 * change them: the machine may be slow.
 */
extern uint64_t ma_sweep_ns, ma_sweep_most_ns;

/* After a refill: begin a sweep, or make a step of it, when the map is nearly full. The caller holds no lock. */
void ma_sweep_step(struct ma_tcache *tc);
/* The map has no chunk for the call: make the rest of the sweep, if it is short. The caller holds no lock. */
void ma_sweep_finish(struct ma_image *map);
/* Has no slab without an owner room for the class? False: it has, or this is not known. */
bool ma_sweep_claims(struct ma_image *map, uint32_t class);
/* The same claim makes the next calls fail at once. */
void ma_sweep_failed(struct ma_image *map, uint32_t class);
/* A slab without an owner has room now, and no return was counted for it. */
void ma_sweep_note_room(struct ma_image *map, uint32_t id);

#endif /* MA_HEAP_SWEEP_H */
