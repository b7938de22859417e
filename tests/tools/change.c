/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that make and change files: create, snapshot, resize, reap, dump and load, on maps of all kinds; what they refuse. */
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/tools/heaps.h"

/* ---- create ---- */

static void create(void)
{
	const char *path = support_path("new");

	assert_status(0, "create", "qalloc-static", path, "--size=1M", "--item=40", "--streams=3");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("item_bytes"), ==, 40);
	g_assert_cmpuint(run_number("streams"), ==, 3);
	g_assert_cmpuint(run_number("length"), ==, MIB);
	unlink(path);
	assert_status(0, "create", "qalloc-dynamic", path, "--size", "1.5M", "--base", "0x200000000000");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("base"), ==, 0x200000000000);
	g_assert_cmpuint(run_number("length"), ==, MIB * 3 / 2);
	unlink(path);
	assert_status(0, "create", "mmalloc", path, "--size", "64M");
	assert_status(0, "info", "--json", path);
	g_assert_cmpuint(run_number("range"), ==, 64 * MIB);
	g_assert_cmpuint(run_number("length"), <, 4 * MIB);
	unlink(path);
	assert_status(0, "create", "shmbuddy", path, "--size=4M", "--smallest=64", "--largest=1M");
	assert_status(0, "check", path);
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("largest_free"), ==, MIB);
}

/* Usage is told from what the library refuses; and nothing is left of what could not be made. */
static void create_refused(void)
{
	const char *path = support_path("new");

	assert_status(64, "create", "heap", path, "--size=1M");
	assert_status(64, "create", "qalloc-static", path, "--size=1M");
	assert_status(64, "create", "qalloc-dynamic", path);
	assert_status(64, "create", "qalloc-dynamic", path, "--size=1M", "--item=8");
	assert_status(64, "create", "shmbuddy", path, "--size=1M", "--streams=2");
	assert_status(64, "create", "mmalloc", path, "--size=1M", "--smallest=32");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=8K");
	assert_complained("the smallest has");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1E");
	assert_complained("1152921504606846976 bytes are more than such a map can have");
	assert_status(4, "create", "qalloc-static", path, "--size=1E", "--item=8");
	assert_complained("more than such a map can have");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1M", "--streams=2000");
	assert_complained("2000 streams: at most 1024");
	assert_status(4, "create", "mmalloc", path, "--streams=2000");
	assert_complained("2000 streams: at most 1024");
	assert_status(4, "create", "mmalloc", path, "--size=64T");
	assert_complained("must be below 64 TiB");
	assert_status(4, "create", "qalloc-dynamic", path, "--size=1M", "--base=0x1001");
	assert_status(4, "create", "shmbuddy", path, "--size=1M", "--smallest=33");
	g_assert_cmpint(access(path, F_OK), <, 0);
	assert_status(4, "create", "qalloc-dynamic", "/no/such/directory/new", "--size=1M");
	assert_complained("No such file");
	support_file_write(path, "mine", 4);
	assert_status(5, "create", "mmalloc", path);
	assert_complained("File exists");
	g_assert_cmpint(support_file_size(path), ==, 4);
}

/* ---- snapshot ---- */

static void snapshot(void)
{
	const char *copy = support_path("copy");

	for (int i = 0; i < HEAPS; i++) {
		const char *path = support_path(heaps[i].kind);
		void *map = heaps[i].open(path);
		char *before;

		heap_fill(&heaps[i], map, 100);
		assert_status(0, "list", path);
		before = g_strdup(run_out);
		assert_status(0, "snapshot", path, copy);
		assert_status(5, "snapshot", path, copy);
		assert_complained("--force");
		assert_status(5, "snapshot", "--force", path, path);
		assert_status(0, "snapshot", "--force", path, copy);
		heaps[i].close(map);
		assert_status(0, "check", copy);
		assert_status(0, "list", copy);
		g_assert_cmpstr(run_out, ==, before);
		map = heaps[i].open(copy);
		g_assert_nonnull(map);
		g_assert_cmpuint(heaps[i].getroot(map, "last"), !=, 0);
		heaps[i].close(map);
		g_free(before);
		unlink(copy);
		unlink(path);
	}
}

/* ---- resize ---- */

static void resize_heap(void)
{
	const char *path = support_path("heap");
	void *md, *block[64];
	int fd;

	assert_status(0, "create", "mmalloc", path, "--size=256M");
	fd = open(path, O_RDWR | O_CLOEXEC);
	md = mmalloc_attach(fd, NULL);
	close(fd);
	for (int i = 0; i < 64; i++)
		block[i] = memset(mmalloc(md, 100000), i, 100000);
	assert_status(0, "resize", path, "64M"); /* While it is in use. */
	g_assert_cmpint(support_file_size(path), ==, 64 * MIB);
	assert_status(5, "resize", path, "1M");
	assert_complained("in use");
	for (int i = 8; i < 64; i++)
		mfree(md, block[i]);
	g_assert_cmpint(mmalloc_setroot(md, "seventh", block[7]), ==, 0);
	g_assert_null(mmalloc_detach(md));
	assert_status(5, "resize", path, "100K");
	assert_complained("reach up to");
	assert_status(0, "resize", path, "4M");
	g_assert_cmpint(support_file_size(path), ==, 4 * MIB);
	assert_status(0, "check", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	md = mmalloc_attach(fd, NULL);
	close(fd);
	g_assert_true(((char *)mmalloc_getroot(md, "seventh"))[99999] == 7);
	for (int i = 0; i < 100; i++) /* It grows again by itself. */
		g_assert_nonnull(mmalloc(md, 1000000));
	g_assert_null(mmalloc_detach(md));
	assert_status(0, "check", path);
	assert_status(5, "resize", path, "1G");
	assert_complained("range ends at 256M");
	assert_status(64, "resize", path, "much");
}

static int on_small_disk(void *nothing)
{
	const char *path = support_path("heap");
	gint64 size;

	(void)nothing;
	if (!support_small_disk("size=8m"))
		return SUPPORT_CANNOT;
	assert_status(0, "create", "mmalloc", path, "--size=256M");
	size = support_file_size(path);
	for (int i = 0; i < 2; i++) { /* The second time no less than the first. */
		assert_status(4, "resize", path, "100M");
		assert_complained("No space left on device");
		g_assert_cmpint(support_file_size(path), ==, size);
	}
	assert_status(0, "resize", path, "4M");
	assert_status(0, "check", path);
	return 0;
}

static void resize_full_disk(void)
{
	support_run_or_skip(on_small_disk, "no mount namespace here");
}

/* The list that heap_fill() made: each block begins with where the one before it is. */
static unsigned follow(const struct heap *heap, void *map)
{
	uint64_t at = heap->getroot(map, "last");
	unsigned count = 0;

	while (at) {
		memcpy(&at, heap->at(map, at), sizeof(at));
		count++;
	}
	return count;
}

static void resize_others(void)
{
	for (int i = 0; i < HEAPS; i++) {
		const char *path = support_path(heaps[i].kind);
		void *map = heaps[i].open(path);
		unsigned blocks = heap_fill(&heaps[i], map, 100);

		if (g_str_equal(heaps[i].kind, "mmalloc")) /* Its range is 16 MiB. */
			assert_status(5, "resize", path, "40M");
		assert_status(5, "resize", "--relocate", path, "40M");
		heaps[i].close(map);
		if (!g_str_equal(heaps[i].kind, "mmalloc")) {
			assert_status(5, "resize", path, "40M");
			assert_complained("fixed");
		}
		assert_status(0, "resize", "--relocate", path, "40M");
		assert_status(0, "check", path);
		assert_status(0, "stat", "--json", path);
		g_assert_cmpuint(run_number("capacity"), >, 35 * MIB);
		assert_status(0, "leaks", "--json", path);
		g_assert_cmpuint(run_number("blocks"), ==, blocks);
		g_assert_cmpuint(run_number("leaked_blocks"), ==, 0);
		unlink(path);
	}
}

/* Those who may use the old one may use the new one, by any name. */
static void resize_keeps(void)
{
	const char *path = support_path("map"), *name = support_path("link");
	struct stat st;

	heaps[1].close(heaps[1].open(path));
	g_assert_cmpint(chmod(path, 0640), ==, 0);
	if (geteuid() == 0)
		g_assert_cmpint(chown(path, 12, 34), ==, 0);
	g_assert_cmpint(symlink(path, name), ==, 0);
	assert_status(0, "resize", "--relocate", name, "24M");
	g_assert_cmpint(lstat(name, &st), ==, 0);
	g_assert_true(S_ISLNK(st.st_mode));
	g_assert_cmpint(lstat(path, &st), ==, 0);
	g_assert_cmpint(st.st_size, ==, 24 * MIB);
	g_assert_cmpint(st.st_mode & 07777, ==, 0640);
	if (geteuid() == 0)
		g_assert_true(st.st_uid == 12 && st.st_gid == 34);
}

/* ---- dump, load ---- */

/* Without --relocate: each block but the first has a pointer to the one before it, and none of them is right any more. */
static void stays_behind(const struct heap *heap, const char *dump, const char *path, unsigned blocks)
{
	if (!heap->is_locked)
		return; /* Offsets, and the blocks come to lie where they were. */
	assert_status(1, "load", "--base=0x230000000000", "-i", dump, path);
	assert_said("words look like pointers to where they were");
	g_assert_cmpuint(strtoull(strstr(strchr(run_out, '\n'), ": ") + 2, NULL, 10), >=, blocks - 1);
	assert_status(0, "check", path);
	unlink(path);
}

/* No word of it looks like a pointer: that it lies elsewhere now is no matter. */
static void without_pointers(void)
{
	const char *path = support_path("was"), *dump = support_path("dump"), *moved = support_path("is");
	dynmapinfo_t *map = qalloc_makedynmap(MIB, NULL, path, 1);

	memset(qalloc_malloc(map, 1000), 'x', 1000);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	assert_status(0, "dump", path, "-o", dump);
	assert_status(0, "load", "--base=0x230000000000", "-i", dump, moved);
	assert_said("1 of them at another address");
	assert_said(": 0 words look like");
}

static void round_trip(const struct heap *heap, const char *base)
{
	const char *path = support_path("was"), *dump = support_path("dump"), *moved = support_path("is");
	void *map = heap->open(path);
	unsigned blocks = heap_fill(heap, map, 300);

	g_assert_cmpuint(follow(heap, map), ==, blocks);
	heap->close(map);
	assert_status(0, "dump", path, "-o", dump);
	assert_status(5, "dump", path, "-o", dump);
	assert_complained("File exists");
	stays_behind(heap, dump, moved, blocks);
	if (base)
		assert_status(0, "load", "--relocate", "--size=24M", "--base", base, "-i", dump, moved);
	else
		assert_status(0, "load", "--relocate", "--size=24M", "-i", dump, moved);
	assert_said("blocks");
	assert_status(0, "check", moved);
	assert_status(0, "leaks", moved);
	unlink(path); /* No pointer leads there any more. */
	map = heap->open(moved);
	g_assert_nonnull(map);
	g_assert_cmpuint(follow(heap, map), ==, blocks);
	heap->close(map);
	unlink(moved);
	unlink(dump);
}

static void relocate(void)
{
	for (int i = 0; i < HEAPS; i++)
		round_trip(&heaps[i], heaps[i].is_locked ? "0x210000000000" : NULL);
}

/* Contents of every length, and names that are no plain text. */
static void contents(void)
{
	const char *path = support_path("was"), *dump = support_path("dump"), *again = support_path("is");
	dynmapinfo_t *map = qalloc_makedynmap(8 * MIB, NULL, path, 1);
	struct support_rand r;
	char *name = g_strdup("x\377\n\"");

	support_rand_seed(&r, 7);
	for (size_t size = 0; size < 200; size++) {
		char *block = qalloc_malloc(map, size);

		for (size_t k = 0; k < size; k++)
			block[k] = (char)support_rand_next(&r);
	}
	memset(qalloc_malloc(map, 300000), 0, 300000);
	g_assert_cmpint(qalloc_setroot(map, name, qalloc_malloc(map, 8)), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	assert_status(0, "dump", path, "-o", dump);
	unlink(path);
	assert_status(0, "load", "-i", dump, path); /* At the same base, and in the same order. */
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	g_assert_nonnull(qalloc_getroot(map, name));
	g_assert_cmpint(qalloc_close(map), ==, 0);
	assert_status(0, "dump", path, "-o", again);
	{
		size_t a, b;
		char *one = support_file_read(dump, &a), *two = support_file_read(again, &b);

		g_assert_cmpstr(strstr(one, "\"block\""), ==, strstr(two, "\"block\""));
		g_free(one);
		g_free(two);
	}
	g_free(name);
}

static void bad_dumps(void)
{
	static const struct {
		const char *dump, *text;
	} bad[] = {
		{ "", "ends before its last line" },
		{ "hello\n", "line 1: is not the JSON of a dump" },
		{ "{\"mapalloc_dump\": 2, \"kind\": \"mmalloc\"}\n", "not the beginning of a dump" },
		{ "{\"mapalloc_dump\": 1, \"kind\": \"heap\"}\n", "not the beginning of a dump" },
		{ "{\"mapalloc_dump\": 1, \"kind\": \"mmalloc\", \"range\": 67108864, \"streams\": 1}\n",
		  "ends before" },
		{ "HEAD{\"end\": true, \"blocks\": 1, \"roots\": 0}\n", "line 2: counts other blocks" },
		{ "HEAD{\"block\": 4096, \"size\": 4, \"data\": \"AAAAAAAA\"}\n", "longer than its size" },
		{ "HEAD{\"block\": 4096, \"size\": 4, \"data\": \"A\"}\n", "not base64" },
		{ "HEAD{\"block\": 4096, \"size\": 4}\n", "data is missing" },
		{ "HEAD{\"block\": 4096, \"size\": 16, \"data\": \"\"}\n{\"block\": 4100, \"size\": 1, \"data\": "
		  "\"\"}\n",
		  "line 3: is a block that lies before or inside" },
		{ "HEAD{\"key\": 64, \"value\": 1}\n", "no root that a map can have" },
		{ "HEAD{\"what\": 1}\n", "neither block nor root nor end" },
		{ "HEAD{\"root64\": \"A\", \"offset\": 1}\n", "no root that a map can have" },
	};
	static const char head[] =
		"{\"mapalloc_dump\": 1, \"kind\": \"mmalloc\", \"range\": 67108864, \"streams\": 1}\n";
	const char *dump = support_path("dump"), *path = support_path("new");

	for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
		bool with_head = g_str_has_prefix(bad[i].dump, "HEAD");
		char *text = g_strconcat(with_head ? head : "", bad[i].dump + (with_head ? 4 : 0), NULL);

		support_file_write(dump, text, strlen(text));
		assert_status(2, "load", "-i", dump, path);
		assert_complained(bad[i].text);
		g_assert_cmpint(access(path, F_OK), <, 0); /* Half a heap is none. */
		g_free(text);
	}
	support_file_write(dump, head, strlen(head));
	support_file_write(path, "mine", 4);
	assert_status(5, "load", "-i", dump, path);
	g_assert_cmpint(support_file_size(path), ==, 4);
	assert_status(4, "load", "-i", "/no/such/dump", support_path("other"));
	assert_status(4, "load", "-i", "/", support_path("other"));
	assert_complained("/: cannot read it: Is a directory");
	assert_status(2, "load", "-i", "/dev/zero", support_path("other")); /* And at once. */
	assert_complained("line 1: is not the JSON of a dump");
}

/* Guards mean something only where they were made: what is dumped is between them, and what is loaded has none. */
static void guarded(void)
{
	const char *path = support_path("heap"), *dump = support_path("dump"), *loaded = support_path("loaded");
	void *md = heaps[2].open(path);
	char *block, *other;

	g_assert_cmpint(mmcheck(md, NULL), !=, 0);
	block = mmalloc(md, 101);
	other = mmalloc(md, 1);
	memset(block, 'x', 101);
	g_assert_cmpint(mmalloc_setroot(md, "block", block), ==, 0);
	g_assert_cmpint(mmalloc_setroot(md, "other", other), ==, 0);
	g_assert_null(mmalloc_detach(md));
	assert_status(0, "dump", path, "-o", dump);
	unlink(path);
	assert_status(0, "load", "-i", dump, loaded);
	assert_said("2 blocks");
	assert_said("2 roots");
	assert_status(0, "check", loaded);
	md = heaps[2].open(loaded);
	block = mmalloc_getroot(md, "block");
	for (int i = 0; i < 101; i++)
		g_assert_cmpint(block[i], ==, 'x');
	g_assert_nonnull(mmalloc_getroot(md, "other"));
	g_assert_cmpuint(mmalloc_usable_size(md, block), >, 101); /* No guards. */
	mfree(md, block);
	g_assert_null(mmalloc_detach(md));
}

/* ---- reap ---- */

static void reap(void)
{
	char *directory = g_build_filename(support_dir(), "reap", NULL), *name;
	void *map[HEAPS];
	char *path[HEAPS];

	g_assert_cmpint(mkdir(directory, 0700), ==, 0); /* It goes with the test's own. */
	for (int i = 0; i < HEAPS; i++) {
		path[i] = g_build_filename(directory, heaps[i].kind, NULL);
		map[i] = heaps[i].open(path[i]);
	}
	name = g_build_filename(directory, "vmswap_999999999_1", NULL);
	support_file_write(name, "", 0);
	g_free(name);
	name = g_strdup_printf("%s/vmswap_%d_1", directory, (int)getpid()); /* Ours, and we live. */
	support_file_write(name, "", 0);
	g_free(name);
	name = g_build_filename(directory, "letter", NULL);
	support_file_write(name, "a text that is none of ours\n", 28);
	g_free(name);
	assert_status(0, "reap", directory);
	for (int i = 0; i < HEAPS; i++)
		g_assert_null(strstr(run_out, heaps[i].kind));
	assert_said("vmswap_999999999_1");
	for (int i = 0; i < HEAPS; i++)
		heaps[i].close(map[i]);
	assert_status(0, "reap", directory);
	for (int i = 0; i < HEAPS; i++) {
		assert_said(heaps[i].kind);
		g_assert_cmpint(access(path[i], F_OK), ==, 0);
	}
	map[0] = heaps[0].open(path[0]);
	assert_status(0, "reap", "--force", directory);
	assert_said("removed");
	g_assert_cmpint(access(path[0], F_OK), ==, 0);
	for (int i = 1; i < HEAPS; i++)
		g_assert_cmpint(access(path[i], F_OK), <, 0);
	heaps[0].close(map[0]);
	assert_status(0, "reap", "--force", directory);
	assert_status(0, "reap", directory);
	g_assert_cmpstr(run_out, ==, "");
	name = g_build_filename(directory, "letter", NULL);
	g_assert_cmpint(access(name, F_OK), ==, 0);
	g_free(name);
	assert_status(4, "reap", "/no/such/directory");
	for (int i = 0; i < HEAPS; i++)
		g_free(path[i]);
	g_free(directory);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/change/create", create);
	support_add("/tools/change/create-refused", create_refused);
	support_add("/tools/change/snapshot", snapshot);
	support_add("/tools/change/resize-heap", resize_heap);
	support_add("/tools/change/resize-full-disk", resize_full_disk);
	support_add("/tools/change/resize-others", resize_others);
	support_add("/tools/change/resize-keeps", resize_keeps);
	support_add("/tools/change/relocate", relocate);
	support_add("/tools/change/without-pointers", without_pointers);
	support_add("/tools/change/contents", contents);
	support_add("/tools/change/bad-dumps", bad_dumps);
	support_add("/tools/change/guarded", guarded);
	support_add("/tools/change/reap", reap);
	return support_run();
}
