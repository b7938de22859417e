/* SPDX-License-Identifier: BSD-3-Clause */
/* Hostile files for libmmalloc; fuzz_heap.h says what must hold. */
#include <errno.h>
#include <mmalloc.h>
#include "tests/fuzz/fuzz_heap.h"
#include "tests/fuzz/fuzz_live.h"

static struct ma_image *open_heap(unsigned way)
{
	struct mmalloc_options options = { 0 };

	if (way == 1 || way == 2)
		options.flags = way == 1 ? MMALLOC_RDONLY : MMALLOC_PRIVATE;
	else if (way == FUZZ_MAKE)
		options.reserve = 1 << 20; /* Should the file be empty. */
	return mmalloc_attach_opt(fuzz_fd(), NULL, &options);
}

static int detach(void *md)
{
	return mmalloc_detach(md) ? -1 : 0;
}

static void stats(void *md, bool sound)
{
	struct mstats total = mmstats(md);
	struct mmalloc_stats st;

	fuzz_require(mmalloc_stats(md, &st) == 0);
	if (!sound)
		return;
	fuzz_require(st.used_bytes <= st.user_bytes && st.largest_free <= st.user_bytes);
	fuzz_require(total.bytes_total == total.bytes_used + total.bytes_free);
}

/* Keys hold anything, and a store in one never touches another. */
static void key(void *md, struct fuzz_in *in)
{
	int number = (int)fuzz_u8(in) - 64, other = (number + 1) & 63;
	void *value = (void *)(uintptr_t)fuzz_u64(in), *was = mmalloc_getkey(md, other);
	int stored;

	errno = 0;
	stored = mmalloc_setkey(md, number, value);
	if (stored)
		fuzz_require(number >= 0 && number < MMALLOC_KEYS && mmalloc_getkey(md, number) == value);
	else
		fuzz_require(errno == EINVAL || errno == EROFS);
	fuzz_require(other == number || mmalloc_getkey(md, other) == was);
}

static int try_lock(void *md, void *lock)
{
	return mmalloc_trylock(md, lock);
}

static int unlock(void *md, void *lock)
{
	return mmalloc_unlock(md, lock);
}

static void other(void *md, unsigned which, bool sound, struct fuzz_in *in)
{
	int64_t given;

	(void)sound;
	if (which == 0) {
		key(md, in);
		return;
	}
	given = mmalloc_trim(md);
	fuzz_require(given >= 0 || errno == EROFS);
}

const struct fuzz_library fuzz_library = {
	.debug = "MMALLOC_DEBUG",
	.nothing_for_zero = true,
	.open = open_heap,
	.close = detach,
	.malloc = mmalloc,
	.realloc = mrealloc,
	.memalign = mmemalign,
	.free = mfree,
	.usable_size = mmalloc_usable_size,
	.walk = mmalloc_walk,
	.check = mmalloc_check,
	.setroot = mmalloc_setroot,
	.getroot = mmalloc_getroot,
	.stats = stats,
	.calloc = mcalloc,
	.casroot = mmalloc_casroot,
	.find_or_create = mmalloc_find_or_create,
	.walkroots = mmalloc_walkroots,
	.trylock = try_lock,
	.unlock = unlock,
	.others = 2,
	.other = other,
};

const char fuzz_name[] = "mmalloc";

static void template(unsigned streams, size_t reserve, size_t rounds)
{
	struct mmalloc_options options = { .streams = streams, .reserve = reserve };
	void *md;

	/* A stream's part of a large range may begin far behind: then malloc gets EFBIG there, and uses another stream. */
	fuzz_limit_file(FUZZ_MAP_BYTES);
	md = mmalloc_attach_opt(fuzz_fd(), FUZZ_TEMPLATE_BASE, &options);
	fuzz_require(md && mmalloc_setkey(md, 1, FUZZ_TEMPLATE_BASE));
	fuzz_heap_template(md, rounds);
	fuzz_limit_file(0);
}

/* Live heaps: they grow. */
static void live(unsigned streams, size_t reserve)
{
	struct mmalloc_options options = { .streams = streams, .reserve = reserve };
	char path[64];

	fuzz_heap_live(mmalloc_attach_opt(fuzz_heap_live_file(path), NULL, &options));
}

/* Templates 5 and up, live maps 2 and up. */
static void small(void)
{
	template(1, 448 << 10, 12);
	template(2, 1 << 20, 12);
	for (unsigned i = 5; i <= fuzz_templates(); i++)
		fuzz_quick(i);
	fuzz_live_small();
	live(1, 384 << 10);
	live(2, 1 << 20);
	for (unsigned i = 2; i < fuzz_live_maps; i++)
		fuzz_quick(FUZZ_LIVE + i);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	fuzz_begin();
	fuzz_golden_template("mmalloc-1.map");
	template(1, 2 << 20, 20); /* Fills much of its range. */
	template(3, 8 << 20, 20);
	template(2, (size_t)1 << 30,
		 20); /* Nearly all of the range lies beyond the file; tables take space as needed. */
	live(1, 1 << 20);
	live(2, 3 << 20);
	small();
	return 0;
}
