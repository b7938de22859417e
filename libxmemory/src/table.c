/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sites and the pointer table. Both grow only, in pages of their own, and are read without a lock: what is linked in was
 * written before, and never moves.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "core.h"

#include "common/error.h"

#define LEAVES     16384
#define WIDE       4096
#define NARROW     32768
#define POOL_BYTES ((size_t)16 << 10)
#define RESERVE    ((size_t)64 << 10)
#define RESERVES   4
#define NAME_MAX_  255

_Atomic(struct xmemory__leaf *) xmemory__root[XMEMORY__ROOTS];
struct xmemory__head xmemory__heads[XMEMORY__HEADS];
static _Atomic(struct xmemory__site *) chains[XMEMORY__HEADS];

/* ---- memory ---- */

void *xmemory__pages(size_t bytes)
{
	void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return pages == MAP_FAILED
		       ? ma_fail_null(
				 ENOMEM,
				 "no memory for %zu bytes of tables (RLIMIT_DATA?); free blocks, or raise the limit",
				 bytes)
		       : pages;
}

/* In pieces: who gets one must not leave room for others to use up. */
static _Atomic(void *) reserve[RESERVES];

void xmemory__reserve_take(void)
{
	for (size_t i = 0; i < RESERVES; i++) {
		void *none = NULL;
		void *pages = MAP_FAILED;

		if (!ma_load(&reserve[i]))
			pages = mmap(NULL, RESERVE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (pages != MAP_FAILED && !ma_cas(&reserve[i], &none, pages))
			munmap(pages, RESERVE);
	}
}

bool xmemory__reserve_drop(void)
{
	for (size_t i = 0; i < RESERVES; i++) {
		void *pages = atomic_exchange(&reserve[i], NULL);

		if (pages) {
			munmap(pages, RESERVE);
			return true;
		}
	}
	return false;
}

void *xmemory__pool_take(struct xmemory__pool *pool)
{
	size_t bytes = ma_up(pool->bytes, 16);
	void *record;

	if (!pool->free) {
		char *pages = xmemory__pages(POOL_BYTES);

		for (size_t at = 0; pages && at + bytes <= POOL_BYTES; at += bytes)
			xmemory__pool_give(pool, pages + at);
	}
	record = pool->free;
	if (!record)
		return NULL;
	memcpy(&pool->free, record, sizeof(void *));
	return memset(record, 0, pool->bytes);
}

void xmemory__pool_give(struct xmemory__pool *pool, void *record)
{
	memcpy(record, &pool->free, sizeof(void *));
	pool->free = record;
}

/* ---- sites ---- */

#define DIR_BITS 10

static struct {
	pthread_mutex_t mutex;
	_Atomic uint32_t end;
	char *room, *room_end; /* For records. */
	_Atomic(struct xmemory__site **) dir[XMEMORY__SITES >> DIR_BITS];
} sites = { .mutex = XMEMORY__MUTEX, .end = 1 };

static struct xmemory__site *find_site(uint32_t hash, const char *file, int line)
{
	struct xmemory__site *site = ma_load_acquire(&chains[hash]);

	while (site && (site->file != file || site->line != line))
		site = site->next;
	return site;
}

/* A record with the file's name, for what the caller has may be unloaded. */
static struct xmemory__site *new_site(const char *file)
{
	size_t length = strnlen(file ? file : "?", NAME_MAX_);
	size_t bytes = ma_up(sizeof(struct xmemory__site) + length + 1, 16);
	struct xmemory__site *site;

	if ((size_t)(sites.room_end - sites.room) < bytes) {
		char *room = xmemory__pages(POOL_BYTES);

		if (!room)
			return NULL;
		sites.room = room;
		sites.room_end = room + POOL_BYTES;
	}
	site = (struct xmemory__site *)(void *)sites.room;
	sites.room += bytes;
	memcpy(site->name, file ? file : "?", length);
	return site;
}

static bool number_site(struct xmemory__site *site)
{
	_Atomic(struct xmemory__site **) *dir = &sites.dir[ma_load(&sites.end) >> DIR_BITS];

	if (!ma_load(dir))
		ma_store_release(dir, xmemory__pages(sizeof(site) << DIR_BITS));
	if (!ma_load(dir))
		return false;
	site->id = ma_load(&sites.end);
	ma_load(dir)[site->id & ((1 << DIR_BITS) - 1)] = site;
	ma_store_release(&sites.end, site->id + 1);
	return true;
}

/* 0 when there is no memory, or no number left: then the block's site is not known. */
static uint32_t add_site(uint32_t hash, const char *file, int line)
{
	struct xmemory__site *site = find_site(hash, file, line);

	if (site)
		return site->id;
	if (ma_load(&sites.end) >= XMEMORY__SITES - 1)
		return 0;
	site = new_site(file);
	if (!site || !number_site(site))
		return 0;
	site->file = file;
	site->line = line;
	site->next = ma_load(&chains[hash]);
	ma_store_release(&chains[hash], site);
	if (!site->next && file) {
		xmemory__heads[hash].line = line;
		xmemory__heads[hash].id = site->id;
		ma_store_release(&xmemory__heads[hash].file, file);
	}
	return site->id;
}

MA_NOINLINE uint32_t xmemory__site_slow(const char *file, int line)
{
	uint32_t hash = xmemory__site_hash(file, line);
	struct xmemory__site *site = find_site(hash, file, line);
	uint32_t id;

	if (site)
		return site->id;
	xmemory__lock_mutex(&sites.mutex);
	id = add_site(hash, file, line);
	xmemory__unlock_mutex(&sites.mutex);
	return id;
}

static bool was_held; /* See xmemory__budget_hold(). */

void xmemory__sites_hold(void)
{
	was_held = pthread_mutex_lock(&sites.mutex) == EDEADLK;
}

bool xmemory__sites_try(void)
{
	return pthread_mutex_lock(&sites.mutex) == 0;
}

void xmemory__sites_let_go(bool child)
{
	if (child)
		ma_forkmutex_renew(&sites.mutex);
	else if (!was_held)
		pthread_mutex_unlock(&sites.mutex);
	was_held = false;
}

uint32_t xmemory__site_end(void)
{
	return ma_load_acquire(&sites.end);
}

const struct xmemory__site *xmemory__site_of(uint32_t id)
{
	static const union {
		struct xmemory__site site;
		char bytes[sizeof(struct xmemory__site) + 2];
	} unknown = { .bytes = { [offsetof(struct xmemory__site, name)] = '?' } };

	if (id == 0 || id >= xmemory__site_end())
		return &unknown.site;
	return ma_load_acquire(&sites.dir[id >> DIR_BITS])[id & ((1 << DIR_BITS) - 1)];
}

/* ---- the table ---- */

/* Link pages of so many bytes in, unless another thread was first. */
static void *grow(_Atomic(void *) *link, size_t bytes)
{
	void *had = ma_load_acquire(link);
	void *pages;

	if (had)
		return had;
	pages = xmemory__pages(bytes);
	if (pages && !ma_cas(link, &had, pages)) {
		munmap(pages, bytes);
		return had;
	}
	return pages;
}

MA_NOINLINE bool xmemory__put_slow(const void *ptr, uint64_t word)
{
	bool wide = xmemory__entry_size(word) >= XMEMORY__WIDE_FROM;
	uintptr_t address = (uintptr_t)ptr;
	struct xmemory__leaf *leaves, *leaf;

	if (address >> 48 || address & 15) {
		ma_fail(ENOMEM,
			"%p: an address of more than 48 bits, which the tables do not know; use another allocator "
			"below",
			ptr);
		return false;
	}
	leaves = grow((_Atomic(void *) *)&xmemory__root[address >> 34], LEAVES * sizeof(*leaves));
	if (!leaves)
		return false;
	leaf = leaves + (address >> 20 & (LEAVES - 1));
	if (!grow((_Atomic(void *) *)(wide ? &leaf->wide : &leaf->narrow), (wide ? WIDE : NARROW) * sizeof(word)))
		return false;
	ma_store(wide ? xmemory__wide(leaf, ptr) : xmemory__narrow(leaf, ptr), xmemory__entry_make(ptr, word));
	return true;
}

typedef void walk_fn(void *ptr, uint64_t entry, void *arg);

/* Pages of entries that were never written to are no more than a look each: the kernel has one page of zeros. */
static void walk_entries(_Atomic uint64_t *entries, uint32_t count, uintptr_t first, walk_fn *fn, void *arg)
{
	uintptr_t step = ((uintptr_t)1 << 20) / count;

	for (uint32_t i = 0; entries && i < count; i++) {
		uint64_t entry = ma_load(&entries[i]);
		uintptr_t at = first + i * step;

		if (entry & 1)
			fn((void *)((at & ~(uintptr_t)255) | (entry >> 1 & 15) << 4), entry, arg);
	}
}

void xmemory__table_walk(walk_fn *fn, void *arg)
{
	for (uintptr_t r = 0; r < MA_COUNT(xmemory__root); r++) {
		struct xmemory__leaf *leaves = ma_load_acquire(&xmemory__root[r]);

		for (uintptr_t l = 0; leaves && l < LEAVES; l++) {
			uintptr_t first = r << 34 | l << 20;

			walk_entries(ma_load_acquire(&leaves[l].wide), WIDE, first, fn, arg);
			walk_entries(ma_load_acquire(&leaves[l].narrow), NARROW, first, fn, arg);
		}
	}
}
