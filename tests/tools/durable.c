/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands do with durable maps: set, restore, info and check; the others when the machine died, when the checkpoint file is missing,
 * damaged, or another map's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/cutting.h"
#include "tests/tools/victim.h"

/* ---- maps ---- */

/* Regions come last in heaps[]: the command cannot make them durable yet. */
#define DURABLE (HEAPS - 1)

static const char *beside(const char *path)
{
	static char name[500];

	snprintf(name, sizeof(name), "%s.checkpoint", path);
	return name;
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* With 0x5a in its first block at the checkpoint. */
static const char *make_durable(const struct heap *heap)
{
	const char *path = make(heap);

	unlink(beside(path));
	assert_status(0, "set", path, "durable=on");
	return path;
}

static void put_byte(const struct heap *heap, const char *path, char byte)
{
	void *map = heap->open(path);

	g_assert_nonnull(map);
	*(char *)heap->at(map, heap->getroot(map, "first")) = byte;
	g_assert_cmpint(heap->close(map), ==, 0);
}

static char get_byte(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);
	char byte;

	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	byte = *(char *)heap->at(map, heap->getroot(map, "first"));
	g_assert_cmpint(heap->close(map), ==, 0);
	return byte;
}

/* Was stored after the checkpoint, and the machine died. */
static const char *make_stale(const struct heap *heap)
{
	const char *path = make_durable(heap);

	put_byte(heap, path, 1);
	forget_boot(path);
	return path;
}

/* A page of the first checkpoint: these lie behind the heads. */
static void damage(const char *path)
{
	put(beside(path), 2 * MA_PAGE + 100, "damaged!", 8);
}

/* ---- set ---- */

static void set(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make(&heaps[i]);

		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": false");
		assert_status(0, "set", path, "durable=off");
		assert_status(0, "set", path, "durable=on");
		g_assert_true(is_there(beside(path)));
		assert_status(0, "info", path);
		assert_said("yes, checkpoint 1 of 20");
		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": true");
		g_assert_cmpuint(run_number("number"), ==, 1);
		g_assert_cmpuint(run_number("pages_changed"), >, 0);
		g_assert_cmpuint(run_number("pages_changed"), ==, run_number("pages"));
		g_assert_cmpuint(run_number("journal_used_bytes"), <=, run_number("journal_bytes"));
		opens(&heaps[i], path, false);
		assert_status(0, "set", path, "durable=off");
		g_assert_false(is_there(beside(path)));
		opens(&heaps[i], path, false);
		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": false");
	}
}

/* What a cut left is first what the next open makes of it. */
static void set_off_stale(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);

		assert_status(0, "set", path, "durable=off");
		g_assert_false(is_there(beside(path)));
		g_assert_cmpint(get_byte(&heaps[i], path), ==, 0x5a);
	}
}

static void set_refused(void)
{
	const char *path = make(&heaps[1]);
	void *map;

	assert_status(64, "set", path, "durable");
	assert_status(64, "set", path, "durable=yes");
	assert_status(64, "set", path);
	assert_status(4, "set", support_path("nothing"), "durable=on");
	map = heaps[1].open(path);
	assert_status(5, "set", path, "durable=on");
	assert_complained("in use");
	assert_status(5, "set", path, "durable=off");
	heaps[1].close(map);
	put(path, 0, "x", 1);
	assert_status(3, "set", path, "durable=on");
}

/* ---- restore ---- */

static void restore(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_durable(&heaps[i]);

		put_byte(&heaps[i], path, 1);
		assert_status(0, "restore", path);
		assert_said("checkpoint 1");
		assert_status(0, "check", path);
		assert_said(": sound\n");
		opens(&heaps[i], path, false);
		put_byte(&heaps[i], path, 2);
		forget_boot(path);
		assert_status(0, "restore", "--json", path);
		g_assert_cmpuint(run_number("number"), ==, 1);
		opens(&heaps[i], path, false);
	}
}

static void restore_refused(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make(&heaps[i]);
		void *map;

		unlink(beside(path));
		assert_status(5, "restore", path);
		assert_complained("not durable");
		assert_status(0, "set", path, "durable=on");
		put_byte(&heaps[i], path, 1);
		map = heaps[i].open(path);
		assert_status(5, "restore", path);
		assert_complained("in use");
		heaps[i].close(map);
		damage(path);
		assert_status(2, "restore", path);
		assert_complained("the map is as it was");
		g_assert_cmpint(get_byte(&heaps[i], path), ==, 1);
		unlink(beside(path));
		assert_status(5, "restore", path);
	}
	assert_status(4, "restore", support_path("nothing"));
}

/* ---- killed ---- */

/* Blocks at both ends of more pages than are written at once. */
static const char *make_long(const struct heap *heap)
{
	const char *path = make(heap);
	void *map = heap->open(path);
	uint64_t between = heap->malloc(map, MIB), last = heap->malloc(map, 300000);

	memset(heap->at(map, between), 2, MIB);
	*(char *)heap->at(map, last) = 0x5a;
	g_assert_cmpint(heap->setroot(map, "last", last), ==, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	unlink(beside(path));
	return path;
}

static void change(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);

	*(char *)heap->at(map, heap->getroot(map, "first")) = 1;
	*(char *)heap->at(map, heap->getroot(map, "last")) = 1;
	g_assert_cmpint(heap->close(map), ==, 0);
}

/* Both blocks are of one moment. */
static char moment_of(const struct heap *heap, const char *path)
{
	void *map = heap->open(path);
	char first, last;

	if (!map)
		g_error("%s does not open: %s", path, strerror(errno));
	first = *(char *)heap->at(map, heap->getroot(map, "first"));
	last = *(char *)heap->at(map, heap->getroot(map, "last"));
	g_assert_cmpint(heap->close(map), ==, 0);
	g_assert_cmpint(first, ==, last);
	return last;
}

/* Not static maps: their items are small. */
static void restore_killed(void)
{
	for (size_t i = 1; i < DURABLE; i++) {
		const char *path = make_long(&heaps[i]);
		const victim_line line = { "restore", path };
		size_t k = 1, back = 0;

		if (!victim_begin())
			return;
		victim_expect(0, "set", path, "durable=on");
		change(&heaps[i], path);
		for (; victim_killed_at(line, k); k++) {
			back += moment_of(&heaps[i], path) == 0x5a;
			change(&heaps[i], path);
		}
		g_assert_cmpuint(k, >, 10);
		g_assert_cmpuint(back, >, 0);
		g_assert_cmpuint(back, <, k);
	}
}

/* Durable or not, the map is as it was. */
static void set_killed(void)
{
	const struct heap *heap = &heaps[2];
	const char *path = make_long(heap);
	bool more = true;
	size_t k = 1;

	if (!victim_begin())
		return;
	change(heap, path);
	for (; more; k++) {
		more = victim_killed_at((victim_line){ "set", path, "durable=on" }, k);
		g_assert_cmpint(moment_of(heap, path), ==, 1);
		victim_expect(0, "set", path, "durable=on");
		more |= victim_killed_at((victim_line){ "set", path, "durable=off" }, k);
		g_assert_cmpint(moment_of(heap, path), ==, 1);
		victim_expect(0, "set", path, "durable=off");
	}
	g_assert_cmpuint(k, >, 10);
}

/* ---- after a cut ---- */

static void stale(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]), *copy = support_path("copy");

		assert_status(0, "check", path);
		assert_said("checkpoint/roll-back");
		assert_said("the next open cleans up");
		assert_status(0, "info", path);
		assert_status(0, "list", path);
		assert_complained("older, newer, or a mixture");
		assert_status(5, "snapshot", path, copy);
		assert_status(5, "dump", path);
		g_assert_false(is_there(copy));
		opens(&heaps[i], path, true);
		assert_status(0, "snapshot", path, copy);
		assert_status(0, "info", "--json", copy);
		assert_said("\"durable\": false");
		unlink(copy);
	}
}

/* They write nothing, and say who can. */
static void stale_readers(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);

		g_assert_null(open_to_read(&heaps[i], path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		g_assert_null(open_privately(&heaps[i], path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		opens(&heaps[i], path, true);
		g_assert_nonnull(open_to_read(&heaps[i], path));
	}
}

static void stale_repaired(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);
		const char *copy = support_path("copy");

		assert_status(0, "repair", "--backup", copy, path);
		assert_status(0, "check", path);
		assert_said(": sound\n");
		g_assert_cmpint(get_byte(&heaps[i], path), ==, 0x5a);
		assert_status(0, "check", copy);
		assert_said("checkpoint/roll-back");
		g_assert_cmpint(get_byte(&heaps[i], copy), ==, 0x5a);
		unlink(copy);
		unlink(beside(copy));
	}
}

/* ---- a checkpoint file that is missing or damaged ---- */

static void missing(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_durable(&heaps[i]);

		put_byte(&heaps[i], path, 1);
		unlink(beside(path));
		assert_status(0, "check", path);
		assert_said("the next sync makes a new one");
		forget_boot(path);
		g_assert_null(heaps[i].open(path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		assert_status(1, "check", path);
		assert_said("checkpoint/missing");
		assert_status(0, "repair", path);
		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": false");
		g_assert_cmpint(get_byte(&heaps[i], path), ==, 1);
	}
}

static void damaged(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);
		const char *copy = support_path("copy");

		damage(path);
		assert_status(1, "check", path);
		assert_said("checkpoint/damaged");
		assert_said("1 of ");
		assert_status(0, "repair", "--backup", copy, path);
		g_assert_false(is_there(beside(path)));
		g_assert_true(is_there(beside(copy)));
		g_assert_cmpint(get_byte(&heaps[i], path), ==, 1);
		assert_status(0, "set", path, "durable=on");
		unlink(copy);
		unlink(beside(copy));
	}
}

/* What may not be taken away: it is none of this map's. */
static void anothers(void)
{
	const char *path = make_durable(&heaps[1]), *theirs = support_path("theirs");

	g_assert_cmpint(rename(beside(make_durable(&heaps[2])), theirs), ==, 0);
	g_assert_cmpint(rename(theirs, beside(path)), ==, 0);
	assert_status(1, "check", path);
	assert_said("belongs to another map");
	assert_status(0, "repair", path);
	g_assert_true(is_there(beside(path)));
	assert_status(0, "check", path);
	g_assert_cmpint(get_byte(&heaps[1], path), ==, 0x5a);
}

/* A copy without it. */
static void copied(void)
{
	const char *path = make_durable(&heaps[1]), *copy = support_path("copy");

	support_file_copy(path, copy);
	assert_status(0, "check", copy);
	assert_said("a copy that came without its checkpoint file");
	opens(&heaps[1], copy, true);
	assert_status(0, "info", "--json", copy);
	assert_said("\"durable\": false");
	unlink(copy);
}

/* ---- resize, reap ---- */

/* The checkpoint keeps its length. */
static void resize(void)
{
	const struct heap *heap = &heaps[2];
	const char *path = make_stale(heap);
	uint64_t length;

	assert_status(0, "info", "--json", path);
	length = run_number("length");
	assert_status(0, "resize", path, "7M");
	g_assert_cmpint(get_byte(heap, path), ==, 0x5a);
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("length"), ==, 7 * MIB);
	g_assert_cmpuint(run_number("number"), ==, 1);
	forget_boot(path);
	opens(heap, path, true);
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("length"), ==, length);
}

static void relocate(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_durable(&heaps[i]);

		assert_status(0, "resize", "--relocate", path, i == 2 ? "64M" : "1M");
		assert_status(0, "info", "--json", path);
		g_assert_cmpuint(run_number("number"), ==, 1);
		put_byte(&heaps[i], path, 1);
		forget_boot(path);
		opens(&heaps[i], path, true);
	}
}

static void reap(void)
{
	const char *folder = support_path("folder"), *path = make_durable(&heaps[1]);
	char *map = g_build_filename(folder, "a.map", NULL),
	     *orphan = g_build_filename(folder, "b.map.checkpoint", NULL);
	char *text = g_build_filename(folder, "c.checkpoint", NULL);

	g_assert_cmpint(mkdir(folder, 0700), ==, 0);
	g_assert_cmpint(rename(path, map), ==, 0);
	g_assert_cmpint(rename(beside(path), orphan), ==, 0);
	support_file_copy(orphan, beside(map));
	g_assert_true(g_file_set_contents(text, "text", -1, NULL));
	assert_status(0, "reap", folder);
	assert_said("a.map\n");
	assert_said("b.map.checkpoint\n");
	g_assert_null(strstr(run_out, "a.map.checkpoint"));
	g_assert_null(strstr(run_out, "c.checkpoint"));
	assert_status(0, "reap", "--force", folder);
	g_assert_false(is_there(map) || is_there(beside(map)) || is_there(orphan));
	unlink(text);
	g_assert_cmpint(rmdir(folder), ==, 0);
	g_free(map);
	g_free(orphan);
	g_free(text);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/durable/set", set);
	support_add("/tools/durable/set/stale", set_off_stale);
	support_add("/tools/durable/set/refused", set_refused);
	support_add("/tools/durable/restore", restore);
	support_add("/tools/durable/restore/refused", restore_refused);
	support_add("/tools/durable/restore/killed", restore_killed);
	support_add("/tools/durable/set/killed", set_killed);
	support_add("/tools/durable/stale", stale);
	support_add("/tools/durable/stale/readers", stale_readers);
	support_add("/tools/durable/stale/repair", stale_repaired);
	support_add("/tools/durable/missing", missing);
	support_add("/tools/durable/damaged", damaged);
	support_add("/tools/durable/anothers", anothers);
	support_add("/tools/durable/copied", copied);
	support_add("/tools/durable/resize", resize);
	support_add("/tools/durable/relocate", relocate);
	support_add("/tools/durable/reap", reap);
	return support_run();
}
