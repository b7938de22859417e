/* SPDX-License-Identifier: BSD-3-Clause */
/* Sites: records in pages of their own, which grow only. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lock.h"
#include "pages.h"
#include "site.h"

#define ROOM_BYTES ((size_t)16 << 10)
#define NAME_MAX_  255
#define DIR_BITS   10

struct xmemory__head xmemory__heads[XMEMORY__HEADS];
static _Atomic(struct xmemory__site *) chains[XMEMORY__HEADS];

static struct {
	pthread_mutex_t mutex;
	_Atomic uint32_t end;
	char *room, *room_end; /* For records. */
	_Atomic(struct xmemory__site **) dir[XMEMORY__SITES >> DIR_BITS];
} sites = { .mutex = XMEMORY__MUTEX, .end = 1 };

static struct xmemory__site *find_site(uint32_t hash, const char *file, int line)
{
	struct xmemory__site *site = ma_load_acquire(&chains[hash]); /* Pairs with libxmemory/src/site.c:add_site. */

	while (site && (site->file != file || site->line != line))
		site = site->next;
	return site;
}

/* A record with the file's name, for what the caller has may be unloaded. */
static struct xmemory__site *new_site(const char *file)
{
	size_t length = file ? strnlen(file, NAME_MAX_) : 1;
	size_t bytes = ma_up(sizeof(struct xmemory__site) + length + 1, 16);
	struct xmemory__site *site;

	if ((size_t)(sites.room_end - sites.room) < bytes) {
		char *room = xmemory__pages(ROOM_BYTES);

		if (!room)
			return NULL;
		sites.room = room;
		sites.room_end = room + ROOM_BYTES;
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
		/* Pairs with libxmemory/src/site.c:xmemory__site_of. */
		ma_store_release(dir, xmemory__pages(sizeof(site) << DIR_BITS));
	if (!ma_load(dir))
		return false;
	site->id = ma_load(&sites.end);
	ma_load(dir)[site->id & ((1 << DIR_BITS) - 1)] = site;
	ma_store_release(&sites.end, site->id + 1); /* Pairs with libxmemory/src/site.c:xmemory__site_end. */
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
	if (!site)
		return 0;
	/* Before its number leads others to it. */
	site->file = file;
	site->line = line;
	site->next = ma_load(&chains[hash]);
	if (!number_site(site))
		return 0;
	ma_store_release(&chains[hash], site); /* Pairs with libxmemory/src/site.c:find_site. */
	if (!site->next && file) {
		xmemory__heads[hash].line = line;
		xmemory__heads[hash].id = site->id;
		/* Pairs with libxmemory/src/site.h:xmemory__head_is. */
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
	xmemory__let_go_inner(&sites.mutex, &was_held, child);
}

uint32_t xmemory__site_end(void)
{
	return ma_load_acquire(&sites.end); /* Pairs with libxmemory/src/site.c:number_site. */
}

const struct xmemory__site *xmemory__site_of(uint32_t id)
{
	static const union {
		struct xmemory__site site;
		char bytes[sizeof(struct xmemory__site) + 2];
	} unknown = { .bytes = { [offsetof(struct xmemory__site, name)] = '?' } };

	if (id == 0 || id >= xmemory__site_end())
		return &unknown.site;
	/* Pairs with libxmemory/src/site.c:number_site. */
	return ma_load_acquire(&sites.dir[id >> DIR_BITS])[id & ((1 << DIR_BITS) - 1)];
}
