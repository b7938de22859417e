/* SPDX-License-Identifier: BSD-3-Clause */
/* See roots.h. */
#include "common/roots.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/annotate.h"
#include "common/body.h"
#include "common/cancel.h"
#include "common/error.h"
#include "common/image.h"
#include "common/lock.h"
#include "common/privatize.h"
#include "common/thread.h"

#define WINDOW     32 /* Places of a table where a name may be; all of them in the fixed table. */
#define LEVELS_MAX 48

struct key {
	uint64_t word[MA_ROOT_NAME / 8];
	uint64_t hash;
};

struct table {
	struct ma_root *first;
	_Atomic uint64_t *links;
	uint64_t places;
	uint64_t window;
	uint64_t unit_plus_1;
	uint32_t level;
};

/* What a look-up found: the name's entry, or where it would go. */
struct place {
	struct ma_root *found;
	uint64_t offset; /* What the entry said while it had the name. */
	struct ma_root *spare;
	struct table last;
};

/* ---- tables ---- */

static struct table fixed_table(struct ma_image *map)
{
	return (struct table){
		.first = (struct ma_root *)(void *)(map->base + map->lay.root_off),
		.links = &ma_body(map)->root_link,
		.places = map->lay.roots,
		.window = map->lay.roots,
	};
}

static uint64_t child_id(const struct table *t, uint32_t side)
{
	return 2 * t->unit_plus_1 + side;
}

/* The fixed table has only side 0. */
static uint32_t side_of(const struct table *t, const struct key *key)
{
	return t->level ? (uint32_t)(key->hash >> (64 - t->level)) & 1 : 0;
}

/* Go to the table below. False, and t unchanged: there is none. */
static bool go_down(struct ma_image *map, struct table *t, uint32_t side)
{
	uint64_t link = ma_load_acquire(&t->links[side]); /* Pairs with common/heap_chunk.c:ma_chunk_take_table. */
	struct ma_table unit;

	if (link == 0 || t->level == LEVELS_MAX || !map->engine->table_at(map, link - 1, &unit) ||
	    unit.id != child_id(t, side))
		return false;
	t->links = (_Atomic uint64_t *)(void *)(map->base + unit.offset);
	t->first = (struct ma_root *)(void *)(map->base + unit.offset) + 1;
	t->places = unit.bytes / sizeof(struct ma_root) - 1;
	t->window = ma_min(WINDOW, t->places);
	t->unit_plus_1 = link;
	t->level++;
	return true;
}

void ma_root_clear(struct ma_image *map, void *table, uint64_t bytes)
{
	if (map->annotated)
		ma_annotate_open(table, bytes);
	memset(table, 0, bytes);
}

bool ma_root_is_linked(struct ma_image *map, uint64_t unit)
{
	struct ma_table table, above;

	for (uint32_t level = 0; level < LEVELS_MAX && map->engine->table_at(map, unit, &table); level++) {
		uint64_t parent = table.id / 2;

		if (parent == 0)
			/* Pairs with common/heap_chunk.c:ma_chunk_take_table. */
			return table.id == 0 && ma_load_acquire(&ma_body(map)->root_link) == unit + 1;
		if (!map->engine->table_at(map, parent - 1, &above) ||
		    ma_load_acquire((_Atomic uint64_t *)(void *)(map->base + above.offset) + table.id % 2) != unit + 1)
			return false;
		unit = parent - 1;
	}
	return false;
}

/* Do something with t and each table below it. */
static void visit(struct ma_image *map, const struct table *t,
		  void (*fn)(struct ma_image *, const struct table *, void *), void *arg)
{
	fn(map, t, arg);
	for (uint32_t side = 0; side < (t->level ? 2 : 1); side++) {
		struct table child = *t;

		if (go_down(map, &child, side))
			visit(map, &child, fn, arg);
	}
}

/* A table that comes too late to be copied must not be found later: links that lead to none are cut. */
static void privatize_table(struct ma_image *map, const struct table *t, void *arg)
{
	(void)arg;
	/* From the links on; before the fixed table there is nothing that a copy would harm. */
	ma_privatize(map, (uint64_t)((char *)(t->first - 1) - map->base), (t->places + 1) * sizeof(struct ma_root));
	for (uint32_t side = 0; side < (t->level ? 2 : 1); side++) {
		struct table child = *t;

		if (ma_load(&t->links[side]) && !go_down(map, &child, side))
			ma_store(&t->links[side], 0);
	}
}

void ma_root_own(struct ma_image *map)
{
	struct table t = fixed_table(map);

	visit(map, &t, privatize_table, NULL);
}

/* ---- names ---- */

static bool make_key(struct ma_image *map, const char *name, struct key *key)
{
	size_t length = name ? strnlen(name, MA_ROOT_NAME) : 0;

	if (length == 0 || length >= MA_ROOT_NAME) {
		ma_fail(EINVAL, "%s: invalid root name: it %s; use 1 to %d bytes", map->name,
			!name    ? "is NULL"
			: length ? "is too long"
				 : "is empty",
			MA_ROOT_NAME - 1);
		return false;
	}
	memset(key, 0, sizeof(*key));
	memcpy(key->word, name, length);
	for (size_t i = 0; i < MA_COUNT(key->word); i++)
		key->hash = ma_mix(key->hash ^ key->word[i]);
	return true;
}

static bool has_name(const struct ma_root *root, const struct key *key)
{
	for (size_t i = 0; i < MA_COUNT(key->word); i++)
		if (ma_load_acquire(&root->name[i]) != key->word[i]) /* Pairs with common/roots.c:insert. */
			return false;
	return true;
}

/* True when the look-up ends in this table. */
static bool look_in(const struct table *t, const struct key *key, struct place *p)
{
	for (uint64_t i = 0; i < t->window; i++) {
		struct ma_root *root = &t->first[(key->hash + i) % t->places];
		uint64_t state = ma_load_acquire(&root->state); /* Pairs with common/roots.c:insert. */
		bool same = state & 1 && has_name(root, key);

		p->offset = ma_load_acquire(&root->offset); /* Pairs with common/roots.c:put. */
		if (same && ma_load(&root->state) == state) {
			p->found = root;
			return true;
		}
		if (!p->spare && (!(state & 1) || p->offset == 0))
			p->spare = root;
		if (state == 0)
			return true;
		if (same)
			i--; /* It got another name just now: look again. */
	}
	return false;
}

static void look_up(struct ma_image *map, const struct key *key, struct place *p)
{
	struct table t = fixed_table(map);

	*p = (struct place){ 0 };
	do {
		p->last = t;
		if (look_in(&t, key, p))
			return;
	} while (go_down(map, &t, side_of(&t, key)));
}

void *ma_root_get(struct ma_image *map, const char *name)
{
	struct key key;
	struct place p;

	if (!make_key(map, name, &key))
		return NULL;
	look_up(map, &key, &p);
	if (!p.found || p.offset == 0)
		return ma_fail_quiet_null(ENOENT,
					  "%s: no such root: \"%s\" is not set; set it first, or check the name",
					  map->name, name);
	if (!ma_root_is_inside(map, p.offset))
		return ma_fail_null(
			ENOENT,
			"%s: root \"%s\" is damaged: it points outside the map; set it again, or run: mapalloc check",
			map->name, name);
	return map->base + p.offset;
}

/* A new table below the last one that was looked into, and the name's place in it. NULL: errno. */
static struct ma_root *add_table(struct ma_image *map, const struct key *key, struct place *p)
{
	struct ma_tcache *tc = ma_tcache_get(map);
	uint32_t side = side_of(&p->last, key);

	if (!tc)
		return NULL;
	if (p->last.level == LEVELS_MAX || !map->engine->table_take(tc, &p->last.links[side], child_id(&p->last, side)))
		return ma_fail_null(
			errno == ENOMEM ? ENOSPC : errno,
			"%s: cannot add a root: no room for another table of roots; free blocks or disk space",
			map->name);
	go_down(map, &p->last, side);
	return &p->last.first[key->hash % p->last.places];
}

/* The root lock is ours. Killed before the last store: the place is free, or being named, and can be used again. */
static int insert(struct ma_image *map, const struct key *key, uint64_t offset, struct place *p)
{
	struct ma_root *root = p->spare ? p->spare : add_table(map, key, p);
	uint64_t state;

	if (!root)
		return -1;
	state = ma_load(&root->state);
	if (state & 1)
		ma_store(&root->state, ++state);
	/* Each store of the name releases: a thread that sees a word of it finds the even state when it reads again. */
	for (size_t i = 0; i < MA_COUNT(key->word); i++)
		ma_store_release(&root->name[i], key->word[i]); /* Pairs with common/roots.c:has_name. */
	/* Pairs with common/roots.c:look_in. */
	ma_store_release(&root->offset, offset);
	ma_store_kill(&root->state, state + 1); /* Pairs with common/roots.c:look_in. */
	return 0;
}

/* What a root says; 0: there is none, or none that a reader would believe. */
static uint64_t offset_of(const struct ma_image *map, const struct place *p)
{
	return p->found && ma_root_is_inside(map, p->offset) ? p->offset : 0;
}

/* The root lock is ours. */
static int put(struct ma_image *map, const struct key *key, uint64_t offset, struct place *p)
{
	if (p->found)
		ma_store_kill(&p->found->offset, offset); /* Pairs with common/roots.c:look_in. */
	else if (offset)
		return insert(map, key, offset, p);
	return 0;
}

/* expected NULL: whatever it is. 1: it was so, and is changed. 0: it was not, and *expected says what it is. -1: errno. */
static int change(struct ma_image *map, const struct key *key, uint64_t *expected, uint64_t offset)
{
	uint32_t slot = ma_body_slot(map);
	struct place p;
	int result = 0;
	uint64_t was;

	if (slot == MA_NO_SLOT)
		return -1;
	/* Nothing to mend when it is inherited: every change under it is one store. */
	if (ma_lock_take(map, &ma_body(map)->root_lock, slot) == MA_LOCK_STUCK)
		return -1;
	look_up(map, key, &p);
	was = offset_of(map, &p);
	if (!expected || *expected == was)
		result = put(map, key, offset, &p) < 0 ? -1 : 1;
	else
		*expected = was;
	ma_lock_give(&ma_body(map)->root_lock);
	return result;
}

/* May the root of this name become ptr? False: errno. */
static bool may_set(struct ma_image *map, const char *name, const void *ptr, struct key *key)
{
	if (!make_key(map, name, key))
		return false;
	if (!ma_image_writable(map))
		ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name);
	else if (ptr && !ma_root_is_inside(map, (uint64_t)((const char *)ptr - map->base)))
		ma_fail(EINVAL,
			"%s: cannot set root \"%s\": address %p lies outside the map's blocks; use the address of a block",
			map->name, name, ptr);
	else
		return true;
	return false;
}

static uint64_t offset_from(const struct ma_image *map, const void *ptr)
{
	return ptr ? (uint64_t)((const char *)ptr - map->base) : 0;
}

int ma_root_set(struct ma_image *map, const char *name, void *ptr)
{
	struct key key;

	if (!may_set(map, name, ptr, &key))
		return -1;
	return change(map, &key, NULL, offset_from(map, ptr)) < 0 ? -1 : 0;
}

int ma_root_cas(struct ma_image *map, const char *name, void **expected, void *desired)
{
	uint64_t offset;
	struct key key;
	int result;

	if (!may_set(map, name, desired, &key))
		return -1;
	if (!expected)
		return ma_fail(EINVAL, "%s: cannot compare root \"%s\": expected is NULL; pass an address", map->name, name);
	offset = offset_from(map, *expected);
	result = change(map, &key, &offset, offset_from(map, desired));
	if (result == 0)
		*expected = offset ? map->base + offset : NULL;
	return result;
}

/* 0: the block is complete. */
static int fill(const struct ma_root_new *how, void *block)
{
	return how->init ? how->init(block, how->size, how->arg) : 0;
}

/* Killed before the root is set, the block stays allocated; that is the one block that a killed thread may leave. */
static void *create(struct ma_image *map, const char *name, const struct ma_root_new *how, int *created)
{
	void *block = how->take(how->handle, how->size), *known = NULL;
	int saved;

	if (!block)
		return NULL;
	*created = fill(how, block) == 0 ? ma_root_cas(map, name, &known, block) : -1;
	if (*created == 1)
		return block;
	saved = errno;
	how->give(how->handle, block);
	errno = saved;
	if (*created == 0)
		return known;
	*created = 0;
	return NULL;
}

void *ma_root_find_or_create(struct ma_image *map, const char *name, const struct ma_root_new *how, int *created)
{
	MA_UNCANCELLED;
	int saved = errno, dummy;
	struct key key;
	struct place p;
	void *root;

	created = created ? created : &dummy;
	*created = 0;
	if (!make_key(map, name, &key))
		return NULL;
	look_up(map, &key, &p);
	if (offset_of(map, &p))
		return map->base + p.offset;
	if (!may_set(map, name, NULL, &key))
		return NULL;
	root = create(map, name, how, created);
	if (root)
		errno = saved;
	return root;
}

static void check_table(struct ma_image *map, const struct table *t, void *arg)
{
	for (uint64_t i = 0; i < t->places; i++) {
		uint64_t state = ma_load_acquire(&t->first[i].state); /* Pairs with common/roots.c:insert. */
		uint64_t offset = ma_load(&t->first[i].offset);

		if ((state & 1) && offset != 0 && !ma_root_is_inside(map, offset))
			ma_found(arg, "body/root", (uint64_t)((char *)&t->first[i] - map->base),
				 "root in place %" PRIu64 " of table %" PRIu64 " points out of the map", i, t->unit_plus_1);
	}
}

uint64_t ma_root_check(struct ma_image *map, ma_finding_fn *fn, void *arg)
{
	struct ma_findings to = { .fn = fn, .arg = arg };
	struct table t = fixed_table(map);

	visit(map, &t, check_table, &to);
	return to.count;
}

static void salvage_table(struct ma_image *map, const struct table *t, void *arg)
{
	for (uint64_t i = 0; i < t->places; i++) {
		struct ma_root *root = &t->first[i];
		uint64_t offset = ma_load(&root->offset);

		if (!(ma_load(&root->state) & 1) || offset == 0 || ma_root_is_inside(map, offset))
			continue;
		ma_found(arg, "salvage/lost", (uint64_t)((char *)root - map->base),
			 "root %.*s pointed out of the map, and is taken away", MA_ROOT_NAME, (const char *)root->name);
		ma_store(&root->offset, 0);
	}
	for (uint32_t side = 0; side < (t->level ? 2 : 1); side++) {
		struct table child = *t;

		if (ma_load(&t->links[side]) != 0 && !go_down(map, &child, side))
			ma_found(arg, "salvage/lost", (uint64_t)((char *)&t->links[side] - map->base),
				 "a table of roots is lost, or was just being made");
	}
}

void ma_root_salvage(struct ma_image *map, struct ma_findings *to)
{
	struct table t = fixed_table(map);

	visit(map, &t, salvage_table, to);
}

struct walk {
	ma_root_fn *fn;
	void *arg;
	int result;
};

/* A name that is being changed meanwhile is seen whole, or passed by. */
static int show_root(struct ma_root *root, struct walk *walk)
{
	uint64_t state = ma_load_acquire(&root->state);   /* Pairs with common/roots.c:insert. */
	uint64_t offset = ma_load_acquire(&root->offset); /* Pairs with common/roots.c:put. */
	struct key key;

	for (size_t i = 0; i < MA_COUNT(key.word); i++)
		key.word[i] = ma_load_acquire(&root->name[i]); /* Pairs with common/roots.c:insert. */
	if (!(state & 1) || offset == 0 || ma_load(&root->state) != state)
		return 0;
	return walk->fn((const char *)key.word, strnlen((const char *)key.word, MA_ROOT_NAME), offset, walk->arg);
}

static void walk_table(struct ma_image *map, const struct table *t, void *arg)
{
	struct walk *walk = arg;

	(void)map;
	for (uint64_t i = 0; i < t->places && walk->result == 0; i++)
		walk->result = show_root(&t->first[i], walk);
}

int ma_root_walk(struct ma_image *map, ma_root_fn *fn, void *arg)
{
	struct walk walk = { .fn = fn, .arg = arg };
	struct table t = fixed_table(map);

	visit(map, &t, walk_table, &walk);
	return walk.result;
}
