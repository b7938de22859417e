/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints of a durable map: what is copied when, by whom, and what an opener does after a power cut. The file that holds them is ckpt.h's.
 *
 * A capture copies the pages that changed into the checkpoint file, and a commit writes them to disk. First come the tables, while no other
 * process and no thread may change them but by the fast paths, which store single bytes: so they are what a kill of all processes at that
 * moment would leave, and recovery settles that. Blocks come after: the program's own locks say when these are whole.
 *
 * Which pages changed, this process knows as long as it alone uses the map (writes.h). Else all pages are compared by their hashes.
 *
 * Several callers, of one process or of many: one makes a checkpoint, the others wait. When theirs is covered by it, which is when its capture began
 * after their calls, they return with it.
 */
#ifndef MA_CHECKPOINT_H
#define MA_CHECKPOINT_H

#include "common/ckpt.h"
#include "common/header.h"

/* In a region's header, field attaches: a fork child has no lock of its own. So neither it nor its parent can know that it is alone. */
#define MA_ATTACHES_UNLOCKED ((uint64_t)1 << 63)

/* A part of the map's file that is mapped. */
struct ma_stretch {
	char *at;
	uint64_t file, bytes;
};

/* What a map or a region is to its checkpoints. */
struct ma_checkpointed {
	void *map;
	const char *name; /* For messages. */
	struct ma_header *header;
	/* Its descriptor, for one call: -1 with errno. */
	int (*fd)(void *map);
	/* Its i-th stretch. False: there are fewer. */
	bool (*stretch)(void *map, uint32_t i, struct ma_stretch *s);
	/* Does no other process use it? */
	bool (*is_alone)(void *map);
	/* From here on tables change only by the fast paths. 0, or -1 with errno. */
	int (*hold)(void *map);
	void (*let_go)(void *map);
	/* Each part of the file that has tables in it, in the order in which they must be copied, until fn returns something but 0: that. */
	int (*tables)(void *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
};

struct ma_checkpoint;

/* For a map that is or becomes durable. NULL with errno ENOMEM. */
struct ma_checkpoint *ma_checkpoint_new(const struct ma_checkpointed *of);
/* The map is closed. */
void ma_checkpoint_end(struct ma_checkpoint *c);
/* In a fork child, which has no other thread: what the parent knew and held is not the child's. */
void ma_checkpoint_fork(struct ma_checkpoint *c);

/*
 * All that was stored before the call is in a checkpoint on disk. 0, or -1 with errno. waits: for another thread's commit; else EBUSY when one has
 * captured.
 */
int ma_checkpoint_sync(struct ma_checkpoint *c, bool waits);
/* The two halves. -1 with errno EBUSY: a capture waits for its commit; EINVAL: there is no capture. */
int ma_checkpoint_capture(struct ma_checkpoint *c);
int ma_checkpoint_commit(struct ma_checkpoint *c);

#endif /* MA_CHECKPOINT_H */
