/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands that make files, killed on their way into and out of each call that may change a file (victim.h): a name leads to nothing, to what it led to
 * before, or to a whole file; the map that it is made from stays as it was; and the command can be given again. Between two calls
 * such a command changes no memory but its own and that of a file that has not got its name, so that is every instruction.
 */
#include "common/header.h"
#include "tests/tools/killed_scene.h"

static void create_one(const struct heap *heap, const char *map, const char *other)
{
	bool is_static = g_str_equal(heap->kind, "qalloc-static");
	struct scene s = {
		.heap = heap,
		.line = { "create", heap->kind, map, "--size=2M", is_static ? "--item=64" : NULL },
		.made = map,
		.judge = scene_is_empty_map,
		.again = 5,
	};

	(void)other;
	scene_kill_at_each(&s);
}

static void create(void)
{
	scene_with_each_heap(create_one);
}

static void load_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "load", "--relocate", "--input", other, map },
		.made = map,
		.from = other,
		.judge = scene_is_whole_map,
		.again = 5,
	};

	scene_make_map(heap, map);
	victim_expect(0, "dump", map, "-o", other);
	scene_remember(&s, other);
	scene_kill_at_each(&s);
}

static void load(void)
{
	scene_with_each_heap(load_one);
}

static void dump_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "dump", map, "-o", other },
		.made = other,
		.from = map,
		.judge = scene_is_whole_dump,
		.again = 5,
	};

	scene_make_map(heap, map);
	scene_remember(&s, map);
	scene_kill_at_each(&s);
}

static void dump(void)
{
	scene_with_each_heap(dump_one);
}

/* Of a map that says it is in use: there is something to repair. */
static void backup_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "repair", "--backup", other, map },
		.made = other,
		.from = map,
		.resets = true,
		.judge = scene_is_backup,
		.again = 5,
	};

	if (!heap->is_locked)
		return; /* Regions say nothing of the kind. */
	scene_make_map(heap, map);
	scene_remember(&s, map);
	memset(s.before + offsetof(struct ma_header, state), 0, sizeof(uint32_t));
	scene_kill_at_each(&s);
}

static void backup(void)
{
	scene_with_each_heap(backup_one);
}

/* Shorter, or longer than its range: else it is not made anew. */
static void relocate_one(const struct heap *heap, const char *map, const char *other)
{
	const char *size = g_str_equal(heap->kind, "qalloc-static")    ? "1900K"
			   : g_str_equal(heap->kind, "qalloc-dynamic") ? "15M"
								       : "17M";
	struct scene s = {
		.heap = heap,
		.line = { "resize", "--relocate", map, size },
		.made = map,
		.replaces = true,
		.judge = scene_is_whole_map,
	};

	(void)other;
	scene_make_map(heap, map);
	scene_remember(&s, map);
	scene_kill_at_each(&s);
}

static void relocate(void)
{
	scene_with_each_heap(relocate_one);
}

struct busy {
	const struct heap *heap;
	const char *path;
	_Atomic unsigned *rounds;
};

/* Allocate and free until killed, never so much that there is no room. */
static int work(void *arg)
{
	const struct busy *busy = arg;
	void *map = busy->heap->open(busy->path);
	uint64_t block[50] = { 0 };
	struct support_rand r;

	if (!map)
		return 1;
	support_rand_seed(&r, 11);
	for (;;) {
		size_t i = support_rand_below(&r, G_N_ELEMENTS(block));

		if (block[i])
			busy->heap->free(map, block[i]);
		block[i] = support_rand_below(&r, 3) ? busy->heap->malloc(map, scene_block_size(busy->heap, &r)) : 0;
		atomic_fetch_add(busy->rounds, 1);
	}
}

/* Nobody can be asked who uses a region: what changes is no damage all the same. */
static void check_often(const char *map)
{
	const char *const line[] = { "check", map, NULL };

	for (size_t i = 0; i < 100; i++)
		if (victim_tool(line) > 1)
			g_error("in use: %s", victim_said);
}

/* Of a map that somebody changes all the time. What he has is not his to keep, but all of the list is. */
static void snapshots(const struct heap *heap, const char *map, const char *other, bool replaces)
{
	_Atomic unsigned *rounds = support_shared(sizeof(*rounds));
	struct scene s = {
		.heap = heap,
		.line = { "snapshot", map, other, replaces ? "--force" : NULL },
		.made = other,
		.from = map,
		.replaces = replaces,
		.in_use = true,
		.judge = scene_is_whole_map,
		.again = replaces ? 0 : 5,
	};
	struct busy busy = { heap, map, rounds };
	pid_t pid;

	scene_make_map(heap, map);
	if (replaces)
		scene_remember(&s, map);
	pid = support_fork(work, &busy);
	while (atomic_load(rounds) < 1000)
		support_sleep_us(100);
	check_often(map);
	scene_kill_at_each(&s);
	g_assert_true(support_kill(pid));
}

/* Where the file system makes no files without names. */
static void named_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene load = {
		.heap = heap,
		.line = { "load", "--relocate", "--input", other, map },
		.made = map,
		.from = other,
		.named = true,
		.judge = scene_is_whole_map,
		.again = 5,
	};
	struct scene copy = {
		.heap = heap,
		.line = { "snapshot", map, other },
		.made = other,
		.from = map,
		.named = true,
		.judge = scene_is_whole_map,
		.again = 5,
	};

	scene_make_map(heap, map);
	victim_expect(0, "dump", map, "-o", other);
	scene_remember(&load, other);
	scene_kill_at_each(&load);
	scene_make_map(heap, map);
	scene_remember(&copy, map);
	scene_kill_at_each(&copy);
}

static void named(void)
{
	if (victim_begin() && victim_name_files())
		scene_with_each(named_one);
}

static void snapshot_new(const struct heap *heap, const char *map, const char *other)
{
	snapshots(heap, map, other, false);
}

static void snapshot_over(const struct heap *heap, const char *map, const char *other)
{
	snapshots(heap, map, other, true);
}

static void snapshot(void)
{
	scene_with_each_heap(snapshot_new);
}

static void snapshot_force(void)
{
	scene_with_each_heap(snapshot_over);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/killed/create", create);
	support_add("/tools/killed/load", load);
	support_add("/tools/killed/dump", dump);
	support_add("/tools/killed/backup", backup);
	support_add("/tools/killed/relocate", relocate);
	support_add("/tools/killed/named", named);
	support_add("/tools/killed/snapshot", snapshot);
	support_add("/tools/killed/snapshot-force", snapshot_force);
	return support_run();
}
