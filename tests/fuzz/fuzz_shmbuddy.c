/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hostile files for libshmbuddy, opened in four ways: for writing, read-only, joined in memory, and made when empty.
 *
 * A file is refused with a documented errno, or it opens; then no call crashes, runs for ever, or deals out what lies outside the area.
 * A region that its opener checked and found sound must behave: blocks do not overlap, nothing is freed that was not dealt out, and it
 * passes the check again afterwards, and when it is opened anew.
 */
#include <errno.h>
#include <shmbuddy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/header.h"
#include "tests/fuzz/fuzz_buddy_live.h"
#include "tests/fuzz/fuzz_live.h"

#define CALLS 200
#define HELD  32
#define FOUND 2048
#define PAGE  4096u

enum way { WAY_WRITE, WAY_READ, WAY_JOIN, WAY_MAKE };

struct block {
	shm_offt at;
	size_t size;
};

static struct {
	shmbuddy_t *region;
	void *memory; /* Ours, when it was joined. */
	size_t memory_bytes;
	struct shmbuddy_stats stats;
	bool sound;
	struct block held[HELD];
	struct block found[FOUND]; /* By rising offset. */
	size_t founds;
} s;

const char fuzz_name[] = "shmbuddy";

/* ---- opening ---- */

static void require_documented(int error)
{
	static const int errors[] = {
		EMEDIUMTYPE, EPROTOTYPE, EPROTONOSUPPORT, EOPNOTSUPP, ENOEXEC, EBADMSG,
		ENODATA,     EUCLEAN,    EINVAL,          ENOMEM,     ENOSPC,  EFBIG,
	};
	bool documented = false;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		documented |= error == errors[i];
	fuzz_require(documented);
}

/* The caller of join says that the region is there whole: of a longer one he has no memory to show. */
static shmbuddy_t *join(void)
{
	struct ma_header header;
	struct stat st;

	if (fstat(fuzz_fd(), &st) < 0 || pread(fuzz_fd(), &header, sizeof(header), 0) != sizeof(header) ||
	    ma_load(&header.length) > (uint64_t)st.st_size) {
		errno = ENODATA;
		return NULL;
	}
	s.memory_bytes = ((size_t)st.st_size + PAGE - 1) / PAGE * PAGE;
	s.memory = mmap(NULL, s.memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fuzz_fd(), 0);
	fuzz_require(s.memory != MAP_FAILED);
	return shmbuddy_join(s.memory);
}

static void close_region(void)
{
	fuzz_require(!s.region || shmbuddy_close(s.region) == 0);
	fuzz_require(!s.memory || munmap(s.memory, s.memory_bytes) == 0);
	s.memory = NULL;
	s.region = NULL;
}

static bool open_region(enum way way, struct fuzz_in *in)
{
	struct shmbuddy_options options = { 0 };

	if (way == WAY_READ)
		options.flags = SHMBUDDY_RDONLY;
	if (way == WAY_MAKE) { /* Should the file be empty; else they must agree. */
		options.capacity = (uint64_t)fuzz_u16(in) * 256;
		options.smallest = (uint64_t)1 << fuzz_u8(in) % 24;
		options.largest = (uint64_t)1 << fuzz_u8(in) % 32;
	}
	errno = 0;
	if (way == WAY_JOIN)
		s.region = join();
	else if (way == WAY_MAKE)
		s.region = shmbuddy_open(fuzz_path(), &options);
	else
		s.region = shmbuddy_open_fd(fuzz_fd(), &options);
	if (!s.region) {
		require_documented(errno);
		close_region();
	}
	return s.region != NULL;
}

/* ---- what must hold of a block ---- */

static void require_inside(shm_offt at, uint64_t size)
{
	uint64_t first = s.stats.region_bytes - s.stats.capacity;

	fuzz_require(at >= first - first % 64 - PAGE && at + size <= s.stats.region_bytes);
	fuzz_require(shmbuddy_address(s.region, at) && shmbuddy_address(s.region, at + size - 1));
}

static bool meet(const struct block *a, const struct block *b)
{
	return a->at && b->at && a->at < b->at + b->size && b->at < a->at + a->size;
}

static void require_alone(const struct block *block)
{
	for (size_t i = 0; s.sound && i < HELD; i++)
		fuzz_require(!meet(block, &s.held[i]));
	for (size_t i = 0; s.sound && i < s.founds; i++)
		fuzz_require(!meet(block, &s.found[i]));
}

static int find(shm_offt at, size_t size, void *arg)
{
	(void)arg;
	require_inside(at, size);
	if (s.founds)
		fuzz_require(s.found[s.founds - 1].at + s.found[s.founds - 1].size <= at);
	if (s.founds == FOUND)
		return 1;
	s.found[s.founds++] = (struct block){ at, size };
	return 0;
}

/* ---- calls ---- */

static size_t size_from(struct fuzz_in *in)
{
	size_t n = fuzz_u16(in);

	return n >> 14 ? (n & 0x3fff) << (n >> 14) * 4 : n & 0x3ff;
}

static void hold(size_t place, shm_offt at, size_t size)
{
	struct block block = { at, size ? size : 1 };

	if (!at) {
		fuzz_require(errno == ENOMEM || errno == ENOSPC || errno == EFBIG || errno == EROFS);
		return;
	}
	require_inside(at, block.size);
	if (s.sound) {
		block.size = shmbuddy_usable_size(s.region, at);
		fuzz_require(block.size >= size);
	}
	require_alone(&block);
	s.held[place] = block;
	memset(shmbuddy_address(s.region, at), 0xa5, block.size < PAGE ? block.size : PAGE);
}

static void drop(struct block *block)
{
	int result = block->at ? shmbuddy_free(s.region, block->at) : 0;

	fuzz_require(result == 0 || !s.sound || errno == EROFS);
	if (result == 0)
		block->at = SHM_NULL;
}

static void resize(size_t place, size_t size)
{
	struct block old = s.held[place];
	shm_offt at;

	if (!old.at)
		return;
	s.held[place].at = SHM_NULL;
	errno = 0;
	at = shmbuddy_realloc(s.region, old.at, size);
	if (at)
		hold(place, at, size);
	else
		s.held[place] = old;
}

static void root(struct fuzz_in *in)
{
	char name[4] = { 'n', (char)('a' + fuzz_u8(in) % 26), (char)('a' + fuzz_u8(in) % 26) };
	shm_offt to = s.held[fuzz_u8(in) % HELD].at, is;
	int result = shmbuddy_setroot(s.region, name, to);

	is = shmbuddy_getroot(s.region, name);
	if (is)
		require_inside(is, 1);
	fuzz_require(result || !s.sound || is == to);
	fuzz_require(result == 0 || errno == ENOSPC || errno == EROFS || errno == ENOENT);
}

/* Any offset: of a block or not, of ours or not. */
static void free_any(shm_offt at)
{
	size_t size = shmbuddy_usable_size(s.region, at);
	int result;

	for (size_t i = 0; i < HELD; i++)
		if (s.held[i].at == at)
			return;
	result = shmbuddy_free(s.region, at);
	fuzz_require(!s.sound || (result == 0) == (size != 0) || at == SHM_NULL || errno == EROFS);
	for (size_t i = 0; result == 0 && i < s.founds; i++)
		if (s.found[i].at == at)
			s.found[i].at = SHM_NULL;
}

static void look(void)
{
	s.founds = 0;
	fuzz_require(shmbuddy_stats(s.region, &s.stats) == 0);
	shmbuddy_walk(s.region, find, NULL);
	fuzz_require(s.stats.used_bytes <= s.stats.capacity && s.stats.largest_free <= s.stats.largest);
	shmbuddy_getroot(s.region, "item");
	shmbuddy_getroot(s.region, NULL);
}

static void one_call(struct fuzz_in *in)
{
	uint8_t call = fuzz_u8(in);
	size_t place = fuzz_u8(in) % HELD, size;

	errno = 0;
	switch (call % 10) {
	case 0:
	case 1:
	case 2:
		size = size_from(in);
		if (!s.held[place].at)
			hold(place, call % 10 ? shmbuddy_malloc(s.region, size) : shmbuddy_calloc(s.region, 1, size),
			     size);
		break;
	case 3:
	case 4:
		drop(&s.held[place]);
		break;
	case 5:
		resize(place, size_from(in));
		break;
	case 6:
		if (s.founds)
			drop(&s.found[(fuzz_u8(in) + 256u * place) % s.founds]);
		break;
	case 7:
		root(in);
		break;
	case 8:
		free_any((shm_offt)(fuzz_u64(in) % (s.stats.region_bytes + PAGE)));
		break;
	default:
		fuzz_require(shmbuddy_mend(s.region) == 0 || errno == EROFS);
		break;
	}
}

/* It has at least so much then, or it is as it was; and what it gained is within the file. */
static void grow(void)
{
	uint64_t more = s.stats.capacity + 3000;
	int result = shmbuddy_grow(s.region, more);

	fuzz_require(result == 0 || errno == ENOMEM || errno == EROFS || errno == ENOSPC || errno == EFBIG ||
		     errno == EUCLEAN);
	look();
	fuzz_require(result != 0 || s.stats.capacity >= more);
}

/* What the check says is wanted when a find is looked into. */
static void say(const char *text, void *arg)
{
	static int wanted = -1;

	(void)arg;
	if (wanted < 0)
		wanted = getenv("SHMBUDDY_DEBUG") != NULL;
	if (wanted)
		fprintf(stderr, "%s\n", text);
}

static void use(struct fuzz_in *in, bool checked)
{
	static const size_t sizes[] = { 1, 40, 1000, 20000, 100000 };

	memset(s.held, 0, sizeof(s.held));
	s.sound = shmbuddy_check(s.region, say, NULL) == 0 && checked;
	look();
	for (int i = fuzz_steps(CALLS); i > 0 && in->left; i--)
		one_call(in);
	/* Whatever the input says: of each kind of call, one. */
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 0;
		if (!s.held[i].at)
			hold(i, shmbuddy_malloc(s.region, sizes[i]), sizes[i]);
	}
	resize(1, 3000);
	drop(&s.held[0]);
	drop(&s.held[3]);
	grow();
	for (size_t i = 5; i < 8 && !s.held[i].at; i++) {
		errno = 0;
		hold(i, shmbuddy_malloc(s.region, sizes[i % 4]), sizes[i % 4]);
	}
	shmbuddy_mend(s.region);
	if (s.sound)
		fuzz_require(shmbuddy_check(s.region, say, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size }, none = { NULL, 0 };
	bool sound = false, checked;
	unsigned options;

	if (size && !fuzz_is_wanted(data[0]))
		return -1;
	if (size && fuzz_is_live(data[0]))
		return fuzz_buddy_live_input(&in) ? 0 : -1;
	if (size < 3 || !fuzz_file(&in, &options))
		return -1;
	checked = !(options & FUZZ_CERTAIN) && (options & FUZZ_WAY) != WAY_JOIN;
	if (open_region(options & FUZZ_WAY, &in)) {
		use(&in, checked);
		/* A reader takes what a writer may not. */
		sound = s.sound && (options & FUZZ_WAY) != WAY_READ;
		close_region();
	}
	if (options & FUZZ_ONCE)
		return 0;
	if (open_region(WAY_WRITE, &none)) {
		use(&none, checked);
		fuzz_require(s.sound || !sound);
		close_region();
	} else {
		fuzz_require(!sound);
	}
	return 0;
}

/* ---- templates ---- */

static void template(uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	const struct shmbuddy_options options = { .capacity = capacity, .smallest = smallest, .largest = largest };
	shm_offt kept = SHM_NULL, at;

	s.region = shmbuddy_open_fd(fuzz_fd(), &options);
	fuzz_require(s.region);
	for (size_t i = 0; i < 60; i++) {
		at = shmbuddy_malloc(s.region, smallest << i % 9);
		if (at && i % 3 == 0)
			shmbuddy_free(s.region, at);
		else if (at)
			kept = at;
	}
	fuzz_require(shmbuddy_setroot(s.region, "item", kept) == 0 && shmbuddy_setroot(s.region, NULL, kept) == 0);
	close_region();
	fuzz_same_boot();
	fuzz_template(fuzz_path());
	fuzz_require(ftruncate(fuzz_fd(), 0) == 0);
}

/* Templates 6 and up, live regions 4 and up, and old ones that are small. */
static void small(void)
{
	template(16 << 10, 32, 1024);
	template(8 << 10, 16, 8 << 10);
	template(20 << 10, 32, 8 << 10);
	for (unsigned i = 5; i <= fuzz_templates(); i++)
		fuzz_quick(i);
	fuzz_live_small();
	fuzz_buddy_live(8 << 10, 0, 16, 8 << 10);
	fuzz_buddy_live(10 << 10, 64 << 10, 32, 8 << 10);
	for (unsigned i = 2; i < fuzz_live_maps; i++)
		fuzz_quick(FUZZ_LIVE + i);
	fuzz_quick(FUZZ_LIVE);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_begin();
	template(64 << 10, 32, 1024);      /* One level. */
	template(64 << 10, 16, 64 << 10);  /* Five, and one block is all of it. */
	template(100 << 10, 32, 64 << 10); /* Words whose ends lie beyond the area. */
	template(4 << 20, 256, 4 << 20);   /* Two parts, and a block of both. */
	template(4096, 16, 4096);
	fuzz_buddy_live(64 << 10, 0, 32, 1024);
	fuzz_buddy_live(64 << 10, 0, 16, 64 << 10);
	fuzz_buddy_live(100 << 10, 1 << 20, 32, 64 << 10);
	fuzz_buddy_live(5 << 16, 5 << 16, 1 << 16, 1 << 18);
	small();
	return 0;
}
