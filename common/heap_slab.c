/* SPDX-License-Identifier: BSD-3-Clause */
/* Slabs, of whole chunks or of cells: their words, their owners, and the queues of those that have none. */
#include "common/heap_internal.h"
#include "common/owner.h"

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
		.alloc_bytes = (_Atomic uint8_t *)cells - MA_GRANULE_BYTES + cell * (MA_CELL / MA_GRANULE),
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
		.alloc_bytes = ma_slab_alloc_bytes(map, id, class),
		.base = ma_chunk_address(map, id),
	};
	return slab->alloc_bytes != NULL;
}

bool ma_slab_at(struct ma_image *map, uint32_t id, struct ma_slab *slab)
{
	uint64_t chunk = ma_slab_chunk(id);

	if (chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return false;
	return id & MA_SMALL ? small_slab_at(map, id, slab) : large_slab_at(map, id, slab);
}

/* Most cells have no word of their own: those are not worth a closer look. */
static int small_slabs(struct ma_image *map, uint64_t chunk,
		       int (*fn)(struct ma_image *map, const struct ma_slab *slab, void *arg), void *arg)
{
	struct ma_cells *cells = chunk < MA_SMALL_CHUNKS ? ma_chunk_cells(map, chunk) : NULL;
	struct ma_slab slab;
	int result = 0;

	for (uint32_t cell = 0; cells && cell < MA_CHUNK_CELLS && !result; cell++)
		if (ma_load(&cells->word[cell]) &&
		    small_slab_at(map, MA_SMALL | (uint32_t)chunk * MA_CHUNK_CELLS | cell, &slab))
			result = fn(map, &slab, arg);
	return result;
}

int ma_chunk_slabs(struct ma_image *map, uint64_t chunk,
		   int (*fn)(struct ma_image *map, const struct ma_slab *slab, void *arg), void *arg)
{
	enum ma_chunk_kind kind = ma_word_kind(ma_chunk_load(map, chunk));
	struct ma_slab slab;

	if (kind == MA_SLAB && large_slab_at(map, (uint32_t)chunk, &slab))
		return fn(map, &slab, arg);
	return kind == MA_CELLS ? small_slabs(map, chunk, fn, arg) : 0;
}

/* Used slots, or with enough of them free at least slots - most. */
static uint32_t count_free(const struct ma_slab *slab, uint32_t most)
{
	uint32_t free = 0;

	if (slab->stride > 1) {
		for (uint32_t i = 0; i < slab->slots && free < most; i++)
			/* Pairs with common/heap.h:ma_slot_free. */
			free += ma_load_acquire(&slab->alloc_bytes[i * slab->stride]) == 0;
		return free;
	}
	for (uint32_t at = 0; at < slab->slots && free < most; at += 64)
		if (ma_scan64_any(slab->alloc_bytes + at))
			free += ma_bits(ma_scan64(slab->alloc_bytes + at) & ma_low_bits(slab->slots - at));
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
		if (~ma_scan64(slab->alloc_bytes + at) & ma_low_bits(slab->slots - at))
			return false;
	return true;
}

/* Only what memory says of the owner: what a death left there ma_body_reap() has taken away, or will. */
bool ma_slab_is_unowned(struct ma_image *map, const struct ma_slab *slab, uint64_t tag)
{
	/* Pairs with common/heap_slab.c:ma_slab_disown. */
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
	ma_store(&st->cached, 1); /* A process may have died before it could say so. */
	ma_alloc_bytes_recount(map, stream);
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

/* ---- free slots, and giving back ---- */

bool ma_slab_has_room(const struct ma_slab *slab, enum ma_want want)
{
	uint32_t want_free = ma_want_least(slab->slots, want);

	return count_free(slab, want_free) >= want_free;
}

void ma_slab_give(struct ma_image *map, const struct ma_slab *slab)
{
	if (slab->id & MA_SMALL)
		ma_cell_give(map, slab->id);
	else
		ma_slab_chunks_give(map, slab->id, slab->cells / MA_CHUNK_CELLS);
}

bool ma_slab_give_if_empty(struct ma_image *map, uint32_t id)
{
	uint32_t stream = ma_stream_of(map, ma_slab_chunk(id));
	struct ma_slab slab;

	if (!ma_slab_at(map, id, &slab) || !ma_slab_is_empty(&slab) || !ma_stream_lock(map, stream))
		return false;
	ma_slab_give(map, &slab);
	ma_stream_unlock(map, stream);
	return true;
}
