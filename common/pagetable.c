/* SPDX-License-Identifier: BSD-3-Clause */
/* See pagetable.h. */
#include "common/pagetable.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_PAGES 512

struct ma_page_leaf {
	uint32_t place[LEAF_PAGES];
	struct ma_hash hash[LEAF_PAGES];
	uint64_t marked[LEAF_PAGES / 64];
	uint64_t turn; /* Of the marks. */
};

/* An array of at least so many members, the new ones zero. False: no memory. */
static bool grow(void *array, uint64_t *have, uint64_t want, size_t each)
{
	void **at = array;
	uint64_t count = ma_max(want, *have + *have / 2);
	void *longer;

	if (want <= *have)
		return true;
	longer = realloc(*at, count * each);
	if (!longer)
		return false;
	memset((char *)longer + *have * each, 0, (count - *have) * each);
	*at = longer;
	*have = count;
	return true;
}

/* ---- pages ---- */

static struct ma_page_leaf *leaf_of(struct ma_pagetable *t, uint64_t page)
{
	uint64_t at = page / LEAF_PAGES;

	if (!grow(&t->leaf, &t->leaves, at + 1, sizeof(struct ma_page_leaf *)))
		return NULL;
	if (!t->leaf[at])
		t->leaf[at] = calloc(1, sizeof(struct ma_page_leaf));
	return t->leaf[at];
}

bool ma_pagetable_set(struct ma_pagetable *t, const struct ma_page_entry *e)
{
	struct ma_page_leaf *leaf = leaf_of(t, e->page);
	uint32_t at = e->page % LEAF_PAGES;

	if (!leaf)
		return false;
	if (!leaf->place[at] && e->place)
		t->pages++;
	else if (leaf->place[at] && !e->place)
		t->pages--;
	leaf->place[at] = e->place;
	leaf->hash[at] = e->hash;
	return true;
}

struct ma_page_entry ma_pagetable_get(const struct ma_pagetable *t, uint64_t page)
{
	const struct ma_page_leaf *leaf = page / LEAF_PAGES < t->leaves ? t->leaf[page / LEAF_PAGES] : NULL;
	struct ma_page_entry e = { .page = (uint32_t)page };

	if (leaf) {
		e.place = leaf->place[page % LEAF_PAGES];
		e.hash = leaf->hash[page % LEAF_PAGES];
	}
	return e;
}

uint64_t ma_pagetable_next(const struct ma_pagetable *t, uint64_t page)
{
	while (page / LEAF_PAGES < t->leaves) {
		const struct ma_page_leaf *leaf = t->leaf[page / LEAF_PAGES];

		if (!leaf)
			page = (page / LEAF_PAGES + 1) * LEAF_PAGES;
		else if (leaf->place[page % LEAF_PAGES])
			return page;
		else
			page++;
	}
	return MA_PAGES_MOST;
}

bool ma_pagetable_mark(struct ma_pagetable *t, uint64_t page, bool *failed)
{
	struct ma_page_leaf *leaf = leaf_of(t, page);
	uint64_t at = page % LEAF_PAGES, bit = (uint64_t)1 << at % 64;

	*failed = !leaf;
	if (!leaf)
		return false;
	if (leaf->turn != t->turn)
		memset(leaf->marked, 0, sizeof(leaf->marked));
	leaf->turn = t->turn;
	if (leaf->marked[at / 64] & bit)
		return false;
	leaf->marked[at / 64] |= bit;
	return true;
}

bool ma_pagetable_is_marked(const struct ma_pagetable *t, uint64_t page)
{
	const struct ma_page_leaf *leaf = page / LEAF_PAGES < t->leaves ? t->leaf[page / LEAF_PAGES] : NULL;

	return leaf && leaf->turn == t->turn && (leaf->marked[page % LEAF_PAGES / 64] >> page % 64 & 1);
}

void ma_pagetable_unmark(struct ma_pagetable *t)
{
	t->turn++;
}

void ma_pagetable_clear(struct ma_pagetable *t)
{
	for (uint64_t i = 0; i < t->leaves; i++)
		free(t->leaf[i]);
	free(t->leaf);
	*t = (struct ma_pagetable){ 0 };
}

/* ---- places ---- */

static bool is_used(const struct ma_places *p, uint64_t place)
{
	return place / 64 < p->words && (p->word[place / 64] >> place % 64 & 1);
}

bool ma_places_use(struct ma_places *p, uint64_t first, uint64_t count)
{
	if (!grow(&p->word, &p->words, (first + count + 63) / 64, sizeof(*p->word)))
		return false;
	for (uint64_t i = first; i < first + count; i++)
		p->word[i / 64] |= (uint64_t)1 << i % 64;
	return true;
}

void ma_places_free(struct ma_places *p, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		if (is_used(p, i))
			p->word[i / 64] &= ~((uint64_t)1 << i % 64);
	p->full = ma_min(p->full, first);
}

/* The first of so many free places in a row: whole runs of used and of free ones are passed at once. */
static uint64_t find(const struct ma_places *p, uint64_t count)
{
	uint64_t first = p->full, at = first;

	while (at - first < count && at < p->words * 64) {
		uint64_t word = p->word[at / 64] >> at % 64, rest = 64 - at % 64;

		if (!(word & 1)) {
			at += word ? (uint64_t)__builtin_ctzll(word) : rest;
			continue;
		}
		at += ~word ? ma_min((uint64_t)__builtin_ctzll(~word), rest) : rest;
		first = at;
	}
	return first;
}

/* The lowest: the disk has them already, and is not asked for blocks, which costs a sync of its own. */
uint64_t ma_places_take_below(struct ma_places *p, uint64_t count, uint64_t end)
{
	uint64_t first = find(p, count);

	if (first + count > end || !ma_places_use(p, first, count))
		return 0;
	if (first == p->full)
		p->full = first + count;
	return first;
}

uint64_t ma_places_take(struct ma_places *p, uint64_t count)
{
	return ma_places_take_below(p, count, MA_PAGES_MOST);
}

void ma_places_clear(struct ma_places *p)
{
	free(p->word);
	*p = (struct ma_places){ 0 };
}
