/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc dump and load: maps of all kinds, at their base and elsewhere; damaged dumps. */
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <sys/stat.h>

#include "tests/support/support_fault.h"
#include "tests/tools/heaps.h"

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

/* Without --relocate: each block but the first has a pointer to the one before it, and none of them is right any more. */
static void stays_behind(const struct heap *heap, const char *dump, const char *path, unsigned blocks)
{
	if (!heap->is_locked)
		return; /* Offsets, and the blocks come to lie where they were. */
	assert_status(1, "load", "--base=0x230000000000", "-i", dump, path);
	assert_said("pointers to where blocks were, left as they are");
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
	g_assert_cmpint(qalloc_settag(map, UINT64_MAX), ==, 0);
	g_assert_cmpint(qalloc_close(map), ==, 0);
	assert_status(0, "dump", path, "-o", dump);
	unlink(path);
	assert_status(0, "load", "-i", dump, path); /* At the same base, and in the same order. */
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	g_assert_nonnull(qalloc_getroot(map, name));
	g_assert_cmpuint(qalloc_gettag(map), ==, UINT64_MAX);
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

/* Of the kinds that keep it elsewhere, or are made by another library. */
static void tags(void)
{
	const char *path = support_path("was"), *dump = support_path("dump"), *again = support_path("is");
	shmbuddy_t *region = shmbuddy_open(path, NULL);
	void *md;
	int fd;

	g_assert_cmpint(shmbuddy_settag(region, 12), ==, 0);
	shmbuddy_close(region);
	assert_status(0, "info", path);
	assert_said("tag          12");
	assert_status(0, "info", "--json", path);
	assert_said("\"tag\": 12,");
	assert_status(0, "dump", path, "-o", dump);
	assert_status(0, "load", "-i", dump, again);
	region = shmbuddy_open(again, NULL);
	g_assert_cmpuint(shmbuddy_gettag(region), ==, 12);
	shmbuddy_close(region);
	unlink(path);
	unlink(dump);
	unlink(again);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	md = mmalloc_attach(fd, NULL);
	g_assert_cmpint(mmalloc_settag(md, 13), ==, 0);
	mmalloc_detach(md);
	close(fd);
	assert_status(0, "info", path);
	assert_said("tag          13");
	assert_status(0, "dump", path, "-o", dump);
	unlink(path);
	assert_status(0, "load", "-i", dump, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	md = mmalloc_attach(fd, NULL);
	g_assert_cmpuint(mmalloc_gettag(md), ==, 13);
	mmalloc_detach(md);
	close(fd);
	unlink(path);
	unlink(dump);
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

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/dump/relocate", relocate);
	support_add("/tools/dump/without-pointers", without_pointers);
	support_add("/tools/dump/contents", contents);
	support_add("/tools/dump/tags", tags);
	support_add("/tools/dump/bad-dumps", bad_dumps);
	support_add("/tools/dump/guarded", guarded);
	return support_run();
}
