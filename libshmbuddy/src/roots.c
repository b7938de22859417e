/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Named roots: 64 places, 96 bytes each.
 *
 *      0  state  u64        bits 0-45 offset, 46-61 tag, 62-63 kind
 *      8  name   11 x u64   six bytes each, the tag above them
 *
 *     kind      next                                          by
 *     FREE      CLAIMED, same tag                             who sets a new name
 *     CLAIMED   CLAIMED, next tag: taken over                 who finds no FREE place: the claimer may be dead
 *               USED, same tag, with the offset: the commit   the claimer, when the name is written
 *     USED      USED, same tag, other offset                  who sets this name
 *               FREE, next tag                                who takes the name away, or finds it twice
 *
 * Who writes a name's word first reads it, then looks whether the place is still his, and then compares and exchanges: so a claimer
 * who was only slow cannot write into the name of whoever took his place over. A name counts while all its words have the tag of
 * its state. Two who set the same new name at once may both commit; the first place counts, and the second one goes.
 */
#include <errno.h>
#include <string.h>

#include "region.h"

#define WORDS     11u
#define WORD_NAME 6u

enum kind { KIND_FREE, KIND_CLAIMED, KIND_USED };

struct root {
	_Atomic uint64_t state;
	_Atomic uint64_t name[WORDS];
};

_Static_assert(sizeof(struct root) == LAYOUT_ROOT_BYTES, "format 1");

struct name {
	uint64_t word[WORDS];
};

static enum kind kind_of(uint64_t state)
{
	return (enum kind)(state >> 62);
}

static uint64_t tag_of(uint64_t state)
{
	return state >> 46 & 0xffff;
}

static uint64_t offset_of(uint64_t state)
{
	return state & (((uint64_t)1 << 46) - 1);
}

static uint64_t state_of(enum kind kind, uint64_t tag, uint64_t offset)
{
	return (uint64_t)kind << 62 | (tag & 0xffff) << 46 | offset;
}

static struct root *root_at(const struct shmbuddy *h, unsigned i)
{
	return (struct root *)(void *)(h->base + LAYOUT_ROOTS_AT) + i;
}

static bool make_name(const struct shmbuddy *h, const char *text, struct name *name)
{
	size_t bytes = strnlen(text, SHMBUDDY_ROOT_MAX + 1);

	memset(name, 0, sizeof(*name));
	for (size_t k = 0; k < bytes && k < WORDS * WORD_NAME; k++)
		name->word[k / WORD_NAME] |= (uint64_t)(unsigned char)text[k] << k % WORD_NAME * 8;
	if (bytes > 0 && bytes <= SHMBUDDY_ROOT_MAX)
		return true;
	shmbuddy__fail(h, EINVAL, "a root's name has 1 to 63 bytes");
	return false;
}

/* Is this place used for this name, now? Then its state is left in *state. */
static bool matches(struct root *root, const struct name *name, uint64_t *state)
{
	*state = ma_load_acquire(&root->state);
	if (kind_of(*state) != KIND_USED)
		return false;
	for (unsigned k = 0; k < WORDS; k++)
		if (ma_load_acquire(&root->name[k]) != (name->word[k] | tag_of(*state) << 48))
			return false;
	return tag_of(ma_load_acquire(&root->state)) == tag_of(*state);
}

/* The first place of this name: LAYOUT_ROOTS when it has none. */
static unsigned find(const struct shmbuddy *h, const struct name *name, unsigned from, uint64_t *state)
{
	while (from < LAYOUT_ROOTS && !matches(root_at(h, from), name, state))
		from++;
	return from;
}

/* Give places of this name back, all from this one on, the last one first: so that an older offset never comes to light. */
static void remove_from(const struct shmbuddy *h, const struct name *name, unsigned from)
{
	for (unsigned i = LAYOUT_ROOTS; i-- > from;) {
		struct root *root = root_at(h, i);
		uint64_t state;

		while (matches(root, name, &state) &&
		       !ma_cas(&root->state, &state, state_of(KIND_FREE, tag_of(state) + 1, 0)))
			;
	}
}

/* A place of our own: a free one, else one that somebody claimed and, for all we know, died. */
static struct root *claim(const struct shmbuddy *h, uint64_t *state)
{
	for (int take_over = 0; take_over < 2; take_over++) {
		for (unsigned i = 0; i < LAYOUT_ROOTS; i++) {
			struct root *root = root_at(h, i);
			uint64_t seen = ma_load_acquire(&root->state);

			if (kind_of(seen) != (take_over ? KIND_CLAIMED : KIND_FREE))
				continue;
			*state = state_of(KIND_CLAIMED, tag_of(seen) + (uint64_t)take_over, 0);
			if (ma_cas(&root->state, &seen, *state))
				return root;
		}
	}
	return NULL;
}

/* False: the place was taken over. */
static bool write_name(struct root *root, const struct name *name, uint64_t state)
{
	for (unsigned k = 0; k < WORDS; k++) {
		uint64_t old = ma_load_acquire(&root->name[k]);

		do {
			if (ma_load_acquire(&root->state) != state)
				return false;
		} while (!ma_cas(&root->name[k], &old, name->word[k] | tag_of(state) << 48));
	}
	return true;
}

static int add(const struct shmbuddy *h, const struct name *name, uint64_t offset)
{
	struct root *root;
	uint64_t state, other;
	unsigned first;

	do {
		root = claim(h, &state);
		if (!root)
			return shmbuddy__fail(h, ENOSPC, "all places for named roots are taken");
	} while (!write_name(root, name, state) ||
		 !ma_cas(&root->state, &state, state_of(KIND_USED, tag_of(state), offset)));
	first = find(h, name, 0, &other);
	if (first < LAYOUT_ROOTS)
		remove_from(h, name, first + 1);
	return 0;
}

bool shmbuddy__root_at(const struct shmbuddy *h, unsigned i, char name[SHMBUDDY_ROOT_MAX + 1], uint64_t *offset)
{
	struct root *root = root_at(h, i);
	uint64_t state = ma_load_acquire(&root->state);

	if (kind_of(state) != KIND_USED)
		return false;
	for (unsigned k = 0; k < SHMBUDDY_ROOT_MAX; k++) {
		uint64_t word = ma_load_acquire(&root->name[k / WORD_NAME]);

		if (word >> 48 != tag_of(state))
			return false;
		name[k] = (char)(word >> k % WORD_NAME * 8);
	}
	name[SHMBUDDY_ROOT_MAX] = '\0';
	*offset = offset_of(state);
	return name[0] && tag_of(ma_load_acquire(&root->state)) == tag_of(state);
}

static int set(const struct shmbuddy *h, const struct name *name, uint64_t offset)
{
	uint64_t state;
	unsigned i;

	if (offset == 0) {
		remove_from(h, name, 0);
		return 0;
	}
	for (i = find(h, name, 0, &state); i < LAYOUT_ROOTS; i = find(h, name, 0, &state)) {
		if (ma_cas(&root_at(h, i)->state, &state, state_of(KIND_USED, tag_of(state), offset))) {
			remove_from(h, name, i + 1);
			return 0;
		}
	}
	return add(h, name, offset);
}

static bool is_inside(const struct shmbuddy *h, uint64_t offset)
{
	return offset >= h->lay.area_at && offset - h->lay.area_at < h->lay.area;
}

int shmbuddy_setroot(shmbuddy_t *h, const char *text, shm_offt offset)
{
	int saved = errno, result;
	struct name name;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (offset && !is_inside(h, offset))
		return shmbuddy__fail(h, EINVAL, "a root is an offset of a block");
	if (!text) {
		ma_store_kill(&h->control->root, (uint64_t)offset);
		return 0;
	}
	if (!make_name(h, text, &name))
		return -1;
	result = set(h, &name, offset);
	if (result == 0)
		errno = saved;
	return result;
}

shm_offt shmbuddy_getroot(shmbuddy_t *h, const char *text)
{
	uint64_t state = 0;
	struct name name;

	if (!region_is_open(h)) {
		errno = EBADF;
		return SHM_NULL;
	}
	if (!text)
		state = ma_load_acquire(&h->control->root);
	else if (!make_name(h, text, &name))
		return SHM_NULL;
	else if (find(h, &name, 0, &state) == LAYOUT_ROOTS)
		state = 0;
	if (is_inside(h, offset_of(state)))
		return (shm_offt)offset_of(state);
	shmbuddy__fail(h, ENOENT, "no root has this name");
	return SHM_NULL;
}
