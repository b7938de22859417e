/* SPDX-License-Identifier: BSD-3-Clause */
/* See killed_scene.h. */
#include "tests/tools/killed_scene.h"

#include <sys/stat.h>

#include "common/header.h"

#define BLOCKS 40

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
size_t scene_block_size(const struct heap *heap, struct support_rand *r)
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
		size_t size = scene_block_size(heap, &r);
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
		size[i] = scene_block_size(s->heap, &r);
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

void scene_make_map(const struct heap *heap, const char *path)
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

bool scene_is_empty_map(const struct scene *s)
{
	victim_expect(0, "check", s->made);
	victim_expect(0, "list", s->made);
	g_assert_null(strstr(victim_said, "root"));
	return true;
}

/* Sound at once: it was on disk before it had its name. Its first opener may write to it, so each looks at what is new to him. */
bool scene_is_whole_map(const struct scene *s)
{
	if (s->replaces && is_as_before(s, s->made))
		return false;
	victim_expect(0, "check", s->made);
	support_run_child(holds_all, (void *)(uintptr_t)s);
	return true;
}

bool scene_is_whole_dump(const struct scene *s)
{
	char *text = support_file_read(s->made, NULL);

	g_assert_true(g_str_has_prefix(text, "{\"mapalloc_dump\": 1, "));
	g_assert_true(g_str_has_suffix(text, "{\"end\": true, \"blocks\": 40, \"roots\": 1}\n"));
	g_free(text);
	return true;
}

bool scene_is_backup(const struct scene *s)
{
	g_assert_true(is_as_before(s, s->made));
	return true;
}

/* ---- killed everywhere ---- */

static bool is_expected(const struct scene *s, const char *path)
{
	return g_str_equal(path, s->made) || (s->from && g_str_equal(path, s->from));
}

/* Another process may have the file open at that moment, and then it counts as in use: ask again. */
static void assert_reaped(const char *name)
{
	for (unsigned tries = 0; tries < 3000; tries++) {
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
	if (!done && !killed)
		g_error("%s was not done: %s", s->line[0], support_file_read(victim_output(), NULL));
	s->whole += done;
	if (s->from && !s->in_use && !s->resets)
		g_assert_true(is_as_before(s, s->from));
	if (done && s->resets)
		support_file_write(s->from, s->before, s->before_bytes); /* There is something to do again. */
	victim_expect_is(done ? s->again : 0, s->line, __FILE__, __LINE__);
	g_assert_true(s->judge(s));
}

/* At each eighth place, from a random one on, unless all are asked for. */
void scene_kill_at_each(struct scene *s)
{
	size_t stride = support_stride(8);
	struct support_rand r;
	bool killed = true;

	support_rand_seed(&r, 5);
	for (size_t k = 1 + support_rand_below(&r, stride); killed; k += stride) {
		begin_again(s);
		killed = victim_killed_at(s->line, k);
		look(s, killed);
		s->places += killed;
		support_watchdog(SUPPORT_HUNG_SECONDS);
	}
	g_test_message("%s of a %s map: killed at %zu places, %zu times it was done, %zu times a file was left",
		       s->line[0], s->heap->kind, s->places, s->whole, s->left);
	g_assert_cmpuint(s->places * stride, >=, 10);
	g_assert_cmpuint(s->whole, <, s->places);
	if (s->named)
		g_assert_cmpuint(s->left * stride, >, 5);
	else if (support_nameless_files())
		g_assert_cmpuint(s->left, <=, s->replaces ? 3 : 0);
	unlink(s->made);
	if (s->from)
		unlink(s->from);
	g_free(s->before);
}

void scene_remember(struct scene *s, const char *path)
{
	s->before = support_file_read(path, &s->before_bytes);
}

/* ---- the commands ---- */

void scene_with_each(void (*fn)(const struct heap *heap, const char *map, const char *other))
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

void scene_with_each_heap(void (*fn)(const struct heap *heap, const char *map, const char *other))
{
	if (victim_begin())
		scene_with_each(fn);
}
