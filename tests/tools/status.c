/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exit status says what a script has to do: 0 for what the next open cleans up by itself, whatever ended the program and also in
 * use; 2, a warning and a marked dump for what is damaged, from every command that reads blocks.
 */
#include <fcntl.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/support/support_golden.h"
#include "tests/tools/heaps.h"

/* ---- what is left when a program ends without closing its map ---- */

enum end { END_EXIT, END_EXIT_QUICKLY, END_TERM, END_KILL, END_ABORT };

struct program {
	const struct heap *heap;
	const char *path;
	enum end end;
};

static int use_and_end(void *arg)
{
	const struct program *program = arg;
	void *map = program->heap->open(program->path);
	uint64_t block = map ? program->heap->malloc(map, 10) : 0;

	if (!block || program->heap->setroot(map, "block", block) < 0)
		return 1;
	if (program->end == END_TERM)
		raise(SIGTERM);
	if (program->end == END_KILL)
		raise(SIGKILL);
	if (program->end == END_ABORT)
		abort();
	if (program->end == END_EXIT_QUICKLY)
		_exit(0);
	return 0; /* As by exit(). */
}

/* A region has no state of its own that a close changes. */
static const char *verdict_of_unclosed(const struct heap *heap)
{
	return heap->is_locked ? ": sound, not closed: the next open cleans up\n" : ": sound\n";
}

static void unclosed(void)
{
	for (int i = 0; i < HEAPS; i++)
		for (enum end end = END_EXIT; end <= END_ABORT; end++) {
			struct program program = { &heaps[i], support_path(heaps[i].kind), end };
			void *map;

			support_wait(support_fork(use_and_end, &program));
			assert_status(0, "check", program.path);
			assert_said(verdict_of_unclosed(&heaps[i]));
			assert_status(0, "info", program.path);
			assert_status(0, "list", program.path);
			g_assert_cmpstr(run_err, ==, "");
			assert_status(0, "dump", program.path);
			g_assert_null(strstr(run_out, "damaged"));
			map = heaps[i].open(program.path);
			g_assert_cmpint(heaps[i].close(map), ==, 0);
			assert_status(0, "check", program.path);
			assert_said(": sound\n");
			unlink(program.path);
		}
}

/* One is killed while others go on; then they close; then the next one opens, uses and closes it. */
static void worker_killed(void)
{
	for (int i = 0; i < HEAPS; i++) {
		struct program program = { &heaps[i], support_path(heaps[i].kind), END_KILL };
		void *map = heaps[i].open(program.path);

		g_assert_cmpuint(heaps[i].malloc(map, 10), !=, 0);
		support_wait(support_fork(use_and_end, &program));
		assert_status(0, "check", program.path);
		if (heaps[i].is_locked) {
			assert_said("1 lease of process slot ");
			assert_said("sound, not closed: the processes that use it clean up\n");
		}
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		assert_status(0, "check", program.path);
		map = heaps[i].open(program.path);
		g_assert_cmpuint(heaps[i].malloc(map, 10), !=, 0);
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		assert_status(0, "check", program.path);
		assert_said(": sound\n");
		unlink(program.path);
	}
}

/* ---- damage ---- */

/* Commands that answer with blocks: the answer, a warning, and the status. */
static void all_warn(const char *path)
{
	static const char *const commands[][3] = {
		{ "list" },
		{ "list", "--json" },
		{ "stat" },
		{ "stat", "--interval=0.01", "--count=3" },
		{ "leaks" },
		{ "plot" },
		{ "plot", "--watch", "--count=1" },
		{ "dump" },
	};

	assert_status(2, "check", path);
	for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
		assert_status(2, commands[i][0], path, commands[i][1], commands[i][1] ? commands[i][2] : NULL);
		assert_complained(": damaged: ");
		assert_complained("see mapalloc check");
		g_assert_cmpstr(run_out, !=, "");
	}
}

static void dump_is_marked(const char *path)
{
	const char *dump = support_path("dump"), *copy = support_path("copy");
	char *text;
	int status;

	assert_status(2, "dump", path, "--output", dump);
	text = support_file_read(dump, NULL);
	g_assert_true(g_str_has_suffix(text, ", \"damaged\": true}\n"));
	g_free(text);
	assert_status(2, "load", "--relocate", "-i", dump, copy);
	assert_complained("the dump is of a damaged map");
	g_assert_false(g_file_test(copy, G_FILE_TEST_EXISTS));
	status = run("load", "--relocate", "--damaged", "-i", dump, copy, NULL);
	assert_status_is(0, status, __FILE__, __LINE__);
	assert_status(0, "check", copy);
	unlink(copy);
	unlink(dump);
}

static void golden(void)
{
	static const char *const names[] = { "bad-truth.map", "bad-run.map", "bad-mmalloc-run.map",
					     "bad-shmbuddy-tree.map" };

	for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
		const char *path = support_golden_copy(names[i]);

		all_warn(path);
		dump_is_marked(path);
		unlink(path);
	}
}

/* A map of 4 MiB, full of blocks of several sizes, of which a quarter stay. */
static void fill(const char *path)
{
	static const size_t sizes[] = { 32, 200, 1000, 5000, 40000, 100000 };
	void *map = qalloc_makedynmap(4 * MIB, NULL, path, 1), *blocks[4000];
	struct support_rand r;
	size_t count = 0;

	g_assert_nonnull(map);
	support_rand_seed(&r, 74);
	while (count < G_N_ELEMENTS(blocks) &&
	       (blocks[count] = qalloc_malloc(map, sizes[support_rand_below(&r, G_N_ELEMENTS(sizes))])) != NULL)
		memset(blocks[count++], 1, 32);
	g_assert_cmpuint(count, >, 20);
	for (size_t i = 1; i < count; i++)
		if (support_rand_below(&r, 4))
			qalloc_free(blocks[i], map);
	g_assert_cmpint(qalloc_setroot(map, "first", blocks[0]), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

static void overwrite(const char *path, unsigned words)
{
	size_t size;
	char *bytes = support_file_read(path, &size);
	uint64_t *word = (uint64_t *)(void *)bytes;

	for (size_t i = 4096 / 8; i < MIN(0x60000, size) / 8 && words > 0; i++)
		if (word[i]) {
			word[i] = 0xdeadbeefdeadbeef;
			words--;
		}
	support_file_write(path, bytes, size);
	g_free(bytes);
}

/* Case 74. */
static void overwritten(void)
{
	const char *path = support_path("map");

	fill(path);
	assert_status(0, "check", path);
	overwrite(path, 60);
	all_warn(path);
	dump_is_marked(path);
}

/* What a dump says of itself is one word of its last line. */
static void marked_by_hand(void)
{
	static const char head[] = "{\"mapalloc_dump\": 1, \"kind\": \"qalloc-dynamic\", \"base\": 0, "
				   "\"length\": 1048576, \"range\": 1048576, \"streams\": 1}\n";
	const char *path = support_path("map"), *dump = support_path("dump");
	char *text;

	text = g_strdup_printf("%s{\"end\": true, \"blocks\": 0, \"roots\": 0, \"damaged\": true}\n", head);
	support_file_write(dump, text, strlen(text));
	g_free(text);
	assert_status(2, "load", "-i", dump, path);
	assert_status(0, "load", "--damaged", "-i", dump, path);
	unlink(path);
	text = g_strdup_printf("%s{\"end\": true, \"blocks\": 0, \"roots\": 0, \"damaged\": false}\n", head);
	support_file_write(dump, text, strlen(text));
	g_free(text);
	assert_status(0, "load", "-i", dump, path);
}

/* Tables that are wrong can name a block twice, or one inside of another. */
static void overlapping(void)
{
	static const char text[] =
		"{\"mapalloc_dump\": 1, \"kind\": \"qalloc-dynamic\", \"base\": 0, \"length\": 1048576, "
		"\"range\": 1048576, \"streams\": 1}\n"
		"{\"block\": 196608, \"size\": 64, \"data\": \"YQ==\"}\n"
		"{\"block\": 196624, \"size\": 16, \"data\": \"Yg==\"}\n"
		"{\"block\": 196608, \"size\": 64, \"data\": \"Yw==\"}\n"
		"{\"block\": 200704, \"size\": 16, \"data\": \"ZA==\"}\n"
		"{\"root\": \"last\", \"offset\": 200704}\n"
		"{\"end\": true, \"blocks\": 4, \"roots\": 1, \"damaged\": true}\n";
	const char *path = support_path("map"), *dump = support_path("dump");
	void *map;
	char *last;

	support_file_write(dump, text, strlen(text));
	assert_status(2, "load", "-i", dump, path);
	assert_complained("line 3: is a block that lies before or inside the one above it");
	g_assert_cmpint(access(path, F_OK), ==, -1);
	assert_status(0, "load", "--damaged", "-i", dump, path);
	assert_complained("2 blocks overlap others: left out");
	g_assert_nonnull(strstr(run_out, ": 2 blocks, "));
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	last = qalloc_getroot(map, "last");
	g_assert_nonnull(last);
	g_assert_cmpint(*last, ==, 'd');
	g_assert_cmpint(qalloc_close(map), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/status/unclosed", unclosed);
	support_add("/tools/status/worker-killed", worker_killed);
	support_add("/tools/status/golden", golden);
	support_add("/tools/status/overwritten", overwritten);
	support_add("/tools/status/marked-by-hand", marked_by_hand);
	support_add("/tools/status/overlapping", overlapping);
	return support_run();
}
