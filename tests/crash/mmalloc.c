/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmmalloc's part of the kill sweep (crash.h): each call on each of its paths. What must hold after each kill is in
 * mmalloc_scene.c. The range is small, so that images are; the file grows in it and gives space back.
 */
#include <pthread.h>
#include <signal.h>

#include "common/body.h"
#include "common/header.h"
#include "common/heap.h"
#include "common/reclaim.h"
#include "tests/crash/mmalloc_scene.h"

#define LARGE_RUN (1536 * KIB) /* Gives its disk space back when it is freed: see ma_heap_share_chunks below. */

static void *handle;  /* each process's own */
static void *scratch; /* what the victim's warm-up leaves for its call */

/* --- calls --- */

static void nothing(void *md)
{
	(void)md;
}

static void take_64(void *md)
{
	scratch = mmalloc(md, 64);
}

static void take_64_often(void *md)
{
	for (int i = 0; i < 64; i++)
		scratch = mmalloc(md, 64);
}

static void take_marked(void *md)
{
	scratch = mmalloc(md, 64);
	support_fill(scratch, 64, SCENE_TAG);
}

static void take_16(void *md)
{
	scratch = mmalloc(md, 16);
}

/* All that a stream's own area has allocation bytes for, so that the next slab needs another area. */
static void take_16_until_the_area_is_full(void *md)
{
	for (size_t i = 0; i < 15 * 4096; i++)
		take_16(md);
}

static void take_1000(void *md)
{
	scratch = mmalloc(md, 1000);
}

static void take_5000(void *md)
{
	scratch = mmalloc(md, 5000);
}

/* No cells that are free already suffice for it. */
static void take_whole_chunk(void *md)
{
	scratch = mmalloc(md, 64 * KIB);
}

static void take_large(void *md)
{
	scratch = mmalloc(md, SCENE_LARGE);
}

static void take_large_run(void *md)
{
	scratch = mmalloc(md, LARGE_RUN);
}

/* A run of this size is in the thread's cache then. */
static void leave_cached(void *md)
{
	take_large(md);
	mfree(md, scratch);
	take_64(md);
}

static void take_over_bounds(void *md)
{
	scratch = mmalloc(md, 40 * 64 * KIB);
}

static void take_large_marked(void *md)
{
	take_large(md);
	support_fill(scratch, 64, SCENE_TAG);
}

static void take_zeroed(void *md)
{
	scratch = mcalloc(md, 10, 100);
}

static void take_aligned(void *md)
{
	scratch = mmemalign(md, 4096, 3000);
}

static void take_large_aligned(void *md)
{
	scratch = mmemalign(md, 256 * KIB, 100 * KIB);
}

/* Whatever comes next makes the file longer. */
static void use_the_file_up(void *md)
{
	take_64(md);
	while (mmstats(md).chunks_free > 0)
		g_assert_nonnull(mmalloc(md, 128 * KIB));
}

/* The same, and a large block ends where the file does. */
static void use_up_then_a_large_one(void *md)
{
	use_the_file_up(md);
	take_large_marked(md);
	while (mmstats(md).chunks_free > 0)
		scratch = mrealloc(md, scratch, mmalloc_usable_size(md, scratch) + 64 * KIB);
}

static void grow_by_a_chunk(void *md)
{
	scratch = mrealloc(md, scratch, mmalloc_usable_size(md, scratch) + 64 * KIB);
}

static void *take_and_stay(void *arg)
{
	void **taken = arg;

	*taken = mmalloc(handle, 64);
	pause();
	return NULL;
}

/* A block in the slab of another thread of the victim, which lives as long as it does. */
static void have_a_thread_take(void *md)
{
	static void *volatile taken;
	pthread_t thread;

	(void)md;
	g_assert_cmpint(pthread_create(&thread, NULL, take_and_stay, (void *)(uintptr_t)&taken), ==, 0);
	while (!taken)
		usleep(50);
	scratch = taken;
	take_1000(md);
}

static void free_scratch(void *md)
{
	mfree(md, scratch);
}

static void free_prepared(void *md)
{
	mfree(md, scene->victims);
}

static void free_remote(void *md)
{
	mfree(md, scene->remote);
}

static void grow_scratch(void *md)
{
	scratch = mrealloc(md, scratch, 5000);
}

static void fit_scratch(void *md)
{
	scratch = mrealloc(md, scratch, 50);
}

static void grow_large(void *md)
{
	scratch = mrealloc(md, scratch, 300 * KIB);
}

static void shrink_large(void *md)
{
	scratch = mrealloc(md, scratch, 70 * KIB);
}

/* Empty slabs of its own, and runs that are too small to be given back by mfree(). */
static void leave_much_free(void *md)
{
	void *blocks[40];

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		g_assert_nonnull(blocks[i] = mmalloc(md, i % 2 ? 8000 : 100 * KIB));
	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
		mfree(md, blocks[i]);
}

static void trim(void *md)
{
	g_assert_cmpint(mmalloc_trim(md), >, 0);
}

/* The process that left empty slabs detached, and gave them back. */
static void trim_what_there_is(void *md)
{
	g_assert_cmpint(mmalloc_trim(md), >=, 0);
}

static void set_new_key(void *md)
{
	mmalloc_setkey(md, SCENE_NEW_KEY, scene->blocks.keep[2].at);
}

static void replace_key(void *md)
{
	mmalloc_setkey(md, SCENE_KEY, scene->blocks.keep[1].at);
}

static void set_new_root(void *md)
{
	mmalloc_setroot(md, SCENE_NEW, scene->blocks.keep[2].at);
}

static void set_lost_root(void *md)
{
	mmalloc_setroot(md, "lost", scene->blocks.keep[2].at);
}

static void replace_root(void *md)
{
	mmalloc_setroot(md, "root", scene->blocks.keep[1].at);
}

static void cas_new_root(void *md)
{
	void *expected = NULL;

	mmalloc_casroot(md, SCENE_NEW, &expected, scene->blocks.keep[2].at);
}

static void cas_root(void *md)
{
	void *expected = scene->blocks.keep[0].at;

	mmalloc_casroot(md, "root", &expected, scene->blocks.keep[1].at);
}

static void remove_root(void *md)
{
	mmalloc_setroot(md, "root", NULL);
}

static void attach_heap(void *s)
{
	scene_attach(s);
}

static void detach(void *md)
{
	mmalloc_detach(md);
}

static void sync_heap(void *md)
{
	mmalloc_sync(md);
}

static void take_two(void *md)
{
	take_64(md);
	take_1000(md);
}

static void watch_the_end(void *md)
{
	scene_watch_the_end(md, take_two);
}

/* --- scenarios --- */

#define SCENE(n, e, w, c, ...)                                                             \
	{                                                                                  \
		.base = { .name = n }, .effect = e, .warm_up = w, .call = c, ##__VA_ARGS__ \
	}
#define FLAGS(f) .base.flags = (f)

static const struct scenario scenarios[] = {
	SCENE("attach-new", KEEPS, nothing, attach_heap, .prepared = NOT_THERE, FLAGS(CRASH_ABSENT | CRASH_ALONE)),
	SCENE("attach-new-two-openers", KEEPS, nothing, attach_heap, .prepared = NOT_THERE,
	      FLAGS(CRASH_ABSENT | CRASH_ALONE | CRASH_WAITED)),
	SCENE("attach-first", KEEPS, nothing, attach_heap, FLAGS(CRASH_ALONE)),
	SCENE("attach-synced", KEEPS, nothing, attach_heap, FLAGS(CRASH_ALONE | CRASH_SYNCED)),
	SCENE("attach-copy", KEEPS, nothing, attach_heap, FLAGS(CRASH_ALONE | CRASH_COPIED)),
	SCENE("attach-second", KEEPS, nothing, attach_heap),
	SCENE("attach-two-openers", KEEPS, nothing, attach_heap, FLAGS(CRASH_ALONE | CRASH_WAITED)),
	SCENE("detach", KEEPS, take_64, detach),
	SCENE("detach-last", KEEPS, take_64, detach, FLAGS(CRASH_ALONE)),
	SCENE("sync", KEEPS, take_64, sync_heap),

	SCENE("malloc-first-call", TAKES, nothing, take_64),
	SCENE("malloc-from-cursor", TAKES, take_64, take_64),
	SCENE("malloc-refill", TAKES, take_64_often, take_64),
	SCENE("malloc-new-slab", TAKES, take_64, take_1000),
	SCENE("malloc-new-slab-5000", TAKES, take_64, take_5000),
	SCENE("malloc-new-area", TAKES, take_16_until_the_area_is_full, take_16, .streams = 1),
	SCENE("malloc-adopts", TAKES, nothing, take_64, .prepared = EMPTY_SLABS, .reserve = 2 * MIB),
	SCENE("malloc-large-in-hole", TAKES, take_64, take_large_run),
	SCENE("malloc-large-cached", TAKES, leave_cached, take_large),
	SCENE("malloc-large-scavenges", TAKES, take_64, take_large, .prepared = EMPTY_SLABS, .reserve = 2 * MIB),
	SCENE("malloc-large-over-bounds", TAKES, take_64, take_over_bounds, .streams = 4),
	SCENE("malloc-stolen", TAKES, take_64, take_1000, .prepared = OWN_IS_FULL),
	SCENE("malloc-large-stolen", TAKES, take_64, take_large, .prepared = OWN_IS_FULL),
	SCENE("malloc-fork-child", TAKES, nothing, take_64, FLAGS(CRASH_FORKED)),
	SCENE("calloc", TAKES, take_64, take_zeroed),
	SCENE("memalign", TAKES, take_64, take_aligned),
	SCENE("memalign-large", TAKES, take_64, take_large_aligned),

	SCENE("grow-small", TAKES, use_the_file_up, take_whole_chunk, .prepared = FRESH, .grows = true),
	SCENE("grow-first-call", TAKES, nothing, take_large_run, .prepared = FRESH, .grows = true),
	SCENE("grow-large", TAKES, use_the_file_up, take_large_run, .prepared = FRESH, .grows = true),
	SCENE("grow-over-bounds", TAKES, take_64, take_over_bounds, .streams = 4, .prepared = FRESH, .grows = true),
	SCENE("grow-aligned", TAKES, use_the_file_up, take_large_aligned, .prepared = FRESH, .grows = true),
	SCENE("grow-realloc", KEEPS, use_up_then_a_large_one, grow_by_a_chunk, .prepared = FRESH, .streams = 1,
	      .moves = true, .grows = true),
	SCENE("grow-fork-child", TAKES, nothing, take_large_run, .prepared = FRESH, .grows = true, FLAGS(CRASH_FORKED)),
	SCENE("grow-after-a-death", TAKES, take_64, take_over_bounds, .prepared = FRESH, .grown = true,
	      FLAGS(CRASH_DEAD_DURING), .earlier_call = take_large_run),
	SCENE("grow-takes-slot-of-the-dead", TAKES, nothing, take_large_run, .prepared = FRESH, .grown = true,
	      FLAGS(CRASH_DEAD_BEFORE), .earlier_call = take_large_run),

	SCENE("trim", KEEPS, leave_much_free, trim),
	SCENE("trim-of-the-dead", KEEPS, take_64, trim_what_there_is, .prepared = EMPTY_SLABS, .reserve = 2 * MIB),
	SCENE("trim-after-a-death", KEEPS, leave_much_free, trim, FLAGS(CRASH_DEAD_DURING), .earlier_call = take_large),
	SCENE("trim-of-cached", KEEPS, leave_cached, trim_what_there_is),
	SCENE("free-punches", GIVES, take_64, free_prepared, .victims = LARGE_RUN),
	SCENE("free-punches-over-bounds", GIVES, take_over_bounds, free_scratch, .streams = 4),

	SCENE("free-own", GIVES, take_64, free_scratch),
	SCENE("free-last-of-slab", GIVES, take_1000, free_scratch),
	SCENE("free-of-another-thread", GIVES, have_a_thread_take, free_scratch, .streams = 1),
	SCENE("free-of-another-process", GIVES, take_1000, free_remote),
	SCENE("free-of-the-dead", GIVES, take_1000, free_prepared, .victims = 64),
	SCENE("free-large", GIVES, take_64, free_prepared, .victims = SCENE_LARGE),

	SCENE("realloc-in-place", KEEPS, take_marked, fit_scratch, .moves = true),
	SCENE("realloc-moves", TAKES, take_marked, grow_scratch, .moves = true),
	SCENE("realloc-grows-large", KEEPS, take_large_marked, grow_large, .moves = true),
	SCENE("realloc-shrinks-large", KEEPS, take_large_marked, shrink_large, .moves = true),

	SCENE("setkey-new", KEEPS, nothing, set_new_key),
	SCENE("setkey-replace", KEEPS, take_64, replace_key),
	SCENE("setroot-new", KEEPS, take_64, set_new_root),
	SCENE("setroot-new-table", KEEPS, take_64, set_new_root, .adds_table = true),
	SCENE("setroot-replace", KEEPS, take_64, replace_root),
	SCENE("setroot-remove", KEEPS, take_64, remove_root),
	SCENE("setroot-new-by-cas", KEEPS, take_64, cas_new_root),
	SCENE("setroot-replace-by-cas", KEEPS, take_64, cas_root),
	SCENE("setroot-inherits-lock", KEEPS, take_64, set_new_root, FLAGS(CRASH_DEAD_DURING),
	      .earlier_call = set_lost_root),

	SCENE("detach-with-cached", KEEPS, leave_cached, detach),
	SCENE("thread-exit", KEEPS, watch_the_end, scene_end_thread),
	SCENE("takeover-of-lock", TAKES, take_64, take_large, FLAGS(CRASH_DEAD_DURING), .earlier_call = take_large),
	SCENE("takeover-of-slot", TAKES, nothing, take_large, FLAGS(CRASH_DEAD_BEFORE), .earlier_call = take_large),
	SCENE("takeover-of-heap", KEEPS, nothing, attach_heap, FLAGS(CRASH_DEAD_BEFORE | CRASH_ALONE),
	      .earlier_call = take_large),
	SCENE("takeover-of-growing-heap", KEEPS, nothing, attach_heap, .prepared = FRESH, .grown = true,
	      FLAGS(CRASH_DEAD_BEFORE | CRASH_ALONE), .earlier_call = take_large_run),
	SCENE("takeover-two-openers", KEEPS, nothing, attach_heap,
	      FLAGS(CRASH_DEAD_BEFORE | CRASH_ALONE | CRASH_WAITED), .earlier_call = take_large),
};

/* --- what the driver calls --- */

static const struct scenario *of(const struct crash_scenario *s)
{
	return (const struct scenario *)(const void *)s;
}

static void prepare(const struct crash_scenario *s)
{
	scene_prepare(of(s));
}

static void *attach_well(const struct crash_scenario *s)
{
	void *md = scene_attach(of(s));

	if (!md)
		g_error("mmalloc_attach_opt: %s", g_strerror(errno));
	return md;
}

static void attach(const struct crash_scenario *s)
{
	handle = attach_well(s);
	mfree(handle, mmalloc(handle, 64));
	if (of(s)->call == free_remote)
		scene->remote = mmalloc(handle, 64);
	if (s->flags & CRASH_FORKED) {
		scene->blocks.before = support_count_by(&support_mmalloc_calls, handle);
		scene->length = scene_length(handle);
	}
}

static void warm_up(const struct crash_scenario *s)
{
	if (of(s)->call == attach_heap)
		return;
	handle = attach_well(s);
	of(s)->warm_up(handle);
	scene->blocks.before = support_count_by(&support_mmalloc_calls, handle);
	scene->length = scene_length(handle);
}

static void call(const struct crash_scenario *s)
{
	of(s)->call(of(s)->call == attach_heap ? (void *)(uintptr_t)s : handle);
	/* A run over the bounds of streams lies in the first ones: when the file is so long already, for another stream, it need not grow. */
	if (of(s)->grows && (of(s)->call != take_over_bounds || scene->length < SCENE_RESERVE / 2))
		g_assert_cmpuint(scene_length(handle), >, scene->length);
}

static void arrive(void)
{
	mmalloc_setroot(handle, "newcomer", NULL);
}

static void survive(const struct crash_scenario *s)
{
	pid_t newcomer = scene_newcomer(arrive);

	scene_examine(of(s), handle);
	scene_newcomer_leaves(newcomer);
	heap_detach(handle);
}

static void reopen(const struct crash_scenario *s)
{
	void *md = attach_well(s);

	scene_examine(of(s), md);
	heap_detach(md);
}

static void earlier(const struct crash_scenario *s)
{
	handle = attach_well(s);
	mfree(handle, mmalloc(handle, 64));
}

static void earlier_call(const struct crash_scenario *s)
{
	of(s)->earlier_call(handle);
}

static bool half_done(const struct crash_scenario *s, const char *bytes)
{
	if (of(s)->grown)
		return scene_half_grown(bytes);
	return scene_half_done(bytes, sizeof(struct ma_stream), true, 3);
}

static const struct crash_library library = {
	.name = "mmalloc",
	.room = SCENE_RESERVE,
	.prepare = prepare,
	.attach = attach,
	.warm_up = warm_up,
	.call = call,
	.survive = survive,
	.reopen = reopen,
	.earlier = earlier,
	.earlier_call = earlier_call,
	.varies = scene_varies,
	.half_done = half_done,
};

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	scene = support_shared(sizeof(*scene));
	ma_heap_age_seconds = ma_patience = 0; /* A call takes as many instructions whenever it is made. */
	ma_heap_share_chunks = 8;
	support_add("/crash/mmalloc/growth-races", races_of_growth);
	for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++)
		crash_add(&library, &scenarios[i].base);
	return crash_run();
}
