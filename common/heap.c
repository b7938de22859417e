/* SPDX-License-Identifier: BSD-3-Clause */
/* The slow paths of the heap's calls, which are also the whole ones: they check everything and can say what is wrong. */
#include "common/heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/error.h"
#include "common/heap_internal.h"
#include "common/reclaim.h"
#include "common/regain.h"

/* What a pointer points into: a slot or a run. */
struct found {
	uint64_t head;
	uint64_t start;         /* Offset in the user area. */
	uint64_t room;          /* Usable bytes. */
	_Atomic uint8_t *alloc_bytes; /* NULL for a run. */
};

static bool may_change(struct ma_image *map)
{
	if (!ma_image_is_open(map))
		return false;
	if (ma_image_writable(map))
		return true;
	ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name);
	return false;
}

static void *dealt(struct ma_image *map, void *block, size_t size, size_t room)
{
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_malloc(block, size, room, false);
	return block;
}

static uint64_t chunks_for(uint64_t size)
{
	return (size + MA_CHUNK - 1) / MA_CHUNK;
}

/* errno says why there is none. */
static void *no_room(const struct ma_image *map, size_t size, size_t alignment)
{
	uint64_t room = map->kind == MA_KIND_MMALLOC ? map->lay.user_bytes : ma_capacity(map);
	bool may_grow = ma_image_length(map) < map->lay.file_end;
	char what[80];

	if (errno == EUSERS || errno == ETIMEDOUT || errno == EUCLEAN || errno == EBADF || errno == EAGAIN)
		return NULL; /* It was said. */
	snprintf(what, sizeof(what), alignment > 1 ? "a block of %zu bytes aligned to %zu" : "a block of %zu bytes",
		 size, alignment);
	if (errno != ENOMEM)
		return ma_fail_null(
			errno,
			"%s: no disk space for %s: the file cannot get more; free space on its file system, "
			"or check `ulimit -f`",
			map->name, what);
	return ma_fail_null(ENOMEM, "%s: %s: no room for %s in a map for %" PRIu64 " bytes; %s", map->name,
			    size > room ? "block is too large" : "map is full", what, room,
			    map->kind == MA_KIND_MMALLOC ? "free blocks, or use a larger range (option reserve of a new heap)"
			    : may_grow		 ? "free blocks, or make it longer: qalloc_grow(), mapalloc resize"
						 : "free blocks, or use a larger map");
}

static void *malloc_run(struct ma_image *map, struct ma_tcache *tc, size_t size, uint64_t align_chunks)
{
	uint64_t chunks = size > map->lay.user_bytes ? UINT64_MAX : chunks_for(ma_max(size, 1));
	void *block = ma_regain_now_and_then(map) < 0 ? NULL : ma_run_malloc(map, tc, chunks, align_chunks);

	if (!block)
		return no_room(map, size, align_chunks > 1 ? align_chunks * MA_CHUNK : 1);
	return dealt(map, block, size, chunks * MA_CHUNK);
}

/* In this order: what the thread owns, what is quickly found, and only then all the rest. */
static void *slot_from(struct ma_tcache *tc, struct ma_cursor *cursor)
{
	if (ma_regain_now_and_then(tc->map) < 0)
		return NULL;
	if (!ma_search_would_fail(tc->map, cursor->class))
		return ma_slab_refill(tc, cursor) ? ma_cursor_pop(cursor) : ma_slab_take_one(tc, cursor);
	if (!ma_search_ring_would_fail(tc->map, cursor) && ma_ring_search(tc, cursor))
		return ma_cursor_pop(cursor);
	ma_search_ring_failed(tc->map, cursor);
	errno = ENOMEM;
	return NULL;
}

static void *malloc_slot(struct ma_image *map, struct ma_tcache *tc, uint32_t class, size_t size)
{
	struct ma_cursor *cursor = &tc->cursor[class];
	void *block = cursor->mask != 0 || ma_slab_look_on(tc, cursor) ? ma_cursor_pop(cursor) : slot_from(tc, cursor);

	return block ? dealt(map, block, size, cursor->slot_bytes) : NULL;
}

/* What the thread's cursor has no block for: it looked on already. */
static void *malloc_small(struct ma_image *map, struct ma_tcache *tc, struct ma_cursor *cursor, size_t size)
{
	void *block = slot_from(tc, cursor);

	return block ? block : no_room(map, size, 1);
}

static void *malloc_checked(struct ma_image *map, size_t size)
{
	struct ma_tcache *tc;
	void *block;

	if (!may_change(map))
		return NULL;
	tc = ma_tcache_get(map);
	if (!tc)
		return NULL;
	if (size > MA_SLAB_MAX)
		return malloc_run(map, tc, size, 1);
	block = malloc_slot(map, tc, ma_class_of(size), size);
	if (MA_LIKELY(block != NULL))
		return block;
	/* A slab of several chunks may not fit where a single chunk does; and a run needs no allocation bytes. */
	if (size > MA_SMALL_MAX)
		return malloc_run(map, tc, size, 1);
	return no_room(map, size, 1);
}

void *ma_heap_malloc_slow(struct ma_image *map, size_t size)
{
	struct ma_cursor *cursor = ma_heap_cursor(map, size);
	int saved;
	void *block;

	/*
	 * A thread has a cursor only for a map that is open, that it may change and that is not watched. Most often it just goes on
	 * among the slots that it owns; nothing of that can fail.
	 */
	if (cursor == &ma_cursor_never)
		cursor = NULL;
	if (MA_LIKELY(cursor && ma_slab_look_on(ma_tcache_of(map), cursor)))
		return ma_cursor_pop(cursor);
	saved = errno;
	block = cursor ? malloc_small(map, ma_tcache_of(map), cursor, size) : malloc_checked(map, size);
	if (block)
		errno = saved; /* A first try may have failed where a second one went well. */
	return block;
}

/* In a slab of whole chunks, or in one of cells. False: there is no slot. */
static bool locate_slot(struct ma_image *map, uint64_t word, uint64_t offset, struct found *found)
{
	uint32_t class = ma_word_class(word);
	uint64_t slot;

	found->start = found->head << MA_CHUNK_SHIFT;
	found->room = ma_class_bytes(class);
	slot = (offset - found->start) / found->room;
	if (slot >= ma_slab_slots(map, class))
		return false;
	found->alloc_bytes = ma_slab_alloc_bytes(map, found->head, class);
	if (!found->alloc_bytes)
		return false;
	found->start += slot * found->room;
	found->alloc_bytes += slot;
	return true;
}

static bool locate_in_cells(struct ma_image *map, uint64_t offset, struct found *found)
{
	struct ma_cells *cells = ma_chunk_cells(map, found->head);
	uint32_t cell = (uint32_t)((offset & (MA_CHUNK - 1)) >> MA_CELL_SHIFT);
	struct ma_slab slab;
	uint64_t slot;

	cell = cells ? ma_cell_head(map, cells, cell) : MA_CHUNK_CELLS;
	if (cell == MA_CHUNK_CELLS || found->head >= MA_SMALL_CHUNKS ||
	    !ma_slab_at(map, MA_SMALL | (uint32_t)found->head * MA_CHUNK_CELLS | cell, &slab))
		return false;
	found->room = ma_class_bytes(slab.class);
	found->start = (uint64_t)(slab.base - map->user);
	slot = (offset - found->start) / found->room;
	found->start += slot * found->room;
	found->alloc_bytes = slab.alloc_bytes + slot * slab.stride;
	return slot < slab.slots;
}

/* The slot, allocated or not, or the run that this address lies in. */
static bool locate(struct ma_image *map, const void *address, struct found *found)
{
	uint64_t offset = (uint64_t)((const char *)address - map->user);
	uint64_t chunk = offset >> MA_CHUNK_SHIFT;
	uint64_t word;

	if ((const char *)address < map->user || chunk >= ma_units(map) || !ma_chunk_is_backed(map, chunk))
		return false;
	found->head = ma_chunk_head(map, chunk);
	if (found->head == MA_NO_CHUNK)
		return false;
	word = ma_chunk_load(map, found->head);
	if (ma_word_kind(word) == MA_SLAB)
		return ma_word_class(word) < MA_CLASSES && ma_block_chunks(map, found->head, word) &&
		       locate_slot(map, word, offset, found);
	if (ma_word_kind(word) == MA_CELLS)
		return locate_in_cells(map, offset, found);
	found->start = found->head << MA_CHUNK_SHIFT;
	found->room = ma_block_chunks(map, found->head, word) * MA_CHUNK;
	found->alloc_bytes = NULL;
	return ma_word_kind(word) == MA_RUN && found->room > 0;
}

static bool is_live(const struct found *found)
{
	return !found->alloc_bytes || ma_load(found->alloc_bytes) == 1;
}

/* What block is, if it is the start of an allocated block. */
static bool resolve(struct ma_image *map, const void *block, struct found *found)
{
	return locate(map, block, found) && map->user + found->start == (const char *)block && is_live(found);
}

/* The whole of it must be inside the file, or looking at it might fault: so the last chunk must have its space too. */
bool ma_heap_find(struct ma_image *map, const void *address, struct ma_block *block)
{
	struct found found;

	if (!locate(map, address, &found) || !ma_chunk_is_backed(map, (found.start + found.room - 1) >> MA_CHUNK_SHIFT))
		return false;
	*block = (struct ma_block){
		.start = map->user + found.start,
		.room = found.room,
		.is_run = !found.alloc_bytes,
		.is_live = is_live(&found),
	};
	return true;
}

static int bad_block(struct ma_image *map, const void *block)
{
	return ma_fail(EINVAL,
		       "%s: address %p is invalid: no allocated block starts there; look for a double free, or a block "
		       "of another map",
		       map->name, block);
}

/* Most blocks that come here are runs, and ma_run_free() does not believe its caller: so no more than this is looked at before. */
static bool free_run(struct ma_image *map, const void *block)
{
	uint64_t offset = (uint64_t)((const char *)block - map->user);
	uint64_t chunk = offset >> MA_CHUNK_SHIFT;

	return offset % MA_CHUNK == 0 && chunk < ma_units(map) && ma_chunk_is_backed(map, chunk) &&
	       ma_word_kind(ma_chunk_load(map, chunk)) == MA_RUN && ma_run_free(map, chunk) == 0;
}

void ma_heap_free_slow(struct ma_image *map, void *block)
{
	int saved = errno;
	struct found found;

	if (!block || !may_change(map))
		return;
	if (MA_LIKELY(!map->annotated) && free_run(map, block)) {
		errno = saved;
		return;
	}
	if (!resolve(map, block, &found)) {
		bad_block(map, block);
		return;
	}
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_free(block, found.room);
	if (found.alloc_bytes) {
		ma_slot_free(found.alloc_bytes);
		ma_search_note_free(map);
		ma_image_measure(map); /* It may be the file's growth that kept it from the fast path. */
	} else if (ma_run_free(map, found.head) < 0) {
		if (errno == EINVAL) /* Else no slot for this process: it has said so. */
			bad_block(map, block);
		return;
	}
	errno = saved;
}

size_t ma_heap_usable_size(struct ma_image *map, const void *block)
{
	struct found found;

	if (!ma_image_is_open(map) || !block)
		return 0;
	if (resolve(map, block, &found))
		return found.room;
	bad_block(map, block);
	return 0;
}

/* Can the block serve size bytes where it is, without wasting more than half of it? */
static bool fits_in_place(struct ma_image *map, const struct found *found, size_t size)
{
	int saved = errno;
	bool fits;

	if (found->alloc_bytes)
		return size <= found->room && (size > found->room / 2 || found->room <= 32);
	fits = size > MA_SLAB_MAX && size <= map->lay.user_bytes && ma_run_resize(map, found->head, chunks_for(size));
	errno = saved; /* If not, it moves. */
	return fits;
}

static void *move(struct ma_image *map, void *block, size_t room, size_t size)
{
	int saved = errno;
	void *fresh = ma_heap_malloc(map, size);

	if (!fresh) {
		if (size > room)
			return NULL;
		errno = saved; /* It shrinks: then it may just as well stay. */
		return block;
	}
	ma_move_block(fresh, block, ma_min(room, size));
	ma_heap_free(map, block);
	return fresh;
}

void *ma_heap_realloc(struct ma_image *map, void *block, size_t size)
{
	struct found found;

	if (!block)
		return ma_heap_malloc(map, size);
	if (!may_change(map))
		return NULL;
	if (size == 0) {
		ma_heap_free(map, block);
		return NULL;
	}
	if (!resolve(map, block, &found)) {
		bad_block(map, block);
		return NULL;
	}
	if (MA_UNLIKELY(map->annotated)) {
		/* Valgrind and ASan know the size asked for, we know the room: open it, and always move. */
		ma_annotate_open(block, found.room);
		return move(map, block, found.room, size);
	}
	if (fits_in_place(map, &found, size))
		return block;
	return move(map, block, found.room, size);
}

void *ma_heap_memalign(struct ma_image *map, size_t alignment, size_t size)
{
	struct ma_tcache *tc;
	int saved = errno;
	uint32_t class;
	void *block;

	if (!ma_is_pow2(alignment))
		return ma_fail_null(EINVAL, "%s: alignment of %zu is invalid: it is not a power of two; use one",
				    map->name, alignment);
	if (alignment <= 16)
		return ma_heap_malloc(map, size);
	if (!may_change(map))
		return NULL;
	tc = ma_tcache_get(map);
	if (!tc)
		return NULL;
	if (alignment > MA_CHUNK || size > MA_SLAB_MAX) {
		block = malloc_run(map, tc, size, ma_max(1, alignment / MA_CHUNK));
		errno = block ? saved : errno;
		return block;
	}
	/* A slab begins at a chunk, so its slots have every alignment that divides their size. */
	for (class = ma_class_of(ma_max(alignment, size)); ma_class_bytes(class) % alignment; class ++)
		;
	block = malloc_slot(map, tc, class, size);
	if (!block)
		block = malloc_run(map, tc, size, 1);
	errno = block ? saved : errno;
	return block;
}

/* ---- the engine ---- */

static uint64_t end_of_use(struct ma_image *map)
{
	uint64_t end = 0;

	for (uint32_t s = 0; s < ma_lanes(map); s++)
		if (ma_range_backed(map, s))
			end = ma_range_first(map, s) + ma_range_backed(map, s);
	return end ? ma_segment_length(&map->lay, end * MA_CHUNK) : 0;
}

#define HEAP_ENGINE(number)                                                                                        \
	{                                                                                                          \
		.kind = (number), .layout = ma_heap_layout, .end = end_of_use,                                     \
		.recover_stream = ma_heap_recover_stream, .renew = ma_chunk_renew, .reserve_space = ma_chunk_back, \
		.check = ma_heap_check, .salvage = ma_heap_salvage, .walk = ma_heap_walk,                          \
		.thread_attach = ma_heap_thread_attach, .thread_detach = ma_heap_thread_detach,                    \
		.table_at = ma_heap_table_at, .table_take = ma_heap_table_take,                                    \
		.privatize_metadata = ma_heap_privatize_metadata, .used = ma_heap_used, .tables = ma_heap_tables,  \
		.hollow = ma_heap_hollow, .rest = ma_heap_rest,                                                    \
	}

const struct ma_engine ma_heap_engine = HEAP_ENGINE(MA_KIND_DYNAMIC);
const struct ma_engine ma_heap_engine_keys = HEAP_ENGINE(MA_KIND_MMALLOC);
