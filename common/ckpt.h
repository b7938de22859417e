/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The checkpoint file of a map: all pages of the map as they were at its last checkpoint. Nothing in it is ever written over that the last
 * checkpoint needs: a page that changed goes to another place, and a record says so. It consists of places of 4,096 bytes. Little-endian.
 *
 *     place 0, 1   heads, the one with the higher turn counts. 512 bytes, so that a cut leaves the old one or the new one:
 *         0  magic     8 bytes  89 'M' 'A' 'P' 'C' 'K' 'P' 0a
 *         8  format    u32      1
 *        12  (zero)    u32
 *        16  uuid      16 bytes of the map
 *        32  turn      u64
 *        40  journal   u64      the journal's first place
 *        48  places    u64      of the journal
 *        56  chain     2 x u64  what the journal's first record must name as the hash of the one before it
 *        72  (zero)    to 495
 *       496  hash      2 x u64  XXH3, 128 bits, of the bytes before it
 *
 *     a journal: records, one behind the other, each from the beginning of a place on
 *         0  magic     u64
 *         8  chain     2 x u64  hash of the record before it. So what an older journal left here is never taken for a record of this one
 *        24  number    u64      of the checkpoint
 *        32  length    u64      of the map's file
 *        40  time      u64      nanoseconds since 1970
 *        48  count     u64      of entries
 *        56  whole     u64      1: these are all pages, not only those that changed. The first record of a journal is
 *        64  (zero)    to 111
 *       112  hash      2 x u64  of the hashes of the 112 bytes before it and of the entries
 *       128  entries   count x 24: struct ma_page_entry
 *
 *     pages, anywhere else
 *
 * A checkpoint: pages are written to free places, then the record, then one fdatasync(2). When that returns, the checkpoint exists. After a
 * cut before that, the record may be there without its pages: so the hashes of the last record's pages are checked, and when one differs,
 * the checkpoint before it is the last. Its pages are all there: places become free only when the record that replaces them is on disk.
 *
 * When the journal has no room for a record, another one begins elsewhere with a whole record. It is on disk before a head names it.
 *
 * A process that dies loses nothing: the next one reads the records. It makes sure that they are on disk before it uses places that they
 * free. One process at a time writes (ma_ckpt_begin() takes a lock); what a process knows of the file is brought up to date by reading the
 * records that came since.
 */
#ifndef MA_CKPT_H
#define MA_CKPT_H

#include "common/fd.h"
#include "common/pagetable.h"

#define MA_CKPT_SUFFIX ".checkpoint"
#define MA_CKPT_BUFFER 64 /* Pages that are written together. */

struct ma_ckpt {
	int fd; /* -1: not open. */
	struct ma_fd_id id;
	uint8_t uuid[16];
	const char *name; /* For messages. */

	/* The journal that the head names. */
	uint64_t turn;
	uint64_t journal, journal_places; /* 0: there is no checkpoint yet. */
	uint64_t next;                    /* Place of the next record. */
	uint64_t last;                    /* Place of the last one. */
	struct ma_hash chain;

	/* The last checkpoint. */
	uint64_t number, length, time, changed; /* changed: entries of its record. */
	struct ma_pagetable table;
	struct ma_places places;
	bool only_reads; /* The file stays as it is, whatever is found in it. */
	bool known; /* The above is right for the file with this id, up to the last record that was read. */

	/* The checkpoint that is being made. */
	struct ma_page_entry *batch;
	uint64_t count, room;
	char *buffer;
	uint64_t buffer_place, buffered;
	uint64_t run_place, run_left; /* Places that were taken for pages to come. */
};

/* All zeros but for fd, -1. */
void ma_ckpt_init(struct ma_ckpt *c, const uint8_t uuid[16], const char *name);

/*
 * Use this descriptor of a checkpoint file, which may be empty, until ma_ckpt_close(). When it is the same file as the last time, only what is
 * new will be read.
 */
int ma_ckpt_use(struct ma_ckpt *c, int fd);
void ma_ckpt_close(struct ma_ckpt *c);
/* Forget all that is known, too. */
void ma_ckpt_forget(struct ma_ckpt *c);

/*
 * Read the records. after_cut: the last one is not believed before its pages were seen, and when it is not true, it is erased. 0, or -1 with
 * errno: EUCLEAN the file is damaged, or another map's; ENOMEM; or of pread(2).
 */
int ma_ckpt_read(struct ma_ckpt *c, bool after_cut);

/*
 * Take the file's lock, wait for it if need be, and read; all records are on disk then, as those up to the number `durable` are known to be.
 * 0, or -1 with errno. ma_ckpt_close() gives the lock back.
 */
int ma_ckpt_begin(struct ma_ckpt *c, uint64_t durable);

/* This page of the map is so now. What was put first counts. 0, or -1 with errno: ENOSPC, ENOMEM, ... */
int ma_ckpt_put(struct ma_ckpt *c, uint64_t page, const void *bytes);
/* The page is all zeros, and takes no space. */
int ma_ckpt_put_zero(struct ma_ckpt *c, uint64_t page);
/* Was this page put for the checkpoint that is being made? */
bool ma_ckpt_has(const struct ma_ckpt *c, uint64_t page);
/* What was put, and that the map's file has this length, is the next checkpoint. 0: it is on disk. -1 with errno: the last one still is. */
int ma_ckpt_commit(struct ma_ckpt *c, uint64_t length);
/* Nothing was put. */
void ma_ckpt_abandon(struct ma_ckpt *c);

/* Make all of the file at `to` but page 0 what the last checkpoint says. Nothing is synced. 0, or -1 with errno: EUCLEAN a page is damaged. */
int ma_ckpt_restore(struct ma_ckpt *c, int to);
/* One page, of 4,096 bytes, as the last checkpoint has it. */
int ma_ckpt_page(struct ma_ckpt *c, uint64_t page, void *bytes);
/* Are all pages there as their hashes say? Returns how many are not; UINT64_MAX with errno ENOMEM: that cannot be found out. */
uint64_t ma_ckpt_check(struct ma_ckpt *c);

/* ---- for the files of this unit ---- */

/* Places that no page came for are free. */
void ma_ckpt_end_run(struct ma_ckpt *c);
/* Room for MA_CKPT_BUFFER pages; NULL with errno. */
char *ma_ckpt_buffer(struct ma_ckpt *c);

#define MA_CKPT_MAGIC  "\x89MAPCKP\n"
#define MA_CKPT_RECORD 0x4b434552504b434dull

struct ma_ckpt_head {
	char magic[8];
	uint32_t format;
	uint32_t zero;
	uint8_t uuid[16];
	uint64_t turn;
	uint64_t journal;
	uint64_t places;
	struct ma_hash chain;
	uint64_t zero2[53];
	struct ma_hash hash;
};

struct ma_ckpt_record {
	uint64_t magic;
	struct ma_hash chain;
	uint64_t number;
	uint64_t length;
	uint64_t time;
	uint64_t count;
	uint64_t whole;
	uint64_t zero[6];
	struct ma_hash hash;
};

_Static_assert(sizeof(struct ma_ckpt_head) == 512, "format 1");
_Static_assert(sizeof(struct ma_ckpt_record) == 128, "format 1");

struct ma_hash ma_ckpt_head_hash(const struct ma_ckpt_head *head);
struct ma_hash ma_ckpt_record_hash(const struct ma_ckpt_record *record, const struct ma_page_entry *entries);

/* Places that a record of so many entries takes. */
MA_INLINE uint64_t ma_ckpt_record_places(uint64_t count)
{
	return (sizeof(struct ma_ckpt_record) + count * sizeof(struct ma_page_entry) + MA_PAGE - 1) / MA_PAGE;
}

#endif /* MA_CKPT_H */
