/* SPDX-License-Identifier: BSD-3-Clause */
/* The slow paths of the heap's calls, which are also the whole ones: they check everything and can say what is wrong. */
#include "common/heap.h"

#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/heap_internal.h"

/* What a pointer points into: a slot or a run. */
struct found {
	uint64_t head;
	uint64_t start;         /* Offset in the user area. */
	uint64_t room;          /* Usable bytes. */
	_Atomic uint8_t *truth; /* NULL for a run. */
};

static bool may_change(struct ma_map *map)
{
	if (!ma_map_is_open(map))
		return false;
	if (ma_map_writable(map))
		return true;
	ma_fail(EROFS, "%s: is open read-only", map->name);
	return false;
}

static void *dealt(struct ma_map *map, void *block, size_t size, size_t room)
{
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_malloc(block, size, room, false);
	return block;
}

static uint64_t chunks_for(uint64_t size)
{
	return (size + MA_CHUNK - 1) / MA_CHUNK;
}

static void *malloc_run(struct ma_map *map, struct ma_tcache *tc, size_t size, uint64_t align_chunks)
{
	uint64_t chunks = size > map->lay.user_bytes ? UINT64_MAX : chunks_for(ma_max(size, 1));
	void *block = ma_run_malloc(map, tc, chunks, align_chunks);

	if (!block)
		return ma_fail_null(errno, "%s: no room for %zu bytes in one piece", map->name, size);
	return dealt(map, block, size, chunks * MA_CHUNK);
}

static void *malloc_slot(struct ma_map *map, struct ma_tcache *tc, uint32_t class, size_t size)
{
	struct ma_cursor *cursor = &tc->cursor[class];

	if (cursor->mask == 0 && !ma_slab_look_on(tc, cursor) && !ma_slab_refill(tc, cursor))
		return NULL;
	return dealt(map, ma_cursor_pop(cursor), size, cursor->slot_bytes);
}

static void *malloc_checked(struct ma_map *map, size_t size)
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
	/* A slab of several chunks may not fit where a single chunk does. */
	if (size > MA_SMALL_MAX && map->lay.big_span > 1)
		return malloc_run(map, tc, size, 1);
	return ma_fail_null(errno, "%s: full: no room for %zu bytes", map->name, size);
}

void *ma_heap_malloc_slow(struct ma_map *map, size_t size)
{
	struct ma_tcache *tc = ma_tcache_of(map);
	int saved;
	void *block;

	/* Most often a thread just goes on among the slots that it owns; nothing of it can fail, so nothing is checked. */
	if (MA_LIKELY(tc->id == ma_load(&map->id) && size <= MA_BY_SIZE_MAX)) {
		struct ma_cursor *cursor = tc->by_size[(size + 15) / 16];

		if (MA_LIKELY(ma_slab_look_on(tc, cursor)))
			return ma_cursor_pop(cursor);
	}
	saved = errno;
	block = malloc_checked(map, size);
	if (block)
		errno = saved; /* A first try may have failed where a second one went well. */
	return block;
}

/* The slot, allocated or not, or the run that this address lies in. */
static bool locate(struct ma_map *map, const void *address, struct found *found)
{
	uint64_t offset = (uint64_t)((const char *)address - map->user);
	uint64_t chunk = offset >> MA_CHUNK_SHIFT;
	uint64_t word, slot;

	if ((const char *)address < map->user || chunk >= map->lay.units || !ma_chunk_is_backed(map, chunk))
		return false;
	found->head = ma_chunk_head(map, chunk);
	if (found->head == MA_NO_CHUNK)
		return false;
	found->start = found->head << MA_CHUNK_SHIFT;
	word = ma_chunk_load(map, found->head);
	found->truth = NULL;
	found->room = ma_word_chunks(map, found->head, word) * MA_CHUNK;
	if (ma_word_kind(word) == MA_RUN)
		return found->room > 0;
	if (ma_word_kind(word) != MA_SLAB || found->room == 0)
		return false;
	found->room = ma_class_bytes(ma_word_class(word));
	slot = (offset - found->start) / found->room;
	if (slot >= ma_slab_slots(map, ma_word_class(word)))
		return false;
	found->truth = ma_slab_truth(map, found->head, ma_word_class(word));
	if (!found->truth)
		return false;
	found->start += slot * found->room;
	found->truth += slot;
	return true;
}

static bool is_live(const struct found *found)
{
	return !found->truth || ma_load_acquire(found->truth) == 1;
}

/* What block is, if it is the start of an allocated block. */
static bool resolve(struct ma_map *map, const void *block, struct found *found)
{
	return locate(map, block, found) && map->user + found->start == (const char *)block && is_live(found);
}

/* The whole of it must be inside the file, or looking at it might fault: so the last chunk must have its space too. */
bool ma_heap_find(struct ma_map *map, const void *address, struct ma_block *block)
{
	struct found found;

	if (!locate(map, address, &found) || !ma_chunk_is_backed(map, (found.start + found.room - 1) >> MA_CHUNK_SHIFT))
		return false;
	*block = (struct ma_block){
		.start = map->user + found.start,
		.room = found.room,
		.is_run = !found.truth,
		.is_live = is_live(&found),
	};
	return true;
}

static int bad_block(struct ma_map *map, const void *block)
{
	return ma_fail(EINVAL, "%s: %p is not the start of an allocated block (freed twice, or not from here?)",
		       map->name, block);
}

void ma_heap_free_slow(struct ma_map *map, void *block)
{
	int saved = errno;
	struct found found;

	if (!block || !may_change(map))
		return;
	if (!resolve(map, block, &found)) {
		bad_block(map, block);
		return;
	}
	if (MA_UNLIKELY(map->annotated))
		ma_annotate_free(block, found.room);
	if (found.truth) {
		ma_truth_free(found.truth);
		ma_map_measure(map); /* It may be the file's growth that kept it from the fast path. */
	} else if (ma_run_free(map, found.head) < 0) {
		if (errno == EINVAL) /* Else no slot for this process: it has said so. */
			bad_block(map, block);
		return;
	}
	errno = saved;
}

size_t ma_heap_usable_size(struct ma_map *map, const void *block)
{
	struct found found;

	if (!ma_map_is_open(map) || !block)
		return 0;
	if (resolve(map, block, &found))
		return found.room;
	bad_block(map, block);
	return 0;
}

/* Can the block serve size bytes where it is, without wasting more than half of it? */
static bool fits_in_place(struct ma_map *map, const struct found *found, size_t size)
{
	int saved = errno;
	bool fits;

	if (found->truth)
		return size <= found->room && (size > found->room / 2 || found->room <= 32);
	fits = size > MA_SLAB_MAX && size <= map->lay.user_bytes && ma_run_resize(map, found->head, chunks_for(size));
	errno = saved; /* If not, it moves. */
	return fits;
}

static void *move(struct ma_map *map, void *block, size_t room, size_t size)
{
	int saved = errno;
	void *fresh = ma_heap_malloc(map, size);

	if (!fresh) {
		if (size > room)
			return NULL;
		errno = saved; /* It shrinks: then it may just as well stay. */
		return block;
	}
	memcpy(fresh, block, ma_min(room, size));
	ma_heap_free(map, block);
	return fresh;
}

void *ma_heap_realloc(struct ma_map *map, void *block, size_t size)
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

void *ma_heap_memalign(struct ma_map *map, size_t alignment, size_t size)
{
	struct ma_tcache *tc;
	int saved = errno;
	uint32_t class;
	void *block;

	if (!ma_is_pow2(alignment))
		return ma_fail_null(EINVAL, "an alignment of %zu is not a power of two", alignment);
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

/* ---- layout ---- */

#define FIXED_TABLES (2 << 20)
#define FIXED_ROOTS  64

/* Offsets for this many chunks. Returns where the user area would end. */
static uint64_t place(struct ma_map *map, struct ma_layout *lay, uint64_t chunks)
{
	uint64_t at = ma_body_layout(lay, map->sealed.reserved); /* Not its length, which changes. */
	uint64_t base = map->sealed.base;

	if (map->sealed.kind == MA_KIND_MMALLOC) {
		lay->key_off = at;
		at += MA_KEYS * sizeof(uint64_t);
	}
	lay->units = chunks;
	lay->per_stream = (chunks + lay->streams - 1) / lay->streams;
	lay->leaves = (lay->per_stream + MA_LEAF - 1) / MA_LEAF;
	for (lay->span_base = 1; lay->span_base < lay->leaves; lay->span_base *= 2)
		;
	lay->leaf_off = ma_up(at, MA_LINE);
	lay->hole_off = lay->leaf_off + lay->streams * lay->leaves * 8;
	lay->span_off = lay->hole_off + lay->streams * lay->leaves * 8;
	lay->spot_off = ma_up(lay->span_off + lay->streams * 2 * lay->span_base * 12, MA_LINE);
	lay->table_end = lay->spot_off + chunks * 8;
	/* The tables of a map of some GiB cost little; those of a huge one are given space as they come into use. */
	lay->fixed_end = lay->table_end - at <= FIXED_TABLES ? lay->table_end : at;
	lay->unit_off = ma_up(lay->table_end, MA_LINE);
	lay->next_off = ma_up(lay->unit_off + chunks * 8, MA_LINE);
	/* The first area of a stream suffices for 15 slabs or all that it can have; see heap_truth.c. */
	lay->area_off = ma_up(lay->next_off + chunks * 4, MA_UNIT);
	lay->area_units = ma_min(MA_AREA_UNITS, MA_AREA_HEAD + lay->per_stream * MA_UNITS_MOST);
	lay->user_off = ma_up(base + lay->area_off + lay->streams * lay->area_units * MA_UNIT, MA_CHUNK) - base;
	lay->user_bytes = chunks * MA_CHUNK;
	lay->big_span = chunks >= 64 ? 8 : 1;
	return lay->user_off + lay->user_bytes;
}

static bool layout(struct ma_map *map)
{
	struct ma_layout *lay = &map->lay;
	uint64_t streams = map->sealed.param[MA_HEAP_PARAM_STREAMS];
	uint64_t bytes = map->sealed.reserved;
	uint64_t chunks = bytes / MA_CHUNK;

	*lay = (struct ma_layout){ .stream_stride = sizeof(struct ma_stream) };
	if (streams < 1 || streams > MA_STREAMS_MAX || bytes < ma_load(&map->sealed.length) || bytes >> 46)
		return false;
	lay->streams = (uint32_t)streams;
	lay->roots = FIXED_ROOTS;
	map->smallest = place(map, lay, 1) + MA_CHUNK;
	while (chunks > 0 && place(map, lay, chunks) > bytes)
		chunks -= ma_max(1, (place(map, lay, chunks) - bytes) / (2 * MA_CHUNK));
	return chunks > 0 && bytes >= map->smallest - MA_CHUNK && lay->table_end <= ma_load(&map->sealed.length);
}

static uint64_t end_of_use(struct ma_map *map)
{
	uint64_t end = 0;

	for (uint32_t s = 0; s < map->lay.streams; s++) {
		uint64_t used = ma_range_used(map, s);

		if (used)
			end = map->lay.user_off + (ma_range_first(map, s) + used) * MA_CHUNK;
	}
	return end;
}

#define HEAP_ENGINE(number)                                                                                      \
	{                                                                                                        \
		.kind = (number), .layout = layout, .end = end_of_use, .recover_stream = ma_heap_recover_stream, \
		.renew = ma_chunk_renew, .back = ma_chunk_back, .check = ma_heap_check, .walk = ma_heap_walk,    \
		.equip = ma_heap_equip, .leave = ma_heap_leave, .table_at = ma_heap_table_at,                    \
		.table_take = ma_heap_table_take, .own_metadata = ma_heap_own_metadata, .used = ma_heap_used,    \
		.hollow = ma_heap_hollow,                                                                        \
	}

const struct ma_engine ma_heap_engine = HEAP_ENGINE(MA_KIND_DYNAMIC);
const struct ma_engine ma_heap_engine_keys = HEAP_ENGINE(MA_KIND_MMALLOC);
