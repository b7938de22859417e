/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libqalloc's part of the kill sweep (crash.h): each call (qalloc_calls.c) on each of its paths. What must hold after each kill is in
 * qalloc_scene.c. Maps of this library grow when they are told to; what grows by itself is the disk space that they have.
 */
#include "common/body.h"
#include "common/heap.h"
#include "common/reclaim.h"
#include "tests/crash/qalloc_calls.h"
#include "tests/crash/qalloc_scene.h"

/* --- scenarios --- */

#define DYNAMIC(n, e, w, c, ...)                                                           \
	{                                                                                  \
		.base = { .name = n }, .effect = e, .warm_up = w, .call = c, ##__VA_ARGS__ \
	}
#define STATIC(n, e, w, c, ...)                                                                           \
	{                                                                                                 \
		.base = { .name = "static-" n }, .is_static = true, .effect = e, .warm_up = w, .call = c, \
		##__VA_ARGS__                                                                             \
	}
#define FLAGS(f) .base.flags = (f)

static const struct scenario scenarios[] = {
	DYNAMIC("malloc-first-call", TAKES, nothing, take_64),
	DYNAMIC("malloc-from-cursor", TAKES, take_64, take_64),
	DYNAMIC("malloc-refill", TAKES, take_64_often, take_64),
	DYNAMIC("malloc-new-slab", TAKES, take_64, take_1000),
	DYNAMIC("malloc-new-slab-5000", TAKES, take_64, take_5000),
	DYNAMIC("malloc-large", TAKES, take_64, take_large),
	DYNAMIC("malloc-large-cached", TAKES, leave_cached, take_large, .bytes = CRASH_CACHES),
	DYNAMIC("malloc-large-collects", TAKES, leave_cached_in_gap, take_gap, .bytes = CRASH_CACHES),
	DYNAMIC("malloc-large-grows-disk", TAKES, take_64, take_large, .prepared = FRESH),
	DYNAMIC("malloc-large-over-bounds", TAKES, take_64, take_over_bounds, .streams = 4),
	DYNAMIC("malloc-large-widens", TAKES, take_64, take_over_bounds, .streams = 4, .prepared = FRESH),
	DYNAMIC("malloc-stolen", TAKES, take_64, take_1000, .prepared = OWN_IS_FULL),
	DYNAMIC("malloc-large-stolen", TAKES, take_64, take_large, .prepared = OWN_IS_FULL),
	DYNAMIC("malloc-large-scavenges", TAKES, take_64, take_large, .prepared = EMPTY_SLABS),
	DYNAMIC("malloc-new-area", TAKES, take_16_until_the_area_is_full, take_16, .streams = 1),
	DYNAMIC("malloc-large-frees-area", TAKES, empty_the_second_area, take_a_million, .streams = 1),
	DYNAMIC("malloc-adopts", TAKES, nothing, take_64, .prepared = EMPTY_SLABS),
	DYNAMIC("malloc-fork-child", TAKES, nothing, take_64, FLAGS(CRASH_FORKED)),
	DYNAMIC("memalign", TAKES, take_64, take_aligned),
	DYNAMIC("memalign-large", TAKES, take_64, take_large_aligned),
	DYNAMIC("free-own", GIVES, take_64, free_scratch),
	DYNAMIC("free-last-of-slab", GIVES, take_1000, free_scratch),
	DYNAMIC("free-of-another-thread", GIVES, have_a_thread_take, free_scratch, .streams = 1),
	DYNAMIC("free-of-another-process", GIVES, take_1000, free_remote),
	DYNAMIC("free-of-the-dead", GIVES, take_1000, free_prepared, .victims = 64),
	DYNAMIC("free-large", GIVES, take_64, free_prepared, .victims = SCENE_LARGE),
	DYNAMIC("free-large-cached", GIVES, take_64, free_prepared, .victims = SCENE_LARGE, .bytes = CRASH_CACHES),
	DYNAMIC("free-large-over-bounds", GIVES, take_over_bounds, free_scratch, .streams = 4),
	DYNAMIC("realloc-in-place", KEEPS, take_marked, fit_scratch, .moves = true),
	DYNAMIC("realloc-moves", TAKES, take_marked, grow_scratch, .moves = true),
	DYNAMIC("realloc-grows-large", KEEPS, take_large_marked, grow_large, .moves = true),
	DYNAMIC("realloc-shrinks-large", KEEPS, take_large_marked, shrink_large, .moves = true),
	DYNAMIC("setroot-new", KEEPS, take_64, set_new_root),
	DYNAMIC("setroot-new-table", KEEPS, take_64, set_new_root, .adds_table = true),
	DYNAMIC("setroot-replace", KEEPS, take_64, replace_root),
	DYNAMIC("setroot-remove", KEEPS, take_64, remove_root),
	DYNAMIC("setroot-new-by-cas", KEEPS, take_64, cas_new_root),
	DYNAMIC("setroot-replace-by-cas", KEEPS, take_64, cas_root),
	DYNAMIC("find-or-create", TAKES, take_64, find_or_create),
	DYNAMIC("lock", KEEPS, make_lock, lock_it, .victims = 64),
	DYNAMIC("lock-first-call", KEEPS, nothing, lock_it, .victims = 64),
	DYNAMIC("lock-of-the-dead", KEEPS, make_lock_of_the_dead, lock_it, .victims = 64),
	DYNAMIC("unlock", KEEPS, make_lock_and_lock_it, unlock_it, .victims = 64),
	DYNAMIC("create", KEEPS, nothing, create, .prepared = NOT_THERE, FLAGS(CRASH_ABSENT | CRASH_ALONE)),
	DYNAMIC("create-two-openers", KEEPS, nothing, create, .prepared = NOT_THERE,
		FLAGS(CRASH_ABSENT | CRASH_ALONE | CRASH_WAITED)),
	DYNAMIC("open-first", KEEPS, nothing, load, FLAGS(CRASH_ALONE)),
	DYNAMIC("open-synced", KEEPS, nothing, load, FLAGS(CRASH_ALONE | CRASH_SYNCED)),
	DYNAMIC("open-copy", KEEPS, nothing, load, FLAGS(CRASH_ALONE | CRASH_COPIED)),
	DYNAMIC("open-second", KEEPS, nothing, load),
	DYNAMIC("open-two-openers", KEEPS, nothing, load, FLAGS(CRASH_ALONE | CRASH_WAITED)),
	DYNAMIC("close", KEEPS, take_64, close_map),
	DYNAMIC("close-last", KEEPS, take_64, close_map, FLAGS(CRASH_ALONE)),
	DYNAMIC("checkpoint", KEEPS, take_64, checkpoint),
	DYNAMIC("durable", KEEPS, take_64, make_durable),
	DYNAMIC("capture", KEEPS, take_64, capture, .is_durable = true),
	DYNAMIC("capture-again", KEEPS, checkpoint_and_take_64, capture, .is_durable = true),
	DYNAMIC("commit", KEEPS, take_64_and_capture, commit, .is_durable = true),
	DYNAMIC("checkpoint-durable", KEEPS, checkpoint_and_take_64, checkpoint, .is_durable = true),
	DYNAMIC("malloc-while-captured", TAKES, take_64_and_capture, take_1000, .is_durable = true),
	DYNAMIC("cleanup-last", KEEPS, take_64, cleanup, FLAGS(CRASH_ALONE)),
	DYNAMIC("thread-exit", KEEPS, watch_the_end, scene_end_thread),
	DYNAMIC("grow-in-segment", KEEPS, nothing, grow, .bytes = MIB, .grows = MIB + 300 * KIB),
	DYNAMIC("grow", KEEPS, nothing, grow, .bytes = 256 * KIB, .grows = MIB + 300 * KIB),
	DYNAMIC("grow-two-segments", KEEPS, nothing, grow, .bytes = 128 * KIB, .grows = MIB + 300 * KIB),
	DYNAMIC("grow-alone", KEEPS, nothing, grow, .bytes = 256 * KIB, .grows = MIB, FLAGS(CRASH_ALONE)),
	DYNAMIC("grow-inherits-lock", KEEPS, take_64, grow, .bytes = 256 * KIB, .grows = MIB, FLAGS(CRASH_DEAD_DURING),
		.earlier_call = grow),
	DYNAMIC("malloc-in-new-segment", TAKES, grow, take_large, .bytes = 256 * KIB, .grows = MIB + 300 * KIB),
	STATIC("grow", KEEPS, nothing, grow, .bytes = 256 * KIB, .grows = MIB + 300 * KIB),
	STATIC("malloc-in-new-segment", TAKES, grow_when_full, take_64, .bytes = 256 * KIB, .grows = MIB),
	DYNAMIC("takeover-of-lock", TAKES, take_64, take_large, FLAGS(CRASH_DEAD_DURING), .earlier_call = take_large),
	DYNAMIC("takeover-of-slot", TAKES, nothing, take_large, FLAGS(CRASH_DEAD_BEFORE), .earlier_call = take_large),
	DYNAMIC("takeover-of-map", KEEPS, nothing, load, FLAGS(CRASH_DEAD_BEFORE | CRASH_ALONE),
		.earlier_call = take_large),
	DYNAMIC("takeover-two-openers", KEEPS, nothing, load, FLAGS(CRASH_DEAD_BEFORE | CRASH_ALONE | CRASH_WAITED),
		.earlier_call = take_large),
	DYNAMIC("setroot-inherits-lock", KEEPS, take_64, set_new_root, FLAGS(CRASH_DEAD_DURING),
		.earlier_call = set_lost_root),
	DYNAMIC("setroot-reuses-place", KEEPS, take_64, set_new_root, .one_place = true),
	DYNAMIC("setroot-place-of-the-dead", KEEPS, take_64, set_new_root, FLAGS(CRASH_DEAD_BEFORE), .one_place = true,
		.earlier_call = set_lost_root),
	STATIC("malloc-first-call", TAKES, nothing, take_64),
	STATIC("malloc", TAKES, take_64, take_64),
	STATIC("malloc-refill", TAKES, take_64_often, take_64),
	STATIC("malloc-grows-disk", TAKES, take_64_often, take_64, .prepared = FRESH),
	STATIC("malloc-stolen", TAKES, nothing, take_64, .prepared = OWN_IS_FULL),
	STATIC("free", GIVES, take_64, free_prepared, .victims = 64),
	STATIC("free-of-another-process", GIVES, take_64, free_remote),
	STATIC("setroot-new-table", KEEPS, take_64, set_new_root, .adds_table = true),
	STATIC("find-or-create", TAKES, take_64, find_or_create),
	STATIC("create", KEEPS, nothing, create_static, .prepared = NOT_THERE, FLAGS(CRASH_ABSENT | CRASH_ALONE)),
	STATIC("open-first", KEEPS, nothing, load, FLAGS(CRASH_ALONE)),
	STATIC("open-synced", KEEPS, nothing, load, FLAGS(CRASH_ALONE | CRASH_SYNCED)),
	STATIC("open-copy", KEEPS, nothing, load, FLAGS(CRASH_ALONE | CRASH_COPIED)),
	STATIC("checkpoint-durable", KEEPS, checkpoint_and_take_64, checkpoint, .is_durable = true),
	STATIC("thread-exit", KEEPS, watch_the_end, scene_end_thread),
	STATIC("takeover-of-slot", TAKES, nothing, take_64, FLAGS(CRASH_DEAD_BEFORE), .prepared = FRESH,
	       .earlier_call = take_65),
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

static void attach(const struct crash_scenario *s)
{
	handle = scene_open(of(s));
	qalloc_free(qalloc_malloc(handle, 64), handle);
	if (of(s)->call == free_remote)
		scene->remote = qalloc_malloc(handle, 64);
	if (s->flags & CRASH_FORKED)
		scene->blocks.before = support_count(handle);
}

static void warm_up(const struct crash_scenario *s)
{
	if (of(s)->call == load || of(s)->prepared == NOT_THERE)
		return;
	handle = support_load(crash_path());
	of(s)->warm_up(handle);
	scene->blocks.before = support_count(handle);
}

static void call(const struct crash_scenario *s)
{
	of(s)->call(handle);
}

static void arrive(void)
{
	qalloc_setroot(handle, "newcomer", NULL);
}

static void survive(const struct crash_scenario *s)
{
	pid_t newcomer = scene_newcomer(arrive);

	scene_examine(of(s), handle);
	scene_newcomer_leaves(newcomer);
	support_close(handle);
}

static void reopen(const struct crash_scenario *s)
{
	void *map = scene_open(of(s));

	scene_examine(of(s), map);
	support_close(map);
}

static void earlier(const struct crash_scenario *s)
{
	(void)s;
	handle = support_load(crash_path());
	qalloc_free(qalloc_malloc(handle, 64), handle);
}

static void earlier_call(const struct crash_scenario *s)
{
	of(s)->earlier_call(handle);
}

/* It has changed something since it took a lock; in dynamic maps, two of the words that its intent announced. */
static bool half_done(const struct crash_scenario *s, const char *bytes)
{
	bool is_static = of(s)->is_static;

	if (of(s)->earlier_call == grow)
		return scene_half_grown(bytes);
	return scene_half_done(bytes, is_static ? MA_STREAM_HEAD : sizeof(struct ma_stream), !is_static,
			       is_static ? 2 : 3);
}

static const struct crash_library qalloc = {
	.name = "qalloc",
	.room = CRASH_CACHES,
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
	support_add("/crash/qalloc/owners-come-back", deaths_owners_come_back);
	for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++)
		crash_add(&qalloc, &scenarios[i].base);
	return crash_run();
}
