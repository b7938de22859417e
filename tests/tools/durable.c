/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the commands do with durable maps: set, restore, info and check; the others when the machine died, when the checkpoint file is missing,
 * damaged, or another map's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/durables.h"

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
		if (!is_of(&heaps[i], "shmbuddy"))
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

/* ---- in use ---- */

/* Until it is killed: each checkpoint has other pages, and new journals begin. */
static int make_checkpoints(void *arg)
{
	void *map = heaps[1].open(arg);
	char *block[64];

	for (size_t i = 0; i < G_N_ELEMENTS(block); i++)
		block[i] = heaps[1].at(map, heaps[1].malloc(map, 5000));
	for (unsigned round = 0;; round++) {
		for (size_t i = 0; i < G_N_ELEMENTS(block); i++)
			if ((i + round) % 3)
				memset(block[i], (int)round, 5000);
		if (qalloc_sync(map) < 0)
			return 1;
	}
}

/* No lock is taken, so all that is looked at changes; what is damaged does not. */
static void in_use(void)
{
	char *path = g_strdup(make_durable(&heaps[1]));
	pid_t pid = support_fork(make_checkpoints, path);
	uint64_t number = 0;

	for (unsigned i = 0; i < 20 || number < 100; i++) {
		assert_status(0, "check", path);
		if (strstr(run_out, "checkpoint/"))
			g_error("found in a map that is in use: %s", run_out);
		assert_status(0, "info", "--json", path);
		g_assert_cmpuint(run_number("number"), >=, number);
		number = run_number("number");
	}
	kill(pid, SIGKILL);
	support_wait(pid);
	assert_status(0, "check", path);
	g_free(path);
}

/* ---- create --durable ---- */

static void created(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = support_path("created"), *kind = heaps[i].kind;
		bool is_static = strcmp(kind, "qalloc-static") == 0;

		assert_status(0, "create", kind, path, "--size", "16M", "--durable", is_static ? "--item" : NULL, "64");
		g_assert_true(is_there(beside(path)));
		assert_status(0, "info", "--json", path);
		assert_said("\"durable\": true");
		assert_status(0, "check", path);
		unlink(path);
		unlink(beside(path));
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
		if (renumber_device(path)) {
			g_assert_null(heaps[i].open(path));
			g_assert_cmpint(errno, ==, EUCLEAN);
		}
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

/* A checkpoint with one damaged page: the open is refused before it writes the others. */
static void damaged_is_refused_whole(void)
{
	for (size_t i = 0; i < DURABLE; i++) {
		const char *path = make_stale(&heaps[i]);
		char *before, *after;
		gsize had, has;

		damage(path);
		g_assert_true(g_file_get_contents(path, &before, &had, NULL));
		g_assert_null(heaps[i].open(path));
		g_assert_cmpint(errno, ==, EUCLEAN);
		g_assert_true(g_file_get_contents(path, &after, &has, NULL));
		g_assert_true(had == has && memcmp(before, after, had) == 0);
		g_free(before);
		g_free(after);
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
	support_add("/tools/durable/stale", stale);
	support_add("/tools/durable/stale/readers", stale_readers);
	support_add("/tools/durable/stale/repair", stale_repaired);
	support_add("/tools/durable/in-use", in_use);
	support_add("/tools/durable/created", created);
	support_add("/tools/durable/missing", missing);
	support_add("/tools/durable/damaged", damaged);
	support_add("/tools/durable/damaged-whole", damaged_is_refused_whole);
	support_add("/tools/durable/anothers", anothers);
	support_add("/tools/durable/copied", copied);
	support_add("/tools/durable/resize", resize);
	support_add("/tools/durable/relocate", relocate);
	support_add("/tools/durable/reap", reap);
	return support_run();
}
