/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libshmbuddy's part of the kill sweep (crash.h): each call on each of its paths, in a region of one level and in one of five, where
 * blocks split and merge words all the way. After each kill the call has happened or not, all other blocks are whole, and
 * after everything is freed all of the region can be had again, in its smallest and in its largest blocks.
 */
#include "tests/crash/crash.h"
#include "tests/support/support_buddy.h"

#define FLAT_BYTES    (16 * KIB)
#define STACKED_BYTES (64 * KIB)
#define GROWN_BYTES   (40 * KIB) /* To this a flat one grows; with the stacked one its top word gets longer. */
#define TALLER_BYTES  (100 * KIB)
#define KEEP          6
#define CONTROL       4096
#define TEXT          "contents of a block"

enum effect { KEEPS, TAKES, GIVES };

struct scenario {
	struct crash_scenario base;
	bool stacked;
	enum effect effect;
	size_t victims;   /* Size of the block that the call frees or resizes; 0: none. */
	bool empty;       /* Nothing else is in the region. */
	unsigned changes; /* So many changes of the region make the earlier call half done. */
	void (*call)(shmbuddy_t *region);
	void (*earlier_call)(shmbuddy_t *region);
};

/* In shared memory. */
static struct scene {
	size_t before;
	shm_offt keep[KEEP];
	shm_offt victims;
	unsigned changes;
} * scene;

static shmbuddy_t *handle;
static shm_offt scratch;

/* --- calls --- */

static void take_32(shmbuddy_t *region)
{
	scratch = shmbuddy_malloc(region, 32);
}

static void take_16(shmbuddy_t *region)
{
	scratch = shmbuddy_malloc(region, 16);
}

static void take_1024(shmbuddy_t *region)
{
	scratch = shmbuddy_malloc(region, 1024);
}

static void take_4000(shmbuddy_t *region)
{
	scratch = shmbuddy_malloc(region, 4000);
}

static void take_all_in_one(shmbuddy_t *region)
{
	scratch = shmbuddy_malloc(region, STACKED_BYTES);
}

static void take_zeros(shmbuddy_t *region)
{
	scratch = shmbuddy_calloc(region, 10, 50);
}

static void free_victim(shmbuddy_t *region)
{
	shmbuddy_free(region, scene->victims);
}

/* What the free leaves open is merged when the malloc wants it. */
static void merge_all(shmbuddy_t *region)
{
	shmbuddy_free(region, scene->victims);
	scratch = shmbuddy_malloc(region, STACKED_BYTES);
}

static void grow_victim(shmbuddy_t *region)
{
	shmbuddy_realloc(region, scene->victims, 900);
}

static void shrink_victim(shmbuddy_t *region)
{
	shmbuddy_realloc(region, scene->victims, 30);
}

static void set_root(shmbuddy_t *region)
{
	shmbuddy_setroot(region, "a new root", scene->keep[2]);
}

static void set_lost_root(shmbuddy_t *region)
{
	shmbuddy_setroot(region, "lost", scene->keep[2]);
}

static void replace_root(shmbuddy_t *region)
{
	shmbuddy_setroot(region, "root", scene->keep[1]);
}

static void remove_root(shmbuddy_t *region)
{
	shmbuddy_setroot(region, "root", SHM_NULL);
}

static void cas_new_root(shmbuddy_t *region)
{
	shm_offt expected = SHM_NULL;

	shmbuddy_casroot(region, "a new root", &expected, scene->keep[2]);
}

static void mend(shmbuddy_t *region)
{
	shmbuddy_mend(region);
}

static void close_it(shmbuddy_t *region)
{
	shmbuddy_close(region);
}

static shmbuddy_t *open_it(const struct scenario *s)
{
	return s->stacked ? buddy_open(crash_path(), STACKED_BYTES, 16, STACKED_BYTES)
			  : buddy_open(crash_path(), FLAT_BYTES, 32, 1024);
}

static void grow(shmbuddy_t *region)
{
	shmbuddy_grow(region, GROWN_BYTES);
}

static void grow_taller(shmbuddy_t *region)
{
	shmbuddy_grow(region, TALLER_BYTES + 16);
}

/* What is gained is used at once. */
static void grow_and_take(shmbuddy_t *region)
{
	shmbuddy_grow(region, TALLER_BYTES);
	scratch = shmbuddy_malloc(region, 16);
}

static void open_flat(shmbuddy_t *region)
{
	(void)region;
	buddy_open(crash_path(), FLAT_BYTES, 32, 1024);
}

static void open_stacked(shmbuddy_t *region)
{
	(void)region;
	buddy_open(crash_path(), STACKED_BYTES, 16, STACKED_BYTES);
}

/* --- before --- */

static const struct scenario *as_ours(const struct crash_scenario *s)
{
	return (const struct scenario *)(const void *)s;
}

static void prepare(const struct crash_scenario *base)
{
	static const size_t sizes[KEEP] = { 32, 100, 1024, 512, 20, 64 };
	const struct scenario *s = as_ours(base);
	shmbuddy_t *region;

	memset(scene, 0, sizeof(*scene));
	if (base->flags & CRASH_ABSENT)
		return;
	region = open_it(s);
	for (size_t i = 0; i < KEEP && !s->empty; i++) {
		scene->keep[i] = shmbuddy_malloc(region, sizes[i]);
		memset(shmbuddy_address(region, scene->keep[i]), (int)i + 1, sizes[i]);
	}
	if (!s->empty)
		g_assert_cmpint(shmbuddy_setroot(region, "root", scene->keep[0]), ==, 0);
	if (s->victims) {
		scene->victims = shmbuddy_malloc(region, s->victims);
		strcpy(shmbuddy_address(region, scene->victims), TEXT);
	}
	scene->before = buddy_stats(region).used_blocks;
	buddy_close(region);
}

static void attach(const struct crash_scenario *s)
{
	handle = open_it(as_ours(s));
}

static void warm_up(const struct crash_scenario *s)
{
	if (as_ours(s)->call != open_flat && as_ours(s)->call != open_stacked)
		attach(s);
}

static void call(const struct crash_scenario *s)
{
	as_ours(s)->call(handle);
}

static void earlier(const struct crash_scenario *s)
{
	scene->changes = 0;
	attach(s);
}

static void earlier_call(const struct crash_scenario *s)
{
	as_ours(s)->earlier_call(handle);
}

/* When malloc may look for what the dead left; a new region's id, and so the checksum. */
static bool varies(size_t at)
{
	return (at >= CONTROL + 128 && at < CONTROL + 144) || (at >= 64 && at < 80) || (at >= 148 && at < 152);
}

static bool half_done(const struct crash_scenario *s, const char *bytes)
{
	(void)bytes;
	return ++scene->changes == as_ours(s)->changes;
}

/* --- after --- */

static int find_text(shm_offt offset, size_t size, void *found)
{
	(void)size;
	*(bool *)found |= strcmp(shmbuddy_address(handle, offset), TEXT) == 0;
	return 0;
}

static void find_it_done_or_not(const struct scenario *s)
{
	static const size_t sizes[KEEP] = { 32, 100, 1024, 512, 20, 64 };
	size_t after = buddy_stats(handle).used_blocks;
	bool found = false;

	/* Whoever died earlier may have left one block, too; a realloc that moves has two for a moment. */
	g_assert_cmpuint(after + (s->effect == GIVES) + (s->earlier_call != NULL), >=, scene->before);
	g_assert_cmpuint(after, <=, scene->before + (s->effect == TAKES) + (s->earlier_call != NULL));
	for (size_t i = 0; i < KEEP && scene->keep[i]; i++) {
		const char *at = shmbuddy_address(handle, scene->keep[i]);

		for (size_t k = 0; k < sizes[i]; k++)
			g_assert_cmpint(at[k], ==, (int)i + 1);
	}
	if (!s->victims || s->call == free_victim || s->call == merge_all || s->earlier_call == merge_all)
		return;
	g_assert_cmpint(shmbuddy_walk(handle, find_text, &found), ==, 0);
	g_assert_true(found);
}

static void find_the_roots(const struct scenario *s)
{
	shm_offt root = shmbuddy_getroot(handle, "root"), added = shmbuddy_getroot(handle, "a new root");
	char name[16];

	if (s->empty || s->base.flags & CRASH_ABSENT)
		return;
	g_assert_true(root == scene->keep[0] || (s->call == replace_root && root == scene->keep[1]) ||
		      (s->call == remove_root && root == SHM_NULL));
	g_assert_true(added == SHM_NULL ||
		      ((s->call == set_root || s->call == cas_new_root) && added == scene->keep[2]));
	g_assert_true(shmbuddy_getroot(handle, "lost") == SHM_NULL || s->earlier_call == set_lost_root);
	/* All places can be had, also one that a dead one had claimed. */
	shmbuddy_setroot(handle, "lost", SHM_NULL);
	shmbuddy_setroot(handle, "root", SHM_NULL);
	shmbuddy_setroot(handle, "a new root", SHM_NULL);
	for (int i = 0; i < SHMBUDDY_ROOTS; i++) {
		g_snprintf(name, sizeof(name), "root %d", i);
		g_assert_cmpint(shmbuddy_setroot(handle, name, scene->keep[0]), ==, 0);
	}
	for (int i = 0; i < SHMBUDDY_ROOTS; i++) {
		g_snprintf(name, sizeof(name), "root %d", i);
		g_assert_cmpuint(shmbuddy_getroot(handle, name), ==, scene->keep[0]);
	}
}

/*
 * By mallocs alone: one that finds nothing looks for what is stranded. But when the victim was just doing that (at the speed of single
 * steps), it will not be done again so soon.
 */
static void have_all_again(const struct scenario *s)
{
	struct shmbuddy_stats stats = buddy_stats(handle);
	shm_offt *blocks = g_new(shm_offt, stats.capacity / stats.smallest + 1);
	size_t count;

	if (s->call == take_all_in_one)
		g_assert_cmpint(shmbuddy_mend(handle), ==, 0);
	count = buddy_fill(handle, 1, blocks, stats.capacity / stats.smallest + 1);

	g_assert_cmpuint(count * stats.smallest, ==, stats.capacity - stats.used_bytes);
	buddy_check(handle);
	buddy_free_all(handle);
	buddy_check(handle);
	support_sleep_us(11000); /* before this nobody looks again */
	count = buddy_fill(handle, stats.largest, blocks, stats.capacity / stats.largest + 1);
	g_assert_cmpuint(count, ==, stats.capacity / stats.largest);
	buddy_free_all(handle);
	buddy_is_empty(handle);
	buddy_check(handle);
	g_free(blocks);
}

static bool grows(const struct scenario *s)
{
	return s->call == grow || s->call == grow_taller || s->call == grow_and_take;
}

/* The old size or the new one; and it can grow on from either. */
static void find_the_size(const struct scenario *s)
{
	uint64_t capacity = buddy_stats(handle).capacity, old = s->stacked ? STACKED_BYTES : FLAT_BYTES;
	uint64_t new = s->call == grow ? GROWN_BYTES : s->call == grow_taller ? TALLER_BYTES + 16 : TALLER_BYTES;

	if (!grows(s)) {
		g_assert_cmpuint(capacity, ==, old);
		return;
	}
	g_assert_true(capacity == old || capacity == new);
	g_assert_cmpint(shmbuddy_grow(handle, new + 3 * KIB), ==, 0);
	g_assert_cmpuint(buddy_stats(handle).capacity, ==, new + 3 * KIB);
	buddy_check(handle);
}

static void examine(const struct scenario *s)
{
	buddy_check(handle);
	find_the_size(s);
	find_it_done_or_not(s);
	find_the_roots(s);
	have_all_again(s);
}

static void survive(const struct crash_scenario *s)
{
	if (crash_newcomer())
		buddy_open(crash_path(), 0, 0, 0);
	examine(as_ours(s));
}

static void reopen(const struct crash_scenario *s)
{
	attach(s);
	examine(as_ours(s));
}

static const struct scenario scenarios[] = {
	{ .base = { "malloc", 0 }, .effect = TAKES, .call = take_32 },
	{ .base = { "malloc-1024", 0 }, .effect = TAKES, .call = take_1024 },
	{ .base = { "malloc-first", 0 }, .effect = TAKES, .empty = true, .call = take_32 },
	{ .base = { "calloc", 0 }, .effect = TAKES, .call = take_zeros },
	{ .base = { "free", 0 }, .effect = GIVES, .victims = 32, .call = free_victim },
	{ .base = { "free-1024", 0 }, .effect = GIVES, .victims = 1024, .call = free_victim },
	{ .base = { "realloc-grow", 0 }, .effect = TAKES, .victims = 300, .call = grow_victim },
	{ .base = { "realloc-shrink", 0 }, .effect = KEEPS, .victims = 300, .call = shrink_victim },
	{ .base = { "setroot-new", 0 }, .call = set_root },
	{ .base = { "setroot-replace", 0 }, .call = replace_root },
	{ .base = { "setroot-remove", 0 }, .call = remove_root },
	{ .base = { "setroot-beside-the-dead", CRASH_DEAD_BEFORE },
	  .changes = 2,
	  .call = set_root,
	  .earlier_call = set_lost_root },
	{ .base = { "casroot-new", 0 }, .call = cas_new_root },
	{ .base = { "mend", 0 }, .call = mend },
	{ .base = { "grow", 0 }, .call = grow },
	{ .base = { "close", 0 }, .call = close_it },
	{ .base = { "open", 0 }, .call = open_flat },
	{ .base = { "open-synced", CRASH_ALONE | CRASH_SYNCED }, .call = open_flat },
	{ .base = { "open-copy", CRASH_ALONE | CRASH_COPIED }, .call = open_flat },
	{ .base = { "create", CRASH_ABSENT | CRASH_ALONE }, .call = open_flat },
	{ .base = { "create-waited", CRASH_ABSENT | CRASH_ALONE | CRASH_WAITED }, .call = open_flat },
	{ .base = { "stacked-create", CRASH_ABSENT | CRASH_ALONE }, .stacked = true, .call = open_stacked },
	{ .base = { "stacked-open-copy", CRASH_ALONE | CRASH_COPIED }, .stacked = true, .call = open_stacked },
	{ .base = { "stacked-malloc", 0 }, .stacked = true, .effect = TAKES, .call = take_16 },
	{ .base = { "stacked-malloc-4000", 0 }, .stacked = true, .effect = TAKES, .call = take_4000 },
	{ .base = { "stacked-split-all", 0 }, .stacked = true, .effect = TAKES, .empty = true, .call = take_16 },
	{ .base = { "stacked-split-some", 0 }, .stacked = true, .effect = TAKES, .empty = true, .call = take_1024 },
	{ .base = { "stacked-free", 0 }, .stacked = true, .effect = GIVES, .victims = 16, .call = free_victim },
	{ .base = { "stacked-free-last", 0 },
	  .stacked = true,
	  .effect = GIVES,
	  .empty = true,
	  .victims = 32,
	  .call = free_victim },
	{ .base = { "stacked-merge-all", 0 },
	  .stacked = true,
	  .effect = GIVES,
	  .empty = true,
	  .victims = 32,
	  .call = merge_all },
	{ .base = { "stacked-merge-some", 0 },
	  .stacked = true,
	  .effect = GIVES,
	  .empty = true,
	  .victims = 5000,
	  .call = free_victim },
	{ .base = { "stacked-realloc", 0 }, .stacked = true, .effect = TAKES, .victims = 300, .call = grow_victim },
	{ .base = { "stacked-realloc-shrink", 0 },
	  .stacked = true,
	  .effect = TAKES,
	  .victims = 4000,
	  .call = shrink_victim },
	{ .base = { "stacked-grow", 0 }, .stacked = true, .call = grow_taller },
	{ .base = { "stacked-grow-full", 0 },
	  .stacked = true,
	  .effect = TAKES,
	  .victims = 4000,
	  .call = grow_and_take },
#define AFTER_SPLIT(n, text)                                                                                 \
	{                                                                                                    \
		.base = { "stacked-mend-split-" text, CRASH_DEAD_BEFORE }, .stacked = true, .effect = TAKES, \
		.empty = true, .changes = n, .call = take_all_in_one, .earlier_call = take_16                \
	}
#define AFTER_MERGE(n, text)                                                                                   \
	{                                                                                                      \
		.base = { "stacked-mend-merge-" text, CRASH_DEAD_BEFORE }, .stacked = true, .effect = TAKES,   \
		.empty = true, .victims = 32, .changes = n, .call = take_all_in_one, .earlier_call = merge_all \
	}
	AFTER_SPLIT(1, "1"),
	AFTER_SPLIT(2, "2"),
	AFTER_SPLIT(4, "4"),
	AFTER_SPLIT(6, "6"),
	AFTER_MERGE(1, "1"),
	AFTER_MERGE(2, "2"),
	AFTER_MERGE(3, "3"),
	AFTER_MERGE(4, "4"),
	AFTER_MERGE(6, "6"),
	AFTER_MERGE(9, "9"),
};

/* Where in the region a thread works is left to chance: it follows from its thread id. */
static const struct crash_library library = {
	.flags = CRASH_ANYWHERE,
	.name = "shmbuddy",
	.room = 256 * KIB,
	.prepare = prepare,
	.attach = attach,
	.warm_up = warm_up,
	.call = call,
	.survive = survive,
	.reopen = reopen,
	.earlier = earlier,
	.earlier_call = earlier_call,
	.varies = varies,
	.half_done = half_done,
};

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	scene = support_shared(sizeof(*scene));
	for (size_t i = 0; i < G_N_ELEMENTS(scenarios); i++)
		crash_add(&library, &scenarios[i].base);
	return crash_run();
}
