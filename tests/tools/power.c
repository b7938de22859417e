/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is believed of maps of all kinds when the machine died, or their file system went away, at a bad moment. Played: the first page is put
 * back as it was on the disk, other pages too, the kernel's boot id and the mount's are changed. tools/cuts does it in earnest.
 */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <sched.h>
#include <shmbuddy.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/file.h"
#include "common/header.h"
#include "tests/support/support_fault.h"
#include "tests/tools/heaps.h"

/* ---- the header, and what was found ---- */

static void put(const char *path, off_t at, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	g_assert_cmpint(pwrite(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

static void get(const char *path, off_t at, void *bytes, size_t count)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	g_assert_cmpint(pread(fd, bytes, count, at), ==, (ssize_t)count);
	close(fd);
}

static void forget_mount(const char *path)
{
	const uint64_t other = 12345;

	put(path, offsetof(struct ma_header, mount), &other, sizeof(other));
}

static void put_state(const char *path, uint32_t state)
{
	put(path, offsetof(struct ma_header, state), &state, sizeof(state));
}

static bool is_of(const struct heap *heap, const char *library)
{
	return g_str_has_prefix(heap->kind, library);
}

/* The three libraries' reports have the same members. */
static struct qalloc_opening found(const struct heap *heap, void *map)
{
	struct qalloc_opening opening;

	_Static_assert(sizeof(opening) == sizeof(struct mmalloc_opening), "the same");
	_Static_assert(sizeof(opening) == sizeof(struct shmbuddy_opening), "the same");
	if (is_of(heap, "qalloc"))
		g_assert_cmpint(qalloc_opening(map, &opening), ==, 0);
	else if (is_of(heap, "mmalloc"))
		g_assert_cmpint(mmalloc_opening(map, (struct mmalloc_opening *)(void *)&opening), ==, 0);
	else
		g_assert_cmpint(shmbuddy_opening(map, (struct shmbuddy_opening *)(void *)&opening), ==, 0);
	return opening;
}

/* A few blocks with contents, closed in order. */
static const char *make(const struct heap *heap)
{
	const char *path = support_path(heap->kind);
	uint64_t first = 0;
	void *map;

	unlink(path);
	map = heap->open(path);
	g_assert_nonnull(map);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t block = heap->malloc(map, 64);

		memset(heap->at(map, block), 0x5a, 64);
		first = first ? first : block;
	}
	g_assert_cmpint(heap->setroot(map, "first", first), ==, 0);
	g_assert_cmpint(heap->close(map), ==, 0);
	return path;
}

/* It opens, as the caller says: whether all of it was checked. The blocks are there. */
#define opens(heap, path, verified) opens_at(heap, path, verified, __LINE__)
static void opens_at(const struct heap *heap, const char *path, bool verified, int line)
{
	void *map = heap->open(path);
	uint64_t block;

	if (!map)
		g_error("line %d: %s does not open: %s", line, heap->kind, strerror(errno));
	if (found(heap, map).verified != verified)
		g_error("line %d: %s is %sverified", line, heap->kind, verified ? "not " : "");
	block = heap->getroot(map, "first");
	g_assert_cmpuint(block, !=, 0);
	g_assert_cmpint(*(char *)heap->at(map, block), ==, 0x5a);
	g_assert_cmpint(heap->close(map), ==, 0);
	assert_status(0, "check", path);
}

/* ---- the mount ---- */

/* Closed, or in use by processes that died: another mount may mean that the last writes were lost. Closed and synced: it means nothing. */
static void other_mounts(void)
{
	for (size_t i = 0; i < HEAPS; i++) {
		const char *path = make(&heaps[i]);

		opens(&heaps[i], path, false);
		forget_mount(path);
		opens(&heaps[i], path, true);
		opens(&heaps[i], path, false);
		forget_mount(path);
		put_state(path, MA_STATE_IN_USE);
		opens(&heaps[i], path, true);
		forget_mount(path);
		put_state(path, MA_STATE_SYNCED);
		opens(&heaps[i], path, false);
	}
}

struct holder {
	const struct heap *heap;
	const char *path;
	struct support_sync sync;
};

static int hold(void *arg)
{
	struct holder *holder = arg;
	void *map = holder->heap->open(holder->path);

	g_assert_nonnull(map);
	g_assert_cmpuint(holder->heap->malloc(map, 64), !=, 0);
	support_point(&holder->sync, "open");
	g_assert_cmpint(holder->heap->close(map), ==, 0);
	return 0;
}

/* A process that has it open proves that nothing was lost. */
static void other_mount_joins(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	for (size_t i = 0; i < HEAPS; i++) {
		struct qalloc_opening is;
		void *map;
		pid_t pid;

		memset(&holder->sync, 0, sizeof(holder->sync));
		holder->heap = &heaps[i];
		holder->path = make(&heaps[i]);
		pid = support_fork(hold, holder);
		support_await(&holder->sync, "open");
		forget_mount(holder->path);
		map = heaps[i].open(holder->path);
		g_assert_nonnull(map);
		is = found(&heaps[i], map);
		g_assert_true(!is.first && !is.verified && !is.machine_died);
		g_assert_cmpint(heaps[i].close(map), ==, 0);
		assert_status(0, "check", holder->path);
		support_go(&holder->sync, "open");
		support_wait_ok(pid);
		opens(&heaps[i], holder->path, true); /* The mount that the header names is still the other one. */
	}
}

/* A reader waits for a creation to end. It does not prove anything. */
static int read_for_a_while(void *arg)
{
	struct holder *holder = arg;
	int fd = open(holder->path, O_RDWR | O_CLOEXEC);

	g_assert_cmpint(ma_file_visit(fd), ==, 0);
	support_point(&holder->sync, "looking");
	support_sleep_us(200000);
	return 0;
}

static void other_mount_beside_a_reader(void)
{
	struct holder *holder = support_shared(sizeof(*holder));

	for (size_t i = 0; i < HEAPS; i++) {
		pid_t pid;

		memset(&holder->sync, 0, sizeof(holder->sync));
		holder->path = make(&heaps[i]);
		put_state(holder->path, MA_STATE_IN_USE);
		forget_mount(holder->path);
		pid = support_fork(read_for_a_while, holder);
		support_await(&holder->sync, "looking");
		support_go(&holder->sync, "looking");
		opens(&heaps[i], holder->path, true);
		support_wait_ok(pid);
	}
}

/* A process with mount points of its own, as a container's or a service's. */
static int open_elsewhere(void *arg)
{
	struct holder *holder = arg;
	uint64_t mount;
	void *map;

	get(holder->path, offsetof(struct ma_header, mount), &mount, sizeof(mount));
	if (!mount || unshare(CLONE_NEWNS) < 0)
		return SUPPORT_CANNOT;
	map = holder->heap->open(holder->path);
	g_assert_nonnull(map);
	g_assert_cmpuint(found(holder->heap, map).verified, ==, found(holder->heap, map).first);
	return holder->heap->close(map);
}

/* Alone it verifies all of it; beside us it joins. */
static void other_mount_points(void)
{
	struct holder *holder = support_shared(sizeof(*holder));
	int status;
	pid_t pid;

	for (size_t i = 0; i < HEAPS; i++) {
		holder->heap = &heaps[i];
		holder->path = make(&heaps[i]);
		status = support_wait(support_fork(open_elsewhere, holder));
		if (WIFEXITED(status) && WEXITSTATUS(status) == SUPPORT_CANNOT) {
			g_test_skip("no mount points of its own, or no numbers of mounts");
			return;
		}
		g_assert_cmpint(status, ==, 0);
		opens(&heaps[i], holder->path, true);
		memset(&holder->sync, 0, sizeof(holder->sync));
		pid = support_fork(hold, holder);
		support_await(&holder->sync, "open");
		support_run_child(open_elsewhere, holder);
		support_go(&holder->sync, "open");
		support_wait_ok(pid);
		opens(&heaps[i], holder->path, false);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/power/other-mounts", other_mounts);
	support_add("/tools/power/other-mount-joins", other_mount_joins);
	support_add("/tools/power/other-mount-beside-a-reader", other_mount_beside_a_reader);
	support_add("/tools/power/other-mount-points", other_mount_points);
	return support_run();
}
