/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See tree.h and word.h. Every compare-exchange releases and acquires: what the last user of a block did to it comes before what its next
 * user does, whichever words it went through.
 */
#include "tree.h"

#include <errno.h>

#include "index.h"
#include "update.h"

#define MOST_TURNS 100u /* More turns do not happen by chance: the words are damaged. */

static _Atomic uint64_t *upper_word(const struct shmbuddy *h, unsigned level, uint64_t i)
{
	return region_word(h, region_level(h, level + 1), i / WORD_UPPER);
}

static uint64_t closed_again(struct shmbuddy *h, const struct level *l, uint64_t w, bool merging)
{
	uint64_t x = 0;

	if (l->leaves == WORD_LEAVES)
		x = atomic_fetch_add_explicit(&h->control->unique, 1, memory_order_relaxed) + 1;
	return word_close(w, l->leaves, x, merging);
}

/* ---- coming up ---- */

/* A lower word, `closed`, MERGING, by us: the leaf above it is to be free again. */
struct freeing {
	struct shmbuddy *h;
	const struct level *u;
	const _Atomic uint64_t *low;
	uint64_t closed;
	uint64_t i; /* Of the upper word. */
	unsigned leaf, joined;
};

MA_INLINE bool freed_leaf(void *arg, uint64_t w, uint64_t *next)
{
	struct freeing *f = arg;

	/* After the upper word, whose stamp shows a change since then. Pairs with libshmbuddy/src/tree.c:come_to_rest. */
	if (ma_load_acquire(f->low) != f->closed || !word_is_open(w, WORD_UPPER) ||
	    !word_is_split(w, WORD_UPPER, f->leaf))
		return false;
	*next = word_give(w, WORD_UPPER, f->leaf, 0);
	f->joined = word_joined(w, WORD_UPPER, f->leaf, 0);
	shmbuddy__index_list(f->h, f->u, f->i, f->joined);
	return true;
}

/* The lower word is `closed`, MERGING, by us: no other process frees the leaf above as long as it is. */
static void free_leaf(struct shmbuddy *h, unsigned level, uint64_t i, uint64_t closed)
{
	struct freeing f = { .h = h,
			     .u = region_level(h, level + 1),
			     .low = region_word(h, region_level(h, level), i),
			     .closed = closed,
			     .i = i / WORD_UPPER,
			     .leaf = (unsigned)(i % WORD_UPPER) };
	_Atomic uint64_t *up = upper_word(h, level, i);
	uint64_t w = ma_load_acquire(up); /* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_split. */

	if (!update_word(up, &w, freed_leaf, &f))
		return;
	shmbuddy__index_list(h, f.u, f.i, f.joined);
	if (!f.u->top && word_is_empty(w, WORD_UPPER))
		shmbuddy__tree_merge(h, level + 1, f.i);
}

void shmbuddy__tree_merge(struct shmbuddy *h, unsigned level, uint64_t i)
{
	const struct level *l = region_level(h, level);
	_Atomic uint64_t *at = region_word(h, l, i);
	uint64_t w = ma_load_acquire(at), next; /* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_give. */

	if (l->top || !word_is_empty(w, l->leaves))
		return;
	next = closed_again(h, l, w, true);
	/* Pairs with libshmbuddy/src/tree.c:come_to_rest. */
	if (ma_cas(at, &w, next))
		free_leaf(h, level, i, next);
}

void shmbuddy__tree_mend(struct shmbuddy *h, unsigned level, uint64_t i)
{
	const struct level *l = region_level(h, level);
	_Atomic uint64_t *at = region_word(h, l, i);
	uint64_t up, w, next;

	if (l->top)
		return;
	/* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_split. */
	up = ma_load_acquire(upper_word(h, level, i));
	w = ma_load_acquire(at); /* Pairs with libshmbuddy/src/tree.c:come_to_rest. */
	if (!word_is_open(up, WORD_UPPER) || !word_is_split(up, WORD_UPPER, (unsigned)(i % WORD_UPPER)) ||
	    word_is_open(w, l->leaves))
		return;
	next = closed_again(h, l, w, true);
	/* A splitter that was only slow fails: pairs with libshmbuddy/src/tree.c:open_down. */
	if (ma_cas(at, &w, next))
		free_leaf(h, level, i, next);
}

/* ---- going down ---- */

static uint64_t leaf_at(const struct level *l, uint64_t i, unsigned leaf)
{
	return (i << l->cover_shift) + ((uint64_t)leaf << l->leaf_shift);
}

/* One of these places (word_places()); in the crown, where a word's leaves lie in several parts, rather one that has its space. -1: none. */
static int choose(const struct search *s, const struct level *l, uint64_t i, uint32_t places)
{
	uint64_t bytes = (uint64_t)1 << s->want.shift;

	if (!places || l->local)
		return places ? __builtin_ctz(places) : -1;
	for (uint32_t rest = places; rest; rest &= rest - 1) {
		int leaf = __builtin_ctz(rest);

		if (shmbuddy__region_has(s->h, leaf_at(l, i, (unsigned)leaf), bytes))
			return leaf;
	}
	return s->only_backed ? -1 : __builtin_ctz(places);
}

/* Take disk space for the block. False: s->error has the errno. */
static bool have_space(struct search *s, const struct level *l, uint64_t i, int leaf)
{
	if (l->local ||
	    shmbuddy__region_reserve_space(s->h, leaf_at(l, i, (unsigned)leaf), (uint64_t)1 << s->want.shift) == 0)
		return true;
	s->error = errno;
	return false;
}

struct taking {
	struct search *s;
	const struct level *l;
	uint64_t i;
	int leaf;
};

MA_INLINE bool taken(void *arg, uint64_t w, uint64_t *next)
{
	struct taking *t = arg;
	const struct want *want = &t->s->want;
	const struct level *l = t->l;
	uint64_t view = region_view(l, w);

	if (!word_is_open(view, l->leaves))
		return false;
	t->leaf = choose(t->s, l, t->i,
			 word_places(view, l->leaves, want->order) &
				 region_places(t->s->h, l, t->i, (uint64_t)1 << want->shift));
	if (t->leaf < 0 || !have_space(t->s, l, t->i, t->leaf))
		return false;
	*next = word_take(view, l->leaves, (unsigned)t->leaf, want->order);
	return true;
}

uint64_t shmbuddy__tree_take(struct search *s, uint64_t i)
{
	struct taking t = { .s = s, .l = region_level(s->h, s->want.level), .i = i };
	_Atomic uint64_t *at = region_word(s->h, t.l, i);
	uint64_t w = ma_load_acquire(at);

	/* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_give. */
	return update_word(at, &w, taken, &t) ? leaf_at(t.l, i, (unsigned)t.leaf) : TREE_NONE;
}

/*
 * A word whose leaf is going to be split: CLOSED, its value in *w. *renewed: it was MERGING, and who was freeing the leaf gives up. So
 * when the split fails, and the leaf was split already, freeing it is ours. False: the word is OPEN, or has changed.
 */
static bool come_to_rest(struct shmbuddy *h, const struct level *l, uint64_t i, uint64_t *w, bool *renewed)
{
	_Atomic uint64_t *at = region_word(h, l, i);
	uint64_t next;

	*renewed = false;
	*w = ma_load_acquire(at); /* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_merge. */
	if (word_is_open(*w, l->leaves))
		return false;
	if (!word_is_merging(*w))
		return true;
	next = closed_again(h, l, *w, false);
	if (!ma_cas(at, w, next)) /* Pairs with libshmbuddy/src/tree.c:freed_leaf. */
		return false;
	*w = next;
	*renewed = true;
	return true;
}

/*
 * The leaf above word i is split, by us, and the word was CLOSED (w) before. Open it, and those below it, down to the level that deals out
 * the block. TREE_NONE: another process took this one for dead, and has freed the leaf or is about to.
 */
static uint64_t open_down(struct shmbuddy *h, const struct want *want, unsigned level, uint64_t i, uint64_t w)
{
	for (;; level--, i *= WORD_UPPER) {
		const struct level *l = region_level(h, level);
		uint64_t next = word_reopen(w, l->leaves), below = 0, expected = w;
		bool last = level == want->level, renewed = false, sound = true;
		int room;

		if (last)
			next = word_take(next, l->leaves, 0, want->order);
		else
			sound = come_to_rest(h, l - 1, i * WORD_UPPER, &below, &renewed);
		if (!last)
			next = word_divide(next, 0);
		/* Before the index is read, as in update_word(). Pairs with libshmbuddy/src/inspect.c:shmbuddy__word_fault. */
		if (!sound || !atomic_compare_exchange_strong(region_word(h, l, i), &expected, next)) {
			if (renewed)
				shmbuddy__tree_mend(h, level - 1, i * WORD_UPPER);
			shmbuddy__tree_mend(h, level, i);
			return TREE_NONE;
		}
		room = word_room(next, l->leaves, l->cap);
		if (room >= 0)
			shmbuddy__index_list(h, l, i, (unsigned)room);
		if (last)
			return i << l->cover_shift;
		w = below;
	}
}

uint64_t shmbuddy__tree_split(struct search *s, unsigned level, uint64_t i)
{
	struct shmbuddy *h = s->h;
	const struct level *l = region_level(h, level), *lower = region_level(h, level - 1);
	_Atomic uint64_t *at = region_word(h, l, i);
	uint64_t w = ma_load_acquire(at), was, found;
	uint32_t damaged = 0;

	for (unsigned turn = 0; turn < MOST_TURNS; turn++) {
		uint64_t view = region_view(l, w), below, below_i;
		bool renewed;
		int leaf;

		if (!word_is_open(view, WORD_UPPER))
			return TREE_NONE;
		leaf = choose(s, l, i,
			      word_places(view, WORD_UPPER, 0) & ~damaged &
				      region_places(h, l, i, (uint64_t)1 << s->want.shift));
		if (leaf < 0 || !have_space(s, l, i, leaf))
			return TREE_NONE;
		/* Before the split: with this value only may it be opened. Where the leaf is free the word is not OPEN. */
		below_i = i * WORD_UPPER + (unsigned)leaf;
		if (!come_to_rest(h, lower, below_i, &below, &renewed)) {
			was = w;
			w = ma_load_acquire(at);
			/* By its stamp it did not change: the leaf was free when the word below it was OPEN. */
			if (w == was && word_is_open(below, lower->leaves))
				damaged |= 1u << leaf;
			continue;
		}
		/* Pairs with libshmbuddy/src/tree.c:free_leaf. */
		if (!ma_cas(at, &w, word_divide(view, (unsigned)leaf))) {
			if (renewed)
				shmbuddy__tree_mend(h, level - 1, below_i);
			continue;
		}
		found = open_down(h, &s->want, level - 1, below_i, below);
		if (found != TREE_NONE)
			return found;
		w = ma_load_acquire(at);
	}
	return TREE_NONE;
}

/* ---- a block by its offset ---- */

/* From below: a lower word is OPEN only while what lies above it is split, so the first OPEN one knows. */
bool shmbuddy__tree_find(const struct shmbuddy *h, uint64_t at, struct block *block)
{
	for (unsigned k = 0; k <= h->lay.top; k++) {
		const struct level *l = region_level(h, k);
		uint64_t i = at >> l->cover_shift, w;
		_Atomic uint64_t *word;
		int order;

		if (at & (((uint64_t)1 << l->leaf_shift) - 1))
			return false;
		word = region_word(h, l, i);
		w = region_view(l, ma_load_acquire(word)); /* Pairs with libshmbuddy/src/tree.c:open_down. */
		if (!word_is_open(w, l->leaves))
			continue;
		*block = (struct block){ .l = l, .at = word, .i = i, .w = w, .level = k };
		block->leaf = (unsigned)(at >> l->leaf_shift) & (l->leaves - 1u);
		order = word_order(w, l->leaves, block->leaf);
		block->order = (unsigned)order;
		return order >= 0 && !word_is_split(w, l->leaves, block->leaf);
	}
	return false;
}

/* Is it still our block that begins there, now that the word is w? */
static bool still_there(struct block *block, uint64_t w)
{
	int order;

	if (!word_is_open(w, block->l->leaves) || word_is_split(w, block->l->leaves, block->leaf))
		return false;
	order = word_order(w, block->l->leaves, block->leaf);
	block->order = (unsigned)order;
	return order >= 0;
}

struct giving {
	struct shmbuddy *h;
	struct block *block;
	unsigned joined;
	bool appears; /* Room of a size that the word had no room for. */
};

MA_INLINE bool given_back(void *arg, uint64_t w, uint64_t *next)
{
	struct giving *g = arg;
	struct block *block = g->block;
	const struct level *l = block->l;

	if (!still_there(block, w))
		return false;
	*next = word_give(w, l->leaves, block->leaf, block->order);
	g->joined = word_joined(w, l->leaves, block->leaf, block->order);
	/*
	 * When room appears is the only time when others must be told. Where its listing may have been taken off, it gets the
	 * largest order back, which the next free sees at one look (alloc.c).
	 */
	g->appears = l->local || g->joined > l->cap || !word_places(w, l->leaves, g->joined);
	if (l->local || g->joined > l->cap)
		g->joined = l->cap;
	if (g->appears)
		shmbuddy__index_list(g->h, l, block->i, g->joined);
	return true;
}

bool shmbuddy__tree_give(struct shmbuddy *h, struct block *block)
{
	struct giving g = { .h = h, .block = block };

	/* Pairs with libshmbuddy/src/tree.c:shmbuddy__tree_take. */
	if (!update_word(block->at, &block->w, given_back, &g))
		return false;
	if (g.appears)
		shmbuddy__index_list(h, block->l, block->i, g.joined);
	return true;
}

struct resizing {
	struct shmbuddy *h;
	struct block *block;
	unsigned order;
	bool smaller;
};

MA_INLINE bool resized(void *arg, uint64_t w, uint64_t *next)
{
	struct resizing *r = arg;
	struct block *block = r->block;
	const struct level *l = block->l;
	uint64_t bytes = (uint64_t)1 << (l->leaf_shift + r->order), without;

	if (!still_there(block, w))
		return false;
	r->smaller = r->order < block->order;
	if (!r->smaller && !(region_places(r->h, l, block->i, bytes) >> block->leaf & 1))
		return false;
	without = word_give(w, l->leaves, block->leaf, block->order);
	*next = word_take(without, l->leaves, block->leaf, r->order);
	return word_places(without, l->leaves, r->order) >> block->leaf & 1;
}

bool shmbuddy__tree_resize(struct shmbuddy *h, struct block *block, unsigned order)
{
	struct resizing r = { .h = h, .block = block, .order = order };

	if (order > block->l->cap || !update_word(block->at, &block->w, resized, &r))
		return false;
	if (r.smaller)
		shmbuddy__index_correct(h, block->l, block->i);
	block->order = order;
	return true;
}
