/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands that make files, killed on their way into and out of each call that may change a file (victim.h): a name leads to nothing, to what it led to
 * before, or to a whole file; the map that it is made from stays as it was; and the command can be given again. Between two calls
 * such a command changes no memory but its own and that of a file that has not got its name, so that is every instruction.
 */
#include <sys/stat.h>

#include "common/header.h"
#include "tests/tools/heaps.h"
#include "tests/tools/victim.h"

#define BLOCKS 40

struct scene {
	const struct heap *heap;
	victim_line line;
	const char *made; /* The name that is to be taken. */
	bool replaces;    /* It leads to a file before. */
	const char *
		from; /* What it is made from: it changes by nobody's doing, unless it is `made` or in use. NULL: nothing. */
	bool in_use;
	/* What the name may lead to afterwards; false: to what was there before. Asserts that it is whole. */
	bool (*judge)(const struct scene *s);
	bool resets; /* And is written anew each time: it is changed. */
	bool named;  /* The file has a temporary name. */
	int again;   /* Status of the same command once more when it had come to its end. */
	char *before;
	size_t before_bytes;
	size_t places, whole, left;
};

static char *folder; /* Of the maps alone, so that whatever else is in there was left. */

static char *in_folder(const char *name)
{
	return g_build_filename(folder, name, NULL);
}

/* ---- what is in a map ---- */

static unsigned char mark(unsigned i)
{
	return (unsigned char)(0x40 + i);
}

/* Small, so that a command makes few calls. */
static size_t block_size(const struct heap *heap, struct support_rand *r)
{
	return MAX(MIN(heap_size(heap, r), 3000), sizeof(uint64_t));
}

/* A list: each block begins with where the one before it is, the rest is its mark. */
static void fill(const struct heap *heap, void *map)
{
	struct support_rand r;
	uint64_t last = 0;

	support_rand_seed(&r, 9);
	for (unsigned i = 0; i < BLOCKS; i++) {
		size_t size = block_size(heap, &r);
		uint64_t block = heap->malloc(map, size);

		g_assert_cmpuint(block, !=, 0);
		memset(heap->at(map, block), mark(i), size);
		memcpy(heap->at(map, block), &last, sizeof(last));
		last = block;
	}
	g_assert_cmpint(heap->setroot(map, "last", last), ==, 0);
}

static int holds_all(void *arg)
{
	const struct scene *s = arg;
	void *map = s->heap->open(s->made);
	struct support_rand r;
	size_t size[BLOCKS];
	uint64_t at;

	g_assert_nonnull(map);
	support_rand_seed(&r, 9);
	for (unsigned i = 0; i < BLOCKS; i++)
		size[i] = block_size(s->heap, &r);
	at = s->heap->getroot(map, "last");
	for (unsigned i = BLOCKS; i-- > 0;) {
		const unsigned char *block = s->heap->at(map, at);

		for (size_t k = sizeof(at); k < size[i]; k++)
			g_assert_cmpint(block[k], ==, mark(i));
		memcpy(&at, block, sizeof(at));
	}
	g_assert_cmpuint(at, ==, 0);
	s->heap->close(map);
	return 0;
}

static void make_map(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);

	g_assert_nonnull(map);
	fill(heap, map);
	g_assert_cmpint(heap->close(map), ==, 0);
}

static bool is_as_before(const struct scene *s, const char *path)
{
	size_t bytes;
	char *now = support_file_read(path, &bytes);
	bool is = bytes == s->before_bytes && memcmp(now, s->before, bytes) == 0;

	g_free(now);
	return is;
}

/* ---- what a name may lead to ---- */

static bool is_empty_map(const struct scene *s)
{
	victim_expect(0, "check", s->made);
	victim_expect(0, "list", s->made);
	g_assert_null(strstr(victim_said, "root"));
	return true;
}

/* Sound at once: it was on disk before it had its name. Its first opener may write to it, so each looks at what is new to him. */
static bool is_whole_map(const struct scene *s)
{
	if (s->replaces && is_as_before(s, s->made))
		return false;
	victim_expect(0, "check", s->made);
	support_run_child(holds_all, (void *)(uintptr_t)s);
	return true;
}

static bool is_whole_dump(const struct scene *s)
{
	char *text = support_file_read(s->made, NULL);

	g_assert_true(g_str_has_prefix(text, "{\"mapalloc_dump\": 1, "));
	g_assert_true(g_str_has_suffix(text, "{\"end\": true, \"blocks\": 40, \"roots\": 1}\n"));
	g_free(text);
	return true;
}

static bool is_backup(const struct scene *s)
{
	g_assert_true(is_as_before(s, s->made));
	return true;
}

/* ---- killed everywhere ---- */

static bool is_expected(const struct scene *s, const char *path)
{
	return g_str_equal(path, s->made) || (s->from && g_str_equal(path, s->from));
}

/* Somebody may look at the file just then, who counts as its user: so it is asked again. */
static void assert_reaped(const char *name)
{
	for (unsigned tries = 0; tries < 100; tries++) {
		victim_expect(0, "reap", folder);
		if (strstr(victim_said, name))
			return;
		support_sleep_us(10000);
	}
	g_error("reap says nothing of %s, but: %s", name, victim_said);
}

/* What is there and should not be: temporary names, which reap tells of. */
static size_t leftovers(const struct scene *s)
{
	GDir *dir = g_dir_open(folder, 0, NULL);
	const char *name;
	size_t count = 0;

	g_assert_nonnull(dir);
	while ((name = g_dir_read_name(dir))) {
		char *path = in_folder(name);

		if (!is_expected(s, path)) {
			g_assert_true(g_str_has_prefix(name, ".mapalloc-") || g_str_has_prefix(name, ".snapshot-"));
			assert_reaped(name);
			unlink(path);
			count++;
		}
		g_free(path);
	}
	g_dir_close(dir);
	return count;
}

static void begin_again(struct scene *s)
{
	unlink(s->made);
	if (s->replaces)
		support_file_write(s->made, s->before, s->before_bytes);
	if (s->resets)
		support_file_write(s->from, s->before, s->before_bytes);
}

static void look(struct scene *s, bool killed)
{
	bool is_there = access(s->made, F_OK) == 0, done;

	s->left += leftovers(s);
	g_assert_true(is_there || !s->replaces);
	done = is_there && s->judge(s);
	g_assert_true(done || killed);
	s->whole += done;
	if (s->from && !s->in_use && !s->resets)
		g_assert_true(is_as_before(s, s->from));
	if (done && s->resets)
		support_file_write(s->from, s->before, s->before_bytes); /* There is something to do again. */
	victim_expect_is(done ? s->again : 0, s->line, __FILE__, __LINE__);
	g_assert_true(s->judge(s));
}

static void kill_at_each(struct scene *s)
{
	bool killed = true;

	for (size_t k = 1; killed; k++) {
		begin_again(s);
		killed = victim_killed_at(s->line, k);
		look(s, killed);
		s->places += killed;
		support_watchdog(SUPPORT_HUNG_SECONDS);
	}
	g_test_message("%s of a %s map: killed at %zu places, %zu times it was done, %zu times a file was left",
		       s->line[0], s->heap->kind, s->places, s->whole, s->left);
	g_assert_cmpuint(s->places, >=, 10);
	g_assert_cmpuint(s->whole, <, s->places);
	if (s->named)
		g_assert_cmpuint(s->left, >, 5);
	else if (support_nameless_files())
		g_assert_cmpuint(s->left, <=, s->replaces ? 3 : 0);
	unlink(s->made);
	if (s->from)
		unlink(s->from);
	g_free(s->before);
}

static void remember(struct scene *s, const char *path)
{
	s->before = support_file_read(path, &s->before_bytes);
}

/* ---- the commands ---- */

static void with_each(void (*fn)(const struct heap *heap, const char *map, const char *other))
{
	char *map, *other;

	folder = g_build_filename(support_dir(), "killed", NULL);
	g_assert_cmpint(mkdir(folder, 0700), ==, 0);
	map = in_folder("map");
	other = in_folder("other");
	for (int i = 0; i < HEAPS; i++)
		fn(&heaps[i], map, other);
	g_free(map);
	g_free(other);
	g_assert_cmpint(rmdir(folder), ==, 0);
	g_free(folder);
}

static void with_each_heap(void (*fn)(const struct heap *heap, const char *map, const char *other))
{
	if (victim_begin())
		with_each(fn);
}

static void create_one(const struct heap *heap, const char *map, const char *other)
{
	bool is_static = g_str_equal(heap->kind, "qalloc-static");
	struct scene s = {
		.heap = heap,
		.line = { "create", heap->kind, map, "--size=2M", is_static ? "--item=64" : NULL },
		.made = map,
		.judge = is_empty_map,
		.again = 5,
	};

	(void)other;
	kill_at_each(&s);
}

static void create(void)
{
	with_each_heap(create_one);
}

static void load_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "load", "--relocate", "--input", other, map },
		.made = map,
		.from = other,
		.judge = is_whole_map,
		.again = 5,
	};

	make_map(heap, map);
	victim_expect(0, "dump", map, "-o", other);
	remember(&s, other);
	kill_at_each(&s);
}

static void load(void)
{
	with_each_heap(load_one);
}

static void dump_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "dump", map, "-o", other },
		.made = other,
		.from = map,
		.judge = is_whole_dump,
		.again = 5,
	};

	make_map(heap, map);
	remember(&s, map);
	kill_at_each(&s);
}

static void dump(void)
{
	with_each_heap(dump_one);
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
		.judge = is_backup,
		.again = 5,
	};

	if (!heap->is_locked)
		return; /* Regions say nothing of the kind. */
	make_map(heap, map);
	remember(&s, map);
	memset(s.before + offsetof(struct ma_header, state), 0, sizeof(uint32_t));
	kill_at_each(&s);
}

static void backup(void)
{
	with_each_heap(backup_one);
}

static void relocate_one(const struct heap *heap, const char *map, const char *other)
{
	struct scene s = {
		.heap = heap,
		.line = { "resize", "--relocate", map, "17M" },
		.made = map,
		.replaces = true,
		.judge = is_whole_map,
	};

	(void)other;
	make_map(heap, map);
	remember(&s, map);
	kill_at_each(&s);
}

static void relocate(void)
{
	with_each_heap(relocate_one);
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
		block[i] = support_rand_below(&r, 3) ? busy->heap->malloc(map, block_size(busy->heap, &r)) : 0;
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
		.judge = is_whole_map,
		.again = replaces ? 0 : 5,
	};
	struct busy busy = { heap, map, rounds };
	pid_t pid;

	make_map(heap, map);
	if (replaces)
		remember(&s, map);
	pid = support_fork(work, &busy);
	while (atomic_load(rounds) < 1000)
		support_sleep_us(100);
	check_often(map);
	kill_at_each(&s);
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
		.judge = is_whole_map,
		.again = 5,
	};
	struct scene copy = {
		.heap = heap,
		.line = { "snapshot", map, other },
		.made = other,
		.from = map,
		.named = true,
		.judge = is_whole_map,
		.again = 5,
	};

	make_map(heap, map);
	victim_expect(0, "dump", map, "-o", other);
	remember(&load, other);
	kill_at_each(&load);
	make_map(heap, map);
	remember(&copy, map);
	kill_at_each(&copy);
}

static void named(void)
{
	if (victim_begin() && victim_name_files())
		with_each(named_one);
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
	with_each_heap(snapshot_new);
}

static void snapshot_force(void)
{
	with_each_heap(snapshot_over);
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
