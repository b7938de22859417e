/* SPDX-License-Identifier: BSD-3-Clause */
/* Space that goes back to the file system: by and by, beyond a share, at trim and detach. */
#include <sys/stat.h>

#include "tests/support/support_mmalloc.h"

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (uint64_t)st.st_blocks * 512;
}

/* --- space that goes back --- */

static void mfree_gives_space_back(void)
{
	const char *path = support_path("back");
	void *md = heap_attach(path), *large, *small[64];
	uint64_t before, with;

	g_assert_nonnull(mmalloc(md, 100));
	before = disk_bytes(path);
	large = mmalloc(md, 20 << 20);
	memset(large, 1, 20 << 20);
	with = disk_bytes(path);
	g_assert_cmpuint(with, >=, before + (20 << 20));
	mfree(md, large); /* For the next block. */
	g_assert_cmpuint(disk_bytes(path), >=, with);
	g_assert_cmpint(mmalloc_trim(md), >=, 20 << 20);
	g_assert_cmpuint(disk_bytes(path), <=, with - (19 << 20));
	for (size_t i = 0; i < G_N_ELEMENTS(small); i++)
		memset(small[i] = mmalloc(md, 200000), 1, 200000);
	with = disk_bytes(path);
	for (size_t i = 0; i < G_N_ELEMENTS(small); i++)
		mfree(md, small[i]);
	g_assert_cmpint(mmalloc_trim(md), >=, 64 * 200000);
	g_assert_cmpuint(disk_bytes(path), <=, with - 64 * 200000);
	heap_detach(md);
	md = heap_attach(path);
	g_assert_cmpuint(mmstats(md).chunks_used, ==, 1);
	heap_detach(md);
}

/* Small blocks, 32 MiB; then all of them are freed. */
static void fill_and_free(void *md)
{
	enum { COUNT = 32 << 20, SIZE = 112 };
	size_t count = (size_t)support_size(COUNT, COUNT / 8) / SIZE;
	char **blocks = g_new(char *, count);

	for (size_t i = 0; i < count; i++) {
		blocks[i] = mmalloc(md, SIZE);
		g_assert_nonnull(blocks[i]);
		memset(blocks[i], 1, SIZE);
	}
	for (size_t i = 0; i < count; i++)
		mfree(md, blocks[i]);
	g_free(blocks);
}

/* While the program goes on with a few blocks per 100 ms, and frees the oldest. */
static void small_blocks_give_space_back(void)
{
	enum { WINDOW = 100 };
	static const size_t some[] = { 200, 1000, 40, 3000 };
	const char *path = support_path("later");
	void *md = heap_attach(path), *blocks[WINDOW] = { 0 };
	uint64_t full;

	fill_and_free(md);
	full = disk_bytes(path);
	g_assert_cmpuint(full, >, support_size(28 << 20, 3 << 20));
	for (unsigned i = 0; disk_bytes(path) > full / 4; i++) {
		mfree(md, blocks[i % WINDOW]);
		blocks[i % WINDOW] = mmalloc(md, some[i % G_N_ELEMENTS(some)]);
		if (i % 5 == 0)
			support_sleep_us(100000);
	}
	heap_detach(md);
}

/* The calls that come there are those of large blocks alone. */
static void large_blocks_give_space_back(void)
{
	const char *path = support_path("large");
	void *md = heap_attach(path), *large = mmalloc(md, 40 << 20);
	uint64_t full;

	memset(large, 1, 40 << 20);
	full = disk_bytes(path);
	mfree(md, large);
	while (disk_bytes(path) > full / 4) {
		mfree(md, mmalloc(md, 1 << 20));
		support_sleep_us(100000);
	}
	heap_detach(md);
}

/* Space that was free for some seconds, in which no call came, goes back in one call. */
static void one_call_after_a_pause(void)
{
	const char *path = support_path("pause");
	void *md = heap_attach(path), *large = mmalloc(md, 40 << 20);
	uint64_t full;

	memset(large, 1, 40 << 20);
	full = disk_bytes(path);
	mfree(md, large);
	support_sleep_us(6 * 1000000);
	g_assert_nonnull(mmalloc(md, 1 << 20));
	g_assert_cmpuint(disk_bytes(path), <=, full / 4);
	heap_detach(md);
}

/* Of 64 MiB and more, free space is at most as much as that in use. */
static void free_space_is_limited(void)
{
	const char *path = support_path("share");
	void *md = heap_attach(path), *large = mmalloc(md, 200 << 20);
	uint64_t before = disk_bytes(path);

	mfree(md, large);
	g_assert_cmpuint(disk_bytes(path), <=, before - (199 << 20));
	heap_detach(md);
}

static void detach_gives_space_back(void)
{
	const char *path = support_path("detached");
	void *md = heap_attach(path);

	fill_and_free(md);
	heap_detach(md);
	g_assert_cmpuint(disk_bytes(path), <, 1 << 20);
}

static void heap_of_one_block_is_small(void)
{
	const char *path = support_path("one");
	void *md = heap_attach(path);

	mmalloc_setkey(md, 0, mmalloc(md, 100));
	heap_detach(md);
	g_assert_cmpint(support_file_size(path), <, 1 << 20);
	md = heap_attach(path);
	g_assert_nonnull(mmalloc_getkey(md, 0));
	heap_detach(md);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/mmalloc/disk/back", mfree_gives_space_back);
	support_add("/mmalloc/disk/back-by-itself", small_blocks_give_space_back);
	support_add("/mmalloc/disk/back-of-large-blocks", large_blocks_give_space_back);
	support_add("/mmalloc/disk/back-after-a-pause", one_call_after_a_pause);
	support_add("/mmalloc/disk/back-beyond-a-share", free_space_is_limited);
	support_add("/mmalloc/disk/back-at-detach", detach_gives_space_back);
	support_add("/mmalloc/disk/one-block", heap_of_one_block_is_small);
	return support_run();
}
