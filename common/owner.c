/* SPDX-License-Identifier: BSD-3-Clause */
/* See owner.h. Every change of a record is one compare-exchange. */
#include "common/owner.h"

#include <errno.h>

#include "common/body.h"
#include "common/error.h"
#include "common/map.h"
#include "common/proc.h"
#include "common/space.h"

#define SLOT_PART 0xffffu

static struct ma_owner *record(struct ma_map *map, uint64_t index)
{
	return (struct ma_owner *)(void *)(map->base + map->lay.owner_off) + index;
}

static uint32_t top(struct ma_map *map)
{
	return (uint32_t)ma_min(ma_load_acquire(&ma_body(map)->owner_top), map->lay.owners);
}

static uint64_t tag_of(uint64_t index, uint64_t word)
{
	return (word >> 16) % MA_TAG_GENERATIONS << 16 | (index + 1);
}

/* Generation 0 is never in use, so a tag is never made of zero bits alone and a fresh record reads as nobody's. */
static uint64_t next_word(uint64_t word, uint32_t slot)
{
	uint64_t generation = ((word >> 16) + 1) % MA_TAG_GENERATIONS;

	return (generation ? generation : 1) << 16 | (slot + 1);
}

static bool word_is_free(struct ma_map *map, uint64_t word, bool ask_kernel)
{
	uint32_t slot = (uint32_t)(word & SLOT_PART);

	return slot == 0 || (ask_kernel && !ma_proc_alive(map, slot - 1));
}

static uint64_t take_among(struct ma_map *map, uint32_t count, uint32_t slot, bool ask_kernel)
{
	for (uint32_t i = 0; i < count; i++) {
		_Atomic uint64_t *word = &record(map, i)->word;
		uint64_t seen = ma_load_acquire(word);

		while (word_is_free(map, seen, ask_kernel))
			if (ma_cas(word, &seen, next_word(seen, slot)))
				return tag_of(i, next_word(seen, slot));
	}
	return 0;
}

/* Raise the number of records in use by one, when the table has more. */
static bool widen(struct ma_map *map, uint32_t seen)
{
	if (seen >= map->lay.owners)
		return false;
	ma_cas(&ma_body(map)->owner_top, &seen, seen + 1);
	return true;
}

uint64_t ma_owner_take(struct ma_map *map)
{
	uint32_t slot = ma_proc_slot(map);
	uint64_t tag;
	uint32_t count;

	if (slot == MA_NO_SLOT)
		return 0;
	do {
		count = top(map);
		tag = take_among(map, count, slot, false);
	} while (!tag && widen(map, count));
	if (!tag)
		tag = take_among(map, top(map), slot, true);
	if (!tag)
		ma_fail(EUSERS, "%s: all %u owner records are taken by live threads", map->name, map->lay.owners);
	return tag;
}

void ma_owner_give(struct ma_map *map, uint64_t tag)
{
	uint64_t index = (tag & SLOT_PART) - 1;
	_Atomic uint64_t *word = &record(map, index)->word;
	uint64_t seen = ma_load(word);

	if (tag_of(index, seen) == tag)
		ma_cas(word, &seen, seen & ~(uint64_t)SLOT_PART);
}

bool ma_owner_alive(struct ma_map *map, uint64_t tag)
{
	uint64_t index = (tag & SLOT_PART) - 1;
	uint64_t word;

	if (tag == 0 || index >= map->lay.owners)
		return false;
	word = ma_load_acquire(&record(map, index)->word);
	if ((word & SLOT_PART) == 0 || tag_of(index, word) != tag)
		return false;
	return ma_proc_alive(map, (uint32_t)(word & SLOT_PART) - 1);
}

static uint32_t retire(struct ma_map *map, bool all, uint32_t slot)
{
	uint32_t count = top(map);
	uint32_t retired = 0;

	for (uint32_t i = 0; i < count; i++) {
		_Atomic uint64_t *word = &record(map, i)->word;
		uint64_t seen = ma_load(word);
		uint32_t named = (uint32_t)(seen & SLOT_PART);

		if (named != 0 && (all || named == slot + 1))
			retired += ma_cas(word, &seen, seen & ~(uint64_t)SLOT_PART);
	}
	return retired;
}

uint32_t ma_owner_retire_slot(struct ma_map *map, uint32_t slot)
{
	return retire(map, false, slot);
}

uint32_t ma_owner_retire_all(struct ma_map *map)
{
	return retire(map, true, 0);
}
