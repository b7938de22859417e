/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pure functions of a word against a naive model that keeps a tree of nodes: in every state that a word of 8 leaves can be in, in
 * every state that 16 of a word's 32 leaves can be in (the others being one block, free, or a mixture), and in random ones of all 32.
 */
#include <word.h>

#include "tests/support/support.h"

enum node { FREE, BLOCK, REST, SPLIT };

/* What each leaf is: the first of a block of an order, or the rest of one. */
struct model {
	unsigned n;
	enum node node[32];
	unsigned order[32];
};

static uint64_t states;

static uint64_t encode(const struct model *m, uint64_t stamp)
{
	uint64_t w = (uint64_t)1 << m->n | stamp << 24;

	for (unsigned i = 0; i < m->n; i++) {
		if (m->node[i] == FREE)
			continue;
		w |= (uint64_t)1 << i;
		if (m->node[i] != REST && i)
			w |= (uint64_t)1 << (m->n + i);
		if (m->node[i] == SPLIT)
			w |= (uint64_t)1 << (16 + i);
	}
	return w;
}

static bool is_free(const struct model *m, unsigned leaf, unsigned order)
{
	for (unsigned i = leaf; i < leaf + (1u << order); i++)
		if (m->node[i] != FREE)
			return false;
	return true;
}

static void put(struct model *m, unsigned leaf, unsigned order, enum node node)
{
	for (unsigned i = leaf; i < leaf + (1u << order); i++)
		m->node[i] = node == FREE ? FREE : REST;
	m->node[leaf] = node;
	m->order[leaf] = order;
}

static int naive_room(const struct model *m, unsigned cap)
{
	int room = -1;

	for (unsigned order = 0; order <= cap && 1u << order <= m->n; order++)
		for (unsigned leaf = 0; leaf < m->n; leaf += 1u << order)
			if (is_free(m, leaf, order))
				room = (int)order;
	return room;
}

static uint64_t next_stamp(const struct model *m, uint64_t stamp)
{
	return m->n == 8 ? (stamp + 1) & (((uint64_t)1 << 40) - 1) : 0;
}

static void takes(const struct model *m, uint64_t w, uint64_t stamp)
{
	for (unsigned order = 0; 1u << order <= m->n; order++) {
		uint32_t places = word_places(w, m->n, order);
		uint32_t ends = word_ends(w, ~word_leaves(m->n), word_highest(order));

		for (unsigned leaf = 0; leaf < m->n; leaf++) {
			bool can = leaf % (1u << order) == 0 && is_free(m, leaf, order);
			struct model after = *m;

			g_assert_cmpint(places >> leaf & 1, ==, can);
			if (!can)
				continue;
			ends ^= 1u << (leaf + (1u << order) - 1);
			put(&after, leaf, order, BLOCK);
			g_assert_cmphex(word_take(w, m->n, leaf, order), ==, encode(&after, next_stamp(m, stamp)));
			if (m->n != 8 || order)
				continue;
			put(&after, leaf, 0, SPLIT);
			g_assert_cmphex(word_divide(w, leaf), ==, encode(&after, next_stamp(m, stamp)));
		}
		g_assert_cmphex(ends, ==, 0);
	}
}

static void gives(const struct model *m, uint64_t w, uint64_t stamp)
{
	for (unsigned leaf = 0; leaf < m->n; leaf++) {
		struct model after = *m;
		unsigned order = m->order[leaf], joined = order;

		g_assert_cmpint(word_is_split(w, m->n, leaf), ==, m->node[leaf] == SPLIT);
		if (m->node[leaf] != BLOCK && m->node[leaf] != SPLIT) {
			g_assert_cmpint(word_order(w, m->n, leaf), ==, -1);
			g_assert_cmphex(word_block(w, m->n, (uint64_t)1 << leaf), ==, 0);
			continue;
		}
		g_assert_cmpint(word_order(w, m->n, leaf), ==, (int)order);
		g_assert_cmphex(word_block(w, m->n, (uint64_t)1 << leaf), ==, word_run(leaf, order));
		put(&after, leaf, order, FREE);
		g_assert_cmphex(word_give(w, m->n, leaf, order), ==, encode(&after, next_stamp(m, stamp)));
		while (2u << joined <= m->n && is_free(&after, leaf & ~((2u << joined) - 1), joined + 1))
			joined++;
		g_assert_cmpuint(word_joined(w, m->n, leaf, order), ==, joined);
	}
}

static void look(const struct model *m, uint64_t stamp)
{
	uint64_t w = encode(m, stamp);

	states++;
	g_assert_true(word_is_open(w, m->n));
	g_assert_true(word_is_sound(w, m->n));
	g_assert_cmpint(word_is_empty(w, m->n), ==, is_free(m, 0, m->n == 8 ? 3 : 5));
	for (unsigned cap = 0; 1u << cap <= m->n; cap++)
		g_assert_cmpint(word_room(w, m->n, cap), ==, naive_room(m, cap));
	takes(m, w, stamp);
	gives(m, w, stamp);
}

/* Every way to fill leaves [leaf, leaf + 2^order), then go on at the next leaf, up to end. */
static void every_state(struct model *m, unsigned leaf, unsigned end, uint64_t stamp)
{
	if (leaf >= end) {
		look(m, stamp);
		return;
	}
	put(m, leaf, 0, FREE);
	every_state(m, leaf + 1, end, stamp);
	for (unsigned order = 0; leaf % (1u << order) == 0 && leaf + (1u << order) <= end; order++) {
		put(m, leaf, order, BLOCK);
		every_state(m, leaf + (1u << order), end, stamp);
	}
	if (m->n == 8) {
		put(m, leaf, 0, SPLIT);
		every_state(m, leaf + 1, end, stamp);
	}
}

static void eight_leaves(void)
{
	struct model m = { .n = 8 };

	states = 0;
	every_state(&m, 0, 8, 0);
	every_state(&m, 0, 8, ((uint64_t)1 << 40) - 1);
	/* T(0) = 2, and split; T(k) = T(k-1)^2 + 1 */
	g_assert_cmpuint(states, ==, 2 * (((3 * 3 + 1) * (3 * 3 + 1) + 1) * ((3 * 3 + 1) * (3 * 3 + 1) + 1) + 1));
}

static void sixteen_leaves(void)
{
	struct model m = { .n = 32 };

	if (support_valgrind() || support_tsan() || support_asan()) {
		g_test_skip("half a million states take too long here; the plain run looks at all of them");
		return;
	}
	states = 0;
	put(&m, 16, 4, BLOCK);
	every_state(&m, 0, 16, 0);
	g_assert_cmpuint(states, ==, 458330);
	put(&m, 0, 4, FREE);
	memset(m.node, 0, sizeof(m.node));
	put(&m, 8, 1, BLOCK);
	put(&m, 12, 0, BLOCK);
	put(&m, 3, 0, BLOCK);
	every_state(&m, 16, 32, 0);
	g_assert_cmpuint(states, ==, 2 * 458330);
}

static void random_trees(void)
{
	struct support_rand rand;
	struct model m = { .n = 32 };

	support_rand_seed(&rand, 1);
	for (size_t step = 0; step < support_scale(100000); step++) {
		unsigned order = (unsigned)support_rand_below(&rand, 6);
		unsigned leaf = (unsigned)support_rand_below(&rand, 32) & ~((1u << order) - 1);

		if (m.node[leaf] == BLOCK)
			put(&m, leaf, m.order[leaf], FREE);
		else if (is_free(&m, leaf, order))
			put(&m, leaf, order, BLOCK);
		look(&m, 0);
	}
}

static void unsound(void)
{
	struct support_rand rand;
	size_t found = 0;

	/* Any bits: no function runs for ever or shifts too far, and what is called sound has no surprises. */
	support_rand_seed(&rand, 2);
	for (size_t step = 0; step < support_scale(100000); step++) {
		unsigned n = step % 2 ? 8 : 32;
		uint64_t w = support_rand_next(&rand) | (uint64_t)1 << n;

		if (step % 4 < 2)
			w &= support_rand_next(&rand) | (uint64_t)1 << n;
		word_room(w, n, n == 8 ? 3 : 5);
		for (unsigned leaf = 0; leaf < n; leaf++) {
			int order = word_order(w, n, leaf);

			g_assert_true(order == -1 || (leaf % (1u << order) == 0 && leaf + (1u << order) <= n));
		}
		found += !word_is_sound(w, n);
	}
	g_assert_cmpuint(found, >, 0);
	g_assert_false(word_is_sound((uint64_t)1 << 32 | 0x2, 32));                     /* busy without a head */
	g_assert_false(word_is_sound((uint64_t)1 << 32 | (uint64_t)1 << 40, 32));       /* a head that is not busy */
	g_assert_false(word_is_sound((uint64_t)1 << 32 | 0x7, 32));                     /* three leaves */
	g_assert_false(word_is_sound((uint64_t)1 << 32 | 0x6 | (uint64_t)1 << 33, 32)); /* two, misaligned */
	g_assert_false(word_is_sound(0x100 | 0x3 | 0x10000, 8));                        /* a split block */
	g_assert_false(word_is_sound(0x100 | 0x20000, 8));                              /* split, and free */
}

/* Closing and opening: never the same value twice, and OPEN never looks like CLOSED. */
static void closing(void)
{
	uint64_t w = word_open(8), last = 0, before = 0;

	for (uint64_t x = 1; x < 100000; x++) {
		uint64_t closed = word_close(word_open(32), 32, x, false), merging = word_close(closed, 32, x, true);

		g_assert_false(word_is_open(closed, 32) || word_is_open(merging, 32));
		g_assert_false(word_is_merging(closed));
		g_assert_true(word_is_merging(merging));
		g_assert_true(closed > before && merging > closed);
		before = merging;
	}
	g_assert_cmphex(word_close(0, 32, UINT64_MAX >> 2, true), ==, ~((uint64_t)1 << 32));
	g_assert_cmphex(word_reopen(word_close(0, 32, 77, true), 32), ==, (uint64_t)1 << 32);
	for (int turn = 0; turn < 1000; turn++) {
		bool opens = turn % 2, merging = turn % 4;
		uint64_t next = opens ? word_reopen(w, 8) : word_close(w, 8, 0, merging);

		g_assert_cmpint(word_is_open(next, 8), ==, opens);
		g_assert_cmpuint(next >> 24, >, last);
		g_assert_cmphex(next & 0xffffff, ==, opens ? 0x100 : merging);
		last = next >> 24;
		w = next;
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/model/word/8-leaves", eight_leaves);
	support_add("/model/word/16-leaves", sixteen_leaves);
	support_add("/model/word/random-trees", random_trees);
	support_add("/model/word/unsound", unsound);
	support_add("/model/word/closing", closing);
	return support_run();
}
