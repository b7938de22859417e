/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps of all kinds whose file lost something in a power cut: its end, or disk space. A file that is shorter than its header says, because the machine
 * died while it grew, is made longer, and the whole check decides; one that something else cut off is refused. Space is taken again.
 */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <shmbuddy.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/tools/cutting.h"

#define TAIL (64 * 1024)

/* The end of the file, which has no block, did not reach the disk. Returns how long it was. */
static off_t cut_tail(const char *path, off_t bytes)
{
	off_t size = support_file_size(path);

	g_assert_cmpint(truncate(path, size - bytes), ==, 0);
	return size;
}

/* Not a byte more or less. */
static void refused(const struct heap *heap, const char *path, int error)
{
	off_t size = support_file_size(path), then;
	char *before = support_file_read(path, &(size_t){ 0 }), *after;

	g_assert_null(heap->open(path));
	g_assert_cmpint(errno, ==, error);
	then = support_file_size(path);
	after = support_file_read(path, &(size_t){ 0 });
	g_assert_cmpint(then, ==, size);
	g_assert_cmpint(memcmp(before, after, (size_t)size), ==, 0);
	g_free(before);
	g_free(after);
}

static void after_a_cut(void)
{
	for (size_t i = 0; i < HEAPS; i++)
		for (unsigned how = 0; how < 6; how++) {
			const char *path = make(&heaps[i]);
			off_t size = cut_tail(path, how & 2 ? 100 : TAIL);

			if (how & 4 && !renumber_device(path))
				continue;

			if (how & 1)
				forget_mount(path);
			else
				forget_boot(path);
			assert_status(0, "check", path);
			assert_said("the next open makes it longer");
			opens(&heaps[i], path, true);
			g_assert_cmpint(support_file_size(path), ==, size);
			assert_status(0, "check", path);
			opens(&heaps[i], path, false);
		}
}

/* Which does what the next open does. A region's next opener is the library. */
static void repair(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);
		off_t size = cut_tail(path, TAIL);

		forget_boot(path);
		assert_status(0, "repair", path);
		g_assert_cmpint(support_file_size(path), ==, size);
		assert_status(0, "check", path);
		opens(&heaps[i], path, false);
	}
}

/* Of the same run, of a file that was whole on the disk, of a copy. */
static void cut_off(void)
{
	const char *copy = support_path("copy");

	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);

		cut_tail(path, TAIL);
		refused(&heaps[i], path, ENODATA);
		support_file_copy(path, copy);
		forget_boot(copy);
		refused(&heaps[i], copy, ENODATA);
		forget_boot(path);
		put_state(path, MA_STATE_SYNCED);
		refused(&heaps[i], path, ENODATA);
		put_state(path, MA_STATE_IN_USE);
		g_assert_cmpint(truncate(path, 4000), ==, 0);
		refused(&heaps[i], path, ENODATA);
		unlink(copy);
	}
}

static const char *sentence(const struct heap *heap)
{
	if (is_of(heap, "qalloc"))
		return qalloc_errmsg();
	return is_of(heap, "mmalloc") ? mmalloc_errmsg() : shmbuddy_errmsg();
}

/* They write nothing, and say who can. */
static void readers(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);
		off_t size = cut_tail(path, TAIL);

		forget_boot(path);
		g_assert_null(open_to_read(&heaps[i], path));
		g_assert_cmpint(errno, ==, ENODATA);
		assert_contains(sentence(&heaps[i]), "open it once for writing", __FILE__, __LINE__);
		if (!is_of(&heaps[i], "shmbuddy")) {
			g_assert_null(open_privately(&heaps[i], path));
			g_assert_cmpint(errno, ==, ENODATA);
			assert_contains(sentence(&heaps[i]), "open it once for writing", __FILE__, __LINE__);
		}
		g_assert_cmpint(support_file_size(path), ==, size - TAIL);
		opens(&heaps[i], path, true);
	}
}

/* What is missing had blocks in use, or tables: zeros will not do. It stays as short as it was. */
static void damaged(void)
{
	static char noise[64 * MA_PAGE];

	memset(noise, 0x55, sizeof(noise));
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);
		void *map = heaps[i].open(path);

		g_assert_cmpuint(heap_fill(&heaps[i], map, UINT_MAX), >, 0);
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		forget_boot(path);
		put(path, MA_PAGE, noise, sizeof(noise));
		cut_tail(path, TAIL);
		refused(&heaps[i], path, EUCLEAN);
	}
}

/* ---- disk space ---- */

/* Blocks that were never written to, up to a MiB. */
static const char *make_unwritten(const struct heap *heap)
{
	const char *path = make(heap);
	size_t size = g_str_equal(heap->kind, "qalloc-static") ? 64 : 30000;
	void *map = heap->open(path);

	for (size_t bytes = 0; bytes < MIB; bytes += size)
		g_assert_cmpuint(heap->malloc(map, size), !=, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	return path;
}

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	g_assert_cmpint(stat(path, &st), ==, 0);
	return (uint64_t)st.st_blocks * 512;
}

static void (*const deaths[])(const char *path) = { forget_boot, forget_mount };

/* What a journal lost is taken again by each opener that believes nothing, before it can give out a block. */
static void takes_space_again(void)
{
	for (size_t i = 0; i < HEAPS * G_N_ELEMENTS(deaths) * 2; i++) {
		const struct heap *heap = &heaps[i % HEAPS];
		const char *path = make_unwritten(heap);
		uint64_t lost = support_dig(path), had = disk_bytes(path);
		void *map;

		if (lost < MIB / 2) {
			g_test_skip("holes do not give back space here");
			return;
		}
		deaths[i / HEAPS % G_N_ELEMENTS(deaths)](path);
		if (i >= HEAPS * G_N_ELEMENTS(deaths))
			cut_tail(path, 100);
		map = heap->open(path);
		g_assert_nonnull(map);
		g_assert_cmpuint(found(heap, map).verified, ==, 1);
		g_assert_cmpuint(disk_bytes(path), >=, had + MIB / 2);
		g_assert_cmpint(heap->close(map), ==, 0);
		assert_status(0, "check", path);
	}
}

static int full_disk(void *arg)
{
	const struct heap *heap = arg;
	const char *filler = support_path("filler"), *path;
	void *map;

	for (size_t i = 0; i < G_N_ELEMENTS(deaths); i++) {
		if (i == 0 && !support_small_disk("size=20m"))
			return SUPPORT_CANNOT;
		path = make_unwritten(heap);
		g_assert_cmpuint(support_dig(path), >=, MIB / 2);
		deaths[i](path);
		cut_tail(path, 100);
		support_fill_disk(filler);
		refused(heap, path, ENOSPC);
		unlink(filler);
		map = heap->open(path);
		g_assert_nonnull(map);
		support_fill_disk(filler);
		while (true) {
			uint64_t block = heap->malloc(map, 64);

			if (!block)
				break;
			memset(heap->at(map, block), 1, 64); /* No SIGBUS. */
		}
		g_assert_cmpint(heap->close(map), ==, 0);
		unlink(filler);
		unlink(path);
	}
	return 0;
}

/* Or it does not open, and stays as it is, until there is room. */
static void needs_space(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		int status = support_wait(support_fork(full_disk, (void *)(uintptr_t)&heaps[i]));

		if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT)
			g_test_skip("no mount namespace here");
		else
			g_assert_cmphex((unsigned)status, ==, 0);
	}
}

/* ---- heaps and regions that grow ---- */

/* The length is on the disk, and nothing else of what came later. */
static void cut_to(const char *path, const char *before, size_t size)
{
	struct ma_header h;

	get(path, 0, &h, sizeof(h));
	g_assert_cmpuint(ma_load(&h.length), >, size);
	g_assert_cmpint(truncate(path, (off_t)size), ==, 0);
	put(path, MA_PAGE, before + MA_PAGE, size - MA_PAGE);
	forget_boot(path);
}

static void grown_heaps(void)
{
	const struct heap *heap = &heaps[2];
	const char *path = make(heap);
	char *before;
	size_t size;
	void *map;

	before = support_file_read(path, &size);
	map = heap->open(path);
	for (unsigned i = 0; i < 100; i++)
		g_assert_cmpuint(heap->malloc(map, 65536), !=, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	cut_to(path, before, size);
	opens(heap, path, true);
	map = heap->open(path);
	for (unsigned i = 0; i < 50; i++) {
		uint64_t block = heap->malloc(map, 65536);

		g_assert_cmpuint(block, !=, 0);
		memset(heap->at(map, block), 1, 65536);
	}
	g_assert_cmpint(heap->close(map), ==, 0);
	assert_status(0, "check", path);
	g_free(before);
}

static void grown_regions(void)
{
	const struct shmbuddy_options options = { .capacity = MIB, .largest = MIB, .range = 64 * MIB };
	const char *path = support_path("region");
	shmbuddy_t *region = shmbuddy_open(path, &options);
	char *before;
	size_t size;

	g_assert_cmpuint(shmbuddy_malloc(region, 100), !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	before = support_file_read(path, &size);
	region = shmbuddy_open(path, NULL);
	g_assert_cmpint(shmbuddy_grow(region, 16 * MIB), ==, 0);
	for (unsigned i = 0; i < 10; i++)
		g_assert_cmpuint(shmbuddy_malloc(region, 500000), !=, SHM_NULL);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	cut_to(path, before, size);
	region = shmbuddy_open(path, NULL);
	g_assert_nonnull(region);
	for (unsigned i = 0; i < 4; i++) {
		shm_offt block = shmbuddy_malloc(region, 500000);

		g_assert_cmpuint(block, !=, SHM_NULL);
		memset(shmbuddy_address(region, block), 1, 500000);
	}
	g_assert_cmpint(shmbuddy_check(region, NULL, NULL), ==, 0);
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
	assert_status(0, "check", path);
	g_free(before);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/short/after-a-cut", after_a_cut);
	support_add("/tools/short/repair", repair);
	support_add("/tools/short/cut-off", cut_off);
	support_add("/tools/short/readers", readers);
	support_add("/tools/short/damaged", damaged);
	support_add("/tools/short/takes-space-again", takes_space_again);
	support_add("/tools/short/needs-space", needs_space);
	support_add("/tools/short/grown-heaps", grown_heaps);
	support_add("/tools/short/grown-regions", grown_regions);
	return support_run();
}
