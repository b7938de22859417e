/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A marked block's content follows from its tag and the position alone, so that any process can verify it, and two
 * blocks that overlap cannot both be intact.
 */
#include "tests/support/support_block.h"

#include <stdlib.h>

#define FULLY  (4 * KIB) /* blocks up to here are filled wholly */
#define STRIDE 512u      /* above: eight bytes of each so many */

static uint64_t word_at(uint64_t tag, size_t offset)
{
	uint64_t z = (tag ^ (uint64_t)offset << 32) * 0x9e3779b97f4a7c15u;

	return z ^ z >> 29;
}

/* Offset of the next filled word behind @p at: a step on, but never past the last word, which may be cut off. */
static size_t next_offset(size_t size, size_t at)
{
	size_t step = size <= FULLY ? sizeof(uint64_t) : STRIDE;
	size_t last = (size - 1) & ~(size_t)7;

	return at >= last ? size : MIN(at + step, last);
}

void support_fill(void *block, size_t size, uint64_t tag)
{
	for (size_t at = 0; at < size; at = next_offset(size, at)) {
		uint64_t word = word_at(tag, at);

		memcpy((char *)block + at, &word, MIN(size - at, sizeof(word)));
	}
}

bool support_kept(const void *block, size_t kept, size_t size, uint64_t tag)
{
	for (size_t at = 0; at < size && at < kept; at = next_offset(size, at)) {
		uint64_t word = word_at(tag, at);
		size_t bytes = MIN(MIN(size, kept) - at, sizeof(word));

		if (memcmp((const char *)block + at, &word, bytes) != 0)
			return false;
	}
	return true;
}

bool support_intact(const void *block, size_t size, uint64_t tag)
{
	return support_kept(block, size, size, tag);
}

bool support_zero(const void *block, size_t size)
{
	const char *bytes = block;

	return !size || (!bytes[0] && memcmp(bytes, bytes + 1, size - 1) == 0);
}

void support_verify(const struct support_block *block)
{
	if (!support_intact(block->at, block->size, block->tag))
		g_error("the block of %zu bytes at %p was overwritten", block->size, block->at);
}

bool support_take_by(const struct support_calls *calls, void *map, struct support_block *block, size_t size,
		     uint64_t tag)
{
	block->at = calls->malloc(map, size);
	block->size = size;
	block->tag = tag;
	if (!block->at)
		return false;
	support_fill(block->at, size, tag);
	return true;
}

void support_give_by(const struct support_calls *calls, void *map, struct support_block *block)
{
	support_verify(block);
	assert_void(calls->free(map, block->at), 0);
	block->at = NULL;
}

static int by_address(const void *a, const void *b)
{
	const struct support_block *left = a, *right = b;

	return left->at < right->at ? -1 : left->at > right->at;
}

void support_no_overlap_in(const char *base, const char *end, struct support_block *blocks, size_t count)
{
	const char *behind = base;

	qsort(blocks, count, sizeof(*blocks), by_address);
	for (size_t i = 0; i < count; i++) {
		g_assert_true((char *)blocks[i].at >= behind);
		behind = (char *)blocks[i].at + MAX(blocks[i].size, 1);
		g_assert_true(behind <= end);
	}
}

void support_shuffle(struct support_block *blocks, size_t count, struct support_rand *r)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = support_rand_below(r, i);
		struct support_block other = blocks[j];

		blocks[j] = blocks[i - 1];
		blocks[i - 1] = other;
	}
}

void support_print_violation(const char *text, void *count)
{
	g_printerr("# violation: %s\n", text);
	(*(size_t *)count)++;
}

void support_check_by(const struct support_calls *calls, void *map)
{
	size_t count = 0;
	int result = calls->check(map, support_print_violation, &count);

	if (result != 0 || count)
		g_error("check: %s, %zu violations", result ? g_strerror(errno) : "returned 0", count);
}

static int count_one(void *block, size_t size, void *arg)
{
	g_assert_nonnull(block);
	g_assert_cmpuint(size, >, 0);
	(*(size_t *)arg)++;
	return 0;
}

size_t support_count_by(const struct support_calls *calls, void *map)
{
	size_t count = 0;

	g_assert_cmpint(calls->walk(map, count_one, &count), ==, 0);
	return count;
}

struct freeing {
	const struct support_calls *calls;
	void *map;
	size_t count;
};

static int free_one(void *block, size_t size, void *arg)
{
	struct freeing *freeing = arg;

	(void)size;
	assert_void(freeing->calls->free(freeing->map, block), 0);
	freeing->count++;
	return 0;
}

size_t support_free_all_by(const struct support_calls *calls, void *map)
{
	struct freeing freeing = { calls, map, 0 };

	g_assert_cmpint(calls->walk(map, free_one, &freeing), ==, 0);
	return freeing.count;
}
