/* SPDX-License-Identifier: BSD-3-Clause */
/* Hostile files for libqalloc; fuzz_heap.h says what must hold. */
#include <qalloc.h>
#include "tests/fuzz/fuzz_heap.h"
#include "tests/fuzz/fuzz_live.h"

static struct ma_image *open_map(unsigned way)
{
	if (way == FUZZ_MAKE)
		return (struct ma_image *)qalloc_makedynmap(1 << 20, NULL, fuzz_path(), 0);
	return qalloc_open(fuzz_path(), way == 1 ? QALLOC_RDONLY : way == 2 ? QALLOC_PRIVATE : 0);
}

static void free_block(void *map, void *block)
{
	qalloc_free(block, map);
}

static int try_lock(void *map, void *lock)
{
	return qalloc_trylock(map, lock);
}

static int unlock(void *map, void *lock)
{
	return qalloc_unlock(map, lock);
}

static void stats(void *map, bool sound)
{
	struct qalloc_stats st;

	fuzz_require(qalloc_stats(map, &st) == 0);
	if (sound)
		fuzz_require(st.used_bytes <= st.user_bytes && st.largest_free <= st.user_bytes);
}

const struct fuzz_library fuzz_library = {
	.debug = "QALLOC_DEBUG",
	.open = open_map,
	.close = qalloc_close,
	.malloc = qalloc_malloc,
	.realloc = qalloc_realloc,
	.memalign = qalloc_memalign,
	.free = free_block,
	.usable_size = qalloc_usable_size,
	.walk = qalloc_walk,
	.check = qalloc_check,
	.setroot = qalloc_setroot,
	.getroot = qalloc_getroot,
	.stats = stats,
	.calloc = qalloc_calloc,
	.casroot = qalloc_casroot,
	.find_or_create = qalloc_find_or_create,
	.walkroots = qalloc_walkroots,
	.trylock = try_lock,
	.unlock = unlock,
};

/* Live maps: of one size, one that grows, items. */
static void live(uint64_t size, uint64_t range, uint64_t streams, uint64_t item)
{
	const struct qalloc_options options = { .size = size, .range = range, .streams = streams, .item = item };
	char path[64];

	fuzz_heap_live_file(path);
	fuzz_heap_live(qalloc_make(path, &options));
}

/* Templates 7 and up, live maps 4 and up. */
static void small(void)
{
	const struct qalloc_options grows = {
		.base = FUZZ_TEMPLATE_BASE, .size = 300 << 10, .range = 1 << 20, .streams = 2
	};
	void *base = FUZZ_TEMPLATE_BASE;

	fuzz_heap_template(qalloc_makestatmap(1 << 15, base, fuzz_path(), 100, 2), 40);
	fuzz_heap_template(qalloc_makestatmap(1 << 17, base, fuzz_path(), 20000, 1), 4);
	fuzz_heap_template(qalloc_makedynmap(400 << 10, base, fuzz_path(), 1), 20);
	fuzz_heap_template(qalloc_make(fuzz_path(), &grows), 12);
	for (unsigned i = 7; i <= fuzz_templates(); i++)
		fuzz_quick(i);
	fuzz_live_small();
	live(320 << 10, 0, 1, 0);
	live(300 << 10, 1 << 20, 2, 0);
	for (unsigned i = 2; i < fuzz_live_maps; i++)
		fuzz_quick(FUZZ_LIVE + i);
}

const char fuzz_name[] = "qalloc";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	void *base = FUZZ_TEMPLATE_BASE;

	(void)argc, (void)argv;
	fuzz_begin();
	fuzz_golden_template("static-1.map");
	fuzz_golden_template("dynamic-1.map");
	fuzz_heap_template(qalloc_makestatmap(1 << 18, base, fuzz_path(), 100, 3), 200);
	fuzz_heap_template(qalloc_makestatmap(1 << 20, base, fuzz_path(), 20000, 1), 20);
	fuzz_heap_template(qalloc_makedynmap(5 << 20, base, fuzz_path(), 1), 20);
	fuzz_heap_template(qalloc_makedynmap(2 << 20, base, fuzz_path(), 3), 20);
	live(512 << 10, 0, 1, 0);
	live(600 << 10, 3 << 20, 2, 0);
	live(128 << 10, 0, 2, 64);
	live(256 << 10, 1 << 20, 1, 1000);
	small();
	return 0;
}
