/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A file as the reading commands see it: opened read-only, mapped copy-on-write at any address, no lock taken.
 *
 * So a view changes nothing and delays no process that uses the map, and the map's base may be in use here. A damaged file is laid out
 * as far as its numbers allow, and what is wrong with it is in the findings. Pages that the file does not have read as zeros.
 */
#ifndef TOOLS_VIEW_H
#define TOOLS_VIEW_H

#include <sys/stat.h>

#include "common/header.h"
#include "common/map.h"
#include "libshmbuddy/src/inspect.h"
#include "tools/processes.h"
#include "tools/tool.h"

/*
 * SEVERITY_UNCLOSED: the next open, or another process that uses the map, cleans it up by itself: what a process left that ended without
 * closing the map. SEVERITY_REPAIRABLE: only mapalloc repair puts it right.
 */
enum severity { SEVERITY_NOTE, SEVERITY_UNCLOSED, SEVERITY_REPAIRABLE, SEVERITY_DAMAGE, SEVERITY_FOREIGN };

#define NOWHERE UINT64_MAX

struct finding {
	enum severity severity;
	const char *rule;
	char *text;
	uint64_t at; /* Offset from the base, as that of a block is; NOWHERE. */
};

struct view;

/* A live block. Returns 0 to go on. */
typedef int block_fn(struct view *view, uint64_t offset, uint64_t size, void *arg);
/* A root; key is the number of one of libmmalloc's keys, else -1. Its offset may be anything. */
typedef void root_fn(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg);

/* One row of the table of sizes. */
struct bucket {
	uint64_t bytes;   /* Of a block; 0: blocks of any size. */
	uint64_t units;   /* Slabs, groups, words; of blocks of any size, chunks. */
	uint64_t used;    /* Blocks. */
	uint64_t free;    /* Blocks that can be allocated without more units; 0 where that means nothing. */
	uint64_t used_bytes; /* Of live blocks. */
	const char *what; /* "slab", "run", "items", "block". */
};

#define BUCKETS 96

struct figures {
	uint64_t capacity;   /* Most that blocks can take. */
	uint64_t used_bytes; /* Of live blocks. */
	uint64_t used_blocks;
	uint64_t backed;       /* Bytes of the capacity that have their disk space. */
	uint64_t reserved;     /* Free bytes in slabs and groups, for blocks of their own size only. */
	uint64_t largest_free; /* Largest block that can be allocated. */
	uint64_t largest_ever; /* The same in an empty map, where a block has a limit of its own; 0: it has none. */
	uint64_t tables;       /* Bytes of units that hold the map's own tables. */
	struct bucket bucket[BUCKETS];
	unsigned buckets;
};

/* What a tile of the picture shows. */
enum tile_kind {
	TILE_UNTOUCHED,
	TILE_FREE,
	TILE_SMALL,
	TILE_MEDIUM,
	TILE_LARGE,
	TILE_RUN,
	TILE_TABLE,
	TILE_BAD,
	TILE_KINDS
};

struct tile {
	uint64_t bytes[TILE_KINDS]; /* That are of this kind. */
	uint64_t used;              /* Bytes of live blocks. */
	uint64_t blocks;
	uint64_t class_bytes; /* Of the slots, or items, here; 0: none, or of several sizes. */
};

/* The user area, or the part of it that was ever in use, in tiles of equal size. */
struct picture {
	struct tile *tile;
	uint64_t tiles, tile_bytes;
	uint64_t bytes; /* In all. */
};

/* Some bytes, from here in the user area, are of this kind; of a live block's bytes that is all there is. */
void picture_add(struct picture *picture, uint64_t at, uint64_t bytes, enum tile_kind kind, uint64_t used,
		 uint64_t blocks, uint64_t class_bytes);
/* What a slot of this size belongs to. */
enum tile_kind picture_class(uint64_t bytes);

/* What a kind of map can be asked. Everything is safe on any bytes. */
struct kind {
	uint32_t number;
	const char *name; /* As the command create calls it. */
	/* By the header's numbers; false: they are impossible. Then, when it is mapped: find its parts. */
	bool (*lay_out)(struct view *view);
	void (*attach)(struct view *view);
	void (*check)(struct view *view);
	/*
	 * In a view of its own: do what the next open does, then what repair does. What the check finds broken is what this
	 * returns: SEVERITY_UNCLOSED when the open was enough, SEVERITY_REPAIRABLE when the repair was, else SEVERITY_DAMAGE.
	 */
	enum severity (*rehearse)(struct view *view);
	/* Compute again what follows from the rest; NULL: nothing does. In a view of its own, or one that writes to the file. */
	void (*rebuild)(struct view *view);
	int (*walk)(struct view *view, block_fn *fn, void *arg);
	void (*roots)(struct view *view, root_fn *fn, void *arg);
	void (*measure)(struct view *view, struct figures *figures);
	/* Bytes of the user area that were ever in use, and the unit of allocation. */
	uint64_t (*extent)(struct view *view, uint64_t *unit);
	void (*draw)(struct view *view, struct picture *picture);
};

extern const struct kind kind_static, kind_dynamic, kind_mmalloc, kind_buddy;

enum checkpoints_state {
	CHECKPOINTS_OFF,        /* The map is not durable. */
	CHECKPOINTS_NONE,       /* It is, and there is no checkpoint. */
	CHECKPOINTS_UNREADABLE, /* This process cannot tell. */
	CHECKPOINTS_BAD,        /* The file is damaged, or belongs to another map. */
	CHECKPOINTS_THERE,
};

/* What the checkpoint file of a durable map says (tools/checkpoints.h). */
struct checkpoints {
	enum checkpoints_state state;
	char why[400];                         /* It is not there. */
	uint64_t number, time, changed, pages; /* Of the last checkpoint; seconds since 1970. */
	uint64_t file_bytes, disk_bytes, journal_bytes, journal_used;
};

struct view {
	const char *name;
	struct tool *tool;
	int fd;
	struct stat st;
	uint64_t header_bytes; /* Of the header, as many as the file has. */
	struct ma_header header;
	struct ma_place place; /* Where an opener finds it now. */
	enum ma_refusal refusal;
	const struct kind *kind; /* NULL: its numbers make no map. Everything below is nothing then. */
	char *base;
	uint64_t mapped;
	uint64_t user_off, user_bytes;
	struct ma_image map;     /* All kinds but shmbuddy. */
	struct shmbuddy *region; /* shmbuddy. */
	struct shmbuddy__shape shape;
	struct processes processes;
	struct checkpoints checkpoints;
	bool verify_checkpoints; /* view_check() reads each page of the last one. */
	struct finding *finding;
	size_t findings, findings_most; /* There are; there is memory for. */
	uint64_t unlisted; /* Findings beyond those. */
};

/* STATUS_FAILED, and a message: no regular file that can be read. Else STATUS_OK, whatever the file is. */
enum status view_open(struct tool *tool, const char *name, struct view *view);
/* Close the file; header, processes and findings stay. */
void view_close_file(struct view *view);
void view_close(struct view *view);
/* The same file once more, for rehearse(). */
bool view_open_again(const struct view *view, struct view *again);

/* What is wrong with it beyond the header: fills the findings. */
void view_check(struct view *view);
void view_add_finding(struct view *view, enum severity severity, const char *rule, uint64_t at, const char *format, ...)
	MA_PRINTF(5, 6);
/* Was it last opened in this file, which is no copy, and since this machine began and its file system was mounted? */
struct ma_certainty view_certainty(const struct view *view);
/* Did the machine die while it grew, so that it is shorter than its header says? The next open makes it longer. */
bool view_was_cut(const struct view *view);
/* Users of a region hold no lock: some may not be seen, and what they change meanwhile would be taken for damage. */
bool view_users_unknown(const struct view *view);
/* The worst finding; the status and the word for it. */
enum severity view_worst(const struct view *view);
enum status view_status(const struct view *view);
const char *view_verdict(const struct view *view);
/* Each finding on a line of its own, and on stderr unless it belongs to the command's answer. */
void view_print_findings(struct view *view, FILE *to, enum severity least);
/*
 * The whole check, for commands whose answer is another: what is damaged goes to stderr, shortened, and the status says it. what: "listed".
 */
enum status view_warn(struct view *view, const char *what);
void view_json_findings(struct view *view);

const char *severity_name(enum severity severity);
const char *verdict_name(enum severity severity);
const char *kind_name(uint32_t number); /* "unknown" */

/* A stored address, or an offset in kinds that float, as an offset from the start of the file. */
uint64_t view_offset_of(const struct view *view, uint64_t stored);
/* Where in the file is what lies there in the view? */
uint64_t view_file_offset(const struct view *view, const void *at);
/* The longest that the file can get. */
uint64_t view_range(const struct view *view);
/* The application's number; 0: none. */
uint64_t view_tag(const struct view *view);
/* Does this lie in the user area? */
bool view_is_inside(const struct view *view, uint64_t offset);

#endif /* TOOLS_VIEW_H */
