/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts in earnest, of maps of all kinds: a file system of its own, on a loop device, is shut down under a process that works, as if the power
 * failed, and mounted again on a full disk. What opens then is sound, and has the disk space of its blocks; else it is refused.
 * Needs root. tools/power and tools/short play the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/tools/cutting.h"
#include "tests/tools/loop.h"

#define ROUNDS     10
#define BLOCKS_MAX 4096

/* ---- the work that is cut ---- */

struct work {
	const struct heap *heap;
	const char *path;
	unsigned round;
};

/* The kernel writes some pages back when it likes, the first one among them or not. */
static void write_back(int fd, struct support_rand *r)
{
	off_t size = lseek(fd, 0, SEEK_END);

	for (off_t at = support_rand_below(r, 2) ? 0 : MA_PAGE; at < size; at += 65536)
		if (support_rand_below(r, 2))
			sync_file_range(fd, at, 65536, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

/* Some blocks are never written to: their space is nowhere but in the journal. */
static int work(void *arg)
{
	const struct work *w = arg;
	int fd = open(w->path, O_RDWR | O_CLOEXEC);
	void *map = w->heap->open(w->path);
	uint64_t blocks[200] = { 0 };
	struct support_rand r;

	g_assert_nonnull(map);
	support_rand_seed(&r, w->round);
	for (unsigned i = 0; i < 4000; i++) {
		uint64_t *block = &blocks[support_rand_below(&r, G_N_ELEMENTS(blocks))];

		if (*block)
			w->heap->free(map, *block);
		*block = w->heap->malloc(map, heap_size(w->heap, &r));
		if (*block && i % 3 == 0)
			memset(w->heap->at(map, *block), 1, 16);
		if (i % 1000 == 500)
			write_back(fd, &r);
	}
	write_back(fd, &r);
	_exit(loop_shut_down() ? 0 : SUPPORT_CANNOT);
}

/* ---- the next run ---- */

/* Each block that can be had, to its last byte: with a disk that is full, a store without space is SIGBUS. */
static void fill(const struct heap *heap, void *map)
{
	for (unsigned i = 0; i < BLOCKS_MAX; i++) {
		uint64_t block = heap->malloc(map, (size_t)64 << i % 11);

		if (!block && i % 11 == 0)
			return;
		if (block)
			memset(heap->at(map, block), 2, 64);
	}
}

static int open_again(void *arg)
{
	const struct work *w = arg;
	void *map = w->heap->open(w->path);

	if (!map && errno != EUCLEAN && errno != ENOSPC)
		g_error("%s: %s", w->heap->kind, strerror(errno));
	if (!map)
		return errno == ENOSPC ? 3 : 2;
	g_assert_cmpuint(found(w->heap, map).verified, ==, 1);
	fill(w->heap, map);
	g_assert_cmpint(w->heap->close(map), ==, 0);
	return 0;
}

/* ---- one cut ---- */

struct figures {
	unsigned cuts, opened, refused, no_space;
};

static int status_of(pid_t pid)
{
	int status = support_wait(pid);

	if (!WIFEXITED(status))
		g_error("a child died of signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static void look(struct work *w, struct figures *f)
{
	const char *filler = support_path("filler");
	int result;

	support_fill_disk(filler);
	result = status_of(support_fork(open_again, w));
	unlink(filler);
	f->no_space += result == 3;
	if (result == 3)
		result = status_of(support_fork(open_again, w));
	g_assert_cmpint(result, !=, 3);
	f->refused += result == 2;
	f->opened += result == 0;
	if (result == 0)
		assert_status(0, "check", w->path);
}

/* False: this file system cannot be shut down. */
static bool cut(struct work *w, struct figures *f)
{
	int fd, result;

	g_assert_true(loop_attach());
	w->path = make(w->heap);
	if (w->round % 2)
		put_state(w->path, MA_STATE_SYNCED);
	fd = open(w->path, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(syncfs(fd), ==, 0);
	close(fd);
	result = status_of(support_fork(work, w));
	loop_detach();
	if (result == SUPPORT_CANNOT)
		return false;
	g_assert_true(loop_attach());
	look(w, f);
	unlink(w->path);
	loop_detach();
	f->cuts++;
	return true;
}

static int cut_all(void *arg)
{
	const char *const *fs = arg;
	struct work w = { 0 };

	if (!loop_make(fs[0], fs[1]))
		return SUPPORT_CANNOT;
	for (size_t i = 0; i < HEAPS; i++) {
		struct figures f = { 0 };

		w.heap = &heaps[i];
		for (w.round = 0; w.round < ROUNDS; w.round++)
			if (!cut(&w, &f))
				return SUPPORT_CANNOT;
		g_test_message(
			"%s, %s: %u cuts, %u opened and sound, %u refused (EUCLEAN), %u found no disk space at first",
			fs[0], heaps[i].kind, f.cuts, f.opened, f.refused, f.no_space);
	}
	loop_remove();
	return 0;
}

static void ext4(void)
{
	static const char *const fs[] = { "ext4", "40M" };

	loop_test(cut_all, fs);
}

static void xfs(void)
{
	static const char *const fs[] = { "xfs", "320M" };

	loop_test(cut_all, fs);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/cuts/ext4", ext4);
	support_add("/tools/cuts/xfs", xfs);
	return support_run();
}
