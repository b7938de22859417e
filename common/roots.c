/* SPDX-License-Identifier: BSD-3-Clause */
/* See roots.h. */
#include "common/roots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "common/map.h"
#include "common/proc.h"
#include "common/space.h"

#define ROOTS_MAX (1u << 17)

struct key {
	uint64_t word[MA_ROOT_NAME / 8];
	uint64_t hash;
};

uint32_t ma_root_places(uint64_t length, uint64_t bytes_a_root, uint32_t least)
{
	return (uint32_t)ma_max(least, ma_min(ROOTS_MAX, length / bytes_a_root));
}

/* A table that begins within a page touches one page more. */
uint64_t ma_root_map_bytes(uint32_t places)
{
	uint64_t pages = ((uint64_t)places * sizeof(struct ma_root) + MA_PAGE - 1) / MA_PAGE + 1;

	return (pages + 63) / 64 * 8;
}

static struct ma_root *entry(struct ma_map *map, uint64_t index)
{
	return (struct ma_root *)(void *)(map->base + map->lay.root_off) + index % map->lay.roots;
}

/* The word and the bit for the page that the entry begins in. Entries do not cross pages: both are powers of two. */
static _Atomic uint64_t *page_word(struct ma_map *map, const struct ma_root *root, uint64_t *bit)
{
	uint64_t page = (uint64_t)((const char *)root - map->base) / MA_PAGE - map->lay.root_off / MA_PAGE;

	*bit = (uint64_t)1 << page % 64;
	return (_Atomic uint64_t *)(void *)(map->base + map->lay.root_map_off) + page / 64;
}

/* 0 for an entry in a hole. */
static uint64_t state_of(struct ma_map *map, const struct ma_root *root)
{
	uint64_t bit;

	return ma_load_acquire(page_word(map, root, &bit)) & bit ? ma_load_acquire(&root->state) : 0;
}

/* What lies of the table in this entry's page. */
static void fresh_page(struct ma_map *map, const struct ma_root *root)
{
	uint64_t page = ma_down((uint64_t)((const char *)root - map->base), MA_PAGE);
	uint64_t from = ma_max(page, map->lay.root_off);
	uint64_t to = ma_min(page + MA_PAGE, map->lay.root_off + map->lay.roots * sizeof(struct ma_root));

	ma_body_fresh(map, from, to - from);
}

/* Give the entry's page its space, then say so. */
static int back_page(struct ma_map *map, const struct ma_root *root)
{
	uint64_t bit;
	_Atomic uint64_t *word = page_word(map, root, &bit);

	if (ma_load(word) & bit)
		return 0;
	if (ma_space_take(map, (uint64_t)((const char *)root - map->base), sizeof(*root)) < 0)
		return -1;
	fresh_page(map, root);
	ma_store_kill(word, ma_load(word) | bit);
	return 0;
}

/* Do something with each entry whose page is no hole; the first -1 ends it. */
static int each_backed(struct ma_map *map, int (*fn)(struct ma_map *map, struct ma_root *root))
{
	int result = 0;

	for (uint32_t i = 0; i < map->lay.roots && result == 0; i++) {
		struct ma_root *root = entry(map, i);
		uint64_t bit;

		if (ma_load(page_word(map, root, &bit)) & bit)
			result = fn(map, root);
	}
	return result;
}

static int back_entry(struct ma_map *map, struct ma_root *root)
{
	return ma_space_take(map, (uint64_t)((char *)root - map->base), sizeof(*root));
}

static int own_entry(struct ma_map *map, struct ma_root *root)
{
	ma_body_own(map, (uint64_t)((char *)root - map->base), sizeof(*root));
	return 0;
}

int ma_root_back(struct ma_map *map)
{
	return each_backed(map, back_entry);
}

void ma_root_own(struct ma_map *map)
{
	each_backed(map, own_entry);
}

static bool make_key(struct ma_map *map, const char *name, struct key *key)
{
	size_t length = name ? strnlen(name, MA_ROOT_NAME) : 0;

	if (length == 0 || length >= MA_ROOT_NAME) {
		ma_fail(EINVAL, "%s: a root's name has 1 to %d bytes", map->name, MA_ROOT_NAME - 1);
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
		if (ma_load_acquire(&root->name[i]) != key->word[i])
			return false;
	return true;
}

/* The entry in use under this name. *offset is what it said while it had the name. */
static struct ma_root *find(struct ma_map *map, const struct key *key, uint64_t *offset)
{
	for (uint32_t i = 0; i < map->lay.roots; i++) {
		struct ma_root *root = entry(map, key->hash + i);
		uint64_t state = state_of(map, root);

		if (state == 0)
			return NULL;
		if (!(state & 1) || !has_name(root, key))
			continue;
		*offset = ma_load_acquire(&root->offset);
		if (ma_load(&root->state) == state)
			return root;
		i--; /* It got another name just now: look again. */
	}
	return NULL;
}

void *ma_root_get(struct ma_map *map, const char *name)
{
	struct key key;
	uint64_t offset = 0;

	if (!make_key(map, name, &key))
		return NULL;
	if (!find(map, &key, &offset) || offset == 0)
		return ma_fail_null(ENOENT, "%s: no root \"%s\"", map->name, name);
	if (offset < map->lay.user_off || offset - map->lay.user_off >= map->lay.user_bytes)
		return ma_fail_null(ENOENT, "%s: root \"%s\" is damaged: it points out of the map", map->name, name);
	return map->base + offset;
}

/* A place for a new name: one never used, else one whose root was taken away. */
static struct ma_root *find_place(struct ma_map *map, const struct key *key)
{
	struct ma_root *left = NULL;

	for (uint32_t i = 0; i < map->lay.roots; i++) {
		struct ma_root *root = entry(map, key->hash + i);
		uint64_t state = state_of(map, root);

		if (state == 0)
			return root;
		if (!left && (!(state & 1) || ma_load(&root->offset) == 0))
			left = root;
	}
	return left;
}

/* The root lock is ours. Killed before the last store: the place is free, or being named, and can be used again. */
static int insert(struct ma_map *map, const struct key *key, uint64_t offset)
{
	struct ma_root *root = find_place(map, key);
	uint64_t state;

	if (!root)
		return ma_fail(ENOSPC, "%s: all %u places for roots are taken", map->name, map->lay.roots);
	if (back_page(map, root) < 0)
		return -1;
	state = ma_load(&root->state);
	if (state & 1)
		ma_store(&root->state, ++state);
	/* Each store of the name releases: whoever sees a word of it finds the even state when looking again. */
	for (size_t i = 0; i < MA_COUNT(key->word); i++)
		ma_store_release(&root->name[i], key->word[i]);
	ma_store_release(&root->offset, offset);
	ma_store_kill(&root->state, state + 1);
	return 0;
}

static int set_offset(struct ma_map *map, const struct key *key, uint64_t offset)
{
	uint32_t slot = ma_proc_slot(map);
	uint64_t old;
	struct ma_root *root;
	int result = 0;

	if (slot == MA_NO_SLOT)
		return -1;
	/* Nothing to mend when it is inherited: every change under it is one store. */
	ma_lock_take(map, &ma_body(map)->root_lock, slot);
	root = find(map, key, &old);
	if (root)
		ma_store_kill(&root->offset, offset);
	else if (offset)
		result = insert(map, key, offset);
	ma_lock_give(&ma_body(map)->root_lock);
	return result;
}

int ma_root_set(struct ma_map *map, const char *name, void *ptr)
{
	uint64_t offset = ptr ? (uint64_t)((char *)ptr - map->base) : 0;
	struct key key;

	if (!make_key(map, name, &key))
		return -1;
	if (!ma_map_writable(map))
		return ma_fail(EROFS, "%s: is open read-only", map->name);
	if (ptr && (offset < map->lay.user_off || offset - map->lay.user_off >= map->lay.user_bytes))
		return ma_fail(EINVAL, "%s: root \"%s\": %p lies outside the map", map->name, name, ptr);
	return set_offset(map, &key, offset);
}

uint64_t ma_root_check(struct ma_map *map, void (*report)(const char *text, void *arg), void *arg)
{
	uint64_t wrong = 0;
	char text[160];

	for (uint32_t i = 0; i < map->lay.roots; i++) {
		struct ma_root *root = entry(map, i);
		uint64_t offset;

		if (!(state_of(map, root) & 1))
			continue;
		offset = ma_load(&root->offset);
		if (offset == 0 || (offset >= map->lay.user_off && offset - map->lay.user_off < map->lay.user_bytes))
			continue;
		wrong++;
		snprintf(text, sizeof(text), "root in place %u points out of the map", i);
		if (report)
			report(text, arg);
	}
	return wrong;
}
