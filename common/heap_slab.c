/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slabs, of whole chunks or of cells. A thread owns a ring of slabs per class and looks at 64 allocation bytes of one of them
 * at a time. When those are used up it goes on: the rest of the slab, its other slabs; what comes then is in heap_refill.c.
 *
 * The ring is bounded, and so is the part of the map that a thread may own: a slab that does not fit goes to its stream's
 * queue, where every thread may adopt it. So an idle thread holds back little.
 */
#include "common/heap_internal.h"
#include "common/owner.h"

#define RING_LOOKS  8
#define OWNED_MIN   (16 * MA_CHUNK_CELLS)

/* ---- the slab's words ---- */

static bool small_slab_at(struct ma_image *map, uint32_t id, struct ma_slab *slab)
{
	uint64_t chunk = ma_slab_chunk(id);
	uint32_t cell = ma_slab_cell(id);
	struct ma_cells *cells = ma_chunk_cells(map, chunk);
	uint32_t class = cells ? ma_cell_class(map, cells, cell) : MA_CLASSES;

	if (class == MA_CLASSES)
		return false;
	*slab = (struct ma_slab){
		.id = id,
		.class = class,
		.slots = ma_small_slots(map, class),
		.stride = (uint32_t)ma_class_bytes(class) / MA_GRANULE,
		.cells = map->lay.small_span[class],
		.word = &cells->word[cell],
		.truth = (_Atomic uint8_t *)cells - MA_GRANULE_BYTES + cell * (MA_CELL / MA_GRANULE),
		.base = ma_chunk_address(map, chunk) + cell * MA_CELL,
	};
	return true;
}

static bool large_slab_at(struct ma_image *map, uint32_t id, struct ma_slab *slab)
{
	uint64_t word = ma_chunk_load(map, id);
	uint32_t class = ma_word_class(word);

	if (ma_word_kind(word) != MA_SLAB || !ma_block_chunks(map, id, word))
		return false;
	*slab = (struct ma_slab){
		.id = id,
		.class = class,
		.slots = ma_slab_slots(map, class),
		.stride = 1,
		.cells = ma_slab_chunks(map, class) * MA_CHUNK_CELLS,
		.word = ma_chunk(map, id),
		.truth = ma_slab_truth(map, id, class),
		.base = ma_chunk_address(map, id),
	};
	return slab->truth != NULL;
}

bool ma_slab_at(struct ma_image *map, uint32_t id, struct ma_slab *slab)
{
	uint64_t chunk = ma_slab_chunk(id);

	if (chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return false;
	return id & MA_SMALL ? small_slab_at(map, id, slab) : large_slab_at(map, id, slab);
}

int ma_chunk_slabs(struct ma_image *map, uint64_t chunk,
		   int (*fn)(struct ma_image *map, const struct ma_slab *slab, void *arg), void *arg)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(map, chunk));
	struct ma_slab slab;
	int result = 0;

	if (kind == MA_SLAB && large_slab_at(map, (uint32_t)chunk, &slab))
		return fn(map, &slab, arg);
	for (uint32_t cell = 0; kind == MA_CELLS && chunk < MA_SMALL_CHUNKS && cell < MA_CHUNK_CELLS && !result; cell++)
		if (small_slab_at(map, MA_SMALL | (uint32_t)chunk * MA_CHUNK_CELLS | cell, &slab))
			result = fn(map, &slab, arg);
	return result;
}

/* Used slots, or with enough of them free at least slots - most. */
static uint32_t count_free(const struct ma_slab *slab, uint32_t most)
{
	uint32_t free = 0;

	if (slab->stride > 1) {
		for (uint32_t i = 0; i < slab->slots && free < most; i++)
			free += ma_load_acquire(&slab->truth[i * slab->stride]) == 0;
		return free;
	}
	for (uint32_t at = 0; at < slab->slots && free < most; at += 64)
		free += ma_bits(ma_scan64(slab->truth + at) & ma_low_bits(slab->slots - at));
	return free;
}

uint32_t ma_slab_used(const struct ma_slab *slab)
{
	return slab->slots - count_free(slab, UINT32_MAX);
}

bool ma_slab_is_empty(const struct ma_slab *slab)
{
	if (slab->stride > 1)
		return ma_slab_used(slab) == 0;
	for (uint32_t at = 0; at < slab->slots; at += 64)
		if (~ma_scan64(slab->truth + at) & ma_low_bits(slab->slots - at))
			return false;
	return true;
}

/* Only what memory says of the owner: what a death left there ma_body_reap() has taken away, or will. */
bool ma_slab_is_unowned(struct ma_image *map, const struct ma_slab *slab, uint64_t tag)
{
	uint64_t holder = ma_word_argument(ma_load_acquire(slab->word));

	return holder == 0 || holder == tag || !ma_owner_is_held(map, holder);
}

bool ma_slab_adopt(struct ma_tcache *tc, const struct ma_slab *slab)
{
	uint64_t word = ma_load_acquire(slab->word); /* Pairs with common/heap_slab.c:ma_slab_disown. */
	uint64_t tag = ma_word_argument(word);

	if (ma_word_kind(word) != MA_SLAB || ma_word_class(word) != slab->class)
		return false;
	if (tag != 0 && ma_owner_is_held(tc->map, tag))
		return false;
	return ma_cas(slab->word, &word, ma_word(MA_SLAB, slab->class, tc->tag));
}

void ma_slab_disown(const struct ma_slab *slab)
{
	ma_store_kill(slab->word, ma_word(MA_SLAB, slab->class, 0)); /* Pairs with common/heap_slab.c:ma_slab_adopt. */
}

/* ---- queues of slabs without an owner; the stream's lock is held ---- */

/* NULL: the link leads nowhere. */
static _Atomic uint32_t *next_of(struct ma_image *map, uint32_t id)
{
	uint64_t chunk = ma_slab_chunk(id);
	struct ma_cells *cells;

	if (chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return NULL;
	if (!(id & MA_SMALL))
		return ma_chunk_next(map, chunk);
	cells = ma_chunk_cells(map, chunk);
	return cells ? &cells->next[ma_slab_cell(id)] : NULL;
}

struct ma_queue *ma_slab_queue(struct ma_image *map, uint32_t stream, uint32_t id, uint32_t class)
{
	struct ma_stream *st = ma_stream(map, stream);

	return id & MA_SMALL ? &st->small_queue[class] : &st->queue[class];
}

void ma_queue_push(struct ma_image *map, struct ma_queue *queue, uint32_t id)
{
	uint32_t tail = ma_load(&queue->tail);
	_Atomic uint32_t *last = tail ? next_of(map, tail - 1) : NULL;
	_Atomic uint32_t *next = next_of(map, id);

	if (!next)
		return;
	ma_store(next, 0);
	if (ma_load(&queue->head) == 0 || !last)
		ma_store(&queue->head, id + 1);
	else
		ma_store(last, id + 1);
	ma_store(&queue->tail, id + 1);
}

void ma_queue_push_front(struct ma_image *map, struct ma_queue *queue, uint32_t id)
{
	_Atomic uint32_t *next = next_of(map, id);
	uint32_t head = ma_load(&queue->head);

	if (!next)
		return;
	ma_store(next, head);
	ma_store(&queue->head, id + 1);
	if (head == 0)
		ma_store(&queue->tail, id + 1);
}

uint32_t ma_queue_pop(struct ma_image *map, struct ma_queue *queue)
{
	uint32_t head = ma_load(&queue->head);
	_Atomic uint32_t *next = head ? next_of(map, head - 1) : NULL;

	ma_store(&queue->head, next ? ma_load(next) : 0);
	return next ? head - 1 : MA_NO_SLAB;
}

uint32_t ma_queue_first(const struct ma_queue *queue)
{
	uint32_t head = ma_load(&queue->head);

	return head ? head - 1 : MA_NO_SLAB;
}

uint32_t ma_queue_after(struct ma_image *map, uint32_t id)
{
	_Atomic uint32_t *next = next_of(map, id);
	uint32_t link = next ? ma_load(next) : 0;

	return link ? link - 1 : MA_NO_SLAB;
}

/* Killed in between: the queue is a ring, or lacks members. It is derived, and every walk along it is bounded. */
void ma_queue_turn(struct ma_image *map, struct ma_queue *queue, uint32_t before, uint32_t id)
{
	uint32_t head = ma_load(&queue->head), tail = ma_load(&queue->tail);
	_Atomic uint32_t *last = tail ? next_of(map, tail - 1) : NULL, *end = next_of(map, before);

	if (!last || !end || head == id + 1)
		return;
	ma_store(last, head);
	ma_store(&queue->head, id + 1);
	ma_store(end, 0);
	ma_store(&queue->tail, before + 1);
}

static int queue_unowned(struct ma_image *map, const struct ma_slab *slab, void *arg)
{
	uint32_t stream = *(const uint32_t *)arg;

	if (ma_slab_is_unowned(map, slab, 0))
		ma_queue_push(map, ma_slab_queue(map, stream, slab->id, slab->class), slab->id);
	return 0;
}

/* Some slabs may have lost their owner without getting into a queue: fill the queues from the words. */
void ma_queues_freshen(struct ma_image *map, uint32_t stream)
{
	struct ma_stream *st = ma_stream(map, stream);
	uint64_t first = ma_range_first(map, stream);
	uint64_t used = ma_range_used(map, stream);

	if (!ma_load(&st->stale))
		return;
	ma_store(&st->stale, 0);
	ma_stream_count_return(map, stream); /* Of slabs whose owner died: they come into the queues now. */
	ma_store(&st->celled, 0);
	ma_truth_recount(map, stream);
	for (uint32_t c = 0; c < MA_CLASSES; c++) {
		ma_store(&st->queue[c].head, 0);
		ma_store(&st->small_queue[c].head, 0);
	}
	for (uint64_t chunk = first; chunk < first + used; chunk++) {
		ma_chunk_slabs(map, chunk, queue_unowned, &stream);
		if (ma_word_kind(ma_chunk_load(map, chunk)) == MA_CELLS)
			ma_cell_relist(map, stream, chunk);
	}
}

/* ---- looking ---- */

/*
 * What a search is content with. Blocks that are freed at random leave few free slots in each slab: a thread that took the
 * first one it finds would search for every block. So it first passes by what is poor, and rather takes a new slab; that
 * costs at most a sixteenth of the memory, and something.
 */
static uint32_t least(uint32_t slots, enum ma_want want)
{
	return want == MA_RICH_ROOM ? (slots + MA_RICH - 1) / MA_RICH : 1;
}

bool ma_slab_has_room(const struct ma_slab *slab, enum ma_want want)
{
	uint32_t want_free = least(slab->slots, want);

	return count_free(slab, want_free) >= want_free;
}

/* The first 64 slots of a slab of whole chunks, from group on, that have enough free ones. */
static bool look_at_large(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group,
			  enum ma_want want)
{
	uint32_t slots = cursor->slots;
	_Atomic uint8_t *truth = ma_spot_truth(map, id, slots);

	for (; truth && group * 64 < slots; group++) {
		struct ma_look next = {
			.truth = truth + group * 64,
			.base = ma_chunk_address(map, id) + group * 64 * cursor->slot_bytes,
			.step = cursor->slot_bytes,
			.valid = ma_low_bits(slots - group * 64),
			.unit = id,
			.group = group,
		};

		if (ma_cursor_look(cursor, next, least((uint32_t)ma_min(64, slots - group * 64), want)))
			return true;
	}
	return false;
}

/* Where slots begin among 64 granules of a small slab. */
static uint64_t small_valid(uint32_t slots, uint32_t stride, uint32_t group)
{
	uint32_t from = group * 64;
	uint64_t valid = 0;

	for (uint32_t slot = (from + stride - 1) / stride; slot < slots && slot * stride < from + 64; slot++)
		valid |= (uint64_t)1 << (slot * stride - from);
	return valid;
}

static bool look_at_small(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group,
			  enum ma_want want)
{
	uint64_t chunk = ma_slab_chunk(id);
	uint32_t stride = (uint32_t)cursor->slot_bytes / MA_GRANULE;
	_Atomic uint8_t *truth = ma_spot_truth(map, chunk, MA_GRANULE_BYTES);
	uint32_t cell = ma_slab_cell(id);

	for (; truth && group * 64 < cursor->small_slots * stride; group++) {
		struct ma_look next = {
			.truth = truth + cell * (MA_CELL / MA_GRANULE) + group * 64,
			.base = ma_chunk_address(map, chunk) + (cell + group) * MA_CELL,
			.step = MA_GRANULE,
			.valid = small_valid(cursor->small_slots, stride, group),
			.unit = id,
			.group = group,
		};

		if (ma_cursor_look(cursor, next, least(ma_bits(next.valid), want)))
			return true;
	}
	return false;
}

_Static_assert(64 * MA_GRANULE == MA_CELL, "a look is a cell");

static bool look(struct ma_image *map, struct ma_cursor *cursor, uint32_t id, uint32_t group, enum ma_want want)
{
	return id & MA_SMALL ? look_at_small(map, cursor, id, group, want) : look_at_large(map, cursor, id, group, want);
}

static bool go_round(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t looks, enum ma_want want)
{
	for (uint32_t i = 0; i < looks && i < cursor->count; i++) {
		cursor->at = cursor->at + 1 < cursor->count ? cursor->at + 1 : 0;
		if (look(tc->map, cursor, tc->ring[cursor->class][cursor->at], 0, want))
			return true;
	}
	return false;
}

bool ma_slab_look_on(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	if (cursor->now.truth && cursor->now.unit & MA_SMALL && ma_cursor_churns(tc->map, cursor, 1))
		return false;
	if (ma_cursor_go_back(cursor))
		return true;
	if (cursor->now.truth && look(tc->map, cursor, cursor->now.unit, cursor->now.group + 1, MA_RICH_ROOM))
		return true;
	return go_round(tc, cursor, RING_LOOKS, MA_RICH_ROOM);
}

bool ma_ring_search(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	return go_round(tc, cursor, MA_RING, MA_ANY_ROOM);
}

/* ---- the ring ---- */

/* Cells. Of a small map a thread may own more than a sixteenth, but never most of it. */
static uint64_t may_own(const struct ma_image *map)
{
	uint64_t cells = ma_units_in_time(map) * MA_CHUNK_CELLS;

	return ma_max(cells / 16, ma_min(OWNED_MIN, cells / 4));
}

static uint32_t cells_of(const struct ma_image *map, uint32_t id, uint32_t class)
{
	return id & MA_SMALL ? map->lay.small_span[class] : ma_slab_chunks(map, class) * MA_CHUNK_CELLS;
}

/* Take a slab out of the ring. What its cursor still had in view is free, and is found again by the thread that looks next. */
void ma_ring_drop(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at)
{
	uint32_t *ring = tc->ring[cursor->class];
	uint32_t id = ring[at];
	uint32_t cells = cells_of(tc->map, id, cursor->class);

	tc->owned -= cells;
	if (id & MA_SMALL)
		cursor->small_cells -= cells;
	ma_cursor_forget(cursor, id);
	ring[at] = ring[--cursor->count];
	if (cursor->at >= cursor->count)
		cursor->at = 0;
}

static void let_go(struct ma_image *map, uint32_t id, uint32_t class)
{
	uint32_t stream = ma_stream_of(map, ma_slab_chunk(id));
	bool locked = ma_stream_lock(map, stream);
	struct ma_slab slab;

	/* Under the lock, or others might have it in a queue, or make it another thing, before it is pushed. */
	if (ma_slab_at(map, id, &slab))
		ma_slab_disown(&slab);
	if (!locked)
		return;
	ma_queue_push(map, ma_slab_queue(map, stream, id, class), id);
	ma_stream_count_return(map, stream);
	ma_stream_unlock(map, stream);
}

static void release(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t at)
{
	uint32_t id = tc->ring[cursor->class][at];

	ma_ring_drop(tc, cursor, at);
	if (!ma_slab_give_if_empty(tc->map, id))
		let_go(tc->map, id, cursor->class);
}

/* Make room for one more: the slab that was looked into longest ago goes. With a large slab no small one is needed. */
static void shorten_ring(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t id)
{
	uint32_t more = cells_of(tc->map, id, cursor->class);

	if (!(id & MA_SMALL)) {
		cursor->churn = 0;
		for (uint32_t i = cursor->count; cursor->small_cells && i-- > 0;)
			if (tc->ring[cursor->class][i] & MA_SMALL)
				release(tc, cursor, i);
	}
	if (cursor->count == 0 || (cursor->count < MA_RING && tc->owned + more <= may_own(tc->map)))
		return;
	release(tc, cursor, (cursor->at + 1) % cursor->count);
}

bool ma_ring_add(struct ma_tcache *tc, struct ma_cursor *cursor, uint32_t id)
{
	uint32_t cells = cells_of(tc->map, id, cursor->class);

	shorten_ring(tc, cursor, id);
	tc->ring[cursor->class][cursor->count] = id;
	tc->owned += cells;
	if (id & MA_SMALL)
		cursor->small_cells += cells;
	cursor->at = cursor->count++;
	return look(tc->map, cursor, id, 0, MA_ANY_ROOM);
}

/* ---- a thread's cache comes and goes ---- */

void ma_heap_thread_attach(struct ma_tcache *tc)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++) {
		tc->cursor[c].slot_bytes = ma_class_bytes(c);
		tc->cursor[c].slots = ma_slab_slots(tc->map, c);
		tc->cursor[c].small_slots = ma_small_slots(tc->map, c);
	}
	for (uint32_t i = 1; i < MA_COUNT(tc->by_size); i++)
		tc->by_size[i] = &tc->cursor[ma_class_of(i * 16)];
}

void ma_heap_thread_detach(struct ma_tcache *tc)
{
	for (uint32_t c = 0; c < MA_CLASSES; c++)
		for (uint32_t i = 0; i < tc->cursor[c].count; i++)
			if (!ma_slab_give_if_empty(tc->map, tc->ring[c][i]))
				let_go(tc->map, tc->ring[c][i], c);
}
