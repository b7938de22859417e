/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk space that a map had and lost in place: the first opener takes it again, or says ENOSPC; no store is SIGBUS. And copies, where the
 * kernel's copy_file_range() does not copy: read and write do.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "tests/support/support_fault.h"
#include "tests/support/support_qalloc.h"

#define BLOCK (MIB + MIB / 2)

/* A map with a block of zeros, closed. */
static void make_at_rest(const char *path, bool is_static)
{
	void *map = is_static ? (void *)support_stat(path, 2 * MIB, 4096, 2) : (void *)support_dyn(path, 2 * MIB, 2);
	void *block = NULL;

	if (is_static) {
		for (int i = 0; i < 300; i++) {
			block = qalloc_malloc(map, 4096);
			g_assert_nonnull(block);
		}
	} else {
		block = qalloc_calloc(map, 1, BLOCK);
	}
	g_assert_cmpint(qalloc_setroot(map, "block", block), ==, 0);
	support_close(map);
}

static void write_block(void *map)
{
	char *block = qalloc_getroot(map, "block");

	memset(block, 7, qalloc_usable_size(map, block));
	check_map(map);
}

static int lose_space(void *arg)
{
	const char *path = support_path("map"), *filler = support_path("filler");
	void *map;

	if (!support_small_disk("size=6m"))
		return SUPPORT_CANNOT;
	make_at_rest(path, arg != NULL);
	g_assert_cmpuint(support_dig(path), >=, MIB);
	support_fill_disk(filler);
	for (int i = 0; i < 2; i++)
		assert_null(qalloc_loadmap(path), ENOSPC);
	/* With room it is taken before anything is written, so that a disk that fills then does no harm. */
	unlink(filler);
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	support_fill_disk(filler);
	write_block(map);
	support_close(map);
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	write_block(map);
	support_close(map);
	return 0;
}

static int lose_space_of_heap(void *arg)
{
	(void)arg;
	return lose_space(NULL);
}

static int lose_space_of_items(void *arg)
{
	return lose_space(&arg);
}

static void heap_loses_space(void)
{
	support_run_or_skip(lose_space_of_heap, "no mount namespace here");
}

static void items_lose_space(void)
{
	support_run_or_skip(lose_space_of_items, "no mount namespace here");
}

/* The last MiB of a file, where the free chunks are. */
static void dig_end(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	g_assert_cmpint(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, support_file_size(path) - (off_t)MIB,
				  (off_t)MIB),
			==, 0);
	close(fd);
}

/* Free chunks do not keep a map from opening: they get their space when they are used. */
static int lose_free_space(void *arg)
{
	const char *path = support_path("map"), *filler = support_path("filler");
	void *map, *block;

	(void)arg;
	if (!support_small_disk("size=6m"))
		return SUPPORT_CANNOT;
	map = support_dyn(path, 2 * MIB, 1);
	qalloc_free(qalloc_calloc(map, 1, BLOCK), map);
	support_close(map);
	dig_end(path);
	support_fill_disk(filler);
	map = qalloc_loadmap(path);
	g_assert_nonnull(map);
	assert_null(qalloc_malloc(map, BLOCK), ENOSPC);
	check_map(map);
	unlink(filler);
	block = qalloc_malloc(map, BLOCK);
	g_assert_nonnull(block);
	memset(block, 1, BLOCK);
	support_finish(map, path);
	return 0;
}

static void free_space_is_lost(void)
{
	support_run_or_skip(lose_free_space, "no mount namespace here");
}

/* ---- while it is in use ---- */

/* Some blocks, so that not all of them lie in what the thread has reserved. False: errno says why. */
static bool allocate_some(void *map, bool is_static)
{
	void *blocks[150] = { 0 };
	int count = 0, most = is_static ? 150 : 1, saved;

	while (count < most && (blocks[count] = qalloc_malloc(map, is_static ? 4096 : 70000)))
		count++;
	saved = errno;
	for (int i = 0; i < count; i++)
		qalloc_free(blocks[i], map);
	errno = saved;
	return count == most;
}

/* A process looks once a second. */
static void let_it_look(void)
{
	g_usleep(1100000);
}

static int lose_live_space(bool is_static)
{
	const char *path = support_path("map"), *filler = support_path("filler");
	void *map, *block = NULL;

	if (!support_small_disk("size=6m"))
		return SUPPORT_CANNOT;
	map = is_static ? (void *)support_stat(path, 2 * MIB, 4096, 2) : (void *)support_dyn(path, 2 * MIB, 2);
	for (int i = 0; i < (is_static ? 300 : 1); i++)
		block = is_static ? qalloc_malloc(map, 4096) : qalloc_calloc(map, 1, BLOCK);
	g_assert_nonnull(block);
	g_assert_cmpint(qalloc_setroot(map, "block", block), ==, 0);
	let_it_look();
	g_assert_true(allocate_some(map, is_static));
	g_assert_cmpuint(support_dig(path), >=, MIB);
	support_fill_disk(filler);
	let_it_look();
	for (int i = 0; i < 3; i++) {
		g_assert_false(allocate_some(map, is_static));
		g_assert_cmpint(errno, ==, ENOSPC);
	}
	unlink(filler);
	let_it_look();
	g_assert_true(allocate_some(map, is_static));
	support_fill_disk(filler);
	write_block(map);
	support_close(map);
	return 0;
}

static int lose_live_space_of_heap(void *arg)
{
	(void)arg;
	return lose_live_space(false);
}

static int lose_live_space_of_items(void *arg)
{
	(void)arg;
	return lose_live_space(true);
}

/* A checkpoint looks at once. */
static int lose_before_sync(void *arg)
{
	const char *path = support_path("map"), *filler = support_path("filler");
	void *map;

	(void)arg;
	if (!support_small_disk("size=6m"))
		return SUPPORT_CANNOT;
	map = support_dyn(path, 2 * MIB, 2);
	g_assert_cmpint(qalloc_setroot(map, "block", qalloc_calloc(map, 1, BLOCK)), ==, 0);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	g_assert_cmpuint(support_dig(path), >=, MIB);
	g_assert_cmpint(qalloc_sync(map), ==, 0);
	support_fill_disk(filler);
	write_block(map);
	support_close(map);
	return 0;
}

static void live_heap_loses_space(void)
{
	support_run_or_skip(lose_live_space_of_heap, "no mount namespace here");
}

static void live_items_lose_space(void)
{
	support_run_or_skip(lose_live_space_of_items, "no mount namespace here");
}

static void sync_looks(void)
{
	support_run_or_skip(lose_before_sync, "no mount namespace here");
}

/* ---- copies ---- */

static int kernel_says;

static int copy_without_help(void *arg)
{
	const char *path = support_path("map"), *copy = support_path("copy");
	unsigned char *block;
	void *map = support_dyn(path, 4 * MIB, 1);

	(void)arg;
	block = qalloc_malloc(map, MIB);
	for (size_t i = 0; i < MIB; i++)
		block[i] = (unsigned char)(i % 251);
	g_assert_cmpint(qalloc_setroot(map, "block", block), ==, 0);
	if (!support_make_fail(SYS_copy_file_range, -1, kernel_says))
		return SUPPORT_CANNOT;
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	support_close(map);
	map = qalloc_loadmap(copy);
	g_assert_nonnull(map);
	block = qalloc_getroot(map, "block");
	for (size_t i = 0; i < MIB; i++)
		g_assert_cmpuint(block[i], ==, i % 251);
	support_finish(map, copy);
	unlink(path);
	return 0;
}

/* 0 stands for a call that returns 0. */
static void kernel_does_not_copy(void)
{
	static const int errors[] = { 0, EPERM, EIO, EXDEV, EINVAL, ENOSYS, EOPNOTSUPP, EBADF, ETXTBSY, EOVERFLOW };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		kernel_says = errors[i];
		support_run_or_skip(copy_without_help, "no seccomp filter here");
	}
}

#ifdef __x86_64__
static long calls;

/* A part, then nothing more: the rest is copied from there on. */
static long copy_half(const long args[6])
{
	char bytes[5000];
	ssize_t got;

	if (calls++ > 0)
		return -kernel_says;
	got = pread((int)args[0], bytes, sizeof(bytes), *(off_t *)args[1]);
	return pwrite((int)args[2], bytes, (size_t)got, *(off_t *)args[3]);
}

static int copy_with_half_a_help(void *arg)
{
	const char *path = support_path("map"), *copy = support_path("copy");
	unsigned char *block;
	void *map = support_dyn(path, 4 * MIB, 1);

	(void)arg;
	block = qalloc_malloc(map, MIB);
	memset(block, 0xa5, MIB);
	g_assert_cmpint(qalloc_setroot(map, "block", block), ==, 0);
	if (!support_hook(SYS_copy_file_range, copy_half))
		return SUPPORT_CANNOT;
	g_assert_cmpint(qalloc_snapshot(map, copy), ==, 0);
	g_assert_cmpint(calls, >=, 2);
	support_close(map);
	map = qalloc_loadmap(copy);
	g_assert_nonnull(map);
	block = qalloc_getroot(map, "block");
	for (size_t i = 0; i < MIB; i++)
		g_assert_cmpuint(block[i], ==, 0xa5);
	support_finish(map, copy);
	unlink(path);
	return 0;
}

static void kernel_copies_half(void)
{
	static const int errors[] = { 0, EXDEV, EIO };

	for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
		kernel_says = errors[i];
		support_run_or_skip(copy_with_half_a_help, "no seccomp filter here");
	}
}
#endif

/* From nothing left to enough: -1 and ENOSPC, or a whole copy. */
static int snapshot_on_full_disk(void *arg)
{
	const char *path = support_path("map"), *copy = support_path("copy"), *filler = support_path("filler");
	bool failed = false, worked = false;
	void *map;

	if (!support_small_disk("size=6m"))
		return SUPPORT_CANNOT;
	map = arg ? (void *)support_stat(path, 2 * MIB, 64, 2) : (void *)support_dyn(path, 2 * MIB, 2);
	for (int i = 0; i < 500; i++)
		memset(qalloc_malloc(map, 64), 1, 64);
	support_fill_disk(filler);
	for (off_t left = 0; left <= 512; left += 8) {
		g_assert_cmpint(truncate(filler, support_file_size(filler) - (left ? (off_t)(8 * KIB) : 0)), ==, 0);
		if (qalloc_snapshot(map, copy) == 0) {
			worked = true;
			unlink(copy);
		} else {
			assert_errno_is(ENOSPC);
			failed = true;
		}
		g_assert_cmpint(access(copy, F_OK), ==, -1);
	}
	g_assert_true(failed && worked);
	support_finish(map, path);
	return 0;
}

static int snapshot_of_items_on_full_disk(void *arg)
{
	return snapshot_on_full_disk(&arg);
}

static void snapshots_on_a_full_disk(void)
{
	support_run_or_skip(snapshot_on_full_disk, "no mount namespace here");
	support_run_or_skip(snapshot_of_items_on_full_disk, "no mount namespace here");
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/qalloc/lost/heap", heap_loses_space);
	support_add("/qalloc/lost/items", items_lose_space);
	support_add("/qalloc/lost/free", free_space_is_lost);
	support_add("/qalloc/lost/live-heap", live_heap_loses_space);
	support_add("/qalloc/lost/live-items", live_items_lose_space);
	support_add("/qalloc/lost/live-sync", sync_looks);
	support_add("/qalloc/lost/copy-by-hand", kernel_does_not_copy);
#ifdef __x86_64__
	support_add("/qalloc/lost/copy-half", kernel_copies_half);
#endif
	support_add("/qalloc/lost/snapshot", snapshots_on_a_full_disk);
	return support_run();
}
