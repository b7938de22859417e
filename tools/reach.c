/* SPDX-License-Identifier: BSD-3-Clause */
/* See reach.h. */
#include "tools/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MOST (((uint64_t)1 << 46) - 1)

static int add_block(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	struct reach *reach = arg;

	(void)view;
	if (reach->count == reach->most) {
		uint64_t most = reach->most ? reach->most * 2 : 1024;
		struct reach_block *more = realloc(reach->block, most * sizeof(*more));

		if (!more || most > UINT32_MAX)
			return reach->is_short = true;
		reach->block = more;
		reach->most = most;
	}
	reach->block[reach->count++] = reach_block(offset, ma_min(size, SIZE_MOST));
	return 0;
}

static void add_root(struct view *view, const char *name, size_t bytes, int key, uint64_t offset, void *arg)
{
	struct reach *reach = arg;
	struct reach_root *more = realloc(reach->root, (reach->roots + 1) * sizeof(*more));

	(void)view;
	if (!more) {
		reach->is_short = true;
		return;
	}
	reach->root = more;
	more += reach->roots++;
	*more = (struct reach_root){ .key = key, .offset = offset, .block = NOWHERE };
	more->bytes = ma_min(bytes, sizeof(more->name) - 1);
	memcpy(more->name, name, more->bytes);
}

static int by_offset(const void *a, const void *b)
{
	uint64_t x = reach_offset(a), y = reach_offset(b);

	return (x > y) - (x < y);
}

/* Walks are in order, but for streams that lie about their ranges. */
static void sort(struct reach *reach)
{
	for (uint64_t i = 1; i < reach->count; i++)
		if (by_offset(&reach->block[i], &reach->block[i - 1]) < 0) {
			qsort(reach->block, reach->count, sizeof(*reach->block), by_offset);
			return;
		}
}

uint64_t reach_find(const struct reach *reach, uint64_t offset)
{
	uint64_t low = 0, high = reach->count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (reach_offset(&reach->block[middle]) <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || offset - reach_offset(&reach->block[low - 1]) >= reach_size(&reach->block[low - 1]))
		return NOWHERE;
	return low - 1;
}

static bool no_memory(struct reach *reach)
{
	errno = ENOMEM;
	last_error_clear();
	complain_last_error(reach->view->tool, reach->view->name, "cannot list its blocks");
	reach_end(reach);
	return false;
}

/* ---- roots alone ---- */

struct sorted {
	struct reach_root **root;
	uint64_t count;
};

static int by_root_offset(const void *a, const void *b)
{
	const struct reach_root *const *x = a, *const *y = b;

	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

/* Each root that points into this block. */
static int claim_roots(struct view *view, uint64_t offset, uint64_t size, void *arg)
{
	const struct sorted *sorted = arg;
	uint64_t low = 0, high = sorted->count;

	(void)view;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (sorted->root[middle]->offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < sorted->count && sorted->root[low]->offset - offset < size; low++)
		sorted->root[low]->block = offset;
	return 0;
}

bool reach_roots(struct reach *reach, struct view *view)
{
	struct sorted sorted = { 0 };

	memset(reach, 0, sizeof(*reach));
	reach->view = view;
	view->kind->roots(view, add_root, reach);
	if (reach->roots == 0 && !reach->is_short)
		return true;
	sorted.root = calloc(reach->roots + 1, sizeof(struct reach_root *));
	if (!sorted.root || reach->is_short) {
		free(sorted.root);
		return no_memory(reach);
	}
	for (uint64_t i = 0; i < reach->roots; i++)
		if (view_is_inside(view, reach->root[i].offset))
			sorted.root[sorted.count++] = &reach->root[i];
	qsort(sorted.root, sorted.count, sizeof(struct reach_root *), by_root_offset);
	if (sorted.count)
		view->kind->walk(view, claim_roots, &sorted);
	free(sorted.root);
	return true;
}

/* ---- all blocks ---- */

bool reach_begin(struct reach *reach, struct view *view)
{
	memset(reach, 0, sizeof(*reach));
	reach->view = view;
	view->kind->walk(view, add_block, reach);
	view->kind->roots(view, add_root, reach);
	if (reach->is_short)
		return no_memory(reach);
	sort(reach);
	for (uint64_t i = 0; i < reach->roots; i++) {
		struct reach_root *root = &reach->root[i];

		root->block = view_is_inside(view, root->offset) ? reach_find(reach, root->offset) : NOWHERE;
		if (root->block != NOWHERE)
			reach_mark(&reach->block[root->block], REACH_ROOT);
	}
	return true;
}

/* ---- scanning ---- */

/* Another process may be writing there; whatever is read, it is only looked up. */
MA_NO_TSAN static uint64_t word_at(const struct view *view, uint64_t offset)
{
	return *(const volatile uint64_t *)(const volatile void *)(view->base + offset);
}

/* Each block that this one points to; follow: those that were not found before go on the stack. */
static uint64_t scan_block(struct reach *reach, uint64_t number, bool follow, uint64_t depth)
{
	struct reach_block *block = &reach->block[number];
	uint64_t begin = reach_offset(block), end = ma_min(begin + reach_size(block), reach->view->mapped);

	for (uint64_t at = ma_up(begin, 8); at + 8 <= end; at += 8) {
		uint64_t offset = view_offset_of(reach->view, word_at(reach->view, at)), found;

		if (!view_is_inside(reach->view, offset))
			continue;
		found = reach_find(reach, offset);
		if (found == NOWHERE || found == number)
			continue;
		reach_mark(&reach->block[found], REACH_POINTED);
		if (!follow || reach_is(&reach->block[found], REACH_FOUND))
			continue;
		reach_mark(&reach->block[found], REACH_FOUND);
		reach->stack[depth++] = (uint32_t)found;
	}
	return depth;
}

/* Each block is on the stack once at most. */
bool reach_scan(struct reach *reach)
{
	uint64_t depth = 0;

	reach->stack = calloc(reach->count + 1, sizeof(*reach->stack));
	if (!reach->stack)
		return no_memory(reach);
	for (uint64_t i = 0; i < reach->count; i++)
		if (reach_is(&reach->block[i], REACH_ROOT)) {
			reach_mark(&reach->block[i], REACH_FOUND);
			reach->stack[depth++] = (uint32_t)i;
		}
	while (depth > 0)
		depth = scan_block(reach, reach->stack[depth - 1], true, depth - 1);
	for (uint64_t i = 0; i < reach->count; i++)
		if (!reach_is(&reach->block[i], REACH_FOUND))
			scan_block(reach, i, false, 0);
	return true;
}

static void scan_for(const struct reach *reach, uint64_t from, const struct reach_block *target, pointer_fn *fn,
		     void *arg)
{
	const struct reach_block *block = &reach->block[from];
	uint64_t end = ma_min(reach_offset(block) + reach_size(block), reach->view->mapped);

	for (uint64_t at = ma_up(reach_offset(block), 8); at + 8 <= end; at += 8)
		if (view_offset_of(reach->view, word_at(reach->view, at)) - reach_offset(target) < reach_size(target))
			fn(reach, from, at, arg);
}

void reach_pointers(const struct reach *reach, uint64_t number, pointer_fn *fn, void *arg)
{
	for (uint64_t i = 0; i < reach->count; i++)
		scan_for(reach, i, &reach->block[number], fn, arg);
}

void reach_end(struct reach *reach)
{
	free(reach->block);
	free(reach->root);
	free(reach->stack);
	reach->block = NULL;
	reach->root = NULL;
	reach->stack = NULL;
	reach->count = reach->roots = 0;
}
