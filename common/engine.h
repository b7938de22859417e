/* SPDX-License-Identifier: BSD-3-Clause */
/* What a kind of map brings along: its engine, which the files here call upwards, and only by these functions. */
#ifndef MA_ENGINE_H
#define MA_ENGINE_H

#include "common/base.h"
#include "common/finding.h"
#include "common/header.h"
#include "common/layout.h"

struct ma_image;
struct ma_tcache;

/* A unit of the user area that serves as a table of roots. */
struct ma_table {
	uint64_t id;
	uint64_t offset; /* From the base. */
	uint64_t bytes;
};

/* A new body needs nothing: it reads as zero, and zeros are an empty one. */
struct ma_engine {
	enum ma_kind kind;
	/* The layout that follows from the sealed numbers. False: they are impossible. */
	bool (*layout)(struct ma_layout *lay, const struct ma_header *sealed);
	/* How long the file must be for what is in use, as the body's words have it. NULL: that is not asked. */
	uint64_t (*end)(struct ma_image *map);
	/* Finish or undo the change that a dead process left while it held this stream's lock. The caller holds the lock. */
	void (*recover_stream)(struct ma_image *map, uint32_t stream);
	/*
	 * The file is a copy, or its machine died: what is not in use becomes zero again, as a new body is, and what is
	 * derived is computed again. 0, or -1 with errno.
	 */
	int (*renew)(struct ma_image *map);
	/* Make sure of the disk space of all that is in use: the file may have lost it (lost.h). 0, or -1 with errno. */
	int (*reserve_space)(struct ma_image *map);
	/* The whole check. Returns the number of violations. */
	uint64_t (*check)(struct ma_image *map, ma_finding_fn *fn, void *arg);
	/*
	 * The whole check failed, and no process is attached: change what is in its way. What can be proved of blocks stays; what is not as it
	 * was is told. The caller recovers and checks it then.
	 */
	void (*salvage)(struct ma_image *map, struct ma_findings *to);
	/* Each live block, until fn returns something but 0. */
	int (*walk)(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg);
	/* A thread's new cache: set its cursors up. Its end: give its units to the streams. */
	void (*thread_attach)(struct ma_tcache *tc);
	void (*thread_detach)(struct ma_tcache *tc);
	/* Is this unit a table? The unit's own word says so, and which. */
	bool (*table_at)(struct ma_image *map, uint64_t unit, struct ma_table *table);
	/*
	 * Make some unit the table of this id: zeros, then *link says unit + 1, then the unit's word commits. A link to a
	 * unit that is not the table of its id means nothing: it was left by a kill. False: errno.
	 */
	bool (*table_take)(struct ma_tcache *tc, _Atomic uint64_t *link, uint64_t id);
	/* A private view, or a snapshot: make own copies of all metadata in use, and settle what changed meanwhile. */
	void (*privatize_metadata)(struct ma_image *map);
	/* Each part of the file that blocks take, tables of roots left out, until fn returns something but 0: that. */
	int (*used)(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
	/*
	 * Each part of the user area that has tables: those of roots, then all others, until fn returns something but 0: that. Offsets are from
	 * the base.
	 */
	int (*tables)(struct ma_image *map, int (*fn)(uint64_t from, uint64_t bytes, void *arg), void *arg);
	/* This process detaches, and gave all its owner records up: what is free need not keep its space. May be NULL. */
	void (*rest)(struct ma_image *map);
	/* A snapshot: what is free has no disk space. May be NULL. */
	void (*hollow)(struct ma_image *map);
};

#endif /* MA_ENGINE_H */
