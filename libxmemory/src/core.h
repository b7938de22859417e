/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the library's files share, and what a preloaded shim builds on: nothing here calls malloc, stdio's buffers or the
 * dynamic linker. RAM comes from the functions in xmemory__ram; a shim that is itself called malloc puts others there
 * before the first call. A call that our own code leads to (xmemory__depth) takes RAM, no lock, and no budget.
 *
 * Locks, in the order in which they are taken: xmemory__lock() (VM files, the shared VM file, mapped files), the
 * maps' registry (common/map.h), the budget's, the sites'. All are held across a fork.
 */
#ifndef XMEMORY_CORE_H
#define XMEMORY_CORE_H

#include <pthread.h>

#include "common/base.h"
#include "common/forkmutex.h"

/* ---- RAM ---- */

/* Blocks of fewer bytes than XMEMORY__LEAST must begin 32 bytes apart all the same. The C library's do. */
struct xmemory__ram {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t nmemb, size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void (*free)(void *ptr);
	void *(*memalign)(size_t alignment, size_t size);
};
extern struct xmemory__ram xmemory__ram;

#define XMEMORY__LEAST 32

/* ---- how calls are served ---- */

#define XMEMORY__UNREADY 1u /* Nothing was set up yet. */
#define XMEMORY__OFF     2u /* xmemory_off() */
#define XMEMORY__TRACE   4u /* Debug level 3: each call is told, and so no thread has a part of the budget of its own. */
extern _Atomic unsigned xmemory__mode;
/* Threads keep blocks that they free: not where the C library must see each call, or is not the usual one. */
extern bool xmemory__keeps;
/* Blocks of up to so many bytes may be had the fast way: 0 unless the mode is 0. */
extern _Atomic size_t xmemory__fast_max;

/* Set up, once there is an environment. */
void xmemory__ready(void);
/* $XMEMORY_DEBUG, 0 to 3. */
int xmemory__level(void);

#define XMEMORY__TLS _Thread_local __attribute__((tls_model("initial-exec")))

/* Not 0: this call comes from within the library. */
extern XMEMORY__TLS unsigned xmemory__depth;

void xmemory__lock(void);
void xmemory__unlock(void);
/* The same for the budget's and the sites' mutex: a thread that forks holds them, and passes. */
void xmemory__lock_mutex(pthread_mutex_t *one);
void xmemory__unlock_mutex(pthread_mutex_t *one);

/* ---- sites (table.c): a place in a source file, known by a number from 1 ---- */

#define XMEMORY__SITE_BITS 18
#define XMEMORY__SITES     ((uint32_t)1 << XMEMORY__SITE_BITS)
#define XMEMORY__HEADS     4096

/* Never changes once it is known. */
struct xmemory__site {
	const char *file; /* As the caller's compiler had it: compared, never followed, for its library may be gone. */
	int line;
	uint32_t id;
	struct xmemory__site *next;
	char name[];
};

/* The first site with this hash, where a look finds it. All zero: none, and so a call from nowhere has number 0. */
struct xmemory__head {
	_Atomic(const char *) file; /* Stored last. */
	int line;
	uint32_t id;
};
extern struct xmemory__head xmemory__heads[XMEMORY__HEADS];

uint32_t xmemory__site_slow(const char *file, int line);
const struct xmemory__site *xmemory__site_of(uint32_t id);
/* Numbers are below this one. */
uint32_t xmemory__site_end(void);
void xmemory__sites_hold(void);
bool xmemory__sites_try(void);
void xmemory__sites_let_go(bool child);

MA_INLINE uint32_t xmemory__site_hash(const char *file, int line)
{
	return (uint32_t)((uintptr_t)file + (uintptr_t)(unsigned)line * 8) / 8 % XMEMORY__HEADS;
}

MA_INLINE const struct xmemory__head *xmemory__head(const char *file, int line)
{
	return &xmemory__heads[xmemory__site_hash(file, line)];
}

MA_INLINE bool xmemory__head_is(const struct xmemory__head *head, const char *file, int line)
{
	return MA_LIKELY(ma_load_acquire(&head->file) == file) && MA_LIKELY(head->line == line);
}

MA_INLINE uint32_t xmemory__site(const char *file, int line)
{
	const struct xmemory__head *head = xmemory__head(file, line);

	return xmemory__head_is(head, file, line) ? head->id : xmemory__site_slow(file, line);
}

/* ---- the pointer table (table.c) ---- */

/*
 * One word for each block in RAM, found by its address alone:
 *
 *      63      26 25      8 7       1   0
 *     | size     | site    | address | live |     not live: no block begins here
 *
 * A tree with two words for each MiB of addresses leads to two arrays of entries: one has an entry for each 32 bytes, and
 * serves the blocks of up to 264 bytes; the other has one for each 256 bytes, and serves the rest. No two blocks begin in
 * one such place, as blocks do not overlap and are at least 32 bytes apart; bits 4 to 10 of the address tell where
 * in it. So an entry is its block's alone: it is written by whoever holds the block, with plain stores and no lock.
 *
 * In the entry of a block that a thread keeps (below) stands the address of the next one.
 */
#define XMEMORY__WIDE_FROM 265u /* Between two classes. */
#define XMEMORY__SIZE_BITS 38
#define XMEMORY__SIZE_MASK (((uint64_t)1 << XMEMORY__SIZE_BITS) - 1)
#define XMEMORY__RAM_MAX   XMEMORY__SIZE_MASK

struct xmemory__leaf {
	_Atomic(_Atomic uint64_t *) wide;   /* 4096 entries. */
	_Atomic(_Atomic uint64_t *) narrow; /* 32768 entries. */
};
#define XMEMORY__ROOTS (1 << 14) /* For addresses of 48 bits. */
extern _Atomic(struct xmemory__leaf *) xmemory__root[XMEMORY__ROOTS];

bool xmemory__put_slow(const void *ptr, uint64_t word);
/* Calls fn with each live block's entry. */
void xmemory__table_walk(void (*fn)(void *ptr, uint64_t entry, void *arg), void *arg);
/* Pages of our own, zero; NULL with errno. */
void *xmemory__pages(size_t bytes);
/*
 * A little private memory that is set aside at the beginning: dropped when there is none left (RLIMIT_DATA), so that who
 * needs some in order to serve blocks from VM files finds it, and then taken again.
 */
void xmemory__reserve_take(void);
/* False: there is none. */
bool xmemory__reserve_drop(void);
/* A record of so many bytes, never given back but to its list. */
struct xmemory__pool {
	size_t bytes;
	void *free;
};
void *xmemory__pool_take(struct xmemory__pool *pool);
void xmemory__pool_give(struct xmemory__pool *pool, void *record);

MA_INLINE uint32_t xmemory__entry_site(uint64_t entry)
{
	return (uint32_t)(entry >> 8) & (XMEMORY__SITES - 1);
}

MA_INLINE uint64_t xmemory__entry_size(uint64_t entry)
{
	return entry >> (64 - XMEMORY__SIZE_BITS);
}

/* An entry but for the address. */
MA_INLINE uint64_t xmemory__word(uint32_t site, uint64_t size)
{
	return size << (64 - XMEMORY__SIZE_BITS) | (uint64_t)site << 8;
}

MA_INLINE uint8_t xmemory__entry_mark(const void *ptr)
{
	return (uint8_t)((uint8_t)((uintptr_t)ptr >> 3) | 1);
}

MA_INLINE uint64_t xmemory__entry_make(const void *ptr, uint64_t word)
{
	return word | xmemory__entry_mark(ptr);
}

MA_INLINE bool xmemory__entry_fits(const void *ptr, uint64_t entry)
{
	return (uint8_t)entry == xmemory__entry_mark(ptr);
}

/* The lowest four bits come in front of the rest, so that one look refuses what is too large and what is on no boundary. */
MA_INLINE struct xmemory__leaf *xmemory__leaf(const void *ptr)
{
	uintptr_t turned = (uintptr_t)ptr >> 4 | (uintptr_t)ptr << 60;
	struct xmemory__leaf *leaves;

	if (MA_UNLIKELY(turned >> 30 >= XMEMORY__ROOTS))
		return NULL;
	leaves = ma_load_acquire(&xmemory__root[turned >> 30]);
	return MA_LIKELY(leaves != NULL) ? leaves + ((uintptr_t)ptr >> 20 & 16383) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__wide(struct xmemory__leaf *leaf, const void *ptr)
{
	_Atomic uint64_t *entries = ma_load_acquire(&leaf->wide);

	return MA_LIKELY(entries != NULL) ? entries + ((uintptr_t)ptr >> 8 & 4095) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__narrow(struct xmemory__leaf *leaf, const void *ptr)
{
	_Atomic uint64_t *entries = ma_load_acquire(&leaf->narrow);

	return MA_LIKELY(entries != NULL) ? entries + ((uintptr_t)ptr >> 5 & 32767) : NULL;
}

MA_INLINE _Atomic uint64_t *xmemory__entry_at(_Atomic uint64_t *entries, const void *ptr, bool is_wide)
{
	return &entries[((uintptr_t)ptr & 0xfffff) >> (5 + 3 * is_wide)];
}

/* Sizes change from call to call: which array it is must not be a branch. */
MA_INLINE bool xmemory__put_at(const void *ptr, uint64_t word, bool is_wide)
{
	struct xmemory__leaf *leaf = xmemory__leaf(ptr);
	_Atomic uint64_t *wide, *entries;

	if (MA_UNLIKELY(!leaf))
		return xmemory__put_slow(ptr, word);
	wide = ma_load_acquire(&leaf->wide);
	entries = ma_load_acquire(&leaf->narrow);
	entries = is_wide ? wide : entries;
	if (MA_UNLIKELY(!entries))
		return xmemory__put_slow(ptr, word);
	ma_store(xmemory__entry_at(entries, ptr, is_wide), xmemory__entry_make(ptr, word));
	return true;
}

MA_INLINE bool xmemory__put(const void *ptr, uint64_t word)
{
	return xmemory__put_at(ptr, word, xmemory__entry_size(word) >= XMEMORY__WIDE_FROM);
}

/* Of a block that this thread found an entry for before: the ways that lead there do not change. */
MA_INLINE _Atomic uint64_t *xmemory__place(const void *ptr, bool is_wide)
{
	struct xmemory__leaf *leaf = ma_load(&xmemory__root[(uintptr_t)ptr >> 34]) + ((uintptr_t)ptr >> 20 & 16383);
	_Atomic uint64_t *wide = ma_load(&leaf->wide), *entries = ma_load(&leaf->narrow);

	return xmemory__entry_at(is_wide ? wide : entries, ptr, is_wide);
}

/* The block's place and entry, or NULL. The wide ones are few, and so are more often in the processor's cache. */
MA_INLINE _Atomic uint64_t *xmemory__find(const void *ptr, uint64_t *entry)
{
	struct xmemory__leaf *leaf = xmemory__leaf(ptr);
	_Atomic uint64_t *place;

	if (MA_UNLIKELY(!leaf))
		return NULL;
	place = xmemory__wide(leaf, ptr);
	if (place) {
		*entry = ma_load(place);
		if (xmemory__entry_fits(ptr, *entry))
			return place;
	}
	place = xmemory__narrow(leaf, ptr);
	if (MA_UNLIKELY(!place))
		return NULL;
	*entry = ma_load(place);
	return MA_LIKELY(xmemory__entry_fits(ptr, *entry)) ? place : NULL;
}

/* ---- the budget (budget.c) ---- */

/* What a block in RAM costs beside its bytes: the C library's and our own bookkeeping. */
#define XMEMORY__BESIDE 40

/*
 * A thread's part of the budget: left may be taken without asking anybody. Written by the thread alone, read by all.
 * Since the thread last reported: charged credit - left, blocks count; at the peak, credit - low with low_count blocks.
 */
#define XMEMORY__KEPT_MAX     1024 /* Bytes of the largest blocks that a thread keeps. */
#define XMEMORY__KEPT_CLASSES ((XMEMORY__KEPT_MAX + 23) / 16 + 1)

struct xmemory__thread {
	_Atomic int64_t left;
	_Atomic int64_t most; /* More than this is given back. */
	_Atomic int64_t low;  /* Never below 0. */
	_Atomic int64_t low_count;
	_Atomic int64_t count;
	_Atomic int64_t high;
	_Atomic int64_t credit;
	struct xmemory__thread *next; /* All there ever were. */
	struct xmemory__thread *spare;
	/*
	 * Blocks in RAM that this thread freed last, for its next calls: what the C library does with them would take longer than
	 * all that is done here. A class is a list through the blocks' entries: nothing is written into them.
	 */
	void *kept[XMEMORY__KEPT_CLASSES];
	int32_t kept_room; /* How much more may be kept, in 16 bytes; none below 1. */
	int32_t kept_most;
};
extern XMEMORY__TLS struct xmemory__thread *xmemory__self;

/* Blocks of one class have room for the same sizes: as the C library rounds them up. */
MA_INLINE size_t xmemory__kept_class(size_t size)
{
	return (size + 23) / 16;
}

MA_INLINE bool xmemory__class_is_wide(size_t class)
{
	return class >= (XMEMORY__WIDE_FROM + 23) / 16;
}

/* Charge a block in RAM; false when it is over budget. */
bool xmemory__take(size_t size);
/* A block in RAM is gone. */
void xmemory__give(size_t size);
/* A block elsewhere came or went. */
void xmemory__count(int64_t bytes, int64_t blocks);

struct xmemory__totals {
	int64_t ram_bytes, ram_blocks; /* Blocks in RAM. */
	int64_t bytes, blocks;         /* All blocks. */
	int64_t peak_bytes, peak_blocks;
	int64_t peak_ram, peak_elsewhere; /* Each for itself, in bytes. */
	int64_t limit, room;
	int source; /* enum xmemory_limit_source */
};
void xmemory__totals(struct xmemory__totals *totals);
/* The same in a signal handler, as of the last call. False: the mutex cannot be had. */
bool xmemory__try_totals(struct xmemory__totals *totals);
/* The calling thread's kept blocks go back to the C library. */
void xmemory__let_kept_go(struct xmemory__thread *t);
void xmemory__budget_hold(void);
bool xmemory__budget_try(void);
void xmemory__budget_let_go(bool child);

MA_INLINE void xmemory__took(struct xmemory__thread *t, int64_t left)
{
	int64_t count = ma_load(&t->count) + 1;

	ma_store(&t->left, left);
	ma_store(&t->count, count);
	if (left < ma_load(&t->low)) {
		ma_store(&t->low, left);
		ma_store(&t->low_count, count);
	}
	if (count > ma_load(&t->high))
		ma_store(&t->high, count);
}

/* ---- blocks in VM files; the lock is held unless it says otherwise ---- */

/* What is asked for. */
struct xmemory__ask {
	size_t size;
	size_t alignment; /* 0: any. */
	bool zeroed;
	const char *file;
	int line;
};

/* What a live block is. */
struct xmemory__block {
	void *ptr;
	size_t size;
	uint32_t site;
	int kind; /* enum xmemory_kind */
	uint32_t vmfile;
};
typedef void xmemory__block_fn(const struct xmemory__block *block, void *arg);

/* vmfile.c: a VM file for each. The first three take the lock themselves. */
void *xmemory__vm_new(const struct xmemory__ask *ask);
/* NULL with errno: it stays as it was. EAGAIN: it has no descriptor left to grow by. */
void *xmemory__vm_resize(void *ptr, size_t size, uint32_t site);
bool xmemory__vm_free(void *ptr);
bool xmemory__vm_look(const void *ptr, struct xmemory__block *block);
void xmemory__vm_walk(xmemory__block_fn *fn, void *arg);
struct xmemory__figures {
	uint64_t files;
	uint64_t bytes; /* Of blocks, as they were asked for. */
	uint64_t disk_bytes;
};
/* Add to them. */
void xmemory__vm_figures(struct xmemory__figures *figures);

/* directory.c */
/* An unlinked file in the directory for VM files, and its number. -1 with errno. */
int xmemory__vm_file(uint32_t *id);
/* How many there ever were. */
uint32_t xmemory__vm_files_made(void);
/*
 * Keep a descriptor of the directory, for when its name leads there no more, and where it is; a VM file that cannot be made there any more
 * (setuid, chroot, the directory is gone) is in memory.
 */
void xmemory__vm_keep_folder(void);
int *xmemory__vm_folder(void);
/* Disk space for [from, to) of a file, which gets that long. */
int xmemory__vm_space(int fd, uint64_t from, uint64_t to);

/* Which limit an error of mmap(2) or mremap(2) comes from. */
const char *xmemory__vm_limit(int error);

/* small.c: blocks that share one. */
void *xmemory__small_new(const struct xmemory__ask *ask);
bool xmemory__small_has(const void *ptr);
bool xmemory__small_free(void *ptr);
bool xmemory__small_look(const void *ptr, struct xmemory__block *block);
void xmemory__small_walk(xmemory__block_fn *fn, void *arg);
void xmemory__small_figures(struct xmemory__figures *figures);
/* The two descriptors that it must have, 0 and 1: where they are, or NULL. For who guards them. */
int *xmemory__small_descriptor(unsigned i);
/* Is it still open, and that file's? */
bool xmemory__small_descriptor_is_ours(unsigned i);

/* falloc.c */
bool xmemory__mapped_free(void *ptr);
/* The block that begins at offs in the mapping that ptr lies in, or the nearest one to ptr. */
bool xmemory__mapped_free_at(void *ptr, size_t offs);
bool xmemory__mapped_look(const void *ptr, struct xmemory__block *block);
void xmemory__mapped_walk(xmemory__block_fn *fn, void *arg);
void xmemory__mapped_figures(uint64_t *files, uint64_t *mappings);

/* ---- fork (fork.c): a child gets VM files of its own ---- */

void xmemory__watch_forks(void);
/* What the handlers do, for a fork that does not call them. False: a lock is held, and nothing was done. */
bool xmemory__fork_try(void);
void xmemory__fork_end(bool child);
/* In a child for which nothing was done: what is in VM files is its parent's. Signal-safe. */
void xmemory__fork_orphaned(void);
void xmemory__vm_orphaned(void);
void xmemory__small_orphaned(void);
/* Does this address lie in memory that a fork copies? */
bool xmemory__is_elsewhere(const void *address);
bool xmemory__vm_holds(const void *address);
/* Of the library's mutexes: a thread that holds one already is told so, as a signal handler may fork. */
#define XMEMORY__MUTEX MA_FORKMUTEX
/* Copy before the fork; in the child, map the copies. */
void xmemory__vm_copy(void);
void xmemory__vm_copied(bool child);
void xmemory__small_copy(void);
void xmemory__small_copied(bool child);

/* ---- warn.c: of what a call without a result was wrongly given ---- */

enum xmemory__warning {
	XMEMORY__FREE_NULL,
	XMEMORY__FREE_UNKNOWN,
	XMEMORY__REALLOC_UNKNOWN,
	XMEMORY__FDEALLOC_NULL,
	XMEMORY__FDEALLOC_UNKNOWN,
	XMEMORY__WARNINGS,
};

/* One line, or another count; errno is kept. For a pointer, the thread's last failure is EINVAL and says the same. */
void xmemory__warn(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line);
/* How many there were, printed or not. */
uint64_t xmemory__warnings(void);
void xmemory__warnings_set_up(void);
void xmemory__warnings_forked(void);

/* ---- api.c, report.c ---- */

void *xmemory__get(const struct xmemory__ask *ask);
/* What ptr is, wherever it lies. */
bool xmemory__look(const void *ptr, struct xmemory__block *block);
/* Each live block; the lock is not held. */
void xmemory__walk(xmemory__block_fn *fn, void *arg);
/* One line on stderr, errno kept. */
void xmemory__say(const char *format, ...) MA_PRINTF(1, 2);

#endif /* XMEMORY_CORE_H */
