/* SPDX-License-Identifier: BSD-3-Clause */
/* See fuzz_heap.h. */
#include "tests/fuzz/fuzz_heap.h"
#include "tests/fuzz/fuzz_live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CALLS 200  /* Of an input, at most. */
#define HELD  32   /* Blocks that we hold at a time. */
#define FOUND 2048 /* Blocks that were there before, as many as we look after. */

struct block {
	char *at;
	size_t size;
};

struct state {
	struct ma_image *map;
	bool sound;
	bool writable;
	struct block held[HELD];
	struct block found[FOUND]; /* By rising address. */
	size_t founds;
	bool all_found;
};

static struct state s;
static const struct fuzz_library *const lib = &fuzz_library;

/* ---- what must hold of a block ---- */

static bool meet(const struct block *a, const struct block *b)
{
	return a->at && b->at && a->at < b->at + b->size && b->at < a->at + a->size;
}

static void require_inside(const void *at, size_t size)
{
	uint64_t offset = (uint64_t)((const char *)at - s.map->user);

	fuzz_require(offset < s.map->lay.user_bytes && size <= s.map->lay.user_bytes - offset);
}

static void require_alone(const struct block *block)
{
	if (!s.sound)
		return;
	for (size_t i = 0; i < HELD; i++)
		fuzz_require(!meet(block, &s.held[i]));
	for (size_t i = 0; i < s.founds; i++)
		fuzz_require(!meet(block, &s.found[i]));
}

static int find(void *at, size_t size, void *arg)
{
	struct block block = { at, size };

	(void)arg;
	require_inside(at, size);
	if (s.sound && s.founds)
		fuzz_require(s.found[s.founds - 1].at + s.found[s.founds - 1].size <= block.at);
	if (s.founds == FOUND) {
		s.all_found = false;
		return 1;
	}
	s.found[s.founds++] = block;
	return 0;
}

/* ---- calls ---- */

static void touch(const struct block *block)
{
	if (block->size <= 4096) {
		memset(block->at, 0xa5, block->size);
	} else {
		block->at[0] = 1;
		block->at[block->size - 1] = 1;
	}
}

static void hold(size_t place, void *at, size_t size)
{
	struct block block = { at, size };

	if (!at) {
		if (size == 0 && lib->nothing_for_zero)
			return;
		fuzz_require(errno == ENOMEM || errno == ENOSPC || errno == EFBIG || errno == EINVAL || errno == EROFS);
		return;
	}
	if (s.map->item_bytes)
		block.size = s.map->item_bytes;
	require_inside(at, block.size);
	require_alone(&block);
	if (s.sound)
		fuzz_require(lib->usable_size(s.map, at) >= block.size);
	/* The rest of its slot is closed to us in a build with ASan, where the library tells it of private maps. */
	if (s.map->annotated && size < block.size)
		block.size = size;
	s.held[place] = block;
	/* In a map that is not sound it may lie upon a block that ASan was told is free. */
	if (s.sound)
		touch(&block);
}

static void drop(size_t place)
{
	if (s.held[place].at)
		lib->free(s.map, s.held[place].at);
	s.held[place].at = NULL;
}

static void resize(size_t place, size_t size)
{
	struct block old = s.held[place];
	void *at;

	if (!old.at)
		return;
	errno = 0;
	s.held[place].at = NULL;
	at = lib->realloc(s.map, old.at, size);
	if (at)
		hold(place, at, size);
	else if (size)
		s.held[place] = old;
}

/* A block that was there before; then the list has it no more. */
static void drop_found(size_t which)
{
	if (s.founds == 0)
		return;
	which %= s.founds;
	lib->free(s.map, s.found[which].at);
	s.found[which].at = NULL;
}

static void resize_found(size_t place, size_t which, size_t size)
{
	struct block block;
	void *at;

	if (s.founds == 0 || s.held[place].at)
		return;
	block = s.found[which % s.founds];
	if (!block.at || !s.sound)
		return;
	s.found[which % s.founds].at = NULL;
	at = lib->realloc(s.map, block.at, size);
	if (at)
		hold(place, at, size);
	else if (size)
		s.found[which % s.founds] = block;
}

static size_t size_from(struct fuzz_in *in)
{
	uint16_t n = fuzz_u16(in);

	switch (n >> 14) {
	case 0:
		return n & 0x3ff;
	case 1:
		return n & 0x3fff;
	case 2:
		return (size_t)(n & 0x3fff) * 16;
	default:
		return (size_t)(n & 0x3fff) << (n & 31);
	}
}

static void root(struct fuzz_in *in)
{
	char name[4] = { 'n', (char)('a' + fuzz_u8(in) % 26), (char)('a' + fuzz_u8(in) % 26) };
	struct block *block = &s.held[fuzz_u8(in) % HELD];
	char *at;

	if (lib->setroot(s.map, name, block->at) == 0 && s.sound)
		fuzz_require(lib->getroot(s.map, name) == block->at);
	at = lib->getroot(s.map, name);
	if (at)
		require_inside(at, 1);
}

static void one_call(struct fuzz_in *in)
{
	uint8_t call = fuzz_u8(in);
	size_t place = fuzz_u8(in) % HELD;
	size_t size;

	errno = 0;
	switch (call % (12 + lib->others)) {
	case 0:
	case 1:
	case 2:
		if (!s.held[place].at) {
			size = size_from(in);
			hold(place, lib->malloc(s.map, size), size);
		}
		break;
	case 3:
	case 4:
		drop(place);
		break;
	case 5:
		resize(place, size_from(in));
		break;
	case 6:
		drop_found(fuzz_u8(in) + 256u * place);
		break;
	case 7:
		resize_found(place, fuzz_u8(in), size_from(in));
		break;
	case 8:
		root(in);
		break;
	case 9:
		if (!s.held[place].at) {
			size = size_from(in);
			hold(place, lib->memalign(s.map, (size_t)1 << fuzz_u8(in) % 24, size), size);
		}
		break;
	case 10: /* Any address, of a block or not. */
		if (!s.sound)
			lib->free(s.map, s.map->user + fuzz_u64(in) % (s.map->lay.user_bytes + 8192));
		break;
	case 11:
		lib->stats(s.map, s.sound);
		break;
	default:
		lib->other(s.map, call % (12 + lib->others) - 12, s.sound, in);
		break;
	}
}

/* ---- a whole map ---- */

static bool is_documented(int error)
{
	static const int errors[] = {
		EMEDIUMTYPE, EPROTOTYPE, EPROTONOSUPPORT, EOPNOTSUPP, ENOEXEC, EBADMSG, ENODATA,
		EUCLEAN,     EADDRINUSE, EINVAL,          ENOMEM,     ENOSPC,  EFBIG,   EPERM,
	};

	for (size_t i = 0; i < FUZZ_COUNT(errors); i++)
		if (error == errors[i])
			return true;
	return false;
}

static struct ma_image *open_map(unsigned way)
{
	struct ma_image *map;

	errno = 0;
	map = lib->open(way);
	fuzz_require(map || is_documented(errno));
	return map;
}

static void look(void)
{
	s.founds = 0;
	s.all_found = true;
	lib->walk(s.map, find, NULL);
	lib->stats(s.map, s.sound);
	lib->getroot(s.map, "large");
	lib->getroot(s.map, "item");
	lib->getroot(s.map, "root 99");
	lib->getroot(s.map, "nobody's");
}

/* What the check says is wanted when a find is looked into. */
static void say(const char *text, void *arg)
{
	static int wanted = -1;

	(void)arg;
	if (wanted < 0)
		wanted = getenv(lib->debug) != NULL;
	if (wanted)
		fprintf(stderr, "%s\n", text);
}

static void use(struct fuzz_in *in, unsigned way, bool believed)
{
	memset(s.held, 0, sizeof(s.held));
	s.sound = lib->check(s.map, say, NULL) == 0 && !believed;
	s.writable = way != 1;
	look();
	for (int i = fuzz_steps(CALLS); i > 0 && in->left; i--)
		one_call(in);
	/* Whatever the input says: of each kind of call, one. */
	for (size_t i = 0; i < 4 && i < HELD; i++) {
		static const size_t sizes[] = { 40, 1000, 20000, 100000 };

		errno = 0;
		if (!s.held[i].at)
			hold(i, lib->malloc(s.map, sizes[i]), sizes[i]);
	}
	lib->setroot(s.map, "fuzz", s.held[0].at);
	drop(0);
	drop(3);
	if (s.sound && s.writable)
		fuzz_require(lib->check(s.map, say, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct fuzz_in none = { NULL, 0 };
	unsigned options;
	bool sound;

	if (size && !fuzz_is_wanted(data[0]))
		return -1;
	if (size && fuzz_is_live(data[0]))
		return fuzz_heap_live_input(&in) ? 0 : -1;
	if (size < 3 || !fuzz_file(&in, &options))
		return -1;
	s.map = open_map(options & FUZZ_WAY);
	sound = false;
	if (s.map) {
		use(&in, options & FUZZ_WAY, options & FUZZ_CERTAIN);
		sound = s.sound && (options & FUZZ_WAY) % FUZZ_MAKE == 0;
		fuzz_require(lib->close(s.map) == 0);
	} else if ((options & FUZZ_WAY) % FUZZ_MAKE == 0) {
		return 0; /* It would be the same again. */
	}
	if (options & FUZZ_ONCE)
		return 0;
	s.map = open_map(0);
	fuzz_require(s.map || !sound);
	if (s.map) {
		use(&none, 0, options & FUZZ_CERTAIN);
		fuzz_require(s.sound || !sound);
		fuzz_require(lib->close(s.map) == 0);
	}
	return 0;
}

/* ---- templates ---- */

void fuzz_heap_template(void *map, size_t rounds)
{
	static const size_t sizes[] = { 1, 40, 500, 3000, 9000, 40000, 65536, 70000, 200000 };
	void *kept = NULL;

	fuzz_require(map);
	for (size_t i = 0; i < rounds; i++) {
		void *at = lib->malloc(map, sizes[i % FUZZ_COUNT(sizes)]);

		if (at && i % 3 == 0)
			lib->free(map, at);
		else if (at)
			kept = at;
	}
	fuzz_require(kept && lib->setroot(map, "item", kept) == 0);
	fuzz_require(lib->close(map) == 0);
	fuzz_template(fuzz_path());
	fuzz_require(ftruncate(fuzz_fd(), 0) == 0);
}

void fuzz_golden_template(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/golden/%s", MA_TEST_SRCDIR, name);
	fuzz_template(path);
}
