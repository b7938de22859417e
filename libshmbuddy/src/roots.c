/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Named roots: 64 entries, 96 bytes each.
 *
 *      0  state  u64        bits 0-45 offset, 46-61 tag, 62-63 kind
 *      8  name   11 x u64   six bytes each, the tag above them
 *
 *     kind      next                                          by
 *     FREE      CLAIMED, same tag                             who sets a new name
 *     CLAIMED   CLAIMED, next tag: taken over                 who finds no FREE entry: the claimer may be dead
 *               OFFERED, same tag, with the offset            the claimer, when the name is written
 *     OFFERED   USED, same tag and offset: the commit         who offered it, when no other place has or offers this name
 *               FREE, next tag                                who offers the same name, or has seen that it is in use
 *               CLAIMED, next tag: taken over                 as above
 *     USED      USED, same tag, other offset                  who sets this name
 *               FREE, next tag                                who takes the name away
 *
 * A claimer that writes a word of the name first reads it, then checks that it still has the entry, and then compares and exchanges: so
 * a claimer that was only slow cannot write into the name of another one that took the entry over. A name counts while all its words
 * have the tag of its state.
 *
 * No name is in use twice. Who offers one reads all entries after that, and takes the offers of the same name off. Of two who
 * offer it, the one who offered later sees the other's offer, or that it is in use (both are sequentially consistent): so only one
 * of them still has its offer when it commits. The other one begins again, and finds the name in use, or free.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "inspect.h"
#include "region.h"
#include "update.h"

#include "common/cancel.h"

#define WORDS     11u
#define WORD_NAME 6u
#define PATIENCE  100 /* So often the one in the higher entry checks whether the other one's offer was settled. */

enum kind { KIND_FREE, KIND_CLAIMED, KIND_USED, KIND_OFFERED };

struct root {
	_Atomic uint64_t state;
	_Atomic uint64_t name[WORDS];
};

_Static_assert(sizeof(struct root) == LAYOUT_ROOT_BYTES, "format 1");

struct name {
	uint64_t word[WORDS];
};

/* How a new block is made. */
struct filler {
	size_t size;
	shmbuddy_init_fn *init;
	void *arg;
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
	shmbuddy__fail(h, EINVAL, "invalid root name: it has %s; use 1 to 63 bytes",
		       bytes ? "more than 63 bytes" : "no bytes");
	return false;
}

/* Has this entry this name, in use or on offer? Then its state is left in *state. */
static bool names(struct root *root, const struct name *name, uint64_t *state)
{
	*state = atomic_load(&root->state); /* Pairs with libshmbuddy/src/roots.c:offer_name. */
	if (kind_of(*state) != KIND_USED && kind_of(*state) != KIND_OFFERED)
		return false;
	for (unsigned k = 0; k < WORDS; k++)
		/* Pairs with libshmbuddy/src/roots.c:write_name. */
		if (ma_load_acquire(&root->name[k]) != (name->word[k] | tag_of(*state) << 48))
			return false;
	return tag_of(ma_load_acquire(&root->state)) == tag_of(*state);
}

static bool matches(struct root *root, const struct name *name, uint64_t *state)
{
	return names(root, name, state) && kind_of(*state) == KIND_USED;
}

/* The entry of this name; NULL when it has none. */
static struct root *find(const struct shmbuddy *h, const struct name *name, uint64_t *state)
{
	for (unsigned i = 0; i < LAYOUT_ROOTS; i++)
		if (matches(root_at(h, i), name, state))
			return root_at(h, i);
	return NULL;
}

/* To a name that no root has. */
static bool empty(struct root *root, uint64_t state)
{
	/* Pairs with libshmbuddy/src/roots.c:claim. */
	return ma_cas(&root->state, &state, state_of(KIND_FREE, tag_of(state) + 1, 0));
}

static bool may_claim(uint64_t state, int take_over)
{
	if (!take_over)
		return kind_of(state) == KIND_FREE;
	return kind_of(state) == KIND_CLAIMED || kind_of(state) == KIND_OFFERED;
}

/* An entry of our own: a free one, else one that a process claimed which, for all we know, died. */
static struct root *claim(const struct shmbuddy *h, uint64_t *state)
{
	for (int take_over = 0; take_over < 2; take_over++) {
		for (unsigned i = 0; i < LAYOUT_ROOTS; i++) {
			struct root *root = root_at(h, i);
			uint64_t seen = ma_load_acquire(&root->state); /* Pairs with libshmbuddy/src/roots.c:empty. */

			if (!may_claim(seen, take_over))
				continue;
			*state = state_of(KIND_CLAIMED, tag_of(seen) + (uint64_t)take_over, 0);
			if (ma_cas(&root->state, &seen, *state)) /* Pairs with libshmbuddy/src/roots.c:named. */
				return root;
		}
	}
	return NULL;
}

/* A word of a name, for an entry that is still ours. */
struct naming {
	const struct root *root;
	uint64_t state, word;
};

MA_INLINE bool named(void *arg, uint64_t old, uint64_t *next)
{
	const struct naming *n = arg;

	(void)old;
	*next = n->word;
	return ma_load_acquire(&n->root->state) == n->state; /* Pairs with libshmbuddy/src/roots.c:claim. */
}

/* False: the entry was taken over. */
static bool write_name(struct root *root, const struct name *name, uint64_t state)
{
	for (unsigned k = 0; k < WORDS; k++) {
		struct naming n = { root, state, name->word[k] | tag_of(state) << 48 };
		uint64_t old = ma_load_acquire(&root->name[k]); /* Pairs with libshmbuddy/src/roots.c:write_name. */

		if (!update_word(&root->name[k], &old, named, &n)) /* Pairs with libshmbuddy/src/roots.c:names. */
			return false;
	}
	return true;
}

/* False: the name is in use here. An offer of it is taken off; that of a lower entry only when it stays for a while. */
static bool outbid(struct root *other, const struct name *name, const struct root *ours)
{
	int patience = other < ours ? PATIENCE : 0;
	uint64_t state;

	while (names(other, name, &state)) {
		if (kind_of(state) == KIND_USED)
			return false;
		if (patience-- <= 0 && empty(other, state))
			break;
	}
	return true;
}

/* 1: our offer became the root. 0: the name has one. -1: our offer was taken off. */
static int commit(const struct shmbuddy *h, const struct name *name, struct root *root, uint64_t offer)
{
	uint64_t state = offer;

	for (unsigned i = 0; i < LAYOUT_ROOTS; i++) {
		if (root_at(h, i) != root && !outbid(root_at(h, i), name, root)) {
			empty(root, offer);
			return 0;
		}
	}
	/* Pairs with libshmbuddy/src/roots.c:shmbuddy__root_at. */
	return ma_cas(&root->state, &state, state_of(KIND_USED, tag_of(offer), offset_of(offer))) ? 1 : -1;
}

/* Write the name, then offer it. 0: the entry was taken over. */
static uint64_t offer_name(struct root *root, const struct name *name, uint64_t state, uint64_t offset)
{
	uint64_t offer = state_of(KIND_OFFERED, tag_of(state), offset);

	/* Pairs with libshmbuddy/src/roots.c:names. */
	return write_name(root, name, state) && atomic_compare_exchange_strong(&root->state, &state, offer) ? offer : 0;
}

/* Make a root of a name that has none. 1: done. 0: it has one. -1: errno. */
static int add(const struct shmbuddy *h, const struct name *name, uint64_t offset)
{
	uint64_t state, offer;
	struct root *root;
	int result = -1;

	while (result < 0) {
		root = claim(h, &state);
		if (!root)
			return shmbuddy__fail(h, ENOSPC,
					      "cannot add a root: all %" PRIu64
					      " places for named roots are in use; remove a root first",
					      (uint64_t)LAYOUT_ROOTS);
		offer = offer_name(root, name, state, offset);
		if (offer)
			result = commit(h, name, root, offer);
	}
	return result;
}

uint64_t shmbuddy__root_nameless(const struct shmbuddy *h)
{
	return ma_load(&h->control->root);
}

_Static_assert(SHMBUDDY__ROOTS == LAYOUT_ROOTS, "inspect.h says how many there are");

bool shmbuddy__root_at(const struct shmbuddy *h, unsigned i, char name[SHMBUDDY_ROOT_MAX + 1], uint64_t *offset)
{
	struct root *root = root_at(h, i);
	uint64_t state = ma_load_acquire(&root->state); /* Pairs with libshmbuddy/src/roots.c:commit. */

	if (kind_of(state) != KIND_USED)
		return false;
	for (unsigned k = 0; k < SHMBUDDY_ROOT_MAX; k++) {
		/* Pairs with libshmbuddy/src/roots.c:write_name. */
		uint64_t word = ma_load_acquire(&root->name[k / WORD_NAME]);

		if (word >> 48 != tag_of(state))
			return false;
		name[k] = (char)(word >> k % WORD_NAME * 8);
	}
	name[SHMBUDDY_ROOT_MAX] = '\0';
	*offset = offset_of(state);
	return name[0] && tag_of(ma_load_acquire(&root->state)) == tag_of(state);
}

static bool is_inside(const struct shmbuddy *h, uint64_t offset)
{
	return offset >= h->lay.area_at && offset - h->lay.area_at < region_area(h);
}

/* What a root's word says; 0 when it is none that a reader would believe. */
static uint64_t believe(const struct shmbuddy *h, uint64_t word)
{
	return is_inside(h, offset_of(word)) ? offset_of(word) : 0;
}

/* One attempt at a name's entry. 1: done. 0: it changed meanwhile. -1: errno. */
static int put(const struct shmbuddy *h, const struct name *name, struct root *root, uint64_t state, uint64_t offset)
{
	if (!root)
		return offset ? add(h, name, offset) : 1;
	if (!offset)
		return empty(root, state);
	/* Pairs with libshmbuddy/src/roots.c:names. */
	return ma_cas(&root->state, &state, state_of(KIND_USED, tag_of(state), offset));
}

/* expected NULL: whatever it is. 1: it was so, and is changed. 0: it was not, and *expected says what it is. -1: errno. */
static int change(const struct shmbuddy *h, const struct name *name, uint64_t *expected, uint64_t offset)
{
	struct root *root;
	uint64_t state, was;
	int result;

	do {
		root = find(h, name, &state);
		was = root ? believe(h, state) : 0;
		if (expected && *expected != was) {
			*expected = was;
			return 0;
		}
		result = put(h, name, root, state, offset);
	} while (result == 0);
	return result;
}

struct exchange {
	const struct shmbuddy *h;
	uint64_t *expected, offset;
};

MA_INLINE bool exchanged(void *arg, uint64_t seen, uint64_t *next)
{
	struct exchange *e = arg;

	*next = e->offset;
	if (!e->expected || *e->expected == believe(e->h, seen))
		return true;
	*e->expected = believe(e->h, seen);
	return false;
}

/* The same for the root that has no name. */
static int change_unnamed(const struct shmbuddy *h, uint64_t *expected, uint64_t offset)
{
	uint64_t seen = ma_load_acquire(&h->control->root);

	/* Pairs with libshmbuddy/src/roots.c:read_root. */
	return update_word(&h->control->root, &seen, exchanged, &(struct exchange){ h, expected, offset });
}

static int change_any(const struct shmbuddy *h, const char *text, uint64_t *expected, uint64_t offset)
{
	int saved = errno, result;
	struct name name;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (offset && !is_inside(h, offset))
		return shmbuddy__fail(h, EINVAL,
				      "cannot set a root: offset %#" PRIx64 " lies outside %#" PRIx64 " to %#" PRIx64
				      "; use the offset of a block",
				      (uint64_t)offset, h->lay.area_at, h->lay.area_at + region_area(h) - 1);
	if (text && !make_name(h, text, &name))
		return -1;
	result = text ? change(h, &name, expected, offset) : change_unnamed(h, expected, offset);
	if (result >= 0)
		errno = saved;
	return result;
}

int shmbuddy_setroot(shmbuddy_t *h, const char *text, shm_offt offset)
{
	return change_any(h, text, NULL, (uint64_t)offset) < 0 ? -1 : 0;
}

int shmbuddy_casroot(shmbuddy_t *h, const char *text, shm_offt *expected, shm_offt desired)
{
	uint64_t was;
	int result;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (!expected)
		return shmbuddy__fail(h, EINVAL, "cannot compare a root: expected is NULL; pass an address");
	was = (uint64_t)*expected;
	result = change_any(h, text, &was, (uint64_t)desired);
	if (result == 0)
		*expected = (shm_offt)was;
	return result;
}

/* What the root says; 0: there is none. False: errno. */
static bool read_root(shmbuddy_t *h, const char *text, uint64_t *offset)
{
	uint64_t state = 0;
	struct name name;

	if (!region_is_open(h)) {
		shmbuddy__fail_closed(h);
		return false;
	}
	if (!text)
		state = ma_load_acquire(&h->control->root); /* Pairs with libshmbuddy/src/roots.c:change_unnamed. */
	else if (!make_name(h, text, &name))
		return false;
	else if (!find(h, &name, &state))
		state = 0;
	*offset = believe(h, state);
	return true;
}

shm_offt shmbuddy_getroot(shmbuddy_t *h, const char *text)
{
	uint64_t offset;

	if (!read_root(h, text, &offset))
		return SHM_NULL;
	if (offset)
		return (shm_offt)offset;
	if (text)
		shmbuddy__fail_quiet(h, ENOENT, "no such root: no root has this name; set it first: \"%s\"", text);
	else
		shmbuddy__fail_quiet(h, ENOENT, "no such root: the root without a name is not set; set it first");
	return SHM_NULL;
}

/* ---- find or create ---- */

/* Killed before the root is set, the block stays allocated; that is the one block that a killed thread may leave. */
static shm_offt create(shmbuddy_t *h, const char *text, const struct filler *how, int *created)
{
	shm_offt block = shmbuddy_calloc(h, 1, how->size), known = SHM_NULL;
	int result, saved;

	if (!block)
		return SHM_NULL;
	result = how->init && how->init(h->base + block, how->size, how->arg) != 0 ? -1 : 0;
	if (result == 0)
		result = shmbuddy_casroot(h, text, &known, block);
	*created = result == 1;
	if (result == 1)
		return block;
	saved = errno;
	shmbuddy_free(h, block);
	errno = saved;
	return result == 0 ? known : SHM_NULL;
}

shm_offt shmbuddy_find_or_create(shmbuddy_t *h, const char *text, size_t size, shmbuddy_init_fn *init, void *arg,
				 int *created)
{
	MA_UNCANCELLED;
	const struct filler how = { .size = size, .init = init, .arg = arg };
	int saved = errno, dummy;
	uint64_t offset;
	shm_offt block;

	created = created ? created : &dummy;
	*created = 0;
	if (!read_root(h, text, &offset))
		return SHM_NULL;
	if (offset)
		return (shm_offt)offset;
	block = create(h, text, &how, created);
	if (block)
		errno = saved;
	return block;
}

int shmbuddy_walkroots(shmbuddy_t *h, shmbuddy_root_fn *fn, void *arg)
{
	MA_UNCANCELLED;
	char name[SHMBUDDY_ROOT_MAX + 1];
	uint64_t offset;
	int result = 0;

	if (!region_is_open(h)) {
		shmbuddy__fail_closed(h);
		return -1;
	}
	if (!fn)
		return shmbuddy__fail(h, EINVAL, "cannot walk over the roots: the function is NULL; pass one");
	/* Pairs with libshmbuddy/src/roots.c:change_unnamed. */
	offset = believe(h, ma_load_acquire(&h->control->root));
	if (offset)
		result = fn(NULL, (shm_offt)offset, arg);
	for (unsigned i = 0; i < LAYOUT_ROOTS && result == 0; i++)
		if (shmbuddy__root_at(h, i, name, &offset) && is_inside(h, offset))
			result = fn(name, (shm_offt)offset, arg);
	return result;
}
