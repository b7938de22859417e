/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger of support_ledger.h.
 *
 * A killed worker stops between two of its instructions, so program order is all that the sweep relies on: `doing` is
 * written before the call, `block` after the content, `doing` again last. Sequentially consistent atomics keep the
 * compiler to it.
 */
#include "tests/support/support_ledger.h"

size_t ledger_bytes(size_t slots)
{
	return sizeof(struct ledger) + slots * sizeof(struct ledger_slot);
}

struct ledger *ledger_init(void *memory, size_t slots, size_t largest)
{
	struct ledger *ledger = memory;

	memset(memory, 0, ledger_bytes(slots));
	ledger->count = slots;
	ledger->largest = largest;
	return ledger;
}

uint64_t ledger_id(uint64_t incarnation, unsigned thread)
{
	return incarnation << 8 | thread;
}

void ledger_worker_init(struct ledger_worker *worker, const struct support_calls *calls, struct ledger *ledger,
			void *map, uint64_t id)
{
	*worker = (struct ledger_worker){ .calls = calls, .ledger = ledger, .map = map, .id = id };
	support_rand_seed(&worker->rand, id);
}

static struct ledger_slot *take_slot(struct ledger_worker *worker)
{
	for (;;) {
		size_t i = support_rand_below(&worker->rand, worker->ledger->count);
		struct ledger_slot *slot = &worker->ledger->slot[i];
		uint64_t nobody = 0;

		if (atomic_compare_exchange_strong(&slot->owner, &nobody, worker->id))
			return slot;
	}
}

/* Mostly small: seven of eight below 1 KiB, a few large ones. */
static size_t some_size(struct ledger_worker *worker)
{
	size_t least = worker->calls->least, largest = worker->ledger->largest;
	size_t pick = support_rand_below(&worker->rand, 128);

	if (pick == 0)
		return support_rand_between(&worker->rand, least, largest);
	if (pick < 16)
		return support_rand_between(&worker->rand, least, MIN(largest, 16 * KIB));
	return support_rand_between(&worker->rand, least, MIN(largest, 1 * KIB));
}

static void publish(struct ledger_slot *slot, void *block, size_t size, uint64_t tag)
{
	support_fill(block, size, tag);
	atomic_store(&slot->size, size);
	atomic_store(&slot->tag, tag);
	atomic_store(&slot->block, block);
	atomic_store(&slot->doing, LEDGER_IDLE);
}

static void no_room(struct ledger_worker *worker, struct ledger_slot *slot)
{
	assert_errno_is(ENOMEM);
	atomic_fetch_add(&worker->ledger->full, 1);
	atomic_store(&slot->doing, LEDGER_IDLE);
}

static void *take_zeroed(struct ledger_worker *worker, size_t size)
{
	void *block = worker->calls->calloc(worker->map, size);

	if (block && !support_zero(block, size))
		g_error("calloc gave %zu bytes that are not all zero", size);
	return block;
}

static void *take_block(struct ledger_worker *worker, size_t size)
{
	size_t way = support_rand_below(&worker->rand, 16);

	if (way == 0 && !worker->ledger->one_size)
		return worker->calls->memalign(worker->map, (size_t)16 << support_rand_below(&worker->rand, 9), size);
	if (way == 1)
		return take_zeroed(worker, size);
	return worker->calls->malloc(worker->map, size);
}

static void step_malloc(struct ledger_worker *worker, struct ledger_slot *slot)
{
	size_t size = some_size(worker);
	void *block;

	atomic_store(&slot->doing, LEDGER_MALLOC);
	errno = 0;
	block = take_block(worker, size);
	if (block)
		publish(slot, block, size, support_rand_next(&worker->rand));
	else
		no_room(worker, slot);
}

static void step_free(struct ledger_worker *worker, struct ledger_slot *slot)
{
	atomic_store(&slot->doing, LEDGER_FREE);
	assert_void(worker->calls->free(worker->map, atomic_load(&slot->block)), 0);
	atomic_store(&slot->block, NULL);
	atomic_store(&slot->doing, LEDGER_IDLE);
}

static void step_realloc(struct ledger_worker *worker, struct ledger_slot *slot)
{
	size_t size = some_size(worker) + 1;
	size_t old = atomic_load(&slot->size);
	uint64_t tag = atomic_load(&slot->tag);
	void *block;

	if (size > worker->ledger->largest)
		return;
	atomic_store(&slot->doing, LEDGER_REALLOC);
	errno = 0;
	block = worker->calls->realloc(worker->map, atomic_load(&slot->block), size);
	if (!block) {
		no_room(worker, slot);
		return;
	}
	if (!support_kept(block, MIN(size, old), old, tag))
		g_error("realloc from %zu to %zu bytes lost content", old, size);
	publish(slot, block, size, support_rand_next(&worker->rand));
}

static void verify(const struct ledger_slot *slot, void *block)
{
	struct support_block known = { block, atomic_load(&slot->size), atomic_load(&slot->tag) };

	support_verify(&known);
}

void ledger_step(struct ledger_worker *worker)
{
	struct ledger_slot *slot = take_slot(worker);
	void *block = atomic_load(&slot->block);
	size_t what = support_rand_below(&worker->rand, 8);

	if (!block) {
		step_malloc(worker, slot);
	} else {
		verify(slot, block);
		if (what == 0)
			step_realloc(worker, slot);
		else if (what < 7)
			step_free(worker, slot);
	}
	atomic_fetch_add(&worker->ledger->calls, 1);
	atomic_store(&slot->owner, 0);
}

static size_t sweep_slot(struct ledger_slot *slot)
{
	uint32_t doing = atomic_load(&slot->doing);
	size_t allowed = 0;

	if (doing == LEDGER_MALLOC && !atomic_load(&slot->block))
		allowed = 1;
	if (doing == LEDGER_FREE && atomic_exchange(&slot->block, NULL))
		allowed = 1;
	if (doing == LEDGER_REALLOC && atomic_exchange(&slot->block, NULL))
		allowed = 2;
	atomic_store(&slot->doing, LEDGER_IDLE);
	atomic_store(&slot->owner, 0);
	return allowed;
}

size_t ledger_sweep(struct ledger *ledger, uint64_t incarnation)
{
	size_t allowed = 0;

	for (size_t i = 0; i < ledger->count; i++)
		if (atomic_load(&ledger->slot[i].owner) >> 8 == incarnation)
			allowed += sweep_slot(&ledger->slot[i]);
	return allowed;
}

/* --- the account --- */

struct accounting {
	GHashTable *known; /* block -> its slot */
	const void *own;
	const char *behind;
	struct ledger_account sum;
};

static void look_at_known(struct accounting *acc, void *block, size_t usable)
{
	const struct ledger_slot *slot = g_hash_table_lookup(acc->known, block);
	size_t size;

	if (!slot) {
		acc->sum.lost++;
		return;
	}
	acc->sum.known++;
	size = atomic_load(&slot->size);
	if (usable < size || !support_intact(block, size, atomic_load(&slot->tag)))
		acc->sum.damaged++;
	g_hash_table_remove(acc->known, block);
}

static int account_block(void *block, size_t usable, void *arg)
{
	struct accounting *acc = arg;

	if ((const char *)block < acc->behind)
		acc->sum.overlapped++;
	acc->behind = (const char *)block + usable;
	if (block == acc->own)
		return 0;
	acc->sum.walked++;
	look_at_known(acc, block, usable);
	return 0;
}

struct ledger_account ledger_account(const struct support_calls *calls, struct ledger *ledger, void *map,
				     const void *own)
{
	struct accounting acc = { .known = g_hash_table_new(NULL, NULL), .own = own };

	for (size_t i = 0; i < ledger->count; i++) {
		void *block = atomic_load(&ledger->slot[i].block);

		g_assert_cmpuint(atomic_load(&ledger->slot[i].owner), ==, 0);
		if (block && !g_hash_table_insert(acc.known, block, &ledger->slot[i]))
			acc.sum.overlapped++;
	}
	g_assert_cmpint(calls->walk(map, account_block, &acc), ==, 0);
	acc.sum.missing = g_hash_table_size(acc.known);
	g_hash_table_destroy(acc.known);
	return acc.sum;
}

void ledger_settle(const struct support_calls *calls, struct ledger *ledger, void *map, const void *own, size_t allowed)
{
	struct ledger_account sum;

	support_check_by(calls, map);
	sum = ledger_account(calls, ledger, map, own);
	g_test_message("account: %zu blocks, %zu known, %zu lost (%zu allowed), %zu missing, %zu damaged, "
		       "%zu overlapped; %" G_GUINT64_FORMAT " calls, %" G_GUINT64_FORMAT " of them found it full",
		       sum.walked, sum.known, sum.lost, allowed, sum.missing, sum.damaged, sum.overlapped,
		       (guint64)atomic_load(&ledger->calls), (guint64)atomic_load(&ledger->full));
	g_assert_cmpuint(sum.missing, ==, 0);
	g_assert_cmpuint(sum.damaged, ==, 0);
	g_assert_cmpuint(sum.overlapped, ==, 0);
	g_assert_cmpuint(sum.lost, <=, allowed);
}
