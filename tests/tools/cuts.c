/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Power cuts in earnest, of maps of all kinds: a file system of its own, on a loop device, is shut down under a process that works, as if the power
 * failed, and mounted again on a full disk. What opens then is sound, and has the disk space of its blocks; else it is refused.
 * Needs root. tools/power and tools/short play the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/support_fault.h"
#include "tests/tools/cutting.h"

#define SHUT_DOWN  _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN */
#define NO_FLUSH   2                        /* The journal is not written. */
#define ROUNDS     10
#define BLOCKS_MAX 4096

static const char *image; /* The disk. */

static bool command(const char *format, ...) G_GNUC_PRINTF(1, 2);
static bool command(const char *format, ...)
{
	va_list arguments;
	char *line;
	int status;

	va_start(arguments, format);
	line = g_strdup_vprintf(format, arguments);
	va_end(arguments);
	status = system(line); /* NOLINT: of a test's own */
	g_free(line);
	return status == 0;
}

/*
 * No read-ahead: it makes large folios, and ext4 of Linux 6.16 and later wants disk space for all of a folio when one of its pages is stored to.
 * On a full disk that is SIGBUS beside a hole, whoever took what space.
 */
static void keep_folios_small(void)
{
	struct stat st;
	char *name;

	g_assert_cmpint(stat(support_dir(), &st), ==, 0);
	name = g_strdup_printf("/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	if (!command("echo 0 >%s", name))
		g_error("%s cannot be written to", name);
	g_free(name);
}

/* Over the folder of the tests, in which the image lies. */
static bool attach_disk(void)
{
	if (!command("mount -o loop '%s' '%s' 2>/dev/null", image, support_dir()))
		return false;
	keep_folios_small();
	return true;
}

/* A child that was just reaped may still be on its way out. */
static void detach_disk(void)
{
	for (int i = 0; umount2(support_dir(), 0) < 0; i++) {
		if (i == 1000)
			g_error("umount: %s", strerror(errno));
		support_sleep_us(10000);
	}
}

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

static void shut_down(void)
{
	int fd = open(support_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t how = NO_FLUSH;

	if (ioctl(fd, SHUT_DOWN, &how) < 0)
		_exit(SUPPORT_CANNOT);
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
	shut_down();
	_exit(0);
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

	g_assert_true(attach_disk());
	w->path = make(w->heap);
	if (w->round % 2)
		put_state(w->path, MA_STATE_SYNCED);
	fd = open(w->path, O_RDWR | O_CLOEXEC);
	g_assert_cmpint(syncfs(fd), ==, 0);
	close(fd);
	result = status_of(support_fork(work, w));
	detach_disk();
	if (result == SUPPORT_CANNOT)
		return false;
	g_assert_true(attach_disk());
	look(w, f);
	unlink(w->path);
	detach_disk();
	f->cuts++;
	return true;
}

static int cut_all(void *arg)
{
	const char *const *fs = arg;
	char *name = g_build_filename(support_dir(), "disk", NULL);
	struct work w = { 0 };

	image = name;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !command("truncate -s %s '%s' && mkfs.%s '%s' >/dev/null 2>&1", fs[1], image, fs[0], image) ||
	    !attach_disk())
		return SUPPORT_CANNOT;
	detach_disk();
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
	unlink(image);
	return 0;
}

static void cut_it(const char *const fs[2])
{
	int status;

	if (!g_getenv("MA_CRASH_ALL")) {
		g_test_skip("make check-long runs it");
		return;
	}
	status = support_wait(support_fork(cut_all, (void *)(uintptr_t)fs));
	if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT)
		g_test_skip("such a file system cannot be made, mounted and shut down here");
	else
		g_assert_cmphex((unsigned)status, ==, 0);
}

static void ext4(void)
{
	static const char *const fs[] = { "ext4", "40M" };

	cut_it(fs);
}

static void xfs(void)
{
	static const char *const fs[] = { "xfs", "320M" };

	cut_it(fs);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/cuts/ext4", ext4);
	support_add("/tools/cuts/xfs", xfs);
	return support_run();
}
