/* SPDX-License-Identifier: BSD-3-Clause */
/* See owner.h. Every change of a record is one compare-exchange. */
#include "common/owner.h"

#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/proc.h"
#include "common/slot.h"
#include "common/stamp.h"

#define SLOT_PART 0xffffu
#define LOOKS     64 /* At records that were used, before a new one is taken into use. */

static struct ma_owner *record(struct ma_image *map, uint64_t index)
{
	return (struct ma_owner *)(void *)(map->base + map->lay.owner_off) + index;
}

static uint32_t top(struct ma_image *map)
{
	return (uint32_t)ma_min(ma_load_acquire(&ma_body(map)->owner_top), map->lay.owners); /* Pairs with common/owner.c:ma_owner_take. */
}

static uint64_t tag_of(uint64_t index, uint64_t word)
{
	return (word >> 16) % MA_TAG_GENERATIONS << 16 | (index + 1);
}

/* Differs from that of any copy, and from that of this file before it was last found without a user. */
static uint64_t salt_of(struct ma_image *map, uint64_t index)
{
	const struct ma_header *h = map->header;
	uint64_t uuid;

	memcpy(&uuid, map->sealed.uuid, sizeof(uuid));
	return ma_mix(ma_mix(uuid ^ ma_load(&h->generation)) ^ ma_mix(h->inode ^ h->device << 32) ^ index);
}

/* A record that was never used begins somewhere: a word in a block may name it, and stem from another file (userlock.h). */
static uint64_t first_word(struct ma_image *map, uint64_t index)
{
	return salt_of(map, index) << 16;
}

/* Generation 0 is never in use, so a tag is never made of zero bits alone and a fresh record has no owner. */
static uint64_t next_word(uint64_t word, uint32_t slot)
{
	uint64_t generation = ((word >> 16) + 1) % MA_TAG_GENERATIONS;

	return (generation ? generation : 1) << 16 | (slot + 1);
}

/* Of the dead, the kernel is asked once for all records in a row that name one process slot. */
static bool word_is_free(struct ma_image *map, uint64_t word, bool ask_kernel, uint32_t *alive)
{
	uint32_t slot = (uint32_t)(word & SLOT_PART);

	if (slot == 0)
		return true;
	if (!ask_kernel || slot == *alive)
		return false;
	if (!ma_proc_alive(map, slot - 1))
		return true;
	*alive = slot;
	return false;
}

/* The first one from the hint on, among so many looks. The next thread begins behind it; or with one that was given back. */
static uint64_t take_among(struct ma_image *map, uint32_t count, uint32_t looks, uint32_t slot, bool ask_kernel)
{
	uint32_t start = count ? ma_load(&ma_body(map)->owner_hint) % count : 0;
	uint32_t alive = 0;

	for (uint32_t i = 0; i < ma_min(looks, count); i++) {
		uint32_t at = (start + i) % count;
		_Atomic uint64_t *word = &record(map, at)->word;
		uint64_t seen = ma_load_acquire(word); /* Pairs with common/owner.c:ma_owner_give. */

		while (word_is_free(map, seen, ask_kernel, &alive)) {
			uint64_t mine = next_word(seen ? seen : first_word(map, at), slot);

			if (ma_cas(word, &seen, mine)) {
				ma_store(&ma_body(map)->owner_hint, at + 1);
				return tag_of(at, mine);
			}
		}
	}
	return 0;
}

/* Raise the number of records in use by one, when the table has more; the new one is looked at next. */
static bool widen(struct ma_image *map, uint32_t seen)
{
	uint32_t was = seen;

	if (seen >= map->lay.owners)
		return false;
	ma_cas(&ma_body(map)->owner_top, &seen, seen + 1); /* Pairs with common/owner.c:top. */
	ma_store(&ma_body(map)->owner_hint, was);
	return true;
}

/* A record that was given back was found before: it needs no question. */
static uint64_t take_of_the_dead(struct ma_image *map, uint32_t count, uint32_t slot)
{
	uint64_t begin = ma_now_ns(CLOCK_MONOTONIC), tag;

	if (ma_slot_all_held(map, &map->owners_held_until, begin))
		return 0;
	tag = take_among(map, count, count, slot, true);
	if (!tag)
		ma_slot_note_held(&map->owners_held_until, begin);
	return tag;
}

uint64_t ma_owner_take(struct ma_image *map, uint32_t slot)
{
	uint64_t tag;
	uint32_t count;

	do {
		count = top(map);
		tag = take_among(map, count, LOOKS, slot, false);
	} while (!tag && widen(map, count));
	if (!tag)
		tag = take_among(map, count, count, slot, false);
	if (!tag)
		tag = take_of_the_dead(map, count, slot);
	if (!tag)
		ma_fail(EUSERS,
			"%s: cannot allocate: all %u owner records are in use by threads; end some, or use a larger "
			"map",
			map->name, map->lay.owners);
	return tag;
}

void ma_owner_give(struct ma_image *map, uint64_t tag)
{
	uint64_t index = (tag & SLOT_PART) - 1;
	_Atomic uint64_t *word = &record(map, index)->word;
	uint64_t seen = ma_load(word);

	/* Pairs with common/owner.c:slot_of. */
	if (tag_of(index, seen) == tag && ma_cas(word, &seen, seen & ~(uint64_t)SLOT_PART))
		ma_store(&ma_body(map)->owner_hint, (uint32_t)index);
}

/* The process slot that the record of this tag names, plus 1; 0: none. */
static uint32_t slot_of(struct ma_image *map, uint64_t tag)
{
	uint64_t index = (tag & SLOT_PART) - 1;
	uint64_t word;

	if (tag == 0 || index >= map->lay.owners)
		return 0;
	word = ma_load_acquire(&record(map, index)->word); /* Pairs with common/owner.c:ma_owner_give. */
	return tag_of(index, word) == tag ? (uint32_t)(word & SLOT_PART) : 0;
}

bool ma_owner_is_held(struct ma_image *map, uint64_t tag)
{
	return slot_of(map, tag) != 0;
}

bool ma_owner_alive(struct ma_image *map, uint64_t tag)
{
	uint32_t slot = slot_of(map, tag);

	return slot != 0 && ma_proc_alive(map, slot - 1);
}

static uint32_t retire(struct ma_image *map, bool all, uint32_t slot)
{
	uint32_t count = top(map);
	uint32_t retired = 0;

	for (uint32_t i = 0; i < count; i++) {
		_Atomic uint64_t *word = &record(map, i)->word;
		uint64_t seen = ma_load(word);
		uint32_t named = (uint32_t)(seen & SLOT_PART);

		if (named != 0 && (all || named == slot + 1))
			/* Pairs with common/owner.c:slot_of. */
			retired += ma_cas(word, &seen, seen & ~(uint64_t)SLOT_PART);
	}
	return retired;
}

uint32_t ma_owner_retire_slot(struct ma_image *map, uint32_t slot)
{
	return retire(map, false, slot);
}

uint32_t ma_owner_retire_all(struct ma_image *map)
{
	return retire(map, true, 0);
}

void ma_owner_move_on(struct ma_image *map, uint64_t salt)
{
	uint32_t count = top(map);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t generation = ma_mix(salt_of(map, i) ^ salt) % MA_TAG_GENERATIONS;

		ma_store(&record(map, i)->word, (generation ? generation : 1) << 16);
	}
}
