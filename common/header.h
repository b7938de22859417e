/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Format 1: the first page of every map file. Little-endian.
 *
 *      0  magic      8 bytes   89 'M' 'A' 'P' 'A' 'L' 'C' 0a; written last. Half made: 89 'm' 'a' 'p' ...; half made in a
 *                              file that was given its length before: 89 'm' 'a' 'p' 'a' 'l' 'g' 0a
 *      8  kind       u32       what the body is (MA_KIND_...)
 *     12  format     u32       1
 *     16  incompat   u64       unknown bit: no open
 *     24  rocompat   u64       unknown bit: only read-only
 *     32  compat     u64       unknown bit: no matter
 *     40  order      u32       0x01020304
 *     44  word_bytes u8        8
 *     45  page_shift u8        12; a map that was made with pages of 16 or 64 KiB: 14 or 16 (common/page.h)
 *     46  (zero)     u16
 *     48  base       u64       address at which the map is mapped; 0 for kinds that are mapped anywhere
 *     56  reserved   u64       length of the mapping in bytes; the file never grows beyond it
 *     64  uuid       16 bytes
 *     80  param      8 x u64   the body's own numbers (streams, item size, ...), fixed for ever
 *    144  (zero)     u32
 *    148  crc        u32       CRC-32C of bytes 8 to 147
 *    152  (zero)     to 191
 *    ------ written once above, state below ------
 *    192  length     u64       length of the file in bytes that the body counts on
 *    200  generation u64       counts first attachers (which found no other one attached)
 *    208  phase      u32       0 being recovered, 1 ready: written under the exclusive attach lock only
 *    212  state      u32       0 in use, 1 closed by the last user, 2 closed and synced
 *    216  boot_id    16 bytes  of the last first attacher's kernel
 *    232  device     u64       st_dev and
 *    240  inode      u64       st_ino of the file at that time: with filesystem, these tell a copy from its original
 *    248  mount      u64       the kernel's id of the mount by which that opener found the file; 0: it gives none
 *    256  tag        u64       the application's own number, set once; 0: not set. Regions have theirs in the body
 *    264  durable    u64       1: the file's checkpoints are in a file beside it (ckpt.h)
 *    272  captures   u64       how many checkpoints were begun in this generation,
 *    280  covered    u64       the last of these that reached the disk, and
 *    288  committed  u64       its number in the checkpoint file
 *    296  attaches   u64       how often a process that writes came in, in this generation. Of regions: beside others, once one had
 *                              begun a checkpoint; bit 63: one has no lock of its own
 *    304  filesystem u64       of the file at that time, by a number that stays the same when the machine starts again: st_dev may not; 0: none
 *    312  (zero)     to 4095
 *   4096  the body
 *
 * The header is checked in the order of enum ma_refusal; nothing behind a check is looked at before it passed.
 */
#ifndef MA_HEADER_H
#define MA_HEADER_H

#include <sys/stat.h>

#include "common/base.h"

#define MA_MAGIC       "\x89MAPALC\n"
#define MA_MAGIC_HALF  "\x89mapalc\n"
#define MA_MAGIC_GIVEN "\x89mapalg\n" /* The next creator keeps the length of such a file. */
#define MA_FORMAT      1u
#define MA_ORDER       0x01020304u
#define MA_PARAMS      8

enum ma_kind {
	MA_KIND_STATIC = 1,
	MA_KIND_DYNAMIC = 2,
	MA_KIND_MMALLOC = 3,
	MA_KIND_SHMBUDDY = 4,
};

/* It has no base: all that it says of places is offsets. */
#define MA_KIND_FLOATS(kind) ((kind) == MA_KIND_SHMBUDDY)

enum ma_state { MA_STATE_IN_USE = 0, MA_STATE_CLOSED = 1, MA_STATE_SYNCED = 2 };

struct ma_header {
	char magic[8];
	uint32_t kind;
	uint32_t format;
	uint64_t incompat;
	uint64_t rocompat;
	uint64_t compat;
	uint32_t order;
	uint8_t word_bytes;
	uint8_t page_shift;
	uint16_t zero0;
	uint64_t base;
	uint64_t reserved;
	uint8_t uuid[16];
	uint64_t param[MA_PARAMS];
	uint32_t zero1;
	uint32_t crc;
	uint8_t zero2[40];
	_Atomic uint64_t length;
	_Atomic uint64_t generation;
	_Atomic uint32_t phase;
	_Atomic uint32_t state;
	uint8_t boot_id[16];
	uint64_t device;
	uint64_t inode;
	uint64_t mount;
	_Atomic uint64_t tag;
	_Atomic uint64_t durable;
	_Atomic uint64_t captures;
	_Atomic uint64_t covered;
	_Atomic uint64_t committed;
	_Atomic uint64_t attaches;
	uint64_t filesystem;
	uint8_t zero4[3784];
};

_Static_assert(offsetof(struct ma_header, kind) == 8, "format 1");
_Static_assert(offsetof(struct ma_header, incompat) == 16, "format 1");
_Static_assert(offsetof(struct ma_header, order) == 40, "format 1");
_Static_assert(offsetof(struct ma_header, page_shift) == 45, "format 1");
_Static_assert(offsetof(struct ma_header, base) == 48, "format 1");
_Static_assert(offsetof(struct ma_header, reserved) == 56, "format 1");
_Static_assert(offsetof(struct ma_header, uuid) == 64, "format 1");
_Static_assert(offsetof(struct ma_header, param) == 80, "format 1");
_Static_assert(offsetof(struct ma_header, crc) == 148, "format 1");
_Static_assert(offsetof(struct ma_header, length) == 192, "format 1");
_Static_assert(offsetof(struct ma_header, phase) == 208, "format 1");
_Static_assert(offsetof(struct ma_header, boot_id) == 216, "format 1");
_Static_assert(offsetof(struct ma_header, inode) == 240, "format 1");
_Static_assert(offsetof(struct ma_header, mount) == 248, "format 1");
_Static_assert(offsetof(struct ma_header, tag) == 256, "format 1");
_Static_assert(offsetof(struct ma_header, attaches) == 296, "format 1");
_Static_assert(offsetof(struct ma_header, filesystem) == 304, "format 1");
_Static_assert(sizeof(struct ma_header) == 4096, "format 1");

/* Why a file is refused, in checking order. */
enum ma_refusal {
	MA_OK = 0,
	MA_REFUSE_READ, /* errno says why. */
	MA_REFUSE_MAGIC,
	MA_REFUSE_HALF,
	MA_REFUSE_ORDER, /* Before all numbers that have more than one byte. */
	MA_REFUSE_KIND,
	MA_REFUSE_FORMAT,
	MA_REFUSE_FEATURE,
	MA_REFUSE_FEATURE_RW,
	MA_REFUSE_WORD,
	MA_REFUSE_PAGE,
	MA_REFUSE_CRC,
	MA_REFUSE_BASE,
	MA_REFUSE_LENGTH,
	MA_REFUSE_SHORT,
	MA_REFUSE_BODY,
};

/* The reason and the errno for a refusal. */
const char *ma_refusal_text(enum ma_refusal why);
int ma_refusal_errno(enum ma_refusal why);

/*
 * Fail with a sentence about the file of this name, which says what to do, and with what was found: the kind and the library that opens it, the format.
 * MA_REFUSE_READ: errno is the reason.
 */
int ma_refuse(enum ma_refusal why, const char *name, const struct ma_header *h);

/* What maps of a kind are called, and what opens them: "a heap of libmmalloc, which mmalloc_attach() opens". */
const char *ma_kind_text(uint32_t kind);

/*
 * Check a copy of the first page against a file of file_bytes. kinds is a mask of 1 << enum ma_kind.
 * got is how many bytes of the page could be read.
 */
enum ma_refusal ma_header_check(const struct ma_header *h, size_t got, uint64_t file_bytes, unsigned kinds,
				bool writing);

/* Where a process finds a file now. */
struct ma_place {
	uint64_t device, inode; /* fstat(2)'s. */
	uint64_t mount;         /* ma_boot_mount()'s. */
	uint64_t filesystem;    /* ma_boot_filesystem()'s. */
};

/* errno stays. */
struct ma_place ma_place_of(int fd, const struct stat *st);
/* The header's words for it. */
void ma_header_put_place(struct ma_header *h, const struct ma_place *place);

/*
 * What a header says of the time since its map was last in order, to a process that finds it at this place now. Nothing is certain in a
 * copy, and in a file that was not on the disk when the machine went down, or when its file system went away: then any word may be
 * older than another one.
 */
struct ma_certainty {
	bool same_file; /* It is the file that the header names, not a copy. */
	bool same_boot; /* The machine has run since. */
	bool same_mount; /* Its file system has been mounted since. Another mount of it, such as a container's, does not prove that. */
	bool synced; /* Its last user closed it, and all of it was on the disk. */
};

struct ma_certainty ma_header_certainty(const struct ma_header *h, const struct ma_place *place);

/* Does the kernel still have every store that processes made? */
MA_INLINE bool ma_is_same_run(struct ma_certainty c)
{
	return c.same_boot && c.same_mount;
}

/*
 * Of a file that is shorter than its header says, and of nothing else is wrong: did the machine die while it grew? Then the length reached the disk,
 * and the file's end did not. Else it was cut off.
 */
bool ma_header_was_cut(const struct ma_header *h, const struct ma_place *place);

/* Did at most processes die since? Then all words that say so can be believed. */
MA_INLINE bool ma_is_certain(struct ma_certainty c)
{
	return c.same_file && (ma_is_same_run(c) || c.synced);
}

/* A new random UUID, version 4. */
void ma_header_uuid(uint8_t uuid[16]);

/* Seal the fields that are written once. */
uint32_t ma_header_crc(const struct ma_header *h);

#endif /* MA_HEADER_H */
