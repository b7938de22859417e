/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guards. A guarded block lies inside a block of the heap:
 *
 *     start                      user = start + front     user + size    start + room
 *     | header | ... | header |  size bytes               | tail ......... |
 *
 * front is the alignment, and at least 16: then the two headers are one. A header is two words:
 *
 *      63           56 55         0
 *     | log2 of front | size      |   word
 *     | of uuid, address and word |   seal
 *
 * The address is the one that all who use the heap know: that the heap itself may be mapped elsewhere, by who only looks into its file,
 * is no matter.
 *
 * The heap may be used by processes that never called mmcheck(), and after all of them have gone: so everything that is known of a
 * guarded block stands in the heap. A pointer that is the start of a slot or run is a plain block; user never is one.
 *
 * The first header's word is the commit: the last thing stored when a guarded block is made, and the first that is destroyed
 * when it goes (but for its contents). So a kill leaves a whole guarded block, or a plain one that no caller holds; and no
 * block that is returned again has a header that was there before.
 *
 * A check or a walk may read a block that is just going: what it reads is compared with the seal before it means anything.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"

#include "common/annotate.h"
#include "common/error.h"
#include <mmalloc.h>

#define HEADER     ((size_t)16)
#define TAIL_LEAST ((size_t)8)
#define TAIL_RUN   ((size_t)16) /* Of a run the rest may be long. */
#define FRONT_LOG  46           /* No range is longer. */
#define FILL       0xce         /* Neither is part of an address that can be followed. */
#define FREED      0xde
#define ODD_BYTES  UINT64_C(0x0101010101010101) /* No byte of a guard is 0, which is what most overruns write. */
#define LOOKS      3

enum broken { BROKEN_BEFORE = 1, BROKEN_AFTER = 2 };

struct header {
	uint64_t word;
	uint64_t seal;
};

/* ---- headers and tails ---- */

static uint64_t word_of(uint64_t front, uint64_t size)
{
	return (uint64_t)__builtin_ctzll(front) << 56 | size;
}

static uint64_t front_of(uint64_t word)
{
	return (uint64_t)1 << (word >> 56);
}

static uint64_t size_of(uint64_t word)
{
	return word & (((uint64_t)1 << 56) - 1);
}

static uint64_t address_of(const struct ma_image *map, const char *user)
{
	return map->sealed.base + (uint64_t)(user - map->base);
}

static uint64_t seal_of(const struct ma_image *map, const char *user, uint64_t word)
{
	uint64_t uuid[2];

	memcpy(uuid, map->sealed.uuid, sizeof(uuid));
	return ma_mix(ma_mix(ma_mix(uuid[0] ^ address_of(map, user)) ^ uuid[1]) ^ word) | ODD_BYTES;
}

static uint8_t tail_byte(uint64_t seal, size_t i)
{
	return (uint8_t)(ma_mix(seal) >> i % 8 * 8) | 1;
}

static size_t tail_length(const struct ma_block *block, uint64_t word)
{
	size_t rest = block->room - front_of(word) - size_of(word);

	return block->is_run ? ma_min(rest, TAIL_RUN) : rest;
}

/* Does the word describe a guarded block that this block has room for? */
static bool fits(const struct ma_block *block, uint64_t word)
{
	return word >> 56 >= 4 && word >> 56 <= FRONT_LOG && front_of(word) + size_of(word) + TAIL_LEAST <= block->room;
}

/* Of a plain block these are its holder's bytes. */
MA_NO_TSAN static struct header read_header(const struct ma_image *map, const char *at)
{
	const volatile struct header *header = (const volatile struct header *)(const volatile void *)at;
	struct header copy = { 0 };

	if (map->annotated && !ma_annotate_readable(at, HEADER))
		return copy;
	copy.word = header->word;
	copy.seal = header->seal;
	return copy;
}

MA_NO_TSAN static bool tail_is_whole(const struct ma_image *map, const struct ma_block *block, uint64_t word)
{
	const char *user = block->start + front_of(word);
	const volatile uint8_t *tail = (const volatile uint8_t *)user + size_of(word);
	size_t length = tail_length(block, word);
	uint64_t seal = seal_of(map, user, word);

	if (map->annotated && !ma_annotate_readable(user + size_of(word), length))
		return false;
	for (size_t i = 0; i < length; i++)
		if (tail[i] != tail_byte(seal, i))
			return false;
	return true;
}

static void write_header(char *at, struct header header)
{
	struct header *to = (struct header *)(void *)at;

	__atomic_store_n(&to->seal, header.seal, __ATOMIC_RELAXED);
	__atomic_store_n(&to->word, header.word, __ATOMIC_RELEASE); /* Pairs with libmmalloc/src/check.c:read_header. */
}

/* The word goes first: with another one neither seal nor tail is right. */
static void wipe_header(char *at)
{
	struct header *header = (struct header *)(void *)at;
	uint64_t freed = FREED * ODD_BYTES;

	__atomic_store_n(&header->word, freed, __ATOMIC_RELEASE); /* Pairs with libmmalloc/src/check.c:read_header. */
	atomic_signal_fence(memory_order_seq_cst);
	__atomic_store_n(&header->seal, freed, __ATOMIC_RELEASE);
}

static void found_guarded(struct mmalloc__found *found, uint64_t word, unsigned broken)
{
	found->user = found->block.start + front_of(word);
	found->size = size_of(word);
	found->is_guarded = true;
	found->broken = broken;
}

/*
 * Is the block guarded? user is where its holder says that it begins; NULL: not known. When an underrun has reached the header that
 * counts, the other one, or what is left of it, still tells the size, and the tail then proves it.
 */
static bool find_guards(struct ma_image *map, struct mmalloc__found *found, const char *user)
{
	char *start = found->block.start;
	struct header first = read_header(map, start), own;

	if (fits(&found->block, first.word) && (!user || user == start + front_of(first.word)) &&
	    first.seal == seal_of(map, start + front_of(first.word), first.word)) {
		own = read_header(map, start + front_of(first.word) - HEADER);
		found_guarded(found, first.word,
			      (own.word != first.word || own.seal != first.seal ? BROKEN_BEFORE : 0u) |
				      (tail_is_whole(map, &found->block, first.word) ? 0u : BROKEN_AFTER));
		return true;
	}
	if (!user)
		user = start + HEADER;
	if ((uintptr_t)user % HEADER || found->block.room < HEADER + TAIL_LEAST)
		return false;
	own = read_header(map, user - HEADER);
	if (!fits(&found->block, own.word) || user != start + front_of(own.word) ||
	    !tail_is_whole(map, &found->block, own.word))
		return false;
	found_guarded(found, own.word, BROKEN_BEFORE);
	return true;
}

/* ---- what a pointer is ---- */

static const char TWICE[] =
	"%s: address %p is invalid: it was freed before, or never allocated; look for a double free";
static const char FOREIGN[] =
	"%s: address %p is invalid: no block of this heap starts there; check where it comes from";
static const char OVERWRITTEN[] = "%s: address %p is invalid: the memory before it was overwritten, or no block starts "
				  "there; look for a write before the block";

/* NULL, or what is wrong with it. */
static const char *classify(struct ma_image *map, const void *ptr, struct mmalloc__found *found)
{
	bool may_have = mmalloc__has_guards(map);
	bool guarded;

	*found = (struct mmalloc__found){ 0 };
	if (!ma_heap_find(map, ptr, &found->block))
		return TWICE;
	if (!found->block.is_live)
		return TWICE;
	if (ptr != found->block.start) {
		if (may_have && find_guards(map, found, ptr))
			return NULL;
		return may_have && ptr == found->block.start + HEADER ? OVERWRITTEN : FOREIGN;
	}
	guarded = may_have && find_guards(map, found, NULL);
	*found =
		(struct mmalloc__found){ .block = found->block, .user = found->block.start, .size = found->block.room };
	return guarded ? FOREIGN : NULL;
}

static void call_abort(const struct ma_image *map)
{
	void (*abortfunc)(void) = (void (*)(void))ma_load(&map->hook);

	abortfunc();
}

static const char *broken_text(unsigned broken)
{
	if (broken == (BROKEN_BEFORE | BROKEN_AFTER))
		return "before and after";
	return broken == BROKEN_BEFORE ? "before" : "after";
}

static void complain(struct ma_image *map, const struct mmalloc__found *found)
{
	static const char format[] =
		"%s: the memory %s block %p of %zu bytes was overwritten; look for a write beyond the block";
	const char *where = broken_text(found->broken);

	if (!ma_load(&map->hook)) {
		ma_debug(format, map->name, where, (void *)found->user, found->size);
		return;
	}
	ma_say(format, map->name, where, (void *)found->user, found->size);
	call_abort(map);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
bool mmalloc__examine(struct ma_image *map, const void *ptr, struct mmalloc__found *found)
{
	const char *wrong = classify(map, ptr, found);

	if (!wrong) {
		if (found->broken)
			complain(map, found);
		return true;
	}
	if (ma_load(&map->hook)) {
		ma_say(wrong, map->name, ptr);
		call_abort(map);
		errno = EINVAL;
	} else {
		ma_fail(EINVAL, wrong, map->name, ptr);
	}
	return false;
}

size_t mmalloc__guarded_size(struct ma_image *map, const void *ptr)
{
	struct mmalloc__found found;
	const char *wrong = classify(map, ptr, &found);

	if (!wrong)
		return found.size;
	ma_fail(EINVAL, wrong, map->name, ptr);
	return 0;
}
#pragma GCC diagnostic pop

/* ---- taking and giving ---- */

static void write_guards(const struct ma_image *map, const struct ma_block *block, uint64_t word)
{
	char *user = block->start + front_of(word);
	size_t length = tail_length(block, word);
	struct header header = { .word = word, .seal = seal_of(map, user, word) };

	for (size_t i = 0; i < length; i++)
		user[size_of(word) + i] = (char)tail_byte(header.seal, i);
	memset(block->start + HEADER, FREED, front_of(word) - HEADER);
	if (front_of(word) > HEADER)
		write_header(user - HEADER, header);
	write_header(block->start, header);
}

static void *take_guarded(struct ma_image *map, uint64_t front, size_t size)
{
	struct ma_block block;
	size_t whole;
	char *start;

	if (front >> FRONT_LOG || __builtin_add_overflow(front + TAIL_LEAST, size, &whole))
		return ma_fail_null(
			ENOMEM,
			"%s: cannot allocate %zu bytes and their guards: more than a heap can have; ask for less",
			map->name, size);
	start = ma_heap_memalign(map, front, whole);
	if (!start || !ma_heap_find(map, start, &block))
		return NULL;
	if (map->annotated) /* Guards are seen by us, and what is behind them too. */
		ma_annotate_open(start, block.room);
	memset(start + front, FILL, size);
	write_guards(map, &block, word_of(front, size));
	return start + front;
}

void *mmalloc__take(struct ma_image *map, size_t alignment, size_t size)
{
	/* Pairs with common/image.c:ma_image_set_hook: a process that sees the block has_guards() too. */
	if (!ma_load_acquire(&map->hook) || !ma_is_pow2(alignment))
		return ma_heap_memalign(map, alignment, size);
	return take_guarded(map, ma_max(alignment, HEADER), size);
}

void mmalloc__give(struct ma_image *map, const struct mmalloc__found *found)
{
	char *start = found->block.start;

	if (found->is_guarded) {
		memset(found->user, FREED, found->size);
		atomic_signal_fence(memory_order_seq_cst);
		wipe_header(start);
		if (found->user != start + HEADER)
			wipe_header(found->user - HEADER);
	}
	ma_heap_free(map, start);
}

void *mmalloc__resize(struct ma_image *map, const struct mmalloc__found *found, size_t size)
{
	void *fresh;

	if (!found->is_guarded && !ma_load(&map->hook))
		return ma_heap_realloc(map, found->block.start, size);
	fresh = mmalloc__take(map, HEADER, size);
	if (!fresh)
		return NULL;
	if (map->annotated && !found->is_guarded) /* What of it was asked for, only Valgrind and ASan know. */
		ma_annotate_open(found->user, found->size);
	ma_move_block(fresh, found->user, ma_min(found->size, size));
	mmalloc__give(map, found);
	return fresh;
}

/* ---- looking at all blocks ---- */

struct tour {
	struct ma_image *map;
	int (*fn)(void *block, size_t size, void *arg);
	void *arg;
	struct ma_findings to;
};

static bool find_in(struct ma_image *map, const void *start, struct mmalloc__found *found)
{
	*found = (struct mmalloc__found){ 0 };
	return ma_heap_find(map, start, &found->block) && found->block.is_live && find_guards(map, found, NULL);
}

static int walk_block(void *block, size_t size, void *arg)
{
	struct tour *tour = arg;
	struct mmalloc__found found;

	return find_in(tour->map, block, &found) ? tour->fn(found.user, found.size, tour->arg)
						 : tour->fn(block, size, tour->arg);
}

int mmalloc__guarded_walk(struct ma_image *map, int (*fn)(void *block, size_t size, void *arg), void *arg)
{
	struct tour tour = { .map = map, .fn = fn, .arg = arg };

	return ma_heap_walk(map, walk_block, &tour);
}

/* Only what stays broken counts: the block may be going just now. */
static int check_block(void *block, size_t size, void *arg)
{
	struct tour *tour = arg;
	struct mmalloc__found found;

	(void)size;
	for (int look = 0; look < LOOKS; look++)
		if (!find_in(tour->map, block, &found) || !found.broken)
			return 0;
	ma_found(&tour->to, "body/guard", (uint64_t)(found.user - tour->map->base),
		 "block %#" PRIx64 " of %zu bytes: the memory %s it was overwritten", address_of(tour->map, found.user), found.size,
		 broken_text(found.broken));
	return 0;
}

uint64_t mmalloc__guarded_check(struct ma_image *map, ma_finding_fn *fn, void *arg)
{
	struct tour tour = { .map = map, .to = { .fn = fn, .arg = arg } };

	ma_heap_walk(map, check_block, &tour);
	return tour.to.count;
}

/* ---- switching it on ---- */

static int end_at_plain(void *block, size_t size, void *arg)
{
	struct mmalloc__found found;

	(void)size;
	return !mmalloc__has_guards(arg) || !find_in(arg, block, &found);
}

static int refuse(void *md, int err, const char *format, const struct ma_image *map)
{
	ma_fail(err, format, map->name);
	mmalloc__keep_errno(md);
	return 0;
}

int mmcheckf(void *md, void (*abortfunc)(void), int force)
{
	struct ma_image *map = mmalloc__map(md);

	if (!map)
		return 0;
	if (!ma_image_writable(map))
		return refuse(md, EROFS, "%s: cannot change it: it is open read-only; open it for writing", map);
	if (!force && ma_heap_walk(map, end_at_plain, map))
		return refuse(md, EBUSY,
			      "%s: cannot guard blocks: the heap has blocks without guards; call mmcheck() before the "
			      "first allocation, or mmcheckf() with force",
			      map);
	/* Before the first guarded block is returned: a process that meets it must know. */
	ma_store_kill(&ma_body(map)->guarded, 1); /* Pairs with libmmalloc/src/inspect.h:mmalloc__has_guards. */
	ma_image_set_hook(map, (uintptr_t)(abortfunc ? abortfunc : abort));
	ma_image_watch(map);
	return 1;
}

int mmcheck(void *md, void (*abortfunc)(void))
{
	return mmcheckf(md, abortfunc, 0);
}
