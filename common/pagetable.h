/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In memory: where a checkpoint file has each page of its map, with the page's hash; and which places of that file are in use.
 */
#ifndef MA_PAGETABLE_H
#define MA_PAGETABLE_H

#include "common/pagehash.h"

#define MA_PAGES_MOST ((uint64_t)1 << 32) /* Of a map, and of a checkpoint file: 16 TiB. */

/* Entries of a record in the checkpoint file, too. */
struct ma_page_entry {
	uint32_t page;  /* Of the map's file. */
	uint32_t place; /* Of the checkpoint file; 0: the page is all zeros, and has none. */
	struct ma_hash hash;
};

_Static_assert(sizeof(struct ma_page_entry) == 24, "format 1");

struct ma_page_leaf;

struct ma_pagetable {
	struct ma_page_leaf **leaf; /* By page; NULL: none of its pages has a place. */
	uint64_t leaves;
	uint64_t pages; /* So many have a place. */
	uint64_t turn;  /* Marks of earlier turns do not count. */
};

/* False: no memory, and nothing changed. An entry without a place takes the page away. */
bool ma_pagetable_set(struct ma_pagetable *t, const struct ma_page_entry *e);
/* The page's entry; place 0: there is none. */
struct ma_page_entry ma_pagetable_get(const struct ma_pagetable *t, uint64_t page);
/* The first page from this one on that has a place; MA_PAGES_MOST: there is none. */
uint64_t ma_pagetable_next(const struct ma_pagetable *t, uint64_t page);
/* Mark a page, whose entry can then be set without memory, until ma_pagetable_unmark() unmarks all. False: it was marked before, or (with *failed) there is no memory. */
bool ma_pagetable_mark(struct ma_pagetable *t, uint64_t page, bool *failed);
bool ma_pagetable_is_marked(const struct ma_pagetable *t, uint64_t page);
void ma_pagetable_unmark(struct ma_pagetable *t);
void ma_pagetable_clear(struct ma_pagetable *t);

/* Which places are used: a bit for each. All beyond are free. */
struct ma_places {
	uint64_t *word;
	uint64_t words;
	uint64_t full; /* All places below it are used. */
};

/* False: no memory. */
bool ma_places_use(struct ma_places *p, uint64_t first, uint64_t count);
void ma_places_free(struct ma_places *p, uint64_t first, uint64_t count);
/* The lowest run of free places, marked as used: its first; 0: no memory, or MA_PAGES_MOST are used. */
uint64_t ma_places_take(struct ma_places *p, uint64_t count);
/* The same of places below this end; 0: there is no such run. */
uint64_t ma_places_take_below(struct ma_places *p, uint64_t count, uint64_t end);
void ma_places_clear(struct ma_places *p);

#endif /* MA_PAGETABLE_H */
